//! Home may be of another trust domain than the callers, and a front's homes are of one.

use super::*;
use crate::kit::{PROXIED, Tunnel, V2, eventually};

#[tokio::test]
async fn i13_callers_of_neither_domain_are_mapped_in_both() {
    let two = Two::start().await;
    let proxy = two.foreign().start().await;
    let client = proxy.h2(As::Certificate(&jane())).await;
    for path in ["/api/v1/namespaces", "/version", "/apis"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
        is_only(&two.at_a().pop().unwrap(), "demo:jane");
    }
    assert_eq!(client.get_with("/version", (PROXIED, "true")).await.status, 200);
    is_only(&two.at_a().pop().unwrap(), "demo:jane");
    let exec = "/api/v1/namespaces/default/pods/p/exec?command=sh";
    let tunnel = Tunnel::ask(proxy.address(), As::Certificate(&jane()), exec, "SPDY/3.1", &[]).await;
    assert_eq!(tunnel.status(), 101);
    is_only(&two.at_a().pop().unwrap(), "demo:jane");
    assert_eq!(client.get(POLICIES).await.status, 200);
    is_only(&two.at_b().pop().unwrap(), "demo:jane");
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let seen = client.post(REVIEWS, &review).await.json()["status"]["userInfo"].clone();
    assert_eq!(seen, json!({ "username": "demo:jane", "groups": ["viewers", "system:authenticated"] }));
}

#[tokio::test]
async fn i13_masters_of_the_callers_domain_are_nobodys_masters_and_strangers_get_nowhere() {
    let two = Two::start().await;
    let proxy = two.foreign().start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/api/v1/namespaces").await.status, 200);
    is_only(&two.at_a().pop().unwrap(), "demo:kubernetes-admin");
    let acting = proxy.h2(As::Certificate(&PKI.admin)).await.with("impersonate-user", "root");
    forbidden(&acting.get("/api/v1/namespaces").await, "Impersonate-*");
    let asked = two.at_a().len();
    let mallory = proxy.h2(As::Certificate(&stranger())).await;
    for path in ["/api/v1/namespaces", "/version", "/apis", POLICIES, "/apis/nobody.example/v1/things"] {
        forbidden(&mallory.get_with(path, V2).await, "identityMap has no rule there for \"mallory\"");
    }
    assert_eq!(two.at_a().len(), asked);
    assert!(two.at_b().is_empty());
}

#[tokio::test]
async fn i13_seats_are_kept_for_masters_of_homes_domain_and_no_others() {
    let two = Two::start().await;
    for (proxy, code) in [(two.proxy(), 200), (two.foreign(), 429)] {
        let proxy = proxy.flags(|args| args.max_requests_inflight = Some("1".into())).start().await;
        two.a.server("a").faults().hang(true);
        let (jane, admin) =
            (proxy.h2(As::Certificate(&jane())).await, proxy.h2(As::Certificate(&PKI.admin)).await);
        let hanging = tokio::spawn(async move { jane.get("/api/v1/nodes").await.status });
        eventually("it is under way", || proxy.target("a").load.requests() > 0).await;
        let second = tokio::spawn(async move { admin.get("/api/v1/pods").await.status });
        if code == 200 {
            eventually("both are", || proxy.target("a").load.requests() > 1).await;
        } else {
            assert_eq!(second.await.unwrap(), 429);
        }
        two.a.server("a").faults().clear();
        assert_eq!(hanging.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn i13_a_token_is_for_home_whoever_the_callers_with_certificates_are() {
    let two = Two::start().await;
    let proxy = two.foreign().start().await;
    let bob = proxy.h2(As::Token(BOB)).await;
    assert_eq!(bob.get("/api/v1/namespaces").await.status, 200);
    assert_eq!(two.at_a().pop().unwrap().user.unwrap().name, "bob");
    forbidden(&bob.get(POLICIES).await, "a token goes only to servers of a");
    assert!(two.at_b().is_empty());
}

#[tokio::test]
async fn i13_a_front_has_its_homes_in_the_callers_domain() {
    let two = Two::start().await;
    let servers = json!([{ "name": "a", "trustDomain": "a" }, two.entry("b")]).to_string();
    let front = || {
        let proxy = ProxyBuilder::new().file("trustDomain", "a").file("identityMap", &rules("demo:"));
        let proxy = proxy.server("a", two.a.server("a").addr()).server("b", two.b.addr());
        proxy.file("apiServers", &servers)
    };
    // Home would be the other one, if that could be.
    let proxy = front().hasty().flags(|args| args.home_preference = Some("newest".into())).start().await;
    for _ in 0..8 {
        let bob = proxy.h2(As::Token(BOB)).await;
        assert_eq!(bob.get("/api/v1/namespaces").await.status, 200);
        forbidden(&bob.get(POLICIES).await, "a token goes only to servers of a");
    }
    two.a.server("a").stop().await;
    proxy.until_healthy("a", false).await;
    proxy.h2(As::Token(BOB)).await.get("/api/v1/namespaces").await.refused(503);
    assert!(two.at_b().is_empty());
}
