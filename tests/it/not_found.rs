//! I8: ignorance is 503 and never 404.

use std::time::Instant;

use http::Method;
use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use kube_peer_proxy::embedded::{ResourceSpec, RouteFault, RunningServer};
use serde_json::json;

use crate::kit::{As, Cluster, PKI, Proxy, Wire};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WIDGETS: &str = "/apis/example.com/v1/widgets";

fn deny_deployments(server: &RunningServer, fault: RouteFault) {
    let deployments =
        GroupVersionResource { group: "apps".into(), version: "v1".into(), resource: "deployments".into() };
    server.faults().missing(deployments, Some(fault));
}

/// A proxy beside one server whose `/apis` was fetched once, and will not be for an event: fetches are counted.
async fn one() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").interval("1h").start().await;
    assert_eq!(cluster.fetches("v132", "/apis"), 1);
    (cluster, proxy)
}

#[tokio::test]
async fn i8_a_route_level_404_of_home_becomes_a_peers_answer() {
    for fault in [RouteFault::PlainText, RouteFault::Status] {
        let cluster = Cluster::start(&[V1_32, V1_35]).await;
        let proxy = cluster.proxy().home("v132").start().await;
        deny_deployments(cluster.server("v132"), fault);
        let reply = proxy.h2(As::Certificate(&PKI.admin)).await.get(DEPLOYMENTS).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["kind"]), (200, &json!("DeploymentList")));
        assert_eq!(cluster.asked_for("v132", DEPLOYMENTS).len(), 1);
        assert_eq!(cluster.asked_for("v135", DEPLOYMENTS).len(), 1);
        assert_eq!(cluster.fetches("v132", "/apis"), 2, "home is asked again what it serves");
    }
}

#[tokio::test]
async fn i8_a_route_level_404_of_a_peer_becomes_another_peers_answer() {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let classes = GroupVersionResource {
        group: "resource.k8s.io".into(),
        version: "v1".into(),
        resource: "deviceclasses".into(),
    };
    cluster.server("v135").faults().missing(classes, Some(RouteFault::Status));
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..6 {
        assert_eq!(admin.get("/apis/resource.k8s.io/v1/deviceclasses").await.status, 200);
    }
}

#[tokio::test]
async fn i8_a_404_that_discovery_contradicts_is_a_503_with_retry_after_if_nobody_else_has_it() {
    let (cluster, proxy) = one().await;
    deny_deployments(cluster.server("v132"), RouteFault::Status);
    let reply = proxy.h2(As::Certificate(&PKI.admin)).await.get(DEPLOYMENTS).await;
    let message = reply.refused(503);
    assert!(message.contains("v132") && message.contains("deployments"), "{message}");
    assert_eq!(reply.header("retry-after"), "1");
    assert!(proxy.metric("kube_peer_proxy_route_level_404s_total", &["v132"]).await >= 1.0);
}

#[tokio::test]
async fn i8_a_request_with_a_body_is_not_sent_again_but_answered_503() {
    let cluster = Cluster::start(&[V1_32, V1_35]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    deny_deployments(cluster.server("v132"), RouteFault::PlainText);
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" } });
    let reply = proxy.h2(As::Certificate(&PKI.admin)).await.post(DEPLOYMENTS, &deployment).await;
    reply.refused(503);
    assert_eq!(reply.header("retry-after"), "1");
    assert!(cluster.asked("v135", |_| true).is_empty());
}

#[tokio::test]
async fn i8_what_was_deleted_meanwhile_is_a_404_as_soon_as_everybody_was_asked() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    for server in cluster.servers() {
        server.discovery().add_resource("example.com", "v1", &ResourceSpec::new("widgets", "Widget", false));
    }
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    for server in cluster.servers() {
        server.discovery().remove_group_version("example.com", "v1");
    }
    let reply = admin.get(WIDGETS).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (404, "404 page not found\n"));
}

#[tokio::test]
async fn i8_an_object_that_is_not_there_is_a_404_and_makes_nobody_fetch() {
    let (cluster, proxy) = one().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for method in [Method::GET, Method::DELETE] {
        let reply = admin.ask(method, &format!("{DEPLOYMENTS}/none")).whole().await;
        assert_eq!(reply.refused(404), "deployments.apps \"none\" not found");
    }
    assert_eq!(cluster.fetches("v132", "/apis"), 1);
    assert_eq!(proxy.freshness("v132"), Freshness::Fresh);
}

#[tokio::test]
async fn i8_a_404_of_a_node_or_a_pod_is_its_own_and_makes_nobody_fetch() {
    let cluster = Cluster::start(&[V1_32, V1_35]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    for (resource, path) in [
        // The words are those of every server that is written in Go.
        ("nodes", "/api/v1/nodes/n/proxy/nothing"),
        ("pods", "/api/v1/namespaces/default/pods/p/proxy/"),
        ("services", "/api/v1/namespaces/default/services/s:web/proxy/a/b"),
        ("pods", "/api/v1/namespaces/default/pods/p/exec?command=true"),
    ] {
        let of = GroupVersionResource { group: "".into(), version: "v1".into(), resource: resource.into() };
        cluster.server("v132").faults().missing(of, Some(RouteFault::PlainText));
        let reply = proxy.h2(As::Certificate(&PKI.admin)).await.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (404, "404 page not found\n"), "{path}");
    }
    assert_eq!(cluster.asked("v132", |_| true).len(), 4);
    assert!(cluster.asked("v135", |_| true).is_empty(), "sent once");
    assert_eq!(cluster.fetches("v132", "/apis"), 1);
}

#[tokio::test]
async fn i8_doubted_404s_cause_at_most_one_fetch_a_second() {
    let (cluster, proxy) = one().await;
    deny_deployments(cluster.server("v132"), RouteFault::PlainText);
    let began = Instant::now();
    let clients = (0..40).map(|_| async {
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        admin.get(DEPLOYMENTS).await.refused(503);
        admin.get(DEPLOYMENTS).await.refused(503);
    });
    futures_util::future::join_all(clients).await;
    let (fetches, bound) = (cluster.fetches("v132", "/apis"), began.elapsed().as_secs() as usize + 2);
    assert!((2..=bound).contains(&fetches), "{fetches} fetches, at most {bound} are allowed");
}

#[tokio::test]
async fn i8_nonsense_paths_make_nobody_fetch() {
    let (cluster, proxy) = one().await;
    deny_deployments(cluster.server("v132"), RouteFault::Status);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for path in [
        "/api/v1/pods/p",
        "/api/v1/namespaces/default/nodes/n",
        "/apis/apps/v1/deployments/d",
        "/apis/apps/v1/namespaces/default/deployments/d/status/more/than/there/is",
        "/apis/apps/v1/namespaces/default/deployments/d/nosuch",
    ] {
        let reply = admin.get(path).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
    }
    assert_eq!(cluster.fetches("v132", "/apis"), 1);
    assert_eq!(proxy.freshness("v132"), Freshness::Fresh);
}

#[tokio::test]
async fn i8_while_a_server_was_never_heard_what_nobody_lists_is_a_503_that_names_it() {
    let cluster = Cluster::start(&[V1_32]).await;
    let nowhere = Wire::loose().await;
    nowhere.refuse().await;
    let proxy = cluster.proxy().server("silent", nowhere.address).home("v132").start().await;
    assert_eq!(proxy.freshness("silent"), Freshness::Unknown);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get("/apis/perhaps.example/v1/things").await;
    assert!(reply.refused(503).contains("silent"), "{}", reply.text());
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(admin.get(DEPLOYMENTS).await.status, 200, "what home lists is not doubted");
    assert_eq!(admin.get("/version").await.status, 200);
    assert!(cluster.asked_for("v132", "/apis/perhaps.example/v1/things").is_empty());
}

#[tokio::test]
async fn i8_holds_for_a_caller_with_a_token_too() {
    let cluster = Cluster::start(&[V1_32, V1_35]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    deny_deployments(cluster.server("v132"), RouteFault::Status);
    let bob = proxy.h1(As::Token(crate::kit::BOB)).await;
    assert_eq!(bob.get(DEPLOYMENTS).await.status, 200);
}
