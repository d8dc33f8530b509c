//! Objects live as they do in a cluster.

use http::Method;
use kube_peer_proxy::embedded::{Recorded, Store};
use serde_json::{Value, json};

use super::client::Client;
use super::{BOB, builder, server_and_bob, start};

const CRONJOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn cronjob(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "schedule": "* * * * *" } })
}

#[tokio::test]
async fn an_object_is_created_read_listed_changed_and_deleted() {
    let (_server, mut bob) = server_and_bob().await;
    let created = bob.post(CRONJOBS, &cronjob("c")).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    assert_eq!((&created["apiVersion"], &created["kind"]), (&json!("batch/v1"), &json!("CronJob")));
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        assert!(created["metadata"][field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
    }
    let one = format!("{CRONJOBS}/c");
    assert_eq!(bob.get(&one).await.json(), created);
    let list = bob.get(CRONJOBS).await.json();
    assert_eq!((&list["kind"], &list["items"]), (&json!("CronJobList"), &json!([created])));

    let patch = json!({ "spec": { "suspend": true, "schedule": null } });
    let patched = bob.call(Method::PATCH, &one, &MERGE, Some(&patch)).await.json();
    assert_eq!(patched["spec"], json!({ "suspend": true }));
    assert_eq!(
        (&patched["metadata"]["generation"], &created["metadata"]["generation"]),
        (&json!(2), &json!(1))
    );
    assert_ne!(patched["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let same = bob.call(Method::PATCH, &one, &MERGE, Some(&patch)).await.json();
    assert_eq!(same, patched, "a change of nothing makes no new version");

    let deleted = bob.call(Method::DELETE, &one, &[], None).await.json();
    assert_eq!(
        (&deleted["status"], &deleted["details"]["uid"]),
        (&json!("Success"), &created["metadata"]["uid"])
    );
    let gone = bob.get(&one).await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json()["details"], json!({ "name": "c", "group": "batch", "kind": "cronjobs" }));
    assert_eq!(gone.json()["message"], r#"cronjobs.batch "c" not found"#);
}

#[tokio::test]
async fn an_update_with_an_old_resource_version_is_a_conflict() {
    let (_server, mut bob) = server_and_bob().await;
    let mut first = bob.post(CRONJOBS, &cronjob("c")).await.json();
    let one = format!("{CRONJOBS}/c");
    first["spec"]["suspend"] = json!(true);
    assert_eq!(bob.call(Method::PUT, &one, &JSON, Some(&first)).await.status, 200);
    first["spec"]["suspend"] = json!(false);
    let reply = bob.call(Method::PUT, &one, &JSON, Some(&first)).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["reason"]), (409, &json!("Conflict")));
    let twice = bob.post(CRONJOBS, &cronjob("c")).await;
    assert_eq!((twice.status.as_u16(), &twice.json()["reason"]), (409, &json!("AlreadyExists")));
}

#[tokio::test]
async fn status_is_written_through_its_subresource_only() {
    let (_server, mut bob) = server_and_bob().await;
    let mut object = bob.post(CRONJOBS, &cronjob("c")).await.json();
    let one = format!("{CRONJOBS}/c");
    object["status"] = json!({ "active": [1] });
    let main = bob.call(Method::PUT, &one, &JSON, Some(&object)).await.json();
    assert_eq!(main["status"], Value::Null);
    object["spec"]["suspend"] = json!(true);
    let status = bob.call(Method::PUT, &format!("{one}/status"), &JSON, Some(&object)).await.json();
    assert_eq!((&status["status"], &status["spec"]["suspend"]), (&json!({ "active": [1] }), &Value::Null));
    assert_eq!(status["metadata"]["generation"], 1);
}

#[tokio::test]
async fn names_are_generated_and_collections_deleted_by_selector() {
    let (_server, mut bob) = server_and_bob().await;
    let mut object = json!({ "metadata": { "generateName": "job-", "labels": { "app": "a" } } });
    let first = bob.post(CRONJOBS, &object).await.json();
    object["metadata"]["labels"]["app"] = json!("b");
    let second = bob.post(CRONJOBS, &object).await.json();
    let (first, second) = (&first["metadata"]["name"], &second["metadata"]["name"]);
    assert!(first.as_str().unwrap().starts_with("job-") && first != second);

    let by_name = format!("{CRONJOBS}?fieldSelector=metadata.name%3D{}", first.as_str().unwrap());
    assert_eq!(bob.get(&by_name).await.json()["items"].as_array().unwrap().len(), 1);
    let of_a = format!("{CRONJOBS}?labelSelector=app%3Da");
    assert_eq!(bob.call(Method::DELETE, &of_a, &[], None).await.status, 200);
    let left = bob.get(CRONJOBS).await.json();
    assert_eq!((left["items"].as_array().unwrap().len(), &left["items"][0]["metadata"]["name"]), (1, second));
    let sets = format!("{CRONJOBS}?labelSelector=app+in+(a,b)");
    assert_eq!(bob.call(Method::DELETE, &sets, &[], None).await.status, 400, "nothing is deleted by mistake");
}

#[tokio::test]
async fn server_side_apply_creates_and_then_changes() {
    let (_server, mut bob) = server_and_bob().await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let one = format!("{CRONJOBS}/c?fieldManager=me");
    let object = cronjob("c");
    assert_eq!(bob.call(Method::PATCH, &one, &apply, Some(&object)).await.status, 201);
    assert_eq!(bob.call(Method::PATCH, &one, &apply, Some(&object)).await.status, 200);
    assert_eq!(bob.call(Method::PATCH, &one, &MERGE, Some(&json!({ "metadata": 7 }))).await.status, 400);
}

#[tokio::test]
async fn a_namespace_takes_its_objects_with_it_and_none_live_without() {
    let (_server, mut bob) = server_and_bob().await;
    let there = "/apis/batch/v1/namespaces/n/cronjobs";
    assert_eq!(bob.post(there, &cronjob("c")).await.json()["message"], r#"namespaces "n" not found"#);
    bob.post("/api/v1/namespaces", &json!({ "metadata": { "name": "n" } })).await;
    assert_eq!(bob.post(there, &cronjob("c")).await.status, 201);
    assert_eq!(bob.call(Method::DELETE, "/api/v1/namespaces/n", &[], None).await.status, 200);
    assert_eq!(bob.get(there).await.json()["items"], json!([]));
}

#[tokio::test]
async fn servers_that_share_a_store_see_each_others_objects_each_in_its_own_version() {
    let store = Store::new();
    let old = start(builder().version(Recorded::V1_32).store(store.clone())).await;
    let new = start(builder().store(store)).await;
    let (mut on_old, mut on_new) =
        (Client::h2(&old, None).await.with(BOB), Client::h1(&new, None).await.with(BOB));
    let scalers =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    on_old.post(&scalers("v1"), &json!({ "metadata": { "name": "h" } })).await;
    let seen = on_new.get(&format!("{}/h", scalers("v2"))).await.json();
    assert_eq!(seen["apiVersion"], "autoscaling/v2");
    let only_new = "/apis/resource.k8s.io/v1/deviceclasses";
    assert_eq!(
        (on_old.get(only_new).await.status.as_u16(), on_new.get(only_new).await.status.as_u16()),
        (404, 200)
    );
}

#[tokio::test]
async fn bodies_that_are_no_objects_too_large_or_not_json_are_refused() {
    let (_server, mut bob) = server_and_bob().await;
    let large = json!({ "metadata": { "name": "c" }, "spec": "x".repeat(3 * 1024 * 1024) });
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    for (headers, object, expected) in [
        (&JSON[..], json!([]), 400),
        (&JSON[..], json!({ "metadata": { "labels": 1 } }), 400),
        (&JSON[..], json!({ "kind": "Pod", "metadata": { "name": "c" } }), 400),
        (&JSON[..], json!({ "metadata": { "name": "c", "namespace": "kube-system" } }), 400),
        (&JSON[..], json!({ "metadata": {} }), 422),
        (&protobuf[..], cronjob("c"), 415),
        (&JSON[..], large, 413),
    ] {
        let reply = bob.call(Method::POST, CRONJOBS, headers, Some(&object)).await;
        assert_eq!(reply.status, expected, "{}", reply.text());
    }
}

#[tokio::test]
async fn any_subresource_with_the_kind_of_its_parent_is_a_door_to_it_others_are_501() {
    let (server, mut bob) = server_and_bob().await;
    let pods = "/api/v1/namespaces/default/pods";
    bob.post(pods, &json!({ "metadata": { "name": "p" }, "spec": { "cpu": 1 } })).await;
    let resize = format!("{pods}/p/resize");
    let bigger = json!({ "spec": { "cpu": 2 } });
    assert_eq!(bob.call(Method::PATCH, &resize, &MERGE, Some(&bigger)).await.json()["spec"]["cpu"], 2);
    assert_eq!(bob.get(&format!("{pods}/p/log")).await.status, 501);
    assert!(server.discovery().remove_subresource("", "v1", "pods", "resize"));
    assert_eq!(bob.call(Method::PATCH, &resize, &MERGE, Some(&bigger)).await.status, 404);
}
