//! Another map and other trust domains while requests come.

use super::*;
use crate::kit::until;
use crate::reload::{attentive, set, until_reloads};

#[tokio::test]
async fn i13_another_map_counts_from_the_next_request_on_and_no_yes_outlives_it() {
    let two = Two::with(
        |a| a.authorizer(|user, path, _| user.name != "late:jane" || !path.starts_with("/ap")),
        |b| b,
    )
    .await;
    let proxy = attentive(two.foreign()).start().await;
    let client = proxy.h2(As::Certificate(&jane())).await;
    assert_eq!(client.get("/apis").await.status, 200);
    set(&proxy, "identityMap", &json!([viewers("a", "late:"), viewers("b", "other:")]).to_string());
    until_reloads(&proxy, "ok", 1.0).await;
    assert_eq!(client.get("/apis").await.status, 403, "home was asked for whom he is now");
    assert_eq!(client.get(POLICIES).await.status, 200);
    is_only(&two.at_b().pop().unwrap(), "other:jane");
    set(&proxy, "identityMap", &json!([viewers("a", "late:")]).to_string());
    until_reloads(&proxy, "ok", 2.0).await;
    forbidden(&client.get(POLICIES).await, "no rule");
    // A fault changes nothing.
    let masters =
        json!([{ "trustDomain": "b", "users": ["*"], "asUser": "x", "asGroups": ["system:masters"] }]);
    set(&proxy, "identityMap", &masters.to_string());
    until_reloads(&proxy, "failed", 1.0).await;
    forbidden(&client.get(POLICIES).await, "no rule");
}

#[tokio::test]
async fn i13_a_server_that_gets_into_another_domain_is_another_server() {
    let two = Two::start().await;
    let proxy = attentive(two.proxy()).start().await;
    let client = proxy.h2(As::Certificate(&jane())).await;
    assert_eq!(client.get(POLICIES).await.status, 200);
    let before = proxy.target("b");
    let mut b = two.entry("b");
    b["trustDomain"] = json!("c");
    set(&proxy, "apiServers", &json!([{ "name": "a", "trustDomain": "a" }, b]).to_string());
    until_reloads(&proxy, "failed", 1.0).await;
    assert_eq!(client.get(POLICIES).await.status, 200, "the map speaks of a domain that is no more: refused");
    set(&proxy, "identityMap", &json!([viewers("c", "late:")]).to_string());
    until_reloads(&proxy, "ok", 1.0).await;
    let found = until("it was heard again", async || {
        (client.get(POLICIES).await.status == 200).then(|| two.at_b().pop().unwrap())
    })
    .await;
    is_only(&found, "late:jane");
    assert!(!Arc::ptr_eq(&before, &proxy.target("b")));
}

#[tokio::test]
async fn i13_callers_that_get_into_another_domain_are_mapped_at_home() {
    let two = Two::start().await;
    let proxy = attentive(two.proxy()).start().await;
    let client = proxy.h2(As::Certificate(&jane())).await;
    assert_eq!(client.get("/version").await.status, 200);
    assert_eq!(two.at_a().pop().unwrap().user.unwrap().name, "jane");
    set(&proxy, "trustDomain", "demo");
    until_reloads(&proxy, "ok", 1.0).await;
    forbidden(&client.get("/version").await, "no rule");
    set(&proxy, "identityMap", &json!([viewers("a", "demo:")]).to_string());
    until_reloads(&proxy, "ok", 2.0).await;
    assert_eq!(client.get("/version").await.status, 200);
    is_only(&two.at_a().pop().unwrap(), "demo:jane");
}
