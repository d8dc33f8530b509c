//! What a server's lists can make us do.

use http::StatusCode;
use kube_peer_proxy::discovery::catalog::Form::{Unaggregated, V2};
use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::limits;
use serde_json::{Value, json};

use super::server::{Instead, Old, fetch, find, group, groups, known};
use crate::kit::{Proxy, ProxyBuilder, eventually};

fn many(count: usize) -> Value {
    let items: Vec<_> = (0..count).map(|n| group(&format!("g{n}.example"), "v1", "things")).collect();
    groups(&items)
}

async fn error(proxy: &Proxy, wanted: &str) {
    let health = &proxy.target("old").health;
    let last = || health.last_error().unwrap_or_default();
    eventually(wanted, || last().contains(wanted)).await;
}

#[tokio::test]
async fn a_server_that_lists_too_many_group_versions_is_not_asked_for_any() {
    let old = Old::v132("old", Unaggregated).await;
    let group = |count: usize| {
        let versions: Vec<_> = (0..count).map(|n| json!({ "version": format!("v{n}") })).collect();
        json!({ "kind": "APIGroupList", "groups": [{ "name": "many.example", "versions": versions }] })
    };
    old.answers("/apis", Some(Instead::Body(group(limits::MAX_LISTS + 1).to_string())));
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").unready().start().await;
    error(&proxy, "20001 group-versions").await;
    assert!(old.asked().iter().all(|path| !path.starts_with("/apis/")));
}

#[tokio::test]
async fn a_list_that_is_too_long_is_as_good_as_none() {
    let old = Old::start("old", Unaggregated, &many(3)).await;
    let fits = |spaces: usize| {
        let list = r#"{"kind":"APIResourceList","resources":[]}"#;
        Instead::Body(format!("{list}{}", " ".repeat(spaces - list.len())))
    };
    old.answers("/apis/g1.example/v1", Some(fits(limits::MAX_LIST_BYTES)));
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    let is_stale = || find(&known(&proxy, "old").apis.list, "g1.example", "v1").unwrap().freshness.is_stale();
    assert!(!is_stale());
    old.answers("/apis/g1.example/v1", Some(fits(limits::MAX_LIST_BYTES + 1)));
    fetch(&proxy, "old").await;
    assert!(is_stale());
    assert_eq!(proxy.freshness("old"), Fresh);
}

#[tokio::test]
async fn lists_that_are_too_long_together_fail_the_fetch() {
    let old = Old::start("old", Unaggregated, &many(40)).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").file("discoveryMaxBytes", "1Mi");
    let proxy = proxy.start().await;
    let before = known(&proxy, "old");
    assert_eq!(before.apis.list.items.len(), 40);
    let list = format!("{{\"kind\":\"APIResourceList\",\"resources\":[]}}{}", " ".repeat(30_000));
    for n in 0..40 {
        old.answers(&format!("/apis/g{n}.example/v1"), Some(Instead::Body(list.clone())));
    }
    fetch(&proxy, "old").await;
    error(&proxy, "larger than 1048576 bytes together").await;
    assert_eq!(known(&proxy, "old"), before);
}

#[tokio::test]
async fn a_list_that_never_comes_is_given_up_before_the_fetch_is() {
    let old = Old::start("old", Unaggregated, &many(20)).await;
    old.holds(true, &["/apis/g1.example/v1"]);
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old");
    let proxy = proxy.file("discoveryFetchTimeout", "2s").start().await;
    let document = known(&proxy, "old");
    assert!(find(&document.apis.list, "g1.example", "v1").unwrap().freshness.is_stale());
    assert!(!find(&document.apis.list, "g2.example", "v1").unwrap().freshness.is_stale());
    assert_eq!(proxy.freshness("old"), Fresh);
}

#[tokio::test]
async fn a_fetch_whose_lists_never_come_ends() {
    let old = Old::start("old", Unaggregated, &many(100)).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old");
    let proxy = proxy.file("discoveryFetchTimeout", "1s").start().await;
    let before = known(&proxy, "old");
    old.holds(true, &[]);
    fetch(&proxy, "old").await;
    error(&proxy, "no whole answer within").await;
    assert_eq!(known(&proxy, "old"), before);
    old.holds(false, &[]);
}

#[tokio::test]
async fn only_so_many_lists_are_asked_for_at_once() {
    for (form, limit) in [(Unaggregated, limits::LISTS_AT_ONCE), (V2, limits::HASH_LISTS_AT_ONCE)] {
        let old = Old::start("old", form, &many(50)).await;
        let groups: Vec<_> = (0..50).map(|n| format!("/apis/g{n}.example/v1")).collect();
        let paths: Vec<_> = groups.iter().map(String::as_str).collect();
        old.holds(true, &paths);
        let proxy = ProxyBuilder::new().server("old", old.address()).home("old").unready().start().await;
        eventually("as many as may wait", || old.busy() == limit).await;
        old.holds(false, &[]);
        let mut asked = Vec::new();
        eventually("all are asked for", || {
            asked.append(&mut old.asked());
            paths.iter().all(|path| asked.iter().any(|one| one == path))
        })
        .await;
        eventually("it is known", || proxy.freshness("old") == Fresh).await;
        assert_eq!(old.most(), limit, "{form:?}");
    }
}

#[tokio::test]
async fn over_http1_lists_take_turns_and_leave_the_health_probe_a_connection() {
    let old = Old::over_http1("old", Unaggregated, &many(20)).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    assert_eq!(old.most(), 1);
    assert_eq!(known(&proxy, "old").apis.list.items.len(), 20);
    assert_eq!(proxy.freshness("old"), Fresh);
}

#[tokio::test]
async fn a_search_for_hashes_ends_when_too_many_lists_fail() {
    let old = Old::start("old", V2, &many(200)).await;
    for n in 0..200 {
        let path = format!("/apis/g{n}.example/v1");
        old.answers(&path, Some(Instead::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    }
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    proxy.until_lists_are_read().await;
    let lists = old.asked().into_iter().filter(|path| path.starts_with("/apis/")).count();
    let (least, most) = (limits::MAX_FAILED_LISTS, limits::MAX_FAILED_LISTS + limits::HASH_LISTS_AT_ONCE);
    assert!((least..=most).contains(&lists), "{lists}");
}
