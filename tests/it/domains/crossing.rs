//! Requests from one trust domain to another.

use http::Method;
use http_body_util::BodyExt;

use super::*;
use crate::kit::{PROXIED, Tunnel, eventually};

const WIDGET: &str = "/apis/example.com/v1/namespaces/default/widgets/w/proxy";

#[tokio::test]
async fn i13_a_certificate_caller_arrives_in_another_domain_only_as_what_the_map_makes_of_him() {
    let two = Two::start().await;
    let mut b = two.entry("b");
    b["requestheaderUsernameHeaders"] = json!(["X-Remote-User", "X-B-User"]);
    let servers = json!([{ "name": "a", "trustDomain": "a" }, b]).to_string();
    let proxy = two.proxy().file("apiServers", &servers).start().await;
    let jane = jane();
    for client in [proxy.h2(As::Certificate(&jane)).await, proxy.h1(As::Certificate(&jane)).await] {
        let client =
            client.with("cookie", "of=a").with("authorization", "Bearer of-a").with("x-b-user", "root");
        assert_eq!(client.get(POLICIES).await.status, 200);
        let seen = two.at_b().pop().unwrap();
        is_only(&seen, "demo:jane");
        assert_eq!(seen.headers[PROXIED], "true");
        assert!(seen.certificate, "by the front-proxy certificate of its own PKI");
        assert_eq!(seen.leaf.as_ref(), Some(&OTHER.front_proxy_client.cert));

        assert_eq!(client.get("/api/v1/namespaces").await.status, 200);
        let seen = two.at_a().pop().unwrap();
        let at_home = seen.user.as_ref().unwrap();
        assert_eq!((at_home.name.as_str(), at_home.groups[0].as_str()), ("jane", "dev"));
        assert_eq!(seen.headers["cookie"], "of=a", "what is home's own goes there");
        assert!(!seen.headers.contains_key("x-b-user"), "nobody's name for a user is a client's to use");
        assert_eq!(seen.leaf.as_ref(), Some(&PKI.front_proxy_client.cert));
    }
}

#[tokio::test]
async fn i13_system_masters_of_one_domain_is_nobody_in_the_other() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(POLICIES).await.status, 200);
    is_only(&two.at_b().pop().unwrap(), "demo:kubernetes-admin");
    let text = format!("{:?}", two.at_b());
    assert!(!text.contains("system:masters"), "{text}");
    // And whom the other CA made a master is nobody here.
    let theirs = proxy.h2(As::Certificate(&OTHER.admin)).await;
    for path in [POLICIES, "/api/v1/namespaces", "/apis"] {
        theirs.get(path).await.refused(401);
    }
}

#[tokio::test]
async fn i13_a_token_never_leaves_homes_domain() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let bob = proxy.h2(As::Token(BOB)).await;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let reply = bob.ask(method, POLICIES).whole().await;
        forbidden(&reply, "a token goes only to servers of a");
        assert!(reply.refused(403).contains("trust domain b"), "{}", reply.text());
    }
    forbidden(&bob.get(&format!("{POLICIES}?watch=true")).await, "a token goes only to servers of a");
    forbidden(&proxy.h1(As::Nobody).await.get(POLICIES).await, "who is anonymous gets only to servers of a");
    let words = [("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.Ym9i")];
    let tunnel = Tunnel::ask(proxy.address(), As::Nobody, WIDGET, "websocket", &words).await;
    assert_eq!(tunnel.status(), 403);
    // What is at home is asked at home, and what is nowhere is home's 404.
    assert_eq!(bob.get("/api/v1/namespaces").await.status, 200);
    assert_eq!(bob.get("/apis/nobody.example/v1/things").await.status, 404);
    let failed = ["type=\"trust_domain\"", "resource=\"mutatingadmissionpolicies\""];
    assert_eq!(proxy.metric("apiserver_peer_proxy_errors_total", &failed).await, 5.0);
    assert!(two.at_b().is_empty(), "{:?}", two.at_b());
    assert!(!format!("{:?}", two.b.log().all()).contains(BOB), "nor by ourselves");
}

#[tokio::test]
async fn i13_a_caller_without_a_rule_gets_403_that_says_so() {
    let two = Two::start().await;
    let proxy = two.proxy().trusts_front_proxies().start().await;
    let mallory = proxy.h2(As::Certificate(&stranger())).await;
    forbidden(&mallory.get(POLICIES).await, "identityMap has no rule there for \"mallory\"");
    assert_eq!(mallory.get("/api/v1/namespaces").await.status, 200, "at home he is somebody");
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
    let told = front.with("x-remote-user", "eve").with("x-remote-group", "ops");
    forbidden(&told.get(POLICIES).await, "\"eve\"");
    assert!(two.at_b().is_empty());
    let told = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
    let told = told.with("x-remote-user", "jane").with("x-remote-group", "dev").with("x-remote-extra-a", "b");
    assert_eq!(told.get(POLICIES).await.status, 200);
    is_only(&two.at_b().pop().unwrap(), "demo:jane");
}

#[tokio::test]
async fn i13_without_any_rule_nobody_crosses() {
    let two = Two::start().await;
    let proxy = two.proxy().file("identityMap", "[]").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    forbidden(&admin.get(POLICIES).await, "no rule");
    assert!(two.at_b().is_empty());
}

#[tokio::test]
async fn i13_impersonation_ends_at_the_border() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    for (name, value) in
        [("impersonate-user", "root"), ("impersonate-group", "system:masters"), ("Impersonate-Extra-a", "b")]
    {
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await.with(name, value);
        forbidden(&admin.get(POLICIES).await, "Impersonate-*");
        if name == "impersonate-user" {
            assert_eq!(admin.get("/api/v1/namespaces").await.status, 200);
            assert_eq!(two.at_a().pop().unwrap().acting.unwrap().name, "root", "at home it is home's affair");
        }
    }
    assert!(two.at_b().is_empty());
}

#[tokio::test]
async fn i13_an_upgrade_goes_by_the_same_map() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let (jane, mallory) = (jane(), stranger());
    for protocol in ["SPDY/3.1", "websocket"] {
        let lines = [("cookie", "of=a")];
        let mut tunnel = Tunnel::ask(proxy.address(), As::Certificate(&jane), WIDGET, protocol, &lines).await;
        assert_eq!(tunnel.status(), 101, "{}", tunnel.head);
        tunnel.send(b"ping").await;
        assert_eq!(tunnel.next(4).await, b"ping");
        is_only(&two.at_b().pop().unwrap(), "demo:jane");
    }
    let asked = two.at_b().len();
    for who in [As::Certificate(&mallory), As::Token(BOB), As::Nobody] {
        let tunnel = Tunnel::ask(proxy.address(), who, WIDGET, "SPDY/3.1", &[]).await;
        assert_eq!(tunnel.status(), 403, "{}", tunnel.head);
    }
    assert_eq!(two.at_b().len(), asked);
}

#[tokio::test]
async fn i13_a_watch_goes_by_the_same_map() {
    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let jane = proxy.h2(As::Certificate(&jane())).await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let mut watch = jane.ask(Method::GET, &format!("{widgets}?watch=true")).begin().await;
    assert_eq!(watch.status(), 200);
    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w" } });
    assert_eq!(jane.post(widgets, &widget).await.status, 201);
    let frame = watch.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(std::str::from_utf8(&frame).unwrap().contains("ADDED"));
    assert!(two.at_b().len() >= 2);
    two.at_b().iter().for_each(|request| is_only(request, "demo:jane"));
}

#[tokio::test]
async fn i13_nobody_of_another_domain_stands_in_for_home() {
    let two = Two::start().await;
    let proxy = two.proxy().hasty().start().await;
    let jane = proxy.h2(As::Certificate(&jane())).await;
    assert_eq!(jane.get("/api/v1/namespaces").await.status, 200);
    two.a.server("a").stop().await;
    proxy.until_healthy("a", false).await;
    for path in ["/api/v1/namespaces", "/version", "/apis"] {
        jane.get(path).await.refused(503);
    }
    assert!(two.at_b().is_empty(), "its namespaces are others: {:?}", two.at_b());
    // What home never had is where it was.
    assert_eq!(jane.get(POLICIES).await.status, 200);
}

#[tokio::test]
async fn i13_who_denies_a_route_is_not_replaced_by_somebody_elses_thing_of_the_same_name() {
    use kube_peer_proxy::api::gvr::GroupVersionResource;
    use kube_peer_proxy::embedded::RouteFault;

    let two = Two::start().await;
    let proxy = two.proxy().start().await;
    let jane = proxy.h2(As::Certificate(&jane())).await;
    let maps =
        GroupVersionResource { group: String::new(), version: "v1".into(), resource: "configmaps".into() };
    two.a.server("a").faults().missing(maps, Some(RouteFault::PlainText));
    jane.get("/api/v1/namespaces/default/configmaps").await.refused(503);
    assert!(two.at_b().is_empty());
}

#[tokio::test]
async fn i13_what_home_has_in_part_is_not_taken_from_another_cluster() {
    let two = Two::start().await;
    let resize = "/api/v1/namespaces/default/pods/p/resize";
    let widgets = ResourceSpec::new("widgets", "Widget", true);
    two.a.server("a").discovery().add_resource("example.com", "v1alpha1", &widgets);
    let proxy = two.proxy().start().await;
    let jane = proxy.h2(As::Certificate(&jane())).await;
    let merged = jane.get_with("/apis", crate::kit::V2).await;
    assert!(merged.text().contains("v1alpha1") && merged.text().contains("\"v1\""), "both are listed");
    for path in [resize, "/apis/example.com/v1/namespaces/default/widgets"] {
        jane.get(path).await.refused(404);
    }
    assert!(two.at_b().is_empty(), "those are other pods and other widgets");
}

#[tokio::test]
async fn i13_before_home_was_heard_its_things_are_looked_for_nowhere_else() {
    let two = Two::start().await;
    let a = two.a.server("a");
    a.faults().discovery(Some(kube_peer_proxy::embedded::DiscoveryFault::Status(
        http::StatusCode::INTERNAL_SERVER_ERROR,
    )));
    let proxy = two.proxy().unready().start().await;
    proxy.until_it_is("b", kube_peer_proxy::discovery::catalog::Freshness::Fresh).await;
    let jane = proxy.h2(As::Certificate(&jane())).await;
    for path in ["/api/v1/namespaces", POLICIES] {
        assert_eq!(jane.get(path).await.header("retry-after"), "1", "{path}");
    }
    assert!(two.at_b().is_empty());
    a.faults().clear();
    eventually("home was heard", || {
        proxy.freshness("a") == kube_peer_proxy::discovery::catalog::Freshness::Fresh
    })
    .await;
    assert_eq!(jane.get(POLICIES).await.status, 200);
}
