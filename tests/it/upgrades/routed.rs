//! Upgrades are decided as every other request, and their connections belong to nobody else.

use std::collections::HashSet;

use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::embedded::{ResourceSpec, RouteFault};
use kube_peer_proxy::servers::Class;

use super::{EXEC, PKI, PODS, Tunnel, WIDGET, alone, two, upgrade, upgrades};
use crate::kit::{As, BOB, Cluster, PROXIED, Wire, eventually};

#[tokio::test]
async fn i3_upgrade_with_the_loop_header_is_answered_by_home_or_nobody() {
    let (cluster, proxy) = two().await;
    let admin = As::Certificate(&PKI.admin);
    let client = Tunnel::ask(proxy.address(), admin, WIDGET, "SPDY/3.1", &[(PROXIED, "true")]).await;
    assert_eq!(client.status(), 404, "home's own: {}", client.head);
    assert!(upgrades(&cluster, "v136").is_empty());
    let client = Tunnel::ask(proxy.address(), admin, WIDGET, "SPDY/3.1", &[(PROXIED, "false")]).await;
    assert_eq!(client.status(), 101);
    let seen = upgrades(&cluster, "v136").remove(0);
    assert_eq!(seen.headers.get_all(PROXIED).iter().collect::<Vec<_>>(), ["true"]);
}

#[tokio::test]
async fn i4_upgrade_has_a_fresh_connection_that_nobody_used_before_or_uses_after_it() {
    let (cluster, proxy) = alone().await;
    let admin = proxy.h1(As::Certificate(&PKI.admin)).await;
    let (bob, nobody) = (proxy.h1(As::Token(BOB)).await, proxy.h1(As::Nobody).await);
    let mut tunnels = Vec::new();
    for round in 0..4 {
        for client in [&admin, &bob, &nobody] {
            client.get("/version").await;
        }
        // Refused ones among them.
        let who = [As::Certificate(&PKI.admin), As::Token(BOB), As::Nobody, As::Token("unknown")][round];
        let mut tunnel = Tunnel::ask(proxy.address(), who, EXEC, "websocket", &[]).await;
        if tunnel.status() == 101 {
            tunnel.send(b"ping").await;
            assert_eq!(tunnel.next(4).await, b"ping");
            if round == 0 {
                tunnel.finish().await;
                tunnel.rest().await;
            }
        }
        tunnels.push(tunnel);
    }
    let all = cluster.server("v136").log().all();
    let (upgraded, others): (Vec<_>, Vec<_>) =
        all.iter().partition(|request| request.headers.contains_key("upgrade"));
    let mine: HashSet<u64> = upgraded.iter().map(|request| request.connection).collect();
    assert_eq!((upgraded.len(), mine.len()), (4, 4), "one connection for each");
    assert!(others.iter().all(|request| !mine.contains(&request.connection)));
    drop(tunnels);
    eventually("all are closed", || proxy.connections("v136", Class::Upgrade).live == 0).await;
}

/// kube-apiserver serves watches as WebSockets, too.
#[tokio::test]
async fn i8_upgrade_that_meets_a_route_level_404_is_decided_once_more() {
    let watch = format!("{PODS}?watch=1");
    for fault in [RouteFault::Status, RouteFault::PlainText] {
        let (cluster, proxy) = two().await;
        cluster.server("v132").faults().missing(pods(), Some(fault));
        let mut client = upgrade(proxy.address(), &watch).await;
        assert_eq!(client.status(), 101, "{fault:?}: {}", client.head);
        client.send(b"hello").await;
        assert_eq!(client.next(5).await, b"hello");
        assert_eq!(upgrades(&cluster, "v132").len(), 1);
        assert_eq!(upgrades(&cluster, "v136")[0].headers[PROXIED], "true");
        // Both deny it although both list it: nobody says 404.
        cluster.server("v136").faults().missing(pods(), Some(fault));
        let client = upgrade(proxy.address(), &watch).await;
        assert_eq!((client.status(), client.header("retry-after")), (503, vec!["1"]));
    }
}

#[tokio::test]
async fn a_404_of_a_pod_or_its_node_is_the_answer_to_an_upgrade() {
    let (cluster, proxy) = two().await;
    cluster.server("v132").faults().missing(pods(), Some(RouteFault::PlainText));
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!((client.status(), client.header("connection")), (404, vec!["close"]));
    assert_eq!(client.body().await, "404 page not found\n");
    assert!(upgrades(&cluster, "v136").is_empty());
}

fn pods() -> GroupVersionResource {
    GroupVersionResource { group: String::new(), version: "v1".into(), resource: "pods".into() }
}

#[tokio::test]
async fn i9_upgrade_whose_server_cannot_be_reached_goes_to_the_next() {
    let cluster = Cluster::start(&[kube_peer_proxy::embedded::Recorded::V1_32]).await;
    let peers = Cluster::with([("a", V1_36), ("b", V1_36)], |builder| builder).await;
    for peer in peers.servers() {
        let widgets = ResourceSpec::new("widgets", "Widget", true).subresource("proxy");
        peer.discovery().add_resource("example.com", "v1", &widgets);
    }
    let wire = Wire::to(peers.server("a").addr()).await;
    let proxy = cluster
        .proxy()
        .server("a", wire.address)
        .server("b", peers.server("b").addr())
        .home("v132")
        .start()
        .await;
    // What is open goes on, so that it is healthy; and it has the fewest requests.
    wire.refuse().await;
    let busy = proxy.h2(As::Certificate(&PKI.admin)).await;
    let _watch =
        busy.ask(http::Method::GET, "/apis/example.com/v1/namespaces/default/widgets?watch=1").begin().await;
    for _ in 0..6 {
        assert_eq!(upgrade(proxy.address(), WIDGET).await.status(), 101);
    }
    assert_eq!((upgrades(&peers, "a").len(), upgrades(&peers, "b").len()), (0, 6));
}

#[tokio::test]
async fn an_upgrade_for_a_server_that_is_away_is_a_503_that_says_when_to_try_again() {
    let (cluster, proxy) = two().await;
    cluster.server("v136").stop().await;
    let mut client = upgrade(proxy.address(), WIDGET).await;
    assert_eq!((client.status(), client.header("retry-after")), (503, vec!["1"]));
    assert_eq!(client.header("connection"), ["close"]);
    assert!(client.body().await.contains("ServiceUnavailable"));
    // Home's are not touched by that.
    assert_eq!(upgrade(proxy.address(), &format!("{PODS}/p/attach")).await.status(), 101);
}
