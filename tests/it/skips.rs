//! `kube_peer_proxy_stale_skips_total`: whatever we do not do because we may not know better is counted with its reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use http::{Response, StatusCode};
use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::body;
use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale};
use kube_peer_proxy::embedded::DiscoveryFault as Fault;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::RouteFault;
use kube_peer_proxy::metrics::Skip;
use serde_json::json;

use crate::kit::{As, Client, Cluster, PKI, PROXIED, PROXY_USER, Proxy, ProxyBuilder, Stub, V2};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// What only the newer server has.
const CLASSES: &str = "/apis/resource.k8s.io/v1/deviceclasses";

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

/// How often each reason was counted that was counted at all.
async fn skips(proxy: &Proxy) -> Vec<(&'static str, f64)> {
    let mut counted = Vec::new();
    for reason in Skip::ALL.map(Skip::as_str) {
        let label = format!("reason=\"{reason}\"");
        let count = proxy.metric("kube_peer_proxy_stale_skips_total", &[&label]).await;
        counted.extend((count > 0.0).then_some((reason, count)));
    }
    counted
}

async fn refused(admin: &Client, path: &str) {
    let reply = admin.get(path).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"), "{path}: {}", reply.text());
}

#[tokio::test]
async fn every_reason_is_there_before_it_counts_and_what_goes_well_counts_for_none() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let client = admin(&proxy).await;
    for (path, status) in [("/apis", 200), (CLASSES, 200), ("/apis/nobody.example/v1/things", 404)] {
        assert_eq!(client.get(path).await.status.as_u16(), status, "{path}");
    }
    let text = proxy.page("/metrics").await;
    for reason in Skip::ALL.map(Skip::as_str) {
        let line = format!("kube_peer_proxy_stale_skips_total{{reason=\"{reason}\"}} 0");
        assert!(text.text().lines().any(|found| found == line), "{line}");
    }
}

#[tokio::test]
async fn no_server_at_all() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let builder = ProxyBuilder::new().server("nobody", nobody).unready();
    let proxy = builder.configure(|config| config.servers.clear()).start().await;
    refused(&admin(&proxy).await, "/apis").await;
    assert_eq!(skips(&proxy).await, [("no-server", 1.0)]);
}

#[tokio::test]
async fn i8_a_server_that_is_unknown() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    cluster.server("v136").faults().discovery(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let proxy = cluster.proxy().home("v132").start().await;
    let client = admin(&proxy).await;
    for path in [CLASSES, "/apis/resource.k8s.io/v1", "/apis/resource.k8s.io"] {
        refused(&client, path).await;
    }
    assert_eq!(skips(&proxy).await, [("unknown", 3.0)]);
}

#[tokio::test]
async fn i8_discovery_that_nobody_has_told_yet() {
    // Home tells the caller, and so allows him to read it, but not us.
    let tells = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&tells);
    let stub = Stub::start(move |request| {
        let (path, user) = (request.uri().path(), request.headers().get("x-remote-user"));
        let silent = user.is_some_and(|user| user == PROXY_USER) && !told.load(SeqCst) && path == "/apis";
        let answer = Stub::as_136(path).filter(|_| !silent);
        let failed = || Response::builder().status(500).body(body::empty()).unwrap();
        let answer = answer.unwrap_or_else(failed);
        async move { answer }
    })
    .await;
    let proxy = ProxyBuilder::new().server("home", stub.address).home("home").start().await;
    let client = admin(&proxy).await;
    for path in ["/apis", "/api"] {
        refused(&client, path).await;
    }
    assert_eq!(skips(&proxy).await, [("unknown", 2.0)]);
    tells.store(true, SeqCst);
    proxy.until_it_is("home", Fresh).await;
    assert_eq!(client.get("/apis").await.status, 200);
    assert_eq!(skips(&proxy).await, [("unknown", 2.0)]);
}

#[tokio::test]
async fn what_only_a_stale_server_lists() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    let client = admin(&proxy).await;
    refused(&client, CLASSES).await;
    assert_eq!(skips(&proxy).await, [("stale-only", 1.0)]);
    refused(&client, "/apis/resource.k8s.io/v1").await;
    assert_eq!(skips(&proxy).await, [("stale-only", 2.0)]);
}

#[tokio::test]
async fn i8_a_route_that_a_server_denies_counts_once_whatever_comes_of_it() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let deny = |name: &str, resource: &str| {
        let (group, version) = ("apps".into(), "v1".into());
        let denied = GroupVersionResource { group, version, resource: resource.into() };
        cluster.server(name).faults().missing(denied, Some(RouteFault::Status));
    };
    deny("v132", "deployments");
    let client = admin(&proxy).await;
    assert_eq!(client.get("/apis/apps/v1/deployments").await.status, 200, "a peer has it");
    assert_eq!(skips(&proxy).await, [("route-not-found", 1.0)]);
    deny("v132", "daemonsets");
    deny("v136", "daemonsets");
    refused(&client, "/apis/apps/v1/daemonsets").await;
    assert_eq!(skips(&proxy).await, [("route-not-found", 2.0)]);
}

#[tokio::test]
async fn what_was_not_revalidated_since_a_write() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let client = admin(&proxy).await;
    let definition = json!({ "metadata": { "name": "things.example.com" } });
    assert_eq!(client.post(DEFINITIONS, &definition).await.status, 201);
    assert_eq!(client.get_with("/apis", V2).await.status, 200);
    assert_eq!(skips(&proxy).await, [("not-revalidated", 1.0)]);
}

#[tokio::test]
async fn i3_the_loop_header_while_home_is_away() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    cluster.server("v132").stop().await;
    proxy.until_healthy("v132", false).await;
    let client = admin(&proxy).await;
    let reply = client.get_with("/api/v1/namespaces", (PROXIED, "true")).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(skips(&proxy).await, [("loop-header", 1.0)]);
}
