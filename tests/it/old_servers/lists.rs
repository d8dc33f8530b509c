//! Unaggregated discovery: a list of group-versions, of which each has a list of its own.

use http::StatusCode;
use kube_peer_proxy::discovery::catalog::Form::{Unaggregated, V2};
use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale, Unknown};
use kube_peer_proxy::discovery::refresh::Trigger;
use serde_json::json;

use super::server::{Instead, Old, fetch, find, generation, group, groups, hash, known};
use crate::kit::{As, PKI, Proxy, ProxyBuilder, V2 as ACCEPT_V2, eventually};

const FAR: &str = "/apis/far.example/v1";

async fn old(names: &[&str]) -> (Old, Proxy) {
    let items: Vec<_> = names.iter().map(|name| group(name, "v1", "things")).collect();
    let old = Old::start("old", Unaggregated, &groups(&items)).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    (old, proxy)
}

#[tokio::test]
async fn groups_come_in_the_order_of_the_list_and_the_preferred_version_first() {
    let (old, proxy) = old(&["a.example"]).await;
    let version = |group: &str, version: &str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let list = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [
        { "name": "z.example", "versions": [version("z.example", "v2"), version("z.example", "v1"), version("z.example", "v3")],
          "preferredVersion": version("z.example", "v1") },
        { "name": "a.example", "versions": [version("a.example", "v1"), version("a.example", "v1")],
          "preferredVersion": version("a.example", "v9") },
    ] });
    let serves = ["v1", "v2", "v3"].map(|version| json!({ "version": version, "freshness": "Current" }));
    old.serves(&groups(&[
        group("a.example", "v1", "things"),
        json!({ "metadata": { "name": "z.example" }, "versions": serves }),
    ]));
    old.answers("/apis", Some(Instead::Body(list.to_string())));
    fetch(&proxy, "old").await;
    let document = known(&proxy, "old");
    let seen: Vec<_> = document
        .apis
        .list
        .items
        .iter()
        .map(|group| (group.name(), group.versions.iter().map(|one| &*one.version).collect::<Vec<_>>()))
        .collect();
    assert_eq!(seen, [("z.example", vec!["v1", "v2", "v3"]), ("a.example", vec!["v1"])]);
}

#[tokio::test]
async fn a_group_version_that_is_listed_and_answered_with_404_is_served_by_somebody_else() {
    let (old, proxy) = old(&["a.example", "newer.example", "z.example"]).await;
    old.answers("/apis/newer.example/v1", Some(Instead::Status(StatusCode::NOT_FOUND)));
    fetch(&proxy, "old").await;
    let document = known(&proxy, "old");
    assert!(find(&document.apis.list, "newer.example", "v1").is_none());
    assert_eq!(document.apis.list.items.len(), 2, "and no group without versions is left");
    assert_eq!(proxy.freshness("old"), Fresh);
}

#[tokio::test]
async fn a_group_version_whose_extension_server_is_away_is_stale_and_keeps_what_was_known_of_it() {
    for instead in [
        Instead::Status(StatusCode::SERVICE_UNAVAILABLE),
        Instead::Body("no JSON".into()),
        Instead::Body(r#"{"kind":"Status"}"#.into()),
    ] {
        let (old, proxy) = old(&["a.example", "far.example"]).await;
        old.hash("far.example/v1", "things", "hash=");
        fetch(&proxy, "old").await;
        let before = known(&proxy, "old");
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        let fresh = admin.get_with("/apis", ACCEPT_V2).await;

        old.answers(FAR, Some(instead));
        fetch(&proxy, "old").await;
        assert_eq!(proxy.freshness("old"), Fresh, "the server itself is well");
        let during = known(&proxy, "old");
        let far = find(&during.apis.list, "far.example", "v1").unwrap();
        assert!(far.freshness.is_stale());
        assert_eq!(far.resources, find(&before.apis.list, "far.example", "v1").unwrap().resources);
        assert_eq!(hash(&proxy, "old", "far.example/v1", "things").as_deref(), Some("hash="));
        assert!(!find(&during.apis.list, "a.example", "v1").unwrap().freshness.is_stale());

        let (at, asked) = (generation(&proxy), old.asked().len());
        fetch(&proxy, "old").await;
        assert_eq!(generation(&proxy), at, "still away is nothing new");
        assert!(asked > 0 && !old.asked().is_empty());

        old.answers(FAR, None);
        fetch(&proxy, "old").await;
        let after = admin.get_with("/apis", ACCEPT_V2).await;
        assert_eq!((after.header("etag"), &after.body), (fresh.header("etag"), &fresh.body));
    }
}

#[tokio::test]
async fn a_group_version_that_was_never_heard_of_and_is_away_is_stale_and_empty() {
    let items = [group("a.example", "v1", "things"), group("far.example", "v1", "things")];
    let old = Old::start("old", Unaggregated, &groups(&items)).await;
    old.answers(FAR, Some(Instead::Status(StatusCode::BAD_GATEWAY)));
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    let document = known(&proxy, "old");
    let far = find(&document.apis.list, "far.example", "v1").unwrap();
    assert!(far.freshness.is_stale() && far.resources.is_empty());
}

#[tokio::test]
async fn what_says_that_the_server_itself_is_not_well_fails_the_whole_fetch() {
    for (path, code) in [
        ("/api/v1", StatusCode::INTERNAL_SERVER_ERROR),
        ("/api/v1", StatusCode::FORBIDDEN),
        ("/apis", StatusCode::TEMPORARY_REDIRECT),
        (FAR, StatusCode::TOO_MANY_REQUESTS),
    ] {
        let (old, proxy) = old(&["a.example", "far.example"]).await;
        let before = known(&proxy, "old");
        old.answers(path, Some(Instead::Status(code)));
        fetch(&proxy, "old").await;
        assert_eq!(proxy.freshness("old"), Stale, "{path} {code}");
        assert!(proxy.target("old").health.last_error().unwrap().contains(path));
        assert_eq!(known(&proxy, "old"), before);
    }
}

#[tokio::test]
async fn i7_a_list_that_is_gone_is_believed_only_from_a_server_that_says_that_it_is_ready() {
    let (old, proxy) = old(&["a.example", "gone.example"]).await;
    let listed = || find(&known(&proxy, "old").apis.list, "gone.example", "v1").is_some();
    old.is_ready(false);
    old.answers("/apis/gone.example/v1", Some(Instead::Status(StatusCode::NOT_FOUND)));
    fetch(&proxy, "old").await;
    eventually("it is doubted", || {
        proxy.target("old").health.last_error().is_some_and(|error| error.contains("gone.example/v1"))
    })
    .await;
    assert!(listed());
    old.is_ready(true);
    eventually("it is believed", || !listed()).await;
}

#[tokio::test]
async fn a_fetch_that_brings_nothing_new_publishes_nothing_and_keeps_every_object() {
    let (old, proxy) = old(&["a.example", "b.example"]).await;
    old.hash("a.example/v1", "things", "hash=");
    fetch(&proxy, "old").await;
    let (at, before) = (generation(&proxy), known(&proxy, "old"));
    old.asked();
    fetch(&proxy, "old").await;
    assert_eq!(generation(&proxy), at);
    assert!(std::sync::Arc::ptr_eq(&known(&proxy, "old"), &before));
    let mut asked = old.asked();
    asked.sort();
    assert_eq!(asked, ["/api", "/api/v1", "/apis", "/apis/a.example/v1", "/apis/b.example/v1"]);

    // Only a hash changes.
    old.hash("a.example/v1", "things", "other=");
    fetch(&proxy, "old").await;
    assert_eq!(hash(&proxy, "old", "a.example/v1", "things").as_deref(), Some("other="));
    let after = known(&proxy, "old");
    for (old, new) in before.apis.list.items.iter().zip(&after.apis.list.items) {
        assert!(std::sync::Arc::ptr_eq(&old.versions[0], &new.versions[0]));
    }
    assert_eq!(after.lists.addresses[0].server_address, "old:6443");
}

#[tokio::test]
async fn an_extension_server_that_does_not_know_our_user_keeps_nobody_from_hearing_the_rest() {
    for code in [
        StatusCode::FORBIDDEN,
        StatusCode::UNAUTHORIZED,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::METHOD_NOT_ALLOWED,
    ] {
        let items = [group("a.example", "v1", "things"), group("far.example", "v1", "things")];
        let old = Old::start("old", Unaggregated, &groups(&items)).await;
        old.answers(FAR, Some(Instead::Status(code)));
        let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
        assert_eq!(proxy.freshness("old"), Fresh, "{code}");
        let document = known(&proxy, "old");
        assert!(find(&document.apis.list, "far.example", "v1").unwrap().freshness.is_stale());
        assert!(!find(&document.apis.list, "a.example", "v1").unwrap().freshness.is_stale());
    }
}

#[tokio::test]
async fn a_server_that_refuses_our_user_every_list_is_not_believed_to_be_empty() {
    let (old, proxy) = old(&["a.example", "far.example"]).await;
    let before = known(&proxy, "old");
    for path in ["/apis/a.example/v1", FAR] {
        old.answers(path, Some(Instead::Status(StatusCode::FORBIDDEN)));
    }
    fetch(&proxy, "old").await;
    assert_eq!(proxy.freshness("old"), Stale);
    assert!(proxy.target("old").health.last_error().unwrap().contains("may our user read it there?"));
    assert_eq!(known(&proxy, "old"), before);
}

#[tokio::test]
async fn i8_what_only_a_peer_may_serve_whose_extension_server_was_never_heard_is_no_404() {
    let far = [group("far.example", "v1", "things")];
    let peer = Old::start("peer", Unaggregated, &groups(&far)).await;
    peer.answers(FAR, Some(Instead::Status(StatusCode::SERVICE_UNAVAILABLE)));
    let home = Old::start("home", Unaggregated, &groups(&[group("a.example", "v1", "things")])).await;
    let proxy = ProxyBuilder::new().server("home", home.address()).server("peer", peer.address());
    let proxy = proxy.home("home").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let answer = admin.get("/apis/far.example/v1/things").await;
    assert_eq!(answer.json()["servedBy"], "peer");
    assert_eq!(admin.get(FAR).await.status, 503);
    assert_eq!(admin.get("/apis/none.example/v1/things").await.json()["servedBy"], "home");
}

#[tokio::test]
async fn i7_a_server_that_starts_is_not_believed_until_it_says_that_it_is_ready() {
    for form in [Unaggregated, V2] {
        let full = [group("a.example", "v1", "things"), group("late.example", "v1", "things")];
        let old = Old::start("old", form, &groups(&full[..1])).await;
        old.is_ready(false);
        let proxy = ProxyBuilder::new().server("old", old.address()).home("old").unready().start().await;
        let refresh = proxy.app.proxy.load().refresh[0].clone();
        let fetches = || refresh.ask_and_wait(Trigger::Changed);
        for _ in 0..3 {
            fetches().await;
            assert_eq!(proxy.freshness("old"), Unknown, "{form:?}");
        }
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        assert_eq!(admin.get("/apis/late.example/v1/things").await.status, 503);
        old.serves(&groups(&full));
        old.is_ready(true);
        eventually("it is believed", || proxy.freshness("old") == Fresh).await;
        assert!(find(&known(&proxy, "old").apis.list, "late.example", "v1").is_some());
    }
}

#[tokio::test]
async fn i7_what_was_read_before_a_server_got_ready_is_not_believed_because_it_is_ready_behind() {
    let full = [group("a.example", "v1", "things"), group("late.example", "v1", "things")];
    let old = Old::start("old", Unaggregated, &groups(&full[..1])).await;
    old.is_ready(false);
    old.holds(true, &["/apis/a.example/v1"]);
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").unready().start().await;
    eventually("the first fetch is under way", || old.busy() > 0).await;
    old.serves(&groups(&full));
    old.is_ready(true);
    old.holds(false, &[]);
    eventually("it is believed", || proxy.freshness("old") == Fresh).await;
    assert!(find(&known(&proxy, "old").apis.list, "late.example", "v1").is_some());
}
