//! Who is asked first: servers that flap, say that they are not ready, or break off what callers ask.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use kube_peer_proxy::{
    discovery::catalog::Freshness,
    embedded::Recorded::{V1_32, V1_36},
    servers::health::{Reason, State},
};
use serde_json::Value;

use crate::kit::{As, BOB, Cluster, PKI, Proxy, Wire, eventually, until};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// How `/debug/servers` says that a server stands.
async fn shown(proxy: &Proxy, name: &str) -> Value {
    let page = proxy.debug("servers").await;
    let servers = page["servers"].as_array().unwrap();
    servers.iter().find(|server| server["name"] == name).unwrap()["health"].clone()
}

async fn ejections(proxy: &Proxy, name: &str, reason: &str) -> f64 {
    let labels = [&*format!("server=\"{name}\""), &*format!("reason=\"{reason}\"")];
    proxy.metric("kube_peer_proxy_server_ejections_total", &labels).await
}

#[tokio::test]
async fn a_server_that_says_that_it_is_not_ready_is_asked_after_others_until_it_says_the_opposite() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    cluster.server("v132").faults().ready(false);
    proxy.until_healthy("v132", false).await;
    assert_eq!(admin.get(DEPLOYMENTS).await.status, 200);
    assert_eq!(
        (cluster.asked_for("v132", DEPLOYMENTS).len(), cluster.asked_for("v136", DEPLOYMENTS).len()),
        (0, 1)
    );
    let now = shown(&proxy, "v132").await;
    assert_eq!((&now["state"], &now["reason"]), (&"ejected".into(), &"not-ready".into()));
    assert_eq!(now["goodProbesWanted"], 2);
    assert_eq!(ejections(&proxy, "v132", "not-ready").await, 1.0);

    cluster.server("v132").faults().ready(true);
    proxy.until_healthy("v132", true).await;
    assert_eq!(shown(&proxy, "v132").await["state"], "healthy");
    admin.get(DEPLOYMENTS).await;
    assert_eq!(cluster.asked_for("v132", DEPLOYMENTS).len(), 1);
}

#[tokio::test]
async fn the_last_servers_are_never_all_ejected() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    for name in ["v132", "v136"] {
        cluster.server(name).faults().ready(false);
        proxy.until_healthy(name, false).await;
    }
    let fleet = proxy.app.proxy.load().fleet.clone();
    assert_eq!(fleet.healthy(), fleet.all());
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(DEPLOYMENTS).await.status, 200);
    assert_eq!(cluster.asked_for("v132", DEPLOYMENTS).len(), 1, "home is as good as any");

    // Whoever is really gone is not among them.
    cluster.server("v132").stop().await;
    eventually("home is gone", || fleet.healthy().iter().eq(fleet.position("v136"))).await;
    assert_eq!(admin.get(DEPLOYMENTS).await.status, 200);
}

#[tokio::test]
async fn a_server_that_flaps_stays_out_longer_each_time() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    for wanted in [2, 4, 8, 8] {
        cluster.server("v136").faults().ready(false);
        proxy.until_healthy("v136", false).await;
        assert_eq!(shown(&proxy, "v136").await["goodProbesWanted"], wanted);
        cluster.server("v136").faults().ready(true);
        proxy.until_healthy("v136", true).await;
    }
    assert_eq!(ejections(&proxy, "v136", "not-ready").await, 4.0);
}

#[tokio::test]
async fn a_server_that_refuses_callers_but_answers_probes_is_ejected_and_tried_again() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let wire = Wire::to(cluster.server("v132").addr()).await;
    let proxy = cluster.proxy().server("v132", wire.address).home("v132").start().await;
    let health = proxy.target("v132").health.clone();
    // Our own connection stays, and callers of this kind have none yet.
    wire.refuse().await;
    until("callers' failures eject it", async || {
        let reply = proxy.h2(As::Token(BOB)).await.get(DEPLOYMENTS).await;
        assert!(matches!(reply.status.as_u16(), 200 | 503), "{}", reply.text());
        (health.standing().reason == Some(Reason::Passive)).then_some(())
    })
    .await;
    assert!(health.is_connected(), "probes say the opposite");
    assert_eq!(ejections(&proxy, "v132", "passive").await, 1.0);
    assert!(shown(&proxy, "v132").await["secondsLeft"].as_f64().is_some_and(|left| left > 0.0));
    let bob = proxy.h2(As::Token(BOB)).await;
    for _ in 0..3 {
        assert_eq!(bob.get(DEPLOYMENTS).await.status, 200, "the peer is asked");
    }
    assert_eq!(proxy.freshness("v132"), Freshness::Fresh);

    wire.accept_again().await;
    eventually("it is half-open", || health.standing().state == State::HalfOpen).await;
    assert!(cluster.asked_for("v132", DEPLOYMENTS).is_empty());
    // While it is tried, all others are answered by the peer.
    let trial = health.begin();
    let at_peer = cluster.asked_for("v136", DEPLOYMENTS).len();
    let replies = join_all((0..16).map(|_| bob.get(DEPLOYMENTS))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(
        (cluster.asked_for("v132", DEPLOYMENTS).len(), cluster.asked_for("v136", DEPLOYMENTS).len()),
        (0, at_peer + 16)
    );
    drop(trial);
    // Of many who come at once one tries.
    cluster.server("v132").faults().delay(Some(Duration::from_millis(500)));
    let replies = join_all((0..16).map(|_| bob.get(DEPLOYMENTS))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(cluster.asked_for("v132", DEPLOYMENTS).len(), 1, "the trial");
    assert_eq!(health.standing().state, State::Healthy);
}

#[tokio::test]
async fn who_has_nobody_else_to_ask_asks_a_server_that_is_being_tried() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let wire = Wire::to(cluster.server("v132").addr()).await;
    let proxy = cluster.proxy().server("v132", wire.address).home("v132").start().await;
    let health = proxy.target("v132").health.clone();
    wire.refuse().await;
    until("it is ejected", async || {
        proxy.h2(As::Token(BOB)).await.get(DEPLOYMENTS).await;
        (health.standing().reason == Some(Reason::Passive)).then_some(())
    })
    .await;
    wire.accept_again().await;
    eventually("it is half-open", || health.standing().state == State::HalfOpen).await;
    let _trial = health.begin();
    cluster.server("v136").stop().await;
    proxy.until_healthy("v136", false).await;
    let asked = cluster.asked_for("v132", DEPLOYMENTS).len();
    assert_eq!(proxy.h2(As::Token(BOB)).await.get(DEPLOYMENTS).await.status, 200);
    assert_eq!(cluster.asked_for("v132", DEPLOYMENTS).len(), asked + 1);
}

#[tokio::test]
async fn what_a_server_answers_ejects_nobody() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let probes = async || proxy.metric("kube_peer_proxy_server_probes_total", &["v132", "ok"]).await;
    let before = probes().await;
    cluster.server("v132").faults().group_version("apps", "v1", Some(http::StatusCode::SERVICE_UNAVAILABLE));
    let mut asked = 0;
    until("twenty probes", async || {
        admin.ask(Method::GET, "/apis/apps/v1").whole().await;
        asked += 1;
        (probes().await >= before + 20.0).then_some(())
    })
    .await;
    assert!(asked > 5);
    assert!(proxy.target("v132").health.is_healthy());
    assert_eq!(proxy.metric("kube_peer_proxy_server_ejections_total", &["v132"]).await, 0.0);
}
