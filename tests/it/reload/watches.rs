//! What is under way goes on.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use kube_peer_proxy::pki::Authority;
use kube_peer_proxy::servers::Class;
use serde_json::json;

use super::*;
use crate::kit::{As, BOB, DEADLINE, Raw, eventually};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watches_survive_a_new_key_of_everything() {
    let (cluster, proxy) = alone().await;
    let mut clients = vec![proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h2(As::Token(BOB)).await];
    // Tokens are proven by a first request.
    clients[1].get("/version").await;
    clients.push(proxy.h1(As::Certificate(&PKI.admin)).await);
    let watch = format!("{CONFIG_MAPS}?watch=1");
    let open = (0..99).map(|number| clients[number % 2].ask(Method::GET, &watch).begin());
    let mut watches = join_all(open).await;
    watches.push(clients[2].ask(Method::GET, &watch).begin().await);
    assert!(watches.iter().all(|watch| watch.status() == StatusCode::OK));
    assert_eq!(cluster.asked_for("v136", &watch).len(), 100);

    let (new_serving, another) = (serving(), Authority::new("another").unwrap());
    let new_client = PKI.front_proxy_ca.issue(&Leaf::client("front-proxy-client")).unwrap();
    let both = format!("{}{}", another.cert_pem(), PKI.cluster_ca.cert_pem());
    replace_pair(&proxy, "proxy", &new_serving);
    replace_pair(&proxy, "front-proxy-client", &new_client);
    replace(&proxy.file("clients.crt"), &both);
    replace(&proxy.file("ca.crt"), &both);
    until_shown(&proxy, &new_serving).await;
    until("everything is in use", async || {
        let client = proxy.h2(As::Certificate(&another.issue(&Leaf::client("new")).unwrap())).await;
        (client.get("/version").await.status == 200).then_some(())
    })
    .await;

    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/version?new-key").await.status, 200);
    let seen = cluster.asked_for("v136", "/version?new-key");
    assert_eq!(seen[0].leaf.as_ref(), Some(&new_client.cert), "API servers see the new certificate");
    let on = |target: &str| -> Vec<_> {
        cluster.asked_for("v136", target).iter().map(|request| request.connection).collect()
    };
    assert!(!on(&watch).contains(&seen[0].connection), "on a new connection");
    for class in [Class::Identity, Class::Token] {
        assert!(proxy.connections("v136", class).draining > 0, "{class:?}");
    }
    assert_eq!(proxy.target("v136").load.watches(), 100, "no watch was cut");

    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "news" } });
    assert_eq!(admin.post(CONFIG_MAPS, &object).await.status, 201);
    let told = watches.into_iter().map(async |mut watch| {
        let frame = tokio::time::timeout(DEADLINE, watch.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert!(frame.into_data().unwrap().windows(4).any(|window| window == b"news"));
        watch
    });
    let watches = join_all(told).await;
    assert!(proxy.target("v136").health.is_healthy());
    drop(watches);
    drop(clients);
    eventually("the old connections are closed", || {
        [Class::Identity, Class::Token].iter().all(|class| proxy.connections("v136", *class).draining == 0)
    })
    .await;
    assert_eq!(reloads(&proxy, "failed").await, 0.0);
}

#[tokio::test]
async fn only_connections_whose_certificates_changed_are_renewed() {
    let (cluster, proxy) = alone().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let bob = proxy.h2(As::Token(BOB)).await;
    let ask = async |number: usize| {
        for (client, name) in [(&admin, "admin"), (&bob, "bob")] {
            assert_eq!(client.get(&format!("/version?{name}-{number}")).await.status, 200);
        }
        ["admin", "bob"]
            .map(|name| cluster.asked_for("v136", &format!("/version?{name}-{number}"))[0].connection)
    };
    ask(0).await;
    let before = ask(1).await;
    replace_pair(&proxy, "proxy", &serving());
    until_reloads(&proxy, "ok", 1.0).await;
    assert_eq!(ask(2).await, before, "clients' TLS is no concern of servers");

    let new_client = PKI.front_proxy_ca.issue(&Leaf::client("front-proxy-client")).unwrap();
    replace_pair(&proxy, "front-proxy-client", &new_client);
    until_reloads(&proxy, "ok", 2.0).await;
    let [admin_now, bob_now] = ask(3).await;
    assert_ne!(admin_now, before[0]);
    assert_eq!(bob_now, before[1], "tokens go without our certificate");

    let both = format!("{}{}", Authority::new("another").unwrap().cert_pem(), PKI.cluster_ca.cert_pem());
    replace(&proxy.file("ca.crt"), both);
    until_reloads(&proxy, "ok", 3.0).await;
    assert_ne!(ask(4).await[1], before[1]);
}

/// Servers whose certificates we cannot believe any more are no servers that are dead.
#[tokio::test]
async fn a_bundle_of_cas_that_fits_no_server_cuts_no_watch() {
    const DEAD_AFTER: Duration = Duration::from_millis(500);
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = attentive(cluster.proxy().home("v136")).file("deadAfter", "500ms").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut watch = admin.ask(Method::GET, &format!("{CONFIG_MAPS}?watch=1")).begin().await;
    let mut tunnel = tunnel(&proxy).await;

    replace(&proxy.file("ca.crt"), Authority::new("another").unwrap().cert_pem());
    proxy.until_healthy("v136", false).await;
    let since = Instant::now();
    eventually("it would be dead by now", || since.elapsed() > 4 * DEAD_AFTER).await;
    admin.get("/version").await.refused(503);

    replace(&proxy.file("ca.crt"), PKI.cluster_ca.cert_pem());
    proxy.until_healthy("v136", true).await;
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "news" } });
    assert_eq!(admin.post(CONFIG_MAPS, &object).await.status, 201);
    let frame = tokio::time::timeout(DEADLINE, watch.body_mut().frame()).await.unwrap().unwrap();
    assert!(frame.expect("the watch lives").into_data().unwrap().windows(4).any(|window| window == b"news"));
    tunnel.send("still there").await;
    assert_eq!(tunnel.until("still there").await, "still there");
}

/// An upgrade by an administrator, to a server that sends back what it gets.
async fn tunnel(proxy: &Proxy) -> Raw {
    let mut tunnel = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    let head = "GET /api/v1/namespaces/default/pods/p/exec HTTP/1.1\r\nHost: kubernetes\r\n\
                Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    tunnel.send(head).await;
    let answer = tunnel.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    tunnel
}

#[tokio::test]
async fn a_tunnel_survives_and_the_next_one_shows_the_new_certificate() {
    let (cluster, proxy) = alone().await;
    let mut open = tunnel(&proxy).await;
    open.send("before").await;
    assert_eq!(open.until("before").await, "before");
    let new_client = PKI.front_proxy_ca.issue(&Leaf::client("front-proxy-client")).unwrap();
    replace_pair(&proxy, "front-proxy-client", &new_client);
    until_reloads(&proxy, "ok", 1.0).await;
    open.send("after").await;
    assert_eq!(open.until("after").await, "after");
    let _next = tunnel(&proxy).await;
    let upgrades = cluster.asked("v136", |request| request.target.ends_with("/exec"));
    let shown: Vec<_> = upgrades.iter().map(|request| request.leaf.as_ref().unwrap()).collect();
    assert_eq!(shown, [&PKI.front_proxy_client.cert, &new_client.cert]);
}
