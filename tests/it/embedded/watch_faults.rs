//! Lists, watches and discovery go wrong in the ways that informers have to bear.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use kube_peer_proxy::body;
use kube_peer_proxy::embedded::{DiscoveryFault, ListFault, Tree, WatchFault};
use serde_json::{Value, json};

use super::client::Client;
use super::events::Events;
use super::{BOB, builder, server_and_bob, start};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const V2: [(&str, &str); 1] =
    [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

async fn open(client: &mut Client) -> Events {
    Events::of(client, &format!("{MAPS}?watch=1"), &[]).await
}

#[tokio::test]
async fn watches_of_one_resource_are_refused_while_others_and_lists_go_on() {
    let (server, mut bob) = server_and_bob().await;
    server.faults().watch("configmaps", Some(WatchFault::Refused(StatusCode::FORBIDDEN)));
    let watch = format!("{MAPS}?watch=1");
    assert_eq!(bob.get(&watch).await.json()["reason"], "Forbidden");
    assert_eq!(bob.get(MAPS).await.status, 200);
    assert_eq!(bob.get("/api/v1/secrets?watch=1&timeoutSeconds=0").await.status, 200);
    server.faults().watch("configmaps", None);
    assert_eq!(bob.get(&format!("{watch}&timeoutSeconds=0")).await.status, 200);
}

#[tokio::test]
async fn a_watch_breaks_off_in_the_middle_of_an_event() {
    let (server, mut bob) = server_and_bob().await;
    let mut events = open(&mut bob).await;
    bob.post(MAPS, &map("a")).await;
    assert_eq!(events.next_kind_and_name().await.1, "a");
    server.faults().watch("*", Some(WatchFault::BreaksOff));
    bob.post(MAPS, &map("b")).await;
    assert!(events.read().await.is_err());
    assert!(events.rest().starts_with(b"{\"type\":\"ADDED\""), "half of it came");
}

#[tokio::test]
async fn a_silent_watch_says_nothing_until_the_fault_is_off_and_then_all() {
    let server = start(builder().bookmark_interval(Duration::from_millis(10))).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let mut events = open(&mut bob).await;
    server.faults().watch("configmaps", Some(WatchFault::Silent));
    bob.post(MAPS, &map("a")).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), events.next()).await.is_err());
    assert_eq!(bob.get(MAPS).await.status, 200, "the connection lives");
    server.faults().clear();
    assert_eq!(events.next_kind_and_name().await.1, "a");
}

#[tokio::test]
async fn an_open_watch_can_be_told_410_at_once() {
    let (server, mut bob) = server_and_bob().await;
    let mut events = open(&mut bob).await;
    server.faults().watch("configmaps", Some(WatchFault::Expired));
    let error = events.next().await.unwrap();
    assert_eq!(
        (&error["type"], &error["object"]["code"], &error["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn lists_break_off_expire_fail_or_hold_rubbish() {
    let (server, mut bob) = server_and_bob().await;
    bob.post(MAPS, &map("a")).await;
    let fails = |fault| server.faults().list("configmaps", Some(fault));
    fails(ListFault::Document(DiscoveryFault::Aborted));
    let answer = bob.send(Method::GET, MAPS, &[], body::empty()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.into_body().collect().await.is_err());
    fails(ListFault::Document(DiscoveryFault::Status(StatusCode::FORBIDDEN)));
    assert_eq!(bob.get(MAPS).await.status, 403);
    fails(ListFault::Expired);
    assert_eq!(bob.get(MAPS).await.json()["reason"], "Expired");
    fails(ListFault::Rubbish);
    let items = bob.get(MAPS).await.json()["items"].as_array().unwrap().clone();
    assert_eq!(items[0]["metadata"]["name"], "a");
    assert!(items.contains(&json!(7)) && items.contains(&json!({})));
    assert_eq!(bob.get("/api/v1/secrets").await.json()["items"], json!([]));
}

#[tokio::test]
async fn one_tree_fails_while_the_other_works() {
    let (server, mut bob) = server_and_bob().await;
    let fault = DiscoveryFault::Status(StatusCode::INTERNAL_SERVER_ERROR);
    server.faults().discovery_of(Tree::Apis, Some(fault));
    let states = [bob.get("/apis").await.status.as_u16(), bob.get("/api").await.status.as_u16()];
    assert_eq!(states, [500, 200]);
    server.faults().discovery_of(Tree::Apis, None);
    assert_eq!(bob.get("/apis").await.status, 200);
}

#[tokio::test]
async fn a_changing_document_is_another_one_with_another_tag_at_every_fetch() {
    let (server, mut bob) = server_and_bob().await;
    server.faults().discovery(Some(DiscoveryFault::Changing));
    for path in ["/apis", "/api"] {
        let one = bob.call(Method::GET, path, &V2, None).await;
        let other = bob.call(Method::GET, path, &V2, None).await;
        assert_ne!(one.header("etag"), other.header("etag"));
        assert_ne!(one.json(), other.json());
    }
    server.faults().clear();
    assert_eq!(
        bob.call(Method::GET, "/apis", &V2, None).await.json(),
        server.discovery().document(Tree::Apis)
    );
}

#[tokio::test]
async fn a_server_without_watch_list_refuses_initial_events() {
    let server = start(builder().watch_list(false)).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    assert_eq!(bob.get(&format!("{MAPS}?{query}")).await.status, 422);
}
