//! What goes on and what stops here, whoever answers.

use std::net::TcpListener;

use http::{Method, Response, StatusCode};
use kube_peer_proxy::body;
use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};

use super::{CONFIG_MAPS, POLICIES, proxied};
use crate::kit::{As, BOB, Cluster, PKI, ProxyBuilder, Stub, Wire, eventually};

#[tokio::test]
async fn i11_an_address_in_the_request_line_or_host_is_never_dialled() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let trap = canary.local_addr().unwrap();
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let tail = format!("Authorization: Bearer {BOB}\nConnection: close\n\n");
    for head in [
        format!("GET https://{trap}/version HTTP/1.1\nHost: {trap}\n{tail}"),
        format!("GET http://{trap}/version HTTP/1.1\nHost: k8s\n{tail}"),
        format!("GET /version HTTP/1.1\nHost: {trap}\n{tail}"),
        format!("GET /version HTTP/1.1\nHost: k8s\nX-Forwarded-Host: {trap}\nForwarded: host={trap}\n{tail}"),
    ] {
        let answer = proxy.raw().await.ask(&head).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{head}: {answer}");
    }
    let connect = format!("CONNECT {trap} HTTP/1.1\nHost: {trap}\n{tail}");
    assert!(proxy.raw().await.ask(&connect).await.starts_with("HTTP/1.1 405"));
    assert_eq!(cluster.asked_for("v132", "/version").len(), 4);
    assert!(canary.accept().is_err(), "nobody may have connected");
}

#[tokio::test]
async fn i11_a_redirect_passes_to_the_client_and_is_not_followed() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let location = format!("https://{}/steal", canary.local_addr().unwrap());
    let told = location.clone();
    let stub = Stub::start(move |request| {
        let elsewhere = told.clone();
        async move {
            Stub::as_136(request.uri().path()).unwrap_or_else(|| {
                let redirect = Response::builder().status(307).header("location", elsewhere);
                redirect.body(body::full("moved")).unwrap()
            })
        }
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get(CONFIG_MAPS).await;
    assert_eq!((reply.status.as_u16(), reply.header("location"), reply.text()), (307, &*location, "moved"));
    assert!(canary.accept().is_err());
}

#[tokio::test]
async fn i11_a_redirect_of_our_own_fetch_is_a_failure() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let location = format!("https://{}/apis", canary.local_addr().unwrap());
    let stub = Stub::start(move |_| {
        let redirect = Response::builder().status(302).header("location", location.clone());
        async move { redirect.body(body::empty()).unwrap() }
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    assert_eq!(proxy.freshness("stub"), Freshness::Unknown);
    let error = proxy.target("stub").health.last_error().unwrap();
    assert!(error.contains("redirect is never followed"), "{error}");
    assert!(canary.accept().is_err());
}

#[tokio::test]
async fn i3_two_proxies_pointed_at_each_other_stop_after_one_hop() {
    let cluster = Cluster::with([("a", V1_36), ("b", V1_36)], |builder| builder).await;
    let (to_a, to_b) = (Wire::loose().await, Wire::loose().await);
    let beside = |home: &str, other: &str, wire: &Wire| {
        let proxy = ProxyBuilder::new().server(home, cluster.server(home).addr());
        proxy.server(other, wire.address).home(home).trusts_front_proxies().hasty().unready()
    };
    let a = beside("a", "b", &to_b).start().await;
    let b = beside("b", "a", &to_a).start().await;
    to_a.lead_to(a.address());
    to_b.lead_to(b.address());
    for (proxy, other) in [(&a, "b"), (&b, "a")] {
        proxy.until_it_is(other, Freshness::Fresh).await;
        proxy.until_healthy(other, true).await;
    }
    // Each of them thinks that the other's home has it, and neither has.
    for server in cluster.servers() {
        let policies = kube_peer_proxy::api::gvr::GroupVersionResource {
            group: "admissionregistration.k8s.io".into(),
            version: "v1".into(),
            resource: "mutatingadmissionpolicies".into(),
        };
        server.faults().missing(policies, Some(kube_peer_proxy::embedded::RouteFault::Status));
    }
    let admin = a.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get(POLICIES).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text());
    let at_a = cluster.asked_for("a", POLICIES);
    assert!(at_a.iter().all(|request| proxied(request).is_empty()), "none came back: {at_a:?}");
    let at_b = cluster.asked_for("b", POLICIES);
    assert!(at_b.iter().all(|request| proxied(request) == ["true"]), "{at_b:?}");
    assert!((1..=2).contains(&at_a.len()) && (1..=2).contains(&at_b.len()), "{} {}", at_a.len(), at_b.len());
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_end_here_and_the_rest_arrives() {
    let stub = Stub::start(|request| async move {
        Stub::as_136(request.uri().path()).unwrap_or_else(|| {
            let answer = Response::builder()
                .header("warning", "299 - \"one\"")
                .header("warning", "299 - \"two\"")
                .header("proxy-authenticate", "Basic")
                .header("x-vendor", "kept");
            answer.body(body::full("{}")).unwrap()
        })
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    let reply = proxy.h1(As::Certificate(&PKI.admin)).await.get(CONFIG_MAPS).await;
    assert_eq!(reply.headers.get_all("warning").iter().count(), 2);
    assert_eq!((reply.header("x-vendor"), reply.header("proxy-authenticate")), ("kept", ""));
}

#[tokio::test]
async fn an_audit_id_is_made_when_there_is_none_and_kept_when_there_is_one() {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let kept = admin.ask(Method::GET, "/version?kept").header("audit-id", "mine").whole().await;
    assert_eq!(kept.headers.get_all("audit-id").iter().collect::<Vec<_>>(), ["mine"]);
    let made = admin.get("/version?made").await;
    let at_home = &cluster.asked_for("v132", "/version?made")[0].headers["audit-id"];
    assert_eq!((made.header("audit-id").len(), made.headers["audit-id"] == *at_home), (36, true));
}

#[tokio::test]
async fn the_proxy_listens_and_connects_on_ipv6() {
    let cluster = Cluster::start(&[V1_32]).await;
    let Ok(loopback) = std::net::TcpListener::bind("[::1]:0") else {
        crate::kit::say!("SKIPPED {}: this machine has no IPv6", module_path!());
        return;
    };
    let address = loopback.local_addr().unwrap();
    drop(loopback);
    let proxy = cluster.proxy().home("v132").listen(address).start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/version").await.status, 200);
    assert_eq!(cluster.asked_for("v132", "/version")[0].headers["x-forwarded-for"], "::1");
    eventually("nothing under way", || proxy.target("v132").load.requests() == 0).await;
}
