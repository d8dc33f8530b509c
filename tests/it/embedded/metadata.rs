//! Who wants only the metadata of objects gets only that: in lists, alone, and in watches.

use http::Method;
use kube_peer_proxy::embedded::RunningServer;
use serde_json::{Value, json};

use super::client::Client;
use super::events::Events;
use super::{BOB, builder, start};

const ONE: [(&str, &str); 1] = [("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")];
const MANY: [(&str, &str); 1] =
    [("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")];
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];
/// What event-driven discovery looks at, with an object of each.
const WATCHED: [(&str, &str); 4] = [
    ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "widgets.example.com"),
    ("/apis/apiregistration.k8s.io/v1/apiservices", "v1.example.org"),
    ("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", "apiserver-a"),
    ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "kubernetes-a"),
];

fn object(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": "a" } },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget" }, "versions": [],
        },
    })
}

async fn watching(server: &RunningServer, list: &str, query: &str) -> Events {
    let mut client = Client::h2(server, None).await.with(BOB);
    Events::of(&mut client, &format!("{list}?watch=1&{query}"), &ONE).await
}

#[tokio::test]
async fn what_discovery_depends_on_is_listed_got_and_watched_as_metadata_only() {
    let server = start(builder()).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    for (list, name) in WATCHED {
        let one = format!("{list}/{name}");
        let selected = "labelSelector=app%3Da";
        let version = bob.get(list).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut events = watching(&server, list, &format!("{selected}&resourceVersion={version}")).await;
        assert_eq!(bob.post(list, &object(name)).await.status, 201, "{list}");
        let listed = bob.call(Method::GET, &format!("{list}?{selected}"), &MANY, None).await.json();
        assert_eq!(
            (&listed["kind"], &listed["apiVersion"]),
            (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1"))
        );
        let item = &listed["items"][0];
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{list}");
        assert_eq!((&item["kind"], &item["spec"]), (&json!("PartialObjectMetadata"), &Value::Null));
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            assert!(item["metadata"][field].is_string(), "{list} {field}");
        }
        assert_eq!(&bob.call(Method::GET, &one, &ONE, None).await.json(), item);

        bob.call(Method::PATCH, &one, &MERGE, Some(&json!({ "metadata": { "annotations": { "a": "b" } } })))
            .await;
        bob.call(Method::DELETE, &one, &[], None).await;
        for kind in ["ADDED", "MODIFIED", "DELETED"] {
            let event = events.next().await.unwrap();
            assert_eq!(
                (&event["type"], &event["object"]["kind"]),
                (&json!(kind), &json!("PartialObjectMetadata"))
            );
            assert_eq!(event["object"]["apiVersion"], "meta.k8s.io/v1");
            assert_eq!(event["object"]["metadata"]["uid"], item["metadata"]["uid"]);
            assert!(event["object"]["spec"].is_null(), "{event}");
        }
    }
}

#[tokio::test]
async fn bookmarks_are_metadata_too() {
    let server = start(builder().bookmark_interval(std::time::Duration::from_millis(20))).await;
    let list = WATCHED[0].0;
    let mut events =
        watching(&server, list, "allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnobody").await;
    let bookmark = events.next().await.unwrap();
    assert_eq!(
        (&bookmark["type"], &bookmark["object"]["kind"]),
        (&json!("BOOKMARK"), &json!("PartialObjectMetadata"))
    );
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], server.store().revision().to_string());
}

#[tokio::test]
async fn the_first_shape_that_the_server_has_wins_and_plain_json_is_a_way_out() {
    let server = start(builder()).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let list = WATCHED[0].0;
    for (accept, expected) in [
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
             application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            "PartialObjectMetadataList",
        ),
        (
            "application/json;q=0.5, application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1;q=0.9",
            "PartialObjectMetadataList",
        ),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v9,application/json",
            "CustomResourceDefinitionList",
        ),
    ] {
        let reply = bob.call(Method::GET, list, &[("accept", accept)], None).await;
        assert_eq!(reply.json()["kind"], expected, "{accept}");
    }
}
