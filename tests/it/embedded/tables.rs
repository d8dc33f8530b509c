//! Objects as the rows of tables, as `kubectl get` asks for them, or as metadata alone; and changes on trial.

use http::Method;
use http_body_util::BodyExt;
use kube_peer_proxy::body;
use serde_json::{Value, json};

use super::client::Client;
use super::server_and_bob;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// As kubectl 1.20 has it.
const TABLES: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
                      application/json";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn get(bob: &mut Client, path: &str, accept: &str) -> Value {
    bob.call(Method::GET, path, &[("accept", accept)], None).await.json()
}

#[tokio::test]
async fn lists_and_objects_are_tables_for_who_asks_for_them() {
    let (_server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": { "k": "v" } })).await;
    let list = get(&mut bob, MAPS, TABLES).await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert!(list["metadata"]["resourceVersion"].is_string());
    let names: Vec<_> = list["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["Name", "Age"]);
    let row = &list["rows"][0];
    assert_eq!(row["cells"][0], "a");
    assert!(row["cells"][1].as_str().unwrap().ends_with('s'), "{row}");
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!((&row["object"]["metadata"]["name"], &row["object"]["data"]), (&json!("a"), &Value::Null));

    let one = get(&mut bob, &format!("{MAPS}/a"), TABLE).await;
    assert_eq!((one["rows"].as_array().unwrap().len(), &one["rows"][0]["cells"][0]), (1, &json!("a")));
    let beta = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
    assert_eq!(get(&mut bob, MAPS, beta).await["apiVersion"], "meta.k8s.io/v1beta1");
    let plain = "application/json,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.5";
    assert_eq!(get(&mut bob, MAPS, plain).await["kind"], "ConfigMapList");
    for unknown in
        ["application/json;as=Table;v=v3;g=meta.k8s.io", "application/json;as=Chair;v=v1;g=meta.k8s.io"]
    {
        assert_eq!(get(&mut bob, MAPS, unknown).await["reason"], "NotAcceptable");
    }
    assert_eq!(get(&mut bob, &format!("{MAPS}/none"), TABLE).await["reason"], "NotFound");
}

#[tokio::test]
async fn a_row_includes_as_much_of_its_object_as_the_client_wants() {
    let (_server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": { "k": "v" } })).await;
    for (include, kind) in [("None", Value::Null), ("Object", json!("ConfigMap"))] {
        let list = get(&mut bob, &format!("{MAPS}?includeObject={include}"), TABLE).await;
        assert_eq!(list["rows"][0]["object"]["kind"], kind, "{include}");
    }
    assert_eq!(get(&mut bob, &format!("{MAPS}?includeObject=Half"), TABLE).await["reason"], "BadRequest");
}

#[tokio::test]
async fn metadata_alone_is_there_for_lists_and_for_objects_each_by_its_name() {
    let (_server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": { "k": "v" } })).await;
    let (one, list) = (
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    );
    let object = get(&mut bob, &format!("{MAPS}/a"), one).await;
    assert_eq!((&object["kind"], &object["data"]), (&json!("PartialObjectMetadata"), &Value::Null));
    let objects = get(&mut bob, MAPS, list).await;
    assert_eq!(objects["kind"], "PartialObjectMetadataList");
    assert_eq!(objects["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(get(&mut bob, MAPS, one).await["reason"], "NotAcceptable");
    assert_eq!(get(&mut bob, &format!("{MAPS}/a"), list).await["reason"], "NotAcceptable");
}

#[tokio::test]
async fn a_watch_of_tables_describes_the_columns_once() {
    let (_server, mut bob) = server_and_bob().await;
    for name in ["a", "b"] {
        bob.post(MAPS, &json!({ "metadata": { "name": name } })).await;
    }
    let path = format!("{MAPS}?watch=1&timeoutSeconds=0&resourceVersion=0");
    let watch = bob.send(Method::GET, &path, &[("accept", TABLES)], body::empty()).await.unwrap();
    let text = watch.into_body().collect().await.unwrap().to_bytes();
    let events: Vec<Value> =
        text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let cells: Vec<_> = events.iter().map(|event| &event["object"]["rows"][0]["cells"][0]).collect();
    assert_eq!(cells, ["a", "b"]);
    assert_eq!(events[0]["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(events[1]["object"]["columnDefinitions"], Value::Null);
}

#[tokio::test]
async fn a_dry_run_answers_what_would_be_and_changes_nothing() {
    let (server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": { "k": "old" } })).await;
    let before = server.store().revision();
    let path = format!("{MAPS}/a?dryRun=All");
    let merge = [("content-type", "application/merge-patch+json")];
    let patched =
        bob.call(Method::PATCH, &path, &merge, Some(&json!({ "data": { "k": "new" } }))).await.json();
    assert_eq!(patched["data"]["k"], "new");
    let apply = [("content-type", "application/apply-patch+yaml")];
    let other = format!("{MAPS}/b?dryRun=All&fieldManager=me");
    let made = bob.call(Method::PATCH, &other, &apply, Some(&json!({ "data": { "k": "b" } }))).await;
    assert_eq!((made.status.as_u16(), &made.json()["metadata"]["name"]), (201, &json!("b")));
    let put = [("content-type", "application/json")];
    let object = json!({ "metadata": { "name": "a" }, "data": { "k": "put" } });
    let replaced = bob.call(Method::PUT, &path, &put, Some(&object)).await.json();
    assert_eq!(replaced["data"]["k"], "put");
    let created = bob.post(&format!("{MAPS}?dryRun=All"), &json!({ "metadata": { "name": "c" } })).await;
    assert_eq!((created.status.as_u16(), &created.json()["metadata"]["name"]), (201, &json!("c")));
    let taken = bob.post(&format!("{MAPS}?dryRun=All"), &object).await;
    assert_eq!(taken.json()["reason"], "AlreadyExists");
    assert_eq!(bob.call(Method::DELETE, &path, &[], None).await.status, 200);
    assert_eq!(bob.get(&format!("{MAPS}/a")).await.json()["data"]["k"], "old");
    assert_eq!(server.store().revision(), before);
}
