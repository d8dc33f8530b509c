//! Read your own writes: who wrote what discovery is made of through us gets no older view than home has.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use kube_peer_proxy::discovery::refresh::Trigger;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, ResourceSpec, RunningServer};
use kube_peer_proxy::limits;
use serde_json::{Value, json};

use crate::kit::{As, Client, Cluster, NOPEER, PKI, PROXIED, Proxy, V2};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// A proxy beside the older one of two servers, that fetches only when something happens.
async fn two() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    proxy.until_lists_are_read().await;
    (cluster, proxy)
}

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

fn serve(server: &RunningServer, group: &str) {
    server.discovery().add_resource(group, "v1", &ResourceSpec::new("widgets", "Widget", false));
}

fn definition(name: &str) -> Value {
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name } })
}

async fn write(admin: &Client) {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let reply = admin.post(DEFINITIONS, &definition(&format!("things{number}.example.com"))).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
}

async fn lists(admin: &Client, group: &str) -> bool {
    let document = admin.get_with("/apis", V2).await.json();
    document["items"].as_array().unwrap().iter().any(|item| item["metadata"]["name"] == group)
}

async fn revalidations(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric("kube_peer_proxy_discovery_revalidations_total", &[result]).await
}

#[tokio::test]
async fn without_a_write_an_answer_may_be_as_old_as_the_last_fetch() {
    let (cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    assert!(lists(&admin, "apps").await);
    serve(cluster.server("v136"), "example.com");
    assert!(!lists(&admin, "example.com").await);
    assert_eq!(revalidations(&proxy, "").await, 0.0);
}

#[tokio::test]
async fn after_a_write_each_discovery_answer_is_as_new_as_every_server() {
    let (cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    write(&admin).await;
    let began = Instant::now();
    for (number, name) in ["v132", "v136", "v132", "v136", "v132", "v136", "v132", "v136"].iter().enumerate()
    {
        let group = format!("g{number}.example");
        serve(cluster.server(name), &group);
        let reply = admin.get(&format!("/apis/{group}/v1")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert!(began.elapsed() < limits::WRITE_WINDOW, "no second lies between two fetches");
    // And what is gone is gone.
    write(&admin).await;
    cluster.server("v136").discovery().remove_group_version("g1.example", "v1");
    assert!(!lists(&admin, "g1.example").await);
    assert!(lists(&admin, "g2.example").await);
    assert_eq!(revalidations(&proxy, "done").await, 10.0);
}

#[tokio::test]
async fn the_index_of_openapi_is_as_new_too() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let patient = |config: &mut kube_peer_proxy::config::Config| {
        // A busy machine is no slow server.
        config.discovery.openapi.grace = Duration::from_secs(20);
        config.discovery.openapi.revalidate = Duration::from_secs(20);
    };
    let proxy = cluster.proxy().home("v132").configure(patient).start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get("/openapi/v3").await.status, 200);
    write(&admin).await;
    serve(cluster.server("v136"), "example.com");
    let index = admin.get("/openapi/v3").await.json();
    assert!(!index["paths"]["apis/example.com/v1"].is_null(), "{index}");
}

#[tokio::test]
async fn only_what_may_have_changed_discovery_counts() {
    let cluster = Cluster::start(&[V1_32]).await;
    let one = format!("{DEFINITIONS}/things.example.com");
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": "v1.example.com" },
    });
    let definition = definition("things.example.com");
    let merge = ("content-type", "application/merge-patch+json");
    let patch = json!({ "metadata": { "labels": { "a": "b" } } });
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m" } });
    let asked = [
        (Method::POST, format!("{DEFINITIONS}?dryRun=All"), Some(&definition), 201, false),
        (Method::POST, DEFINITIONS.into(), Some(&definition), 201, true),
        (Method::POST, DEFINITIONS.into(), Some(&definition), 409, false),
        (Method::GET, one.clone(), None, 200, false),
        (Method::GET, DEFINITIONS.into(), None, 200, false),
        (Method::PUT, one.clone(), Some(&definition), 200, true),
        (Method::PATCH, one.clone(), Some(&patch), 200, true),
        (Method::PATCH, format!("{one}/status"), Some(&patch), 200, true),
        (Method::DELETE, one.clone(), None, 200, true),
        (Method::DELETE, one, None, 404, false),
        (Method::DELETE, DEFINITIONS.into(), None, 200, true),
        (Method::POST, SERVICES.into(), Some(&service), 201, true),
        (Method::POST, "/api/v1/namespaces/default/configmaps".into(), Some(&map), 201, false),
    ];
    for (method, target, body, status, counts) in asked {
        // Each with a window of its own.
        let proxy = cluster.proxy().home("v132").start().await;
        let admin = admin(&proxy).await;
        let mut asking = admin.ask(method.clone(), &target);
        if method == Method::PATCH {
            asking = asking.header(merge.0, merge.1);
        }
        if let Some(body) = body {
            asking = asking.json(body);
        }
        let reply = asking.whole().await;
        assert_eq!(reply.status, status, "{method} {target}: {}", reply.text());
        admin.get_with("/apis", V2).await;
        assert_eq!(revalidations(&proxy, "").await, f64::from(counts), "{method} {target}");
    }
}

#[tokio::test]
async fn answers_that_are_home_s_own_do_not_wait() {
    let (_cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    write(&admin).await;
    admin.get_with("/apis", NOPEER).await;
    admin.get_with("/apis", (PROXIED, "true")).await;
    admin.get("/version").await;
    admin.get(DEFINITIONS).await;
    assert_eq!(revalidations(&proxy, "").await, 0.0);
}

#[tokio::test]
async fn who_may_read_discovery_is_asked_again_after_a_write() {
    let (_cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    let allowed = async || proxy.metric("kube_peer_proxy_discovery_authorizations_total", &["allowed"]).await;
    admin.get_with("/apis", V2).await;
    admin.get_with("/apis", V2).await;
    assert_eq!(allowed().await, 1.0);
    write(&admin).await;
    admin.get_with("/apis", V2).await;
    assert_eq!(allowed().await, 2.0);
}

#[tokio::test]
async fn a_hundred_discovery_requests_share_a_handful_of_fetches() {
    let (cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    write(&admin).await;
    serve(cluster.server("v136"), "example.com");
    let fetches = || ["v132", "v136"].map(|name| cluster.fetches(name, "/apis"));
    let before = fetches();
    let listed = join_all((0..100).map(|_| lists(&admin, "example.com"))).await;
    assert!(listed.into_iter().all(|listed| listed));
    for (before, after) in before.into_iter().zip(fetches()) {
        assert!((1..=6).contains(&(after - before)), "{} fetches", after - before);
    }
    assert_eq!(revalidations(&proxy, "done").await, 100.0);
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_two_seconds_and_one_that_is_away_not_at_all() {
    let (cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    // Its probes have ten seconds in these tests, so it is still healthy.
    cluster.server("v136").faults().hang(true);
    write(&admin).await;
    serve(cluster.server("v132"), "example.com");
    let began = Instant::now();
    assert!(lists(&admin, "example.com").await, "home's word is there in any case");
    let waited = began.elapsed();
    assert!(waited >= limits::WRITE_REVALIDATION, "{waited:?}");
    assert!(waited < limits::WRITE_REVALIDATION + Duration::from_secs(2), "{waited:?}");
    assert_eq!(revalidations(&proxy, "timeout").await, 1.0);

    cluster.server("v136").faults().hang(false);
    cluster.server("v136").stop().await;
    proxy.until_healthy("v136", false).await;
    write(&admin).await;
    serve(cluster.server("v132"), "more.example");
    assert!(lists(&admin, "more.example").await);
    assert_eq!(revalidations(&proxy, "timeout").await, 1.0);
}

#[tokio::test]
async fn home_is_asked_also_if_its_last_fetch_failed() {
    let (cluster, proxy) = two().await;
    let admin = admin(&proxy).await;
    let home = cluster.server("v132");
    home.faults().discovery(Some(DiscoveryFault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let servers = proxy.app.proxy.load_full();
    let number = servers.fleet.position("v132").unwrap();
    // The next try is seconds away.
    for _ in 0..5 {
        servers.refresh[number].ask_and_wait(Trigger::Changed).await;
    }
    proxy.until_healthy("v132", false).await;
    write(&admin).await;
    home.faults().discovery(None);
    serve(home, "example.com");
    assert!(lists(&admin, "example.com").await);
}
