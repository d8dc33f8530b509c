//! Whatever form a server speaks, it is part of the same fleet.

use kube_peer_proxy::discovery::catalog::Form::{self, Unaggregated, V2, V2Beta1};
use kube_peer_proxy::discovery::catalog::{Forms, Freshness::Fresh};
use kube_peer_proxy::embedded::Recorded;
use std::sync::atomic::Ordering::SeqCst;

use super::server::{Instead, Old, fetch, find, group, groups, known};
use crate::kit::{As, PKI, Proxy, ProxyBuilder, V2 as ACCEPT_V2, eventually};
use http::StatusCode;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const THINGS: &str = "/apis/old.example/v1/things";

/// An old server named `old` that alone has `old.example`, and a new one, `new`.
async fn fleet(form: Form) -> (Old, Old, Proxy) {
    let mut apis = Recorded::V1_32.apis();
    apis["items"].as_array_mut().unwrap().push(group("old.example", "v1", "things"));
    let old = Old::start("old", form, &apis).await;
    let new = Old::start("new", V2, &Recorded::V1_36.apis()).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).server("new", new.address());
    let proxy = proxy.home("new").start().await;
    (old, new, proxy)
}

#[tokio::test]
async fn a_fleet_with_an_old_server_has_the_document_that_it_would_have_if_all_spoke_v2() {
    let mut seen = Vec::new();
    for form in [V2, V2Beta1, Unaggregated] {
        let (_old, _new, proxy) = fleet(form).await;
        assert_eq!(known(&proxy, "old").forms, Forms { api: form, apis: form });
        assert_eq!(known(&proxy, "old").version, Some((1, 32)));
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        for path in ["/api", "/apis"] {
            let reply = admin.get_with(path, ACCEPT_V2).await;
            assert_eq!(reply.status, 200);
            seen.push((path, reply.header("etag").to_owned(), reply.text().to_owned()));
        }
    }
    assert!(seen[1].2.contains("old.example"));
    for other in [2, 4] {
        assert_eq!(seen[0], seen[other]);
        assert_eq!(seen[1], seen[other + 1]);
    }
}

#[tokio::test]
async fn requests_go_to_the_old_server_for_what_it_alone_has_and_to_the_new_one_for_the_rest() {
    for form in [V2Beta1, Unaggregated] {
        for home in ["old", "new"] {
            let (old, new, _) = fleet(form).await;
            let proxy = ProxyBuilder::new().server("old", old.address()).server("new", new.address());
            let proxy = proxy.home(home).start().await;
            let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
            for (path, server) in [(THINGS, "old"), (POLICIES, "new"), ("/api/v1/pods", home)] {
                assert_eq!(admin.get(path).await.json()["servedBy"], server, "{path}");
            }
            assert_eq!(admin.get(&format!("{THINGS}/one/status")).await.json()["servedBy"], "old");
        }
    }
}

#[tokio::test]
async fn who_may_read_discovery_is_asked_in_a_form_that_an_old_home_has() {
    let old = Old::v132("old", Unaggregated).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let fetched = |paths: &[String]| paths.iter().filter(|path| *path == "/apis").count();
    assert_eq!(fetched(&old.asked()), 1);
    assert_eq!(admin.get_with("/apis", ACCEPT_V2).await.status, 200);
    fetch(&proxy, "old").await;
    assert_eq!(fetched(&old.asked()), 1, "an answer without an ETag is no reason to fetch");
}

#[tokio::test]
async fn a_server_may_change_its_form_while_it_runs() {
    let old = Old::start("old", V2, &groups(&[group("first.example", "v1", "things")])).await;
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    for (number, form) in [Unaggregated, V2Beta1, Unaggregated, V2, V2Beta1, V2].into_iter().enumerate() {
        old.speaks(form);
        let name = format!("group{number}.example");
        old.serves(&groups(&[group("first.example", "v1", "things"), group(&name, "v1", "things")]));
        fetch(&proxy, "old").await;
        let known = known(&proxy, "old");
        assert_eq!(known.forms, Forms { api: form, apis: form });
        assert!(find(&known.apis.list, &name, "v1").is_some(), "{form:?}");
        assert_eq!(known.apis.list.items.len(), 2);
        assert_eq!(proxy.freshness("old"), Fresh);
    }
}

#[tokio::test]
async fn each_tree_is_read_in_the_form_in_which_it_comes() {
    let old = Old::v132("old", Unaggregated).await;
    let api = Recorded::V1_32.api().to_string();
    let typed = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    old.answers("/api", Some(Instead::Typed(typed, api)));
    let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
    let known = known(&proxy, "old");
    assert_eq!(known.forms, Forms { api: V2, apis: Unaggregated });
    assert!(find(&known.api.list, "", "v1").is_some());
    assert!(find(&known.apis.list, "apps", "v1").is_some());
}

#[tokio::test]
async fn what_is_no_form_of_discovery_changes_nothing_that_is_known() {
    for (name, instead) in [
        ("another type", Instead::Typed("text/html", "<html>".into())),
        ("another kind", Instead::Body(r#"{"kind":"Status","code":200}"#.into())),
        ("no JSON", Instead::Body("[".into())),
        (
            "a version of its type that nobody asked for",
            Instead::Typed(
                "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList",
                r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v3"}"#.into(),
            ),
        ),
        ("a redirect", Instead::Status(StatusCode::FOUND)),
    ] {
        let old = Old::v132("old", Unaggregated).await;
        let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
        let before = known(&proxy, "old");
        old.answers("/apis", Some(instead));
        fetch(&proxy, "old").await;
        assert!(proxy.target("old").health.last_error().unwrap().starts_with("/apis: "), "{name}");
        assert_eq!(known(&proxy, "old"), before, "{name}");
    }
}

#[tokio::test]
async fn whether_a_server_has_cbor_is_known_and_asked_only_of_those_that_may() {
    for (form, has, known_as) in [(V2, true, true), (V2, false, false), (Unaggregated, true, false)] {
        let old = Old::v132("old", form).await;
        old.state.cbor.store(has, SeqCst);
        let proxy = ProxyBuilder::new().server("old", old.address()).home("old").start().await;
        eventually("it is known", || proxy.freshness("old") == Fresh).await;
        assert_eq!(known(&proxy, "old").cbor, known_as, "{form:?} {has}");
    }
}
