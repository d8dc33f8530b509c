//! Storage version hashes: only unaggregated lists have them.

use http::StatusCode;
use kube_peer_proxy::discovery::catalog::Form::{Unaggregated, V2, V2Beta1};
use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::limits;
use serde_json::json;

use super::server::{Instead, Old, fetch, find, generation, group, groups, hash, known, until_hash};
use crate::kit::{Proxy, ProxyBuilder};

const A: &str = "a.example/v1";

async fn start(old: &Old) -> Proxy {
    ProxyBuilder::new().server("old", old.address()).home("old").start().await
}

/// Of this many groups, `g0.example` and so on.
fn many(count: usize) -> serde_json::Value {
    let items: Vec<_> = (0..count).map(|n| group(&format!("g{n}.example"), "v1", "things")).collect();
    groups(&items)
}

#[tokio::test]
async fn hashes_and_addresses_come_behind_the_document_and_nobody_waits_for_them() {
    for form in [V2, V2Beta1] {
        let old = Old::start("old", form, &groups(&[group("a.example", "v1", "things")])).await;
        old.hash(A, "things", "first=");
        old.hash("v1", "pods", "pods=");
        old.holds(true, &[]);
        let proxy = start(&old).await;
        assert_eq!(proxy.freshness("old"), Fresh);
        assert!(find(&known(&proxy, "old").apis.list, "a.example", "v1").is_some());
        assert_eq!(hash(&proxy, "old", A, "things"), None);
        old.holds(false, &[]);
        until_hash(&proxy, "old", A, "things", "first=").await;
        until_hash(&proxy, "old", "v1", "pods", "pods=").await;
        assert_eq!(known(&proxy, "old").lists.addresses[0].server_address, "old:6443");
    }
}

#[tokio::test]
async fn of_a_list_only_hashes_of_what_the_document_lists_are_kept() {
    let old = Old::start("old", V2, &groups(&[group("a.example", "v1", "things")])).await;
    let row = |name: &str, hash: &str| json!({ "name": name, "storageVersionHash": hash });
    let list = |hash: &str| {
        let rows = [row("things", hash), row("things/status", "x="), row("others", "x=")];
        Instead::Body(json!({ "kind": "APIResourceList", "resources": rows }).to_string())
    };
    old.answers("/apis/a.example/v1", Some(list("right=")));
    let proxy = start(&old).await;
    until_hash(&proxy, "old", A, "things", "right=").await;
    assert_eq!(known(&proxy, "old").lists.hashes[A].len(), 1);

    let old = Old::start("old", V2, &groups(&[group("a.example", "v1", "things")])).await;
    old.answers("/apis/a.example/v1", Some(list(&"x".repeat(limits::MAX_STORAGE_VERSION_HASH + 1))));
    let proxy = start(&old).await;
    proxy.until_lists_are_read().await;
    assert!(!known(&proxy, "old").lists.hashes.contains_key(A));
}

#[tokio::test]
async fn a_fetch_with_nothing_changed_costs_two_questions() {
    for form in [V2, V2Beta1] {
        let old = Old::start("old", form, &many(5)).await;
        let proxy = start(&old).await;
        proxy.until_lists_are_read().await;
        let at = generation(&proxy);
        old.asked();
        for _ in 0..2 {
            fetch(&proxy, "old").await;
            let mut asked = old.asked();
            asked.sort();
            assert_eq!(asked, ["/api", "/apis"]);
        }
        assert_eq!(generation(&proxy), at);
    }
}

#[tokio::test]
async fn a_pass_over_many_lists_makes_one_catalog() {
    let old = Old::start("old", V2, &many(300)).await;
    for n in 0..300 {
        old.hash(&format!("g{n}.example/v1"), "things", "hash=");
    }
    old.holds(true, &[]);
    let proxy = start(&old).await;
    let before = generation(&proxy);
    old.holds(false, &[]);
    proxy.until_lists_are_read().await;
    assert_eq!(known(&proxy, "old").lists.hashes.len(), 300);
    assert_eq!(generation(&proxy), before + 1);
}

#[tokio::test]
async fn only_the_list_of_a_group_version_that_changed_is_read_again() {
    let old = Old::start("old", V2, &many(5)).await;
    old.hash("g3.example/v1", "things", "first=");
    let proxy = start(&old).await;
    until_hash(&proxy, "old", "g3.example/v1", "things", "first=").await;
    old.asked();
    old.hash("g3.example/v1", "things", "second=");
    let mut changed = many(5);
    changed["items"][3]["versions"][0]["resources"][0]["shortNames"] = json!(["th"]);
    old.serves(&changed);
    fetch(&proxy, "old").await;
    until_hash(&proxy, "old", "g3.example/v1", "things", "second=").await;
    let mut lists = old.asked();
    lists.retain(|path| path.starts_with("/apis/"));
    assert_eq!(lists, ["/apis/g3.example/v1"]);

    // What is gone takes its hash with it; what is new brings its own.
    old.hash("new.example/v1", "things", "new=");
    changed["items"][3] = group("new.example", "v1", "things");
    old.serves(&changed);
    fetch(&proxy, "old").await;
    until_hash(&proxy, "old", "new.example/v1", "things", "new=").await;
    assert_eq!(known(&proxy, "old").lists.hashes.len(), 1);
}

#[tokio::test]
async fn a_list_that_fails_keeps_its_hashes_and_is_tried_again_at_the_next_fetch() {
    let old = Old::start("old", V2, &many(3)).await;
    old.hash("g1.example/v1", "things", "first=");
    let proxy = start(&old).await;
    until_hash(&proxy, "old", "g1.example/v1", "things", "first=").await;

    let path = "/apis/g1.example/v1";
    for (number, instead) in [
        Instead::Status(StatusCode::SERVICE_UNAVAILABLE),
        Instead::Status(StatusCode::FORBIDDEN),
        Instead::Status(StatusCode::NOT_FOUND),
        Instead::Body("no JSON".into()),
        Instead::Body(r#"{"kind":"Status"}"#.into()),
    ]
    .into_iter()
    .enumerate()
    {
        let next = format!("{number}=");
        let before = hash(&proxy, "old", "g1.example/v1", "things");
        old.answers(path, Some(instead));
        old.hash("g1.example/v1", "things", &next);
        let mut changed = many(3);
        changed["items"][1]["versions"][0]["resources"][0]["shortNames"] = json!([format!("th{number}")]);
        old.serves(&changed);
        old.asked();
        fetch(&proxy, "old").await;
        crate::kit::until("it was tried", async || old.asked().iter().any(|one| one == path).then_some(()))
            .await;
        assert_eq!(proxy.freshness("old"), Fresh, "it takes no list to serve");
        assert_eq!(hash(&proxy, "old", "g1.example/v1", "things"), before);
        old.answers(path, None);
        fetch(&proxy, "old").await;
        until_hash(&proxy, "old", "g1.example/v1", "things", &next).await;
    }
}

#[tokio::test]
async fn hashes_survive_a_change_of_form() {
    let old = Old::start("old", Unaggregated, &many(2)).await;
    old.hash("g1.example/v1", "things", "first=");
    let proxy = start(&old).await;
    assert_eq!(hash(&proxy, "old", "g1.example/v1", "things").as_deref(), Some("first="));
    old.answers("/apis/g1.example/v1", Some(Instead::Status(StatusCode::SERVICE_UNAVAILABLE)));
    for form in [V2, Unaggregated, V2Beta1] {
        old.speaks(form);
        old.asked();
        fetch(&proxy, "old").await;
        assert_eq!(known(&proxy, "old").forms.apis, form);
        let asked = async || old.asked().iter().any(|path| path == "/apis/g1.example/v1").then_some(());
        crate::kit::until("its list was asked for", asked).await;
        assert_eq!(hash(&proxy, "old", "g1.example/v1", "things").as_deref(), Some("first="), "{form:?}");
    }
}
