//! Servers that speak older forms of discovery, and what only those forms carry.

use http::{Method, StatusCode};
use kube_peer_proxy::embedded::{Forms, Recorded, ResourceSpec};
use serde_json::{Value, json};

use super::client::Client;
use super::{BOB, builder, server_and_bob, start};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

async fn version_of(bob: &mut Client, path: &str, accept: &str) -> Value {
    let reply = bob.call(Method::GET, path, &[("accept", accept)], None).await;
    if reply.status == 200 { reply.json()["apiVersion"].clone() } else { json!(reply.status.as_u16()) }
}

#[tokio::test]
async fn a_server_speaks_the_forms_that_it_was_given_and_others_once_they_are_set() {
    let server = start(builder().version(Recorded::V1_32).forms(Forms::V2Beta1)).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let all = format!("{V2},{V2BETA1},application/json");
    let (v2, beta) = (json!("apidiscovery.k8s.io/v2"), json!("apidiscovery.k8s.io/v2beta1"));
    for (forms, both, only_v2, only_beta) in [
        (Forms::V2Beta1, beta.clone(), json!(406), beta.clone()),
        (Forms::Unaggregated, json!("v1"), json!(406), json!(406)),
        (Forms::V2, v2.clone(), v2, beta),
    ] {
        server.set_forms(forms);
        assert_eq!(version_of(&mut bob, "/apis", &all).await, both, "{forms:?}");
        assert_eq!(version_of(&mut bob, "/apis", V2).await, only_v2, "{forms:?}");
        assert_eq!(version_of(&mut bob, "/apis", V2BETA1).await, only_beta, "{forms:?}");
        assert_eq!(version_of(&mut bob, "/apis", "application/json").await, json!("v1"), "{forms:?}");
        assert_eq!(version_of(&mut bob, "/apis/", V2).await, json!(406), "a slash asks for the old form");
        assert_eq!(version_of(&mut bob, "/apis/batch/v1", "*/*").await, json!("v1"), "{forms:?}");
    }
}

#[tokio::test]
async fn storage_version_hashes_are_those_of_kube_apiserver() {
    let (server, mut bob) = server_and_bob().await;
    async fn hash(bob: &mut Client, path: &str, resource: &str) -> Value {
        let list = bob.get(path).await.json();
        let rows = list["resources"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == resource).unwrap()["storageVersionHash"].clone()
    }
    // As kube-apiserver 1.36.3 lists them.
    for (path, resource, expected) in [
        ("/api/v1", "configmaps", json!("qFsyl6wFWjQ=")),
        ("/apis/batch/v1", "jobs", json!("mudhfqk/qZY=")),
        ("/apis/events.k8s.io/v1", "events", json!("r2yiGXH7wu8=")),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", json!("qwQve8ut294=")),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers", json!("qwQve8ut294=")),
        ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", json!("jfWCUB31mvA=")),
        ("/api/v1", "bindings", Value::Null),
        ("/api/v1", "componentstatuses", Value::Null),
        ("/api/v1", "pods/status", Value::Null),
        ("/apis/authentication.k8s.io/v1", "tokenreviews", Value::Null),
    ] {
        assert_eq!(hash(&mut bob, path, resource).await, expected, "{path} {resource}");
    }
    let jobs = hash(&mut bob, "/apis/batch/v1", "jobs").await;
    server.discovery().set_storage_version("batch", "v1", "jobs", "v2");
    assert_ne!(hash(&mut bob, "/apis/batch/v1", "jobs").await, jobs);
    server.discovery().set_storage_version("batch", "v1", "jobs", "batch/v1");
    assert_eq!(hash(&mut bob, "/apis/batch/v1", "jobs").await, jobs);
    server.discovery().add_resource("example.org", "v1", &ResourceSpec::new("widgets", "Widget", true));
    // printf example.org/v1/Widget | sha256sum | head -c16 | xxd -r -p | base64
    assert_eq!(hash(&mut bob, "/apis/example.org/v1", "widgets").await, "UBpgYKpyMCc=");
}

#[tokio::test]
async fn the_lists_of_the_core_group_have_no_api_version_and_say_where_the_server_is() {
    let (server, mut bob) = server_and_bob().await;
    let here = json!([{ "clientCIDR": "0.0.0.0/0", "serverAddress": server.addr().to_string() }]);
    let expected = json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": here });
    assert_eq!(bob.get("/api").await.json(), expected);
    assert_eq!(bob.get("/api/").await.json(), expected);
    let text = bob.get("/api/v1").await.body;
    assert!(text.starts_with(br#"{"kind":"APIResourceList","groupVersion":"v1","resources":["#));
    let text = bob.get("/apis/batch/v1/").await.body;
    assert!(text.starts_with(br#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"batch/v1","#));
}

#[tokio::test]
async fn the_list_of_a_group_version_fails_apart_from_all_others() {
    let (server, mut bob) = server_and_bob().await;
    let fails = |status| server.faults().group_version("batch", "v1", status);
    fails(Some(StatusCode::SERVICE_UNAVAILABLE));
    let reply = bob.get("/apis/batch/v1").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (503, "service unavailable\n"));
    assert_eq!(bob.get("/apis/apps/v1").await.status, 200);
    assert_eq!(bob.get("/apis/batch").await.status, 200);
    assert_eq!(bob.get("/apis/batch/v1/jobs").await.status, 200);
    fails(Some(StatusCode::NOT_FOUND));
    assert_eq!(bob.get("/apis/batch/v1").await.text(), "404 page not found\n");
    assert!(bob.get("/apis").await.text().contains("\"batch/v1\""));
    fails(Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(bob.get("/apis/batch/v1").await.json()["code"], 500);
    fails(None);
    assert_eq!(bob.get("/apis/batch/v1").await.status, 200);
    assert!(server.discovery().set_stale("batch", "v1", true));
    assert_eq!(bob.get("/apis/batch/v1").await.status, 503, "its extension server is away");
}
