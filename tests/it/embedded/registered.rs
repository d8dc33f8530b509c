//! What is registered in the store, every server that shares it serves.

use std::time::Duration;

use http::Method;
use kube_peer_proxy::embedded::{Recorded, ResourceSpec, Store, Tree};
use serde_json::{Value, json};

use super::client::Client;
use super::{BOB, builder, server_and_bob, start};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const JSON: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

fn crd(versions: &[&str]) -> Value {
    let version = |name: &&str| {
        json!({
            "name": name, "served": true, "storage": *name == versions[0],
            "subresources": { "status": {} },
        })
    };
    let names = json!({ "plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"] });
    json!({
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": names,
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}

fn extension() -> Value {
    json!({
        "metadata": { "name": "v1.metrics.example.com" },
        "spec": {
            "group": "metrics.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": { "namespace": "kube-system", "name": "metrics" },
        },
    })
}

fn group(document: &Value, name: &str) -> Value {
    let items = document["items"].as_array().unwrap();
    items.iter().find(|item| item["metadata"]["name"] == name).cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_crd_is_served_by_every_server_of_its_store_until_it_is_deleted() {
    let store = Store::new();
    let old = start(builder().version(Recorded::V1_32).store(store.clone())).await;
    let new = start(builder().store(store)).await;
    let (mut on_old, mut on_new) =
        (Client::h2(&old, None).await.with(BOB), Client::h2(&new, None).await.with(BOB));
    let before = new.discovery().document(Tree::Apis);
    assert_eq!(on_new.get(WIDGETS).await.text(), "404 page not found\n");

    let created = on_old.post(CRDS, &crd(&["v1beta1", "v1"])).await.json();
    assert_eq!(created["status"]["conditions"][1]["type"], "Established");
    for server in [&old, &new] {
        let group = group(&server.discovery().document(Tree::Apis), "example.com");
        let names: Vec<_> =
            group["versions"].as_array().unwrap().iter().map(|version| &version["version"]).collect();
        assert_eq!(names, ["v1", "v1beta1"]);
        let widgets = &group["versions"][0]["resources"][0];
        assert_eq!(
            [
                &widgets["resource"],
                &widgets["singularResource"],
                &widgets["scope"],
                &widgets["shortNames"][0]
            ],
            ["widgets", "widget", "Namespaced", "wd"]
        );
        assert_eq!(
            widgets["responseKind"],
            json!({ "group": "example.com", "version": "v1", "kind": "Widget" })
        );
        assert_eq!(widgets["subresources"][0]["subresource"], "status");
    }
    assert_eq!(on_old.post(WIDGETS, &json!({ "metadata": { "name": "w" } })).await.status, 201);
    assert_eq!(on_new.get(WIDGETS).await.json()["items"][0]["kind"], "Widget");

    let unserved = json!({ "spec": { "versions": [{ "name": "v1", "served": true, "storage": true }] } });
    on_new.call(Method::PATCH, &format!("{CRDS}/widgets.example.com"), &JSON, Some(&unserved)).await;
    let left = group(&old.discovery().document(Tree::Apis), "example.com");
    assert_eq!(left["versions"].as_array().unwrap().len(), 1);

    on_new.call(Method::DELETE, &format!("{CRDS}/widgets.example.com"), &[], None).await;
    assert_eq!(new.discovery().document(Tree::Apis), before);
    assert_eq!(on_old.get(WIDGETS).await.text(), "404 page not found\n");
    on_new.post(CRDS, &crd(&["v1"])).await;
    assert_eq!(on_new.get(WIDGETS).await.json()["items"], json!([]), "its objects went with it");
}

#[tokio::test]
async fn a_server_can_serve_no_crds_or_learn_of_them_late() {
    let store = Store::new();
    let without = start(builder().store(store.clone()).serve_crds(false)).await;
    let late = start(builder().store(store.clone()).crd_lag(Duration::MAX)).await;
    let mut bob = Client::h2(&without, None).await.with(BOB);
    assert_eq!(bob.post(CRDS, &crd(&["v1"])).await.status, 201);
    let lists = |server: &kube_peer_proxy::embedded::RunningServer| {
        !group(&server.discovery().document(Tree::Apis), "example.com").is_null()
    };
    assert!(!lists(&without) && !lists(&late));
    late.discovery().set_crd_lag(Duration::ZERO);
    without.discovery().serve_crds(true);
    assert!(lists(&without) && lists(&late));
}

#[tokio::test(start_paused = true)]
async fn the_lag_is_that_from_the_change_to_its_effect() {
    let store = Store::new();
    let server = start(builder().store(store.clone()).crd_lag(Duration::from_secs(5))).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    bob.post(CRDS, &crd(&["v1"])).await;
    let made = tokio::time::Instant::now();
    let lists = || !group(&server.discovery().document(Tree::Apis), "example.com").is_null();
    assert!(!lists());
    tokio::time::sleep_until(made + Duration::from_secs(6)).await;
    assert!(lists());
}

#[tokio::test]
async fn each_group_version_has_an_api_service_the_same_for_all_servers_of_a_store() {
    let store = Store::new();
    let old = start(builder().version(Recorded::V1_32).store(store.clone())).await;
    let mut on_old = Client::h2(&old, None).await.with(BOB);
    let first = on_old.get(SERVICES).await.json();
    let new = start(builder().store(store)).await;
    let mut on_new = Client::h2(&new, None).await.with(BOB);
    for name in ["v1.", "v1.apps", "v1.apiextensions.k8s.io"] {
        let one = format!("{SERVICES}/{name}");
        let (here, there) = (on_old.get(&one).await.json(), on_new.get(&one).await.json());
        assert_eq!(here, there, "{name}");
        assert_eq!(here["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
        let uid = &here["metadata"]["uid"];
        assert!(first["items"].as_array().unwrap().iter().any(|item| item["metadata"]["uid"] == *uid));
    }
    on_old.post(CRDS, &crd(&["v1"])).await;
    let one = format!("{SERVICES}/v1.example.com");
    let made = on_new.get(&one).await.json();
    assert_eq!(made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    on_old.call(Method::DELETE, &format!("{CRDS}/widgets.example.com"), &[], None).await;
    assert_eq!(on_new.get(&one).await.status, 404);
}

#[tokio::test]
async fn an_extension_server_is_away_until_it_answers() {
    let (server, mut bob) = server_and_bob().await;
    bob.post(SERVICES, &extension()).await;
    let listed =
        || group(&server.discovery().document(Tree::Apis), "metrics.example.com")["versions"][0].clone();
    assert_eq!(listed(), json!({ "version": "v1", "freshness": "Stale" }));
    let nodes = "/apis/metrics.example.com/v1/nodes";
    assert_eq!(bob.get(nodes).await.status, 503);
    let answers = vec![ResourceSpec::new("nodes", "NodeMetrics", false)];
    server.discovery().extension("metrics.example.com", "v1", Some(answers));
    assert_eq!(
        (&listed()["freshness"], &listed()["resources"][0]["resource"]),
        (&json!("Current"), &json!("nodes"))
    );
    assert_eq!(bob.get(nodes).await.status, 200);
}
