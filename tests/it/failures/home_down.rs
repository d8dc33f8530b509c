//! A sidecar whose home is away.

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};

use super::DEPLOYMENTS;
use crate::kit::{As, BOB, Cluster, NOPEER, PKI, PROXIED, Proxy, V2};

async fn home_down() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    cluster.server("v132").stop().await;
    proxy.until_healthy("v132", false).await;
    (cluster, proxy)
}

#[tokio::test]
async fn a_peer_stands_in_for_a_home_that_is_down_and_is_told_not_to_reroute() {
    let (cluster, proxy) = home_down().await;
    for who in [As::Certificate(&PKI.admin), As::Token(BOB)] {
        cluster.server("v136").log().clear();
        let client = proxy.h2(who).await;
        for target in [DEPLOYMENTS, "/version", "/apis/apps/v1"] {
            assert_eq!(client.get(target).await.status, 200, "{target}");
            let seen = cluster.asked_for("v136", target);
            assert_eq!((seen.len(), &seen[0].headers[PROXIED]), (1, &"true".parse().unwrap()), "{target}");
        }
    }
}

#[tokio::test]
async fn i3_a_request_of_a_peer_gets_503_while_home_is_down() {
    let (cluster, proxy) = home_down().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for target in [DEPLOYMENTS, "/version"] {
        let reply = admin.get_with(target, (PROXIED, "true")).await;
        reply.refused(503);
        assert_eq!(reply.header("retry-after"), "1", "{target}");
    }
    assert!(cluster.asked("v136", |_| true).is_empty());
}

#[tokio::test]
async fn i10_a_peer_authorizes_merged_discovery_while_home_is_down() {
    let (cluster, proxy) = home_down().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get_with("/apis", V2).await;
    assert_eq!(reply.status, 200);
    assert_eq!(cluster.asked_for("v136", "/apis")[0].headers[PROXIED], "true");
    proxy.h2(As::Nobody).await.get_with("/apis", V2).await.refused(403);
}

#[tokio::test]
async fn what_only_home_can_say_of_itself_nobody_else_says() {
    let (cluster, proxy) = home_down().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for target in ["/readyz", "/livez/ping", "/healthz", "/metrics", "/debug/pprof"] {
        admin.get(target).await.refused(503);
    }
    admin.get_with("/apis", NOPEER).await.refused(503);
    assert!(cluster.asked("v136", |_| true).is_empty());
}

#[tokio::test]
async fn home_is_asked_again_when_it_is_back() {
    let (cluster, proxy) = home_down().await;
    cluster.server("v132").restart().await.unwrap();
    proxy.until_healthy("v132", true).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(DEPLOYMENTS).await.status, 200);
    assert_eq!(cluster.asked_for("v132", DEPLOYMENTS).len(), 1);
}

#[tokio::test]
async fn with_everybody_down_the_answer_is_503_and_discovery_is_not_given_unasked() {
    let (cluster, proxy) = home_down().await;
    cluster.server("v136").stop().await;
    proxy.until_healthy("v136", false).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for target in [DEPLOYMENTS, "/version", "/apis"] {
        let reply = admin.get_with(target, V2).await;
        reply.refused(503);
        assert_eq!(reply.header("retry-after"), "1", "{target}");
    }
}
