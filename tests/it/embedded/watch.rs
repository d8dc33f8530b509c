//! Watches tell of every change, in order and as it happens.

use std::time::Duration;

use http::Method;
use kube_peer_proxy::embedded::Store;
use serde_json::{Value, json};

use super::client::Client;
use super::events::Events;
use super::{BOB, builder, server_and_bob, start};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

async fn open(client: &mut Client, query: &str) -> Events {
    Events::of(client, &format!("{MAPS}?watch=true&{query}"), &[]).await
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_watch_from_a_list_tells_every_later_change_once() {
    let (server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &map("old")).await;
    let revision = bob.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watcher = Client::h1(&server, None).await.with(BOB);
    let mut events = open(&mut watcher, &format!("resourceVersion={revision}")).await;
    bob.post(MAPS, &map("new")).await;
    bob.post("/api/v1/namespaces/kube-system/configmaps", &map("elsewhere")).await;
    let merge = [("content-type", "application/merge-patch+json")];
    bob.call(Method::PATCH, &format!("{MAPS}/new"), &merge, Some(&json!({ "data": { "a": "b" } }))).await;
    bob.call(Method::DELETE, &format!("{MAPS}/new"), &[], None).await;
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let told = events.next().await.unwrap();
        assert_eq!((&told["type"], &told["object"]["metadata"]["name"]), (&json!(kind), &json!("new")));
        assert_eq!(
            (&told["object"]["kind"], &told["object"]["apiVersion"]),
            (&json!("ConfigMap"), &json!("v1"))
        );
    }
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_with_what_is_there() {
    let (_server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &map("a")).await;
    bob.post(MAPS, &map("b")).await;
    let mut events = open(&mut bob, "").await;
    assert_eq!(events.next_kind_and_name().await, event("ADDED", "a"));
    assert_eq!(events.next_kind_and_name().await, event("ADDED", "b"));
    bob.post(MAPS, &map("c")).await;
    assert_eq!(events.next_kind_and_name().await, event("ADDED", "c"));
}

#[tokio::test]
async fn a_selector_turns_changes_into_arrivals_and_departures() {
    let (_server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &map("a")).await;
    let mut events = open(&mut bob, "labelSelector=x%3D1&resourceVersion=0").await;
    let merge = [("content-type", "application/merge-patch+json")];
    for value in ["1", "2"] {
        let label = json!({ "metadata": { "labels": { "x": value } } });
        bob.call(Method::PATCH, &format!("{MAPS}/a"), &merge, Some(&label)).await;
    }
    assert_eq!(events.next_kind_and_name().await, event("ADDED", "a"));
    assert_eq!(events.next_kind_and_name().await, event("DELETED", "a"));
}

#[tokio::test]
async fn bookmarks_come_only_to_those_who_allow_them() {
    let server = start(builder().bookmark_interval(Duration::from_millis(20))).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let mut with = open(&mut bob, "allowWatchBookmarks=true").await;
    let mut without = open(&mut bob, "").await;
    let bookmark = with.next().await.unwrap();
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    let revision = server.store().revision().to_string();
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], revision);
    bob.post(MAPS, &map("a")).await;
    assert_eq!(without.next_kind_and_name().await, event("ADDED", "a"));
}

#[tokio::test]
async fn a_watch_list_ends_its_beginning_with_a_marked_bookmark() {
    let (_server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &map("a")).await;
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = open(&mut bob, query).await;
    assert_eq!(events.next_kind_and_name().await, event("ADDED", "a"));
    let end = events.next().await.unwrap();
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_gets_410_as_an_event_and_ends() {
    let server = start(builder().store(Store::with_history(3))).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    for name in ["a", "b", "c", "d"] {
        bob.post(MAPS, &map(name)).await;
    }
    let mut events = open(&mut bob, "resourceVersion=1").await;
    let error = events.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watch_ends_cleanly_when_its_time_is_over() {
    let (_server, mut bob) = server_and_bob().await;
    let mut events = open(&mut bob, "timeoutSeconds=0").await;
    assert_eq!(events.next().await, None);
}
