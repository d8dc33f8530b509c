//! I9: what may be sent again, and what not.

use std::time::Duration;

use http::Method;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use serde_json::json;

use super::{DEPLOYMENTS, DEVICE_CLASSES, wired};
use crate::kit::{As, BOB, Cluster, DEADLINE, PKI, until};

#[tokio::test]
async fn i9_a_refused_connection_moves_on_to_the_next_peer() {
    let (cluster, [wire, _other], proxy) = wired().await;
    let proxy = proxy.start().await;
    // The connection of our own requests stays, so the server counts as healthy; those of tokens are new.
    wire.refuse().await;
    let retried = async || proxy.metric("kube_peer_proxy_retries_total", &["unprocessed"]).await;
    until("a request that met the refusing one first", async || {
        let bob = proxy.h2(As::Token(BOB)).await;
        let reply = bob.get(DEVICE_CLASSES).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        (retried().await > 0.0).then_some(())
    })
    .await;
    assert!(cluster.asked_for("v135", DEVICE_CLASSES).is_empty());
}

#[tokio::test]
async fn i9_when_all_refuse_the_answer_is_a_503_that_names_them() {
    let (_cluster, wires, proxy) = wired().await;
    let proxy = proxy.start().await;
    for wire in &wires {
        wire.refuse().await;
        wire.reset();
    }
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = until("both are known to be gone", async || {
        let reply = admin.get(DEVICE_CLASSES).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        ["v135", "v136"].iter().all(|name| reply.text().contains(name)).then_some(reply)
    })
    .await;
    assert_eq!(
        (reply.json()["reason"].as_str(), reply.header("retry-after")),
        (Some("ServiceUnavailable"), "1")
    );
    assert!(proxy.metric("apiserver_peer_proxy_errors_total", &["deviceclasses"]).await >= 1.0);
}

#[tokio::test]
async fn i9_a_write_that_is_lost_is_a_503_without_retry_after_and_was_sent_once() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let server = cluster.server("v132");
    for (method, retry_after) in
        [(Method::POST, ""), (Method::DELETE, ""), (Method::PUT, ""), (Method::GET, "1")]
    {
        proxy.until_healthy("v132", true).await;
        server.faults().hang(true);
        let client = proxy.h2(As::Certificate(&PKI.admin)).await;
        let (target, as_method) = (format!("{DEPLOYMENTS}/{method}"), method.clone());
        let asked = target.clone();
        let sent = tokio::spawn(async move {
            let object = json!({ "metadata": { "name": "d" } });
            client.ask(as_method, &asked).json(&object).whole().await
        });
        assert!(server.log().wait_for(DEADLINE, |request| request.target == target).await.is_some());
        server.drop_connections();
        let reply = sent.await.unwrap();
        assert!(reply.refused(503).contains("v132"), "{method}: {}", reply.text());
        assert_eq!(reply.header("retry-after"), retry_after, "{method}");
        server.faults().hang(false);
        let times =
            cluster.servers().map(|server| cluster.asked_for(server.id(), &target).len()).sum::<usize>();
        assert_eq!(times, 1, "{method}");
    }
}

#[tokio::test]
async fn i9_a_server_that_says_goaway_under_load_loses_no_request() {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let clients = (0..4).map(|number| {
        let (proxy, server) = (&proxy, cluster.server("v132"));
        async move {
            let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
            for round in 0..25 {
                if round % 5 == number {
                    server.send_goaway();
                }
                let reply = admin.get("/version").await;
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(cluster.asked_for("v132", "/version").len(), 100);
}

#[tokio::test]
async fn i9_a_watch_whose_server_dies_ends_at_once_and_its_end_shows_as_broken() {
    use http_body_util::BodyExt;
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut watch = admin.ask(Method::GET, &format!("{DEPLOYMENTS}?watch=1")).begin().await.into_body();
    cluster.server("v132").stop().await;
    let end = tokio::time::timeout(Duration::from_secs(3), watch.frame()).await.expect("the end, in time");
    assert!(end.is_some_and(|frame| frame.is_err()), "a whole end would look like a timeout of the watch");
    assert!(!admin.is_over(), "the client's other requests go on");
}
