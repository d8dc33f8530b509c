//! I1 and I2: what a client writes into headers.

use http::Method;

use super::{alone, last, user_of, values};
use crate::kit::{As, BOB, Cluster, PKI, Raw, certificate};
use kube_peer_proxy::embedded::Recorded::V1_36;

#[tokio::test]
async fn i1_no_spelling_of_an_identity_header_reaches_a_server() {
    let (cluster, proxy) = alone().await;
    let jane = certificate("jane", &["dev"]);
    let names = [
        "X-Remote-User",
        "x-remote-user",
        "X_Remote_User",
        "X-Remote_User",
        "X-REMOTE-UID",
        "X-Remote-Group",
        "x_remote_group",
        "X-Remote-Extra-Scopes",
        "x-remote_extra-scopes",
        "X-Remote-Extra-%2F",
        "X-Remote-Anything",
    ];
    let spoofed: String = names.iter().map(|name| format!("{name}: system:masters\r\n")).collect();
    let token = format!("Authorization: Bearer {BOB}\r\n");
    for (certificate, more, expected) in
        [(Some(&jane), "", "jane"), (None, token.as_str(), "bob"), (None, "", "system:anonymous")]
    {
        let mut raw = Raw::connect(proxy.address(), certificate).await;
        let head = format!("GET /version HTTP/1.1\r\nHost: k8s\r\n{more}{spoofed}Connection: close\r\n\r\n");
        raw.send(head).await;
        assert!(raw.rest().await.starts_with("HTTP/1.1 200"));
        let seen = last(&cluster);
        assert_eq!(user_of(&seen).name, expected);
        assert!(seen.headers.values().all(|value| value != "system:masters"), "{:?}", seen.headers);
        assert!(!user_of(&seen).groups.contains(&"system:masters".to_owned()));
    }
}

#[tokio::test]
async fn i1_headers_that_only_the_front_proxy_before_us_uses_are_taken_off_others_too() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").trusts_front_proxies();
    let proxy = proxy
        .flags(|args| {
            args.requestheader_username_headers = vec!["X-Account".into()];
            args.requestheader_extra_headers_prefix = vec!["X-Account-More-".into()];
        })
        .start()
        .await;
    let jane = certificate("jane", &[]);
    let client = proxy.h2(As::Certificate(&jane)).await;
    let lines = [("x-account", "root"), ("x_account", "root"), ("x-account-more-a", "root")];
    client.ask(Method::GET, "/version").headers(&lines).whole().await;
    assert!(last(&cluster).headers.values().all(|value| value != "root"));
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
    front.get_with("/version", ("x-account", "told")).await;
    assert_eq!(user_of(&last(&cluster)).name, "told");
}

#[tokio::test]
async fn i2_nothing_named_in_connection_takes_off_who_a_request_is_from() {
    let (cluster, proxy) = alone().await;
    for lines in [
        "Connection: close, X-Remote-User, X-Remote-Group, Impersonate-User, Authorization, Audit-ID\r\n",
        "Connection: close\r\nConnection: x-remote-user\r\nConnection: IMPERSONATE-USER , authorization\r\n",
        "Connection: close\r\nConnection: x-kubernetes-peer-proxied, x-forwarded-for, host\r\n",
    ] {
        let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
        raw.send(format!("GET /version HTTP/1.1\r\nHost: k8s\r\nImpersonate-User: jane\r\n{lines}\r\n"))
            .await;
        assert!(raw.rest().await.starts_with("HTTP/1.1 200"));
        let seen = last(&cluster);
        assert_eq!(user_of(&seen).name, "kubernetes-admin", "{lines}");
        assert_eq!(seen.acting.as_ref().unwrap().name, "jane", "{lines}");
        assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"], "{lines}");

        let mut raw = proxy.raw().await;
        raw.send(format!("GET /version HTTP/1.1\r\nHost: k8s\r\nAuthorization: Bearer {BOB}\r\n{lines}\r\n"))
            .await;
        assert!(raw.rest().await.starts_with("HTTP/1.1 200"));
        assert_eq!(user_of(&last(&cluster)).name, "bob", "{lines}");
    }
}

#[tokio::test]
async fn i2_what_every_connection_line_names_ends_here() {
    let (cluster, proxy) = alone().await;
    let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    raw.send(
        "GET /version HTTP/1.1\r\nHost: k8s\r\nConnection: close, X-One\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n\
         Connection: x-two\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic x\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    )
    .await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 200"));
    let seen = last(&cluster);
    assert_eq!(values(&seen, "x-three"), ["3"]);
    assert_eq!(values(&seen, "te"), ["trailers"]);
    let gone =
        ["connection", "x-one", "x-two", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"];
    for name in gone.into_iter().chain(["http2-settings", "transfer-encoding"]) {
        assert_eq!(values(&seen, name), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn i1_identity_in_the_trailers_of_an_upload_does_not_reach_a_server() {
    let (_cluster, proxy) = alone().await;
    let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    raw.send(
        "POST /test/sink HTTP/1.1\r\nHost: k8s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
         Trailer: X-Kept, X-Remote-User\r\n\r\n5\r\nhello\r\n0\r\nX-Kept: 1\r\nX-Remote-User: root\r\n\
         x_remote_group: system:masters\r\n\r\n",
    )
    .await;
    let answer = raw.rest().await;
    assert!(answer.contains(r#""trailers":[["x-kept","1"]]"#), "{answer}");
}
