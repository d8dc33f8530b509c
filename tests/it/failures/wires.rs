//! Hung servers and bad wires.

use std::time::{Duration, Instant};

use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::embedded::Recorded::V1_32;

use super::{DEVICE_CLASSES, wired};
use crate::kit::{As, BOB, Cluster, PKI, V2, Wire, eventually};

/// With `deadAfter` of 1 s and probes of 1 s every 100 ms, and two busy cores.
pub const DEAD_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_server_that_is_stopped_like_by_sigstop_is_declared_dead_in_bounded_time() {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    for who in [As::Certificate(&PKI.admin), As::Token(BOB)] {
        let client = proxy.h2(who).await;
        assert_eq!(client.get("/version").await.status, 200);
        cluster.server("v132").faults().freeze(true);
        let began = Instant::now();
        assert!(client.get("/version").await.refused(503).contains("v132"));
        assert!(began.elapsed() < DEAD_WITHIN, "{:?}", began.elapsed());
        cluster.server("v132").faults().freeze(false);
        proxy.until_it_is("v132", Freshness::Fresh).await;
    }
}

#[tokio::test]
async fn a_black_hole_ends_requests_and_watches_and_the_next_peer_is_asked() {
    let (cluster, [wire, _other], proxy) = wired().await;
    let proxy = proxy.hasty().start().await;
    wire.black_hole(true);
    let began = Instant::now();
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..4 {
        let reply = admin.get(DEVICE_CLASSES).await;
        assert!(matches!(reply.status.as_u16(), 200 | 503), "{}", reply.text());
    }
    proxy.until_healthy("v135", false).await;
    assert!(began.elapsed() < DEAD_WITHIN, "{:?}", began.elapsed());
    for _ in 0..8 {
        let reply = admin.get(DEVICE_CLASSES).await;
        assert_eq!(reply.status, 200, "the dead one is no longer asked: {}", reply.text());
    }
    wire.black_hole(false);
    proxy.until_it_is("v135", Freshness::Fresh).await;
    assert!(!cluster.asked_for("v136", DEVICE_CLASSES).is_empty());
}

#[tokio::test]
async fn connecting_into_a_black_hole_is_bounded() {
    let (_cluster, [wire, _other], proxy) = wired().await;
    let proxy = proxy.hasty().file("connectTimeout", "300ms").start().await;
    wire.black_hole(true);
    wire.reset();
    let bob = proxy.h2(As::Token(BOB)).await;
    for _ in 0..6 {
        let began = Instant::now();
        let reply = bob.get(DEVICE_CLASSES).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_slow_dripping_wire_carries_discovery_and_answers_whole() {
    let cluster = Cluster::start(&[V1_32]).await;
    let wire = Wire::to(cluster.server("v132").addr()).await;
    wire.drip(900);
    wire.delay(Duration::from_millis(2));
    let proxy = cluster.proxy().server("v132", wire.address).home("v132").start().await;
    assert_eq!(proxy.freshness("v132"), Freshness::Fresh);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get("/test/bytes?n=200000").await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 200_000));
    assert_eq!(admin.get_with("/apis", V2).await.status, 200);
}

#[tokio::test]
async fn a_half_closed_connection_is_replaced_by_a_new_one() {
    let cluster = Cluster::start(&[V1_32]).await;
    let wire = Wire::to(cluster.server("v132").addr()).await;
    let proxy = cluster.proxy().server("v132", wire.address).home("v132").start().await;
    let before = cluster.server("v132").connections_accepted();
    wire.half_close();
    eventually("a new connection", || cluster.server("v132").connections_accepted() > before).await;
    wire.clear();
    proxy.until_it_is("v132", Freshness::Fresh).await;
    proxy.until_healthy("v132", true).await;
    assert_eq!(proxy.h2(As::Certificate(&PKI.admin)).await.get("/version").await.status, 200);
}

#[tokio::test]
async fn connections_that_are_reset_cost_at_most_the_requests_on_them() {
    let cluster = Cluster::start(&[V1_32]).await;
    let wire = Wire::to(cluster.server("v132").addr()).await;
    let proxy = cluster.proxy().server("v132", wire.address).home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..5 {
        wire.reset();
        // Whether the reset was seen before or after the request was sent decides which of the two it is.
        let reply = admin.get("/version").await;
        assert!(matches!(reply.status.as_u16(), 200 | 503), "{}", reply.text());
        assert_eq!(admin.get("/version").await.status, 200);
    }
    proxy.until_it_is("v132", Freshness::Fresh).await;
}

#[tokio::test]
async fn a_server_whose_port_closes_and_opens_again_is_fresh_again() {
    let (_cluster, [wire, _other], proxy) = wired().await;
    let proxy = proxy.start().await;
    wire.refuse().await;
    wire.reset();
    proxy.until_it_is("v135", Freshness::Stale).await;
    wire.accept_again().await;
    proxy.until_it_is("v135", Freshness::Fresh).await;
}

#[tokio::test]
async fn a_short_request_ends_with_a_504_when_its_time_is_over() {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").flags(|args| args.request_timeout = Some("300ms".into()));
    let proxy = proxy.start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let watch = admin.ask(http::Method::GET, "/api/v1/pods?watch=1").begin().await;
    cluster.server("v132").faults().delay(Some(Duration::from_millis(700)));
    for target in ["/version", "/api/v1/pods", "/apis"] {
        let reply = admin.get_with(target, V2).await;
        assert_eq!(reply.json()["reason"], "Timeout", "{target}");
        reply.refused(504);
    }
    assert_eq!(watch.status(), 200);
    let late = admin.ask(http::Method::GET, "/api/v1/pods?watch=1").begin().await;
    assert_eq!(late.status(), 200, "what lasts has no limit");
}
