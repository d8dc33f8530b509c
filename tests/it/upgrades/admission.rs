//! What is not even asked of a server.

use super::{EXEC, PKI, Tunnel, alone, upgrades};
use crate::kit::{As, Cluster, Proxy};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: k8s\r\nConnection: close\r\n\r\n";

/// Sends a request with another one behind it, and expects a 400 that ends the connection.
async fn refused(cluster: &Cluster, proxy: &Proxy, request: &str) -> String {
    let bytes = format!("{request}{SMUGGLED}");
    let mut client = Tunnel::send_first(proxy.address(), As::Certificate(&PKI.admin), bytes.as_bytes()).await;
    assert_eq!(client.status(), 400, "{request}: {}", client.head);
    assert_eq!(client.header("connection"), ["close"], "{request}");
    let body = client.body().await;
    let status: serde_json::Value = serde_json::from_str(&body).expect("one Status and nothing behind it");
    assert_eq!(status["reason"], "BadRequest");
    let asked = cluster.asked("v136", |_| true);
    assert!(asked.is_empty(), "{request}: {asked:?}");
    status["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn i5_upgrade_unknown_protocol_is_400() {
    let (cluster, proxy) = alone().await;
    for protocol in
        ["nonsense", "SPDY/3", "HTTP/2.0", "TLS/1.2", "websocket, nonsense", "SPDY/3.1, websocket"]
    {
        let request = Tunnel::request("GET", EXEC, protocol, As::Nobody, &[]);
        let message = refused(&cluster, &proxy, &request).await;
        assert!(message.contains("websocket") && message.contains("SPDY/3.1"), "{message}");
    }
    let twice = Tunnel::request("GET", EXEC, "websocket", As::Nobody, &[("Upgrade", "SPDY/3.1")]);
    refused(&cluster, &proxy, &twice).await;
    let old = Tunnel::request("GET", EXEC, "websocket", As::Nobody, &[]).replace("HTTP/1.1", "HTTP/1.0");
    refused(&cluster, &proxy, &old).await;
}

#[tokio::test]
async fn i5_upgrade_h2c_never_reaches_upstream() {
    let (cluster, proxy) = alone().await;
    let settings = ("HTTP2-Settings", "AAMAAABkAAQAAP__");
    for connection in ["Upgrade, HTTP2-Settings", "upgrade", "keep-alive, Upgrade"] {
        let request = Tunnel::request("GET", EXEC, "h2c", As::Nobody, &[settings])
            .replace("Connection: Upgrade", &format!("Connection: {connection}"));
        refused(&cluster, &proxy, &format!("{request}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn i5_upgrade_with_a_body_is_400() {
    let (cluster, proxy) = alone().await;
    for (framing, body) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let request = Tunnel::request("POST", EXEC, "SPDY/3.1", As::Nobody, &[])
            .replace("Connection:", &format!("{framing}\r\nConnection:"));
        refused(&cluster, &proxy, &format!("{request}{body}")).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_connection_does_not_name_is_an_ordinary_request() {
    let (cluster, proxy) = alone().await;
    let request = "GET /version HTTP/1.1\r\nHost: k8s\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n";
    let answer = Tunnel::send_first(proxy.address(), As::Nobody, request.as_bytes()).await;
    assert_eq!(answer.status(), 200);
    assert!(upgrades(&cluster, "v136").is_empty());
}

#[tokio::test]
async fn an_empty_post_may_ask_for_an_upgrade() {
    let (cluster, proxy) = alone().await;
    let request = Tunnel::request("POST", EXEC, "spdy/3.1", As::Nobody, &[("Content-Length", "0")]);
    let client = Tunnel::send_first(proxy.address(), As::Certificate(&PKI.admin), request.as_bytes()).await;
    assert_eq!(client.status(), 101, "{}", client.head);
    assert_eq!(client.header("upgrade"), ["SPDY/3.1"]);
    assert_eq!((client.header("content-length"), client.header("transfer-encoding")), (vec![], vec![]));
    assert_eq!(upgrades(&cluster, "v136")[0].method, "POST");
}
