//! I12: secrets reach no log, no metric and no page.

use http::Method;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::user;
use kube_peer_proxy::ops::telemetry::LogFormat;
use serde_json::json;

use crate::kit::{As, Capture, Cluster, DEADLINE, PKI, PROXIED, Tunnel, V2, Wire, certificate, eventually};

const CANARY: &str = "canary-7f3a";

/// Everything that can carry a secret.
const LINES: [(&str, &str); 7] = [
    ("sec-websocket-protocol", "base64.channel.k8s.io, base64url.bearer.authorization.k8s.io.canary-7f3a"),
    ("cookie", "session=canary-7f3a"),
    ("proxy-authorization", "Basic canary-7f3a"),
    ("x-remote-user", "canary-7f3a"),
    ("impersonate-extra-secret", "canary-7f3a"),
    ("x-amz-security-token", "canary-7f3a"),
    ("x-never-heard-of", "canary-7f3a"),
];

#[tokio::test]
async fn i12_a_token_appears_in_no_log_no_metric_and_no_page() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let logs = Capture::start("trace", format);
        let known = |builder: kube_peer_proxy::embedded::Builder| builder.token(CANARY, user("carol", &[]));
        let cluster = Cluster::with([("v132", V1_32), ("v136", V1_36)], known).await;
        let wire = Wire::to(cluster.server("v136").addr()).await;
        let proxy =
            cluster.proxy().server("v136", wire.address).home("v132").trusts_front_proxies().start().await;
        let jane = certificate("jane", &[]);
        let unknown = format!("x{CANARY}");
        for who in [As::Token(CANARY), As::Token(&unknown), As::Certificate(&jane)] {
            for client in [proxy.h1(who).await, proxy.h2(who).await] {
                for target in [
                    "/version?token=canary-7f3a",
                    "/apis",
                    "/api/v1/namespaces/default/configmaps",
                    "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
                    "/apis/nobody.example/v1/things?access_token=canary-7f3a",
                    "/api/v1/namespaces/../canary",
                ] {
                    client.ask(Method::GET, target).headers(&LINES).headers(&[V2]).whole().await;
                }
                let token = json!({ "spec": { "token": CANARY } });
                client.post("/apis/authentication.k8s.io/v1/tokenreviews", &token).await;
                client.get_with("/version", (PROXIED, "true")).await;
            }
        }
        let exec = "/api/v1/namespaces/default/pods/p/exec?token=canary-7f3a";
        for (who, protocol, status) in [
            (As::Token(CANARY), "websocket", 101),
            (As::Certificate(&jane), "SPDY/3.1", 101),
            (As::Token(&unknown), "SPDY/3.1", 401),
            (As::Token(CANARY), CANARY, 400),
        ] {
            // Without the one that impersonates, which they may not.
            let mut client = Tunnel::ask(proxy.address(), who, exec, protocol, &LINES[..4]).await;
            assert_eq!(client.status(), status, "{}", client.head);
            if status == 101 {
                client.send(CANARY).await;
                client.finish().await;
            }
            client.rest().await;
        }
        // And where things go wrong.
        wire.refuse().await;
        wire.reset();
        let carol = proxy.h2(As::Token(CANARY)).await;
        for _ in 0..3 {
            let policies = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
            let reply = carol.ask(Method::GET, policies).headers(&LINES).whole().await;
            assert!(!reply.text().contains(CANARY));
        }
        let raw = proxy.raw().await;
        raw.ask(&format!(
            "GET / HTTP/1.1\nHost: k8s\nAuthorization: Bearer {CANARY}\nHost: twice\nConnection: close\n\n"
        ))
        .await;

        eventually("the last access line is there", || logs.text().contains("refused")).await;
        let text = logs.text();
        let lines: Vec<_> =
            text.lines().filter(|line| line.contains("kube_peer_proxy") || line.contains("access")).collect();
        assert!(lines.len() > 30, "there was something to look at: {}", lines.len());
        let leaks: Vec<_> = text.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
        for page in [
            "/metrics",
            "/debug/servers",
            "/debug/catalog",
            "/debug/explain?path=/version",
            "/readyz?verbose",
        ] {
            assert!(!proxy.page(page).await.text().contains(CANARY), "{page}");
        }
        // It did get to where it was meant for.
        let at_home = cluster.server("v132").log();
        let carried = |request: &kube_peer_proxy::embedded::LoggedRequest| {
            request.headers.get("authorization").is_some_and(|value| value == "Bearer canary-7f3a")
        };
        assert!(at_home.wait_for(DEADLINE, carried).await.is_some());
    }
}

#[tokio::test]
async fn i12_a_secret_in_a_servers_error_is_not_logged_either() {
    let logs = Capture::start("debug", LogFormat::Text);
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "k": CANARY } });
    assert_eq!(admin.post("/api/v1/namespaces/default/secrets", &secret).await.status, 201);
    assert_eq!(admin.post("/api/v1/namespaces/default/secrets", &secret).await.status, 409);
    assert!(admin.get("/api/v1/namespaces/default/secrets/s").await.text().contains(CANARY));
    assert!(!logs.text().contains(CANARY));
}

#[tokio::test]
async fn the_access_line_tells_who_what_where_and_why() {
    let logs = Capture::start("info", LogFormat::Json);
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let jane = proxy.h2(As::Certificate(&certificate("jane", &[]))).await.with("audit-id", "meet");
    let policies = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
    assert_eq!(jane.get(&format!("{policies}?limit=1")).await.status, 200);
    eventually("the line is there", || logs.access_line(policies).is_some()).await;
    let line = logs.access_line(policies).unwrap();
    for (field, value) in [
        ("user", json!("jane")),
        ("caller", json!("certificate")),
        ("verb", json!("list")),
        ("resource", json!("mutatingadmissionpolicies")),
        ("server", json!("v136")),
        ("reason", json!("peers-serve")),
        ("attempts", json!(1)),
        ("status", json!(200)),
        ("audit_id", json!("meet")),
        ("end", json!("whole")),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert_eq!(cluster.asked("v136", |one| one.target.starts_with(policies))[0].headers["audit-id"], "meet");
}

#[tokio::test]
async fn a_refused_request_has_an_access_line_with_its_reason() {
    let logs = Capture::start("info", LogFormat::Json);
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    proxy.h2(As::Nobody).await.get("/api/v1/namespaces/../nodes").await.refused(400);
    eventually("the line is there", || logs.access_line("/api/v1/namespaces/../nodes").is_some()).await;
    let line = logs.access_line("/api/v1/namespaces/../nodes").unwrap();
    assert!(line["status"] == 400 && line["error"].as_str().unwrap().contains("dot segment"), "{line}");
}
