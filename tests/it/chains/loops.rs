//! I3: a request goes from one server to another at most once, however many proxies know of both.

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use super::{CONFIG_MAPS, POLICIES, RELICS, WIDGETS, chain, loop_header, spec};
use crate::kit::{As, DEADLINE, PKI, PROXIED, eventually};

#[tokio::test]
async fn i3_each_side_reaches_what_only_the_other_server_has_by_one_reroute() {
    let chain = chain(|proxy| proxy).await;
    let front = chain.front().await;
    for (proxy, path, server) in [
        (&chain.one, POLICIES, "b"),
        (&chain.other, RELICS, "a"),
        (&front, POLICIES, "b"),
        (&front, RELICS, "a"),
    ] {
        // A front has another home for each connection.
        for _ in 0..4 {
            chain.forget();
            let reply = proxy.h2(As::Certificate(&PKI.admin)).await.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            let seen = chain.only(server);
            assert!(loop_header(&seen).len() <= 1, "{:?}", seen.headers);
            assert_eq!(chain.count("a") + chain.count("b"), 1, "{path}");
        }
    }
    for (proxy, home) in [(&chain.one, "a"), (&chain.other, "b")] {
        chain.forget();
        proxy.h2(As::Certificate(&PKI.admin)).await.get(CONFIG_MAPS).await;
        assert!(loop_header(&chain.only(home)).is_empty(), "nobody was passed over");
    }
}

#[tokio::test]
async fn i3_what_nobody_serves_is_homes_own_404_and_no_other_server_hears_of_it() {
    let chain = chain(|proxy| proxy).await;
    for (proxy, home) in [(&chain.one, "a"), (&chain.other, "b")] {
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        for path in [WIDGETS, "/apis/apps/v1/nothings", "/api/v1/namespaces/default/pods/p/nothing"] {
            chain.forget();
            assert_eq!(admin.get(path).await.status, 404, "{path}");
            assert_eq!(chain.only(home).target, path);
            assert_eq!(chain.count("a") + chain.count("b"), 1, "{path}");
        }
    }
}

#[tokio::test]
async fn i3_who_brings_the_loop_header_gets_the_answer_of_the_next_home() {
    let chain = chain(|proxy| proxy).await;
    for (proxy, path, home) in [(&chain.one, POLICIES, "a"), (&chain.other, RELICS, "b")] {
        chain.forget();
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        assert_eq!(admin.get_with(path, (PROXIED, "true")).await.status, 404);
        assert_eq!(loop_header(&chain.only(home)), ["true"]);
        assert_eq!(chain.count("a") + chain.count("b"), 1);
    }
}

/// The worst case: each proxy believes of the other's server that it has the thing.
#[tokio::test]
async fn i3_proxies_that_point_at_each_other_end_in_a_404_after_one_reroute() {
    // Events would tell them the truth.
    let chain = chain(|proxy| proxy.interval("1h")).await;
    let [a, b] = ["a", "b"].map(|name| chain.cluster.server(name).discovery());
    // `one` learns that `b` has widgets, and nothing else any more.
    b.add_resource("example.com", "v1", &spec("widgets", "Widget"));
    learn(&chain.one, "b").await;
    // `other` learns that they have moved to `a`.
    b.remove_group_version("example.com", "v1");
    a.add_resource("example.com", "v1", &spec("widgets", "Widget"));
    learn(&chain.other, "a").await;
    learn(&chain.other, "b").await;

    chain.forget();
    let admin = chain.one.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get(WIDGETS).await;
    assert!([404, 503].contains(&reply.status.as_u16()), "{} {}", reply.status, reply.text());
    assert_eq!(chain.count("a"), 0, "it never comes back");
    assert_eq!(loop_header(&chain.only("b")), ["true"]);
    // Who is not behind the times serves it.
    assert_eq!(chain.other.h2(As::Certificate(&PKI.admin)).await.get(WIDGETS).await.status, 200);
}

/// Has a proxy fetch what a server says of itself.
async fn learn(proxy: &crate::kit::Proxy, server: &str) {
    let number = proxy.app.proxy.load().fleet.position(server).unwrap();
    let trigger = kube_peer_proxy::discovery::refresh::Trigger::Changed;
    proxy.app.proxy.load().refresh[number].ask_and_wait(trigger).await;
}

#[tokio::test]
async fn a_write_and_a_watch_go_through_both() {
    let chain = chain(|proxy| proxy).await;
    let of_proxies = chain.watched().await;
    let admin = chain.one.h2(As::Certificate(&PKI.admin)).await;
    let mut watch = admin.ask(Method::GET, &format!("{POLICIES}?watch=1")).begin().await.into_body();
    let object = json!({ "metadata": { "name": "far" }, "spec": {} });
    assert_eq!(admin.post(POLICIES, &object).await.status, 201);
    let event = tokio::time::timeout(DEADLINE, watch.frame()).await.unwrap().unwrap().unwrap();
    let event: serde_json::Value = serde_json::from_slice(event.data_ref().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("far")));
    eventually("watches are counted where they are", || chain.one.target("b").load.watches() == 1).await;
    // What one proxy watches for itself is a client's watch to the other.
    assert_eq!(chain.one.target("a").load.watches(), of_proxies);
    assert_eq!(chain.other.target("b").load.watches(), of_proxies + 1);
}
