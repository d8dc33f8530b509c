//! What was deleted while a server is away does not come back by that server's last word, and nothing else is lost.

use std::time::Duration;

use http::Method;
use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale, Unknown};
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::ResourceSpec;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{As, Client, Cluster, PKI, Proxy, ProxyBuilder, V2, eventually, until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const WIDGETS: &str = "/apis/example.com/v1/widgets";
const GROUP_VERSION: &str = "/apis/example.com/v1";
/// How often it is looked whether something comes back.
const LOOKS: usize = 20;

fn definition(versions: &[&str]) -> Value {
    let version =
        |name: &&str| json!({ "name": name, "served": true, "storage": *name == versions[0], "schema": {} });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": { "plural": "widgets", "kind": "Widget" },
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}

fn watching(proxy: ProxyBuilder) -> ProxyBuilder {
    proxy.hasty().flags(|args| args.discovery_refresh = Some("watch".into()))
}

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

/// The freshness of a group-version in the merged document.
async fn listed(admin: &Client, group: &str, version: &str) -> Option<Value> {
    let document = admin.get_with("/apis", V2).await.json();
    let items = document["items"].as_array().unwrap();
    let group = items.iter().find(|item| item["metadata"]["name"] == group)?;
    let versions = group["versions"].as_array().unwrap();
    Some(versions.iter().find(|listed| listed["version"] == version)?["freshness"].clone())
}

fn knows(proxy: &Proxy, server: &str, group: &str, version: &str) -> bool {
    let catalog = proxy.app.proxy.load().book.catalog();
    catalog.lists(catalog.fleet.position(server).unwrap(), group, Some(version))
}

/// The informers of a server are in step, and it was fetched since.
async fn in_step(proxy: &Proxy, server: &str) {
    eventually("the informers are in step", || proxy.target(server).watched.custom().synced).await;
    proxy.until_it_is(server, Fresh).await;
}

/// Both servers serve widgets of these versions, which the proxy in front of them watches.
async fn two(versions: &[&str], describe: impl FnOnce(ProxyBuilder) -> ProxyBuilder) -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = describe(watching(cluster.proxy().home("v132"))).start().await;
    for server in ["v132", "v136"] {
        in_step(&proxy, server).await;
    }
    let created = admin(&proxy).await.post(DEFINITIONS, &definition(versions)).await;
    assert_eq!(created.status, 201, "{}", created.text());
    for server in ["v132", "v136"] {
        for version in versions {
            eventually("both list it", || knows(&proxy, server, "example.com", version)).await;
        }
    }
    (cluster, proxy)
}

async fn delete(admin: &Client, path: &str) {
    let reply = admin.ask(Method::DELETE, path).whole().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

async fn is_gone(admin: &Client) {
    until("it is gone", async || listed(admin, "example.com", "v1").await.is_none().then_some(())).await;
    stays_gone(admin).await;
}

async fn stays_gone(admin: &Client) {
    for _ in 0..LOOKS {
        assert_eq!(listed(admin, "example.com", "v1").await, None);
        assert_eq!(admin.get(WIDGETS).await.status, 404);
        assert_eq!(admin.get(GROUP_VERSION).await.status, 404);
    }
}

#[tokio::test]
async fn a_definition_deleted_while_a_server_is_away_is_gone_and_never_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let cached = |folder: &TempDir| {
        let directory = folder.path().join("cache").display().to_string();
        move |proxy: ProxyBuilder| proxy.flags(|args| args.discovery_cache_dir = Some(directory))
    };
    let (cluster, proxy) = two(&["v1"], cached(&folder)).await;
    let client = admin(&proxy).await;
    assert_eq!(client.get(WIDGETS).await.status, 200);
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    assert_eq!(listed(&client, "example.com", "v1").await, Some("Current".into()));
    delete(&client, &format!("{DEFINITIONS}/widgets.example.com")).await;
    is_gone(&client).await;
    // What only the one that is away has built in is another matter.
    assert_eq!(listed(&client, "resource.k8s.io", "v1").await, Some("Stale".into()));
    assert_eq!(client.get("/apis/resource.k8s.io/v1/deviceclasses").await.status, 503);
    let shown = proxy.debug("servers").await;
    let gone: Vec<_> = shown["servers"].as_array().unwrap().iter().map(|server| &server["gone"]).collect();
    assert_eq!(gone, [&json!([]), &json!(["example.com/v1 widgets"])]);

    drop(client);
    proxy.app.shutdown().await;
    let proxy = cached(&folder)(watching(cluster.proxy().home("v132"))).start().await;
    assert_eq!(proxy.freshness("v136"), Unknown);
    let client = admin(&proxy).await;
    assert_eq!(listed(&client, "resource.k8s.io", "v1").await, Some("Stale".into()), "it is remembered");
    stays_gone(&client).await;
    assert_eq!(client.get("/apis/nobody.example/v1/things").await.status, 503, "who knows");
    in_step(&proxy, "v132").await;
    stays_gone(&client).await;

    cluster.server("v136").restart().await.unwrap();
    proxy.until_it_is("v136", Fresh).await;
    stays_gone(&client).await;
}

#[tokio::test]
async fn a_definition_deleted_while_the_proxy_and_a_server_were_away_is_gone_as_soon_as_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cache").display().to_string();
    let (cluster, proxy) =
        two(&["v1"], |proxy| proxy.flags(|args| args.discovery_cache_dir = Some(directory.clone()))).await;
    proxy.app.shutdown().await;
    cluster.server("v136").stop().await;
    let client = {
        let other = watching(cluster.proxy().home("v132")).start().await;
        let client = admin(&other).await;
        delete(&client, &format!("{DEFINITIONS}/widgets.example.com")).await;
        other
    };
    drop(client);
    let again = watching(cluster.proxy().home("v132"));
    let proxy = again.flags(|args| args.discovery_cache_dir = Some(directory)).start().await;
    is_gone(&admin(&proxy).await).await;
}

#[tokio::test]
async fn a_definition_that_is_made_again_is_served_again() {
    let (cluster, proxy) = two(&["v1"], |proxy| proxy).await;
    let client = admin(&proxy).await;
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    delete(&client, &format!("{DEFINITIONS}/widgets.example.com")).await;
    is_gone(&client).await;
    // Not in discovery yet, but everybody who looks knows that it is there again.
    cluster.server("v132").discovery().set_crd_lag(Duration::from_secs(3600));
    assert_eq!(client.post(DEFINITIONS, &definition(&["v1"])).await.status, 201);
    until("it is there", async || (client.get(WIDGETS).await.status == 503).then_some(())).await;
    cluster.server("v132").discovery().set_crd_lag(Duration::ZERO);
    assert_eq!(client.post(DEFINITIONS, &json!({ "metadata": { "name": "x.example" } })).await.status, 201);
    until("it is served", async || (client.get(WIDGETS).await.status == 200).then_some(())).await;
    assert_eq!(listed(&client, "example.com", "v1").await, Some("Current".into()));
}

#[tokio::test]
async fn i8_a_definition_that_is_there_and_that_only_the_server_that_is_away_has_listed_so_far_is_no_404() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    cluster.server("v132").discovery().set_crd_lag(Duration::from_secs(3600));
    let proxy = watching(cluster.proxy().home("v132")).start().await;
    let client = admin(&proxy).await;
    for server in ["v132", "v136"] {
        in_step(&proxy, server).await;
    }
    assert_eq!(client.post(DEFINITIONS, &definition(&["v1"])).await.status, 201);
    eventually("it is listed", || knows(&proxy, "v136", "example.com", "v1")).await;
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    for _ in 0..LOOKS {
        assert_eq!(listed(&client, "example.com", "v1").await, Some("Stale".into()));
        assert_eq!(client.get(WIDGETS).await.status, 503);
    }
}

#[tokio::test]
async fn a_version_that_is_no_longer_served_is_gone_and_the_others_stay() {
    let (cluster, proxy) = two(&["v1", "v1beta1"], |proxy| proxy).await;
    let client = admin(&proxy).await;
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    let patch = json!({ "spec": definition(&["v1"])["spec"] });
    let request = client.ask(Method::PATCH, &format!("{DEFINITIONS}/widgets.example.com"));
    let reply = request.header("content-type", "application/merge-patch+json").json(&patch).whole().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    until("the version is gone", async || {
        listed(&client, "example.com", "v1beta1").await.is_none().then_some(())
    })
    .await;
    assert_eq!(client.get("/apis/example.com/v1beta1/widgets").await.status, 404);
    assert_eq!(listed(&client, "example.com", "v1").await, Some("Current".into()));
    assert_eq!(client.get(WIDGETS).await.status, 200);
}

#[tokio::test]
async fn an_aggregated_api_whose_apiservice_was_deleted_is_gone() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = watching(cluster.proxy().home("v132")).start().await;
    let client = admin(&proxy).await;
    for server in ["v132", "v136"] {
        in_step(&proxy, server).await;
        let nodes = vec![ResourceSpec::new("nodes", "NodeMetrics", false)];
        cluster.server(server).discovery().extension("example.com", "v1", Some(nodes));
    }
    let service = json!({
        "metadata": { "name": "v1.example.com" },
        "spec": {
            "group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": { "namespace": "kube-system", "name": "metrics" },
        },
    });
    assert_eq!(client.post(SERVICES, &service).await.status, 201);
    eventually("it is listed", || knows(&proxy, "v136", "example.com", "v1")).await;
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    delete(&client, &format!("{SERVICES}/v1.example.com")).await;
    is_gone(&client).await;
}

#[tokio::test]
async fn i7_without_watches_nothing_that_a_server_said_last_is_left_out() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().interval("200ms").start().await;
    let client = admin(&proxy).await;
    assert_eq!(client.post(DEFINITIONS, &definition(&["v1"])).await.status, 201);
    for server in ["v132", "v136"] {
        eventually("both list it", || knows(&proxy, server, "example.com", "v1")).await;
    }
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;
    delete(&client, &format!("{DEFINITIONS}/widgets.example.com")).await;
    eventually("home lists it no more", || !knows(&proxy, "v132", "example.com", "v1")).await;
    for _ in 0..LOOKS {
        assert_eq!(listed(&client, "example.com", "v1").await, Some("Stale".into()));
        assert_eq!(client.get(WIDGETS).await.status, 503);
    }
}
