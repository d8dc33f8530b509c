//! Lists come in pages of one moment.

use http::Method;
use kube_peer_proxy::embedded::Store;
use serde_json::{Value, json};

use super::client::Client;
use super::{BOB, builder, server_and_bob, start};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_one_moment_whatever_changes_between_them() {
    let (_server, mut bob) = server_and_bob().await;
    for name in ["a", "b", "c", "d", "e"] {
        bob.post(MAPS, &map(name)).await;
    }
    let first = bob.get(&format!("{MAPS}?limit=2")).await.json();
    bob.call(Method::DELETE, &format!("{MAPS}/c"), &[], None).await;
    bob.post(MAPS, &map("bb")).await;
    let go_on =
        |list: &Value| format!("{MAPS}?limit=2&continue={}", list["metadata"]["continue"].as_str().unwrap());
    let second = bob.get(&go_on(&first)).await.json();
    let third = bob.get(&go_on(&second)).await.json();
    assert_eq!([names(&first), names(&second), names(&third)], [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    assert!(third["metadata"]["continue"].is_null());
    assert_eq!(third["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let then = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = bob.get(&format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")).await.json();
    assert_eq!(names(&exact), ["a", "b", "c", "d", "e"]);
    let whole = bob.get(&format!("{MAPS}?limit=2&resourceVersion=0")).await.json();
    assert_eq!(names(&whole), ["a", "b", "bb", "d", "e"], "the watch cache knows no pages");
}

#[tokio::test]
async fn pages_follow_namespaces_in_the_order_of_the_store() {
    let (_server, mut bob) = server_and_bob().await;
    for namespace in ["a", "a-b"] {
        bob.post("/api/v1/namespaces", &map(namespace)).await;
        bob.post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &map("x")).await;
    }
    let first = bob.get("/api/v1/configmaps?limit=1").await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = bob.get(&format!("/api/v1/configmaps?continue={token}")).await.json();
    assert_eq!(first["items"][0]["metadata"]["namespace"], "a");
    assert_eq!(second["items"][0]["metadata"]["namespace"], "a-b");
}

#[tokio::test]
async fn what_is_forgotten_is_410_and_what_is_not_there_yet_504() {
    let server = start(builder().store(Store::with_history(3))).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    for name in ["a", "b"] {
        bob.post(MAPS, &map(name)).await;
    }
    let first = bob.get(&format!("{MAPS}?limit=1")).await.json();
    for name in ["c", "d", "e", "f"] {
        bob.post(MAPS, &map(name)).await;
    }
    let token = first["metadata"]["continue"].as_str().unwrap();
    for (query, status, reason) in [
        (format!("continue={token}"), 410, "Expired"),
        ("resourceVersion=1&resourceVersionMatch=Exact".to_owned(), 410, "Expired"),
        ("resourceVersion=999999".to_owned(), 504, "Timeout"),
        ("continue=rubbish".to_owned(), 400, "BadRequest"),
        ("resourceVersionMatch=Exact".to_owned(), 422, "Invalid"),
    ] {
        let reply = bob.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["reason"]), (status, &json!(reason)), "{query}");
    }
}
