//! Home answers.

use http::Method;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};

use super::{CONFIG_MAPS, POLICIES, three};
use crate::kit::client::Protocol;
use crate::kit::{As, BOB, Client, Cluster, PKI};

#[tokio::test]
async fn what_home_lists_stays_at_home() {
    let cluster = three().await;
    for home in ["v132", "v135", "v136"] {
        let proxy = cluster.proxy().home(home).start().await;
        cluster.servers().for_each(|server| server.log().clear());
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        assert_eq!(admin.get(CONFIG_MAPS).await.status, 200);
        for server in cluster.servers() {
            let expected = usize::from(server.id() == home);
            assert_eq!(
                cluster.asked_for(server.id(), CONFIG_MAPS).len(),
                expected,
                "{} of {home}",
                server.id()
            );
        }
    }
}

#[tokio::test]
async fn what_nobody_lists_gets_homes_own_404_byte_for_byte() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let through = proxy.h2(As::Token(BOB)).await.with("audit-id", "same");
    let direct = Client::connect(cluster.server("v132").addr(), As::Token(BOB), Protocol::H2).await;
    let direct = direct.with("audit-id", "same");
    for path in [
        "/apis/nobody.example/v1/things",
        "/apis/apps/v1/nothings",
        "/apis/apps/v7/deployments",
        "/api/v1/namespaces/default/pods/p/nosuchsubresource",
        "/nowhere",
    ] {
        let (mut ours, mut theirs) = (through.get(path).await, direct.get(path).await);
        // A second may have passed between the two.
        assert!(ours.headers.remove("date").is_some() && theirs.headers.remove("date").is_some(), "{path}");
        assert_eq!(ours.status, 404, "{path}");
        assert_eq!((ours.body, ours.headers), (theirs.body, theirs.headers), "{path}");
    }
    assert!(cluster.asked("v136", |_| true).is_empty());
}

#[tokio::test]
async fn behind_a_proxy_subresource_home_decides_whatever_the_rest_looks_like() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    for rest in [POLICIES, "/a%2Fb//c/./..;x=1/%00?q=%2F&b=2&a=1&d", ""] {
        for object in ["pods/p", "services/https:s:443", "../nodes/n"] {
            let target = match object.strip_prefix("../") {
                Some(cluster_wide) => format!("/api/v1/{cluster_wide}/proxy{rest}"),
                None => format!("/api/v1/namespaces/default/{object}/proxy{rest}"),
            };
            let head = format!(
                "GET {target} HTTP/1.1\nHost: k8s\nAuthorization: Bearer {BOB}\nConnection: close\n\n"
            );
            let answer = proxy.raw().await.ask(&head).await;
            assert!(!answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
            assert_eq!(cluster.asked_for("v132", &target).len(), 1, "{target}: {answer}");
        }
    }
    assert!(cluster.asked("v136", |_| true).is_empty());
}

#[tokio::test]
async fn what_is_no_resource_goes_to_home() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v136").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for path in ["/version", "/readyz?verbose", "/openapi/v3", "/apis/apps", "/apis/", "/metrics", "/"] {
        admin.get(path).await;
        assert_eq!(cluster.asked_for("v136", path).len(), 1, "{path}");
    }
    assert_eq!(admin.get("/version").await.json()["minor"], "36");
    assert!(cluster.asked("v132", |_| true).is_empty());
}

#[tokio::test]
async fn a_trailing_slash_and_an_odd_query_arrive_as_they_were_sent() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for (server, target) in [
        ("v132", "/api/v1/namespaces/default/configmaps/?b=2&a=1&d"),
        ("v132", "/test/echo?b=2&a=1&d&&=&%7e=%2f;x"),
        ("v132", "/api/v1/namespaces/default/%63onfigmaps?limit=%31"),
        ("v136", "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/?b=2&a=1&d"),
        ("v136", "/apis/admissionregistration.k8s.io/v1/mutatingadmission%70olicies?x=%zz"),
    ] {
        admin.ask(Method::GET, target).whole().await;
        assert_eq!(cluster.asked_for(server, target).len(), 1, "{target}");
    }
}

#[tokio::test]
async fn a_path_that_could_be_read_in_two_ways_is_refused_before_any_server_sees_it() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    for target in [
        "/api%2fv1/namespaces",
        "/api/v1//pods",
        "//api/v1/pods",
        "/api/v1/namespaces/../nodes",
        "/api/v1/namespaces/%2e%2e/nodes",
        "/api/v1/namespaces/default%2Fpods/x",
        "/api/v1/namespaces/default/pods/p%00",
        "/api/v1/namespaces/%zz",
    ] {
        let head =
            format!("GET {target} HTTP/1.1\nHost: k8s\nAuthorization: Bearer {BOB}\nConnection: close\n\n");
        let answer = proxy.raw().await.ask(&head).await;
        let refused = answer.starts_with("HTTP/1.1 400") && answer.contains(r#""kind":"Status""#);
        assert!(refused, "{target}: {answer}");
    }
    assert!(cluster.asked("v132", |_| true).is_empty());
}
