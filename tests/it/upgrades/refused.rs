//! Anything but a fitting 101 is the last thing on both connections (CVE-2018-1002105).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use kube_peer_proxy::embedded::UpgradeScript::{OtherProtocol, Redirect, Refuse};
use kube_peer_proxy::limits::MAX_REFUSED_UPGRADE_BYTES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{EXEC, PKI, PROTOCOLS, Tunnel, alone, until_closed_at, upgrade, upgrades};
use crate::kit::{As, ProxyBuilder, Wild, read_head};

const SMUGGLED: &str = "DELETE /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: k8s\r\n\r\n";

#[tokio::test]
async fn i5_upgrade_refused_closes_both_sides() {
    let (cluster, proxy) = alone().await;
    for (said, heard) in [
        (200, 502),
        (204, 502),
        (302, 502),
        (400, 400),
        (401, 401),
        (403, 403),
        (404, 404),
        (500, 500),
        (503, 503),
    ] {
        for protocol in PROTOCOLS {
            let before = cluster.server("v136").log().count();
            let code = StatusCode::from_u16(said).unwrap();
            cluster.server("v136").faults().upgrade(Refuse(code, 0));
            let request = Tunnel::request("GET", EXEC, protocol, As::Nobody, &[]) + SMUGGLED;
            let admin = As::Certificate(&PKI.admin);
            let mut client = Tunnel::send_first(proxy.address(), admin, request.as_bytes()).await;
            assert_eq!(client.status(), heard, "{said}: {}", client.head);
            assert_eq!(client.header("connection"), ["close"], "{said}");
            let body = client.body().await;
            let status: serde_json::Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"));
            assert_eq!(status["code"], heard, "{said}: one Status and nothing behind it");
            // Its own Status, word for word.
            assert_eq!(status["reason"] == "Refused", said == heard, "{said}: {status}");
            let asked = cluster.asked("v136", |request| request.number >= before);
            assert_eq!(asked.len(), 1, "{said}: the server saw one request: {asked:?}");
            until_closed_at(&cluster, "v136").await;
        }
    }
    assert_eq!(proxy.metric("kube_peer_proxy_tunnels_ended_total", &[]).await, 0.0);
}

#[tokio::test]
async fn i5_upgrade_refusal_of_more_than_the_bound_is_a_502() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().upgrade(Refuse(StatusCode::FORBIDDEN, MAX_REFUSED_UPGRADE_BYTES));
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!((client.status(), client.rest().await.0.len()), (403, MAX_REFUSED_UPGRADE_BYTES));
    cluster.server("v136").faults().upgrade(Refuse(StatusCode::FORBIDDEN, MAX_REFUSED_UPGRADE_BYTES + 1));
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!(client.status(), 502);
    let body = client.body().await;
    assert!(body.contains("403") && body.len() < 1000, "{body}");
    until_closed_at(&cluster, "v136").await;
}

/// CVE-2020-8559
#[tokio::test]
async fn i5_upgrade_redirect_becomes_502() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().upgrade(Redirect);
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!((client.status(), client.header("location")), (502, vec![]));
    let body = client.body().await;
    assert!(!body.contains("stolen") && body.contains("302"), "{body}");
    until_closed_at(&cluster, "v136").await;
}

#[tokio::test]
async fn i5_upgrade_to_another_protocol_than_asked_is_a_502() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().upgrade(OtherProtocol);
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!((client.status(), client.header("upgrade")), (502, vec![]));
    client.rest().await;
    until_closed_at(&cluster, "v136").await;
    for other in ["Upgrade: websocket\r\n", "", "Upgrade: SPDY/3.1\r\nUpgrade: h2c\r\n"] {
        let wild = Wild::start(move |mut tls| async move {
            read_head(&mut tls).await;
            let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{other}\r\n");
            tls.write_all(answer.as_bytes()).await.unwrap();
            let _ = tls.read(&mut [0; 16]).await;
        })
        .await;
        let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
        assert_eq!(upgrade(proxy.address(), EXEC).await.status(), 502, "{other:?}");
    }
}

/// Pingora's CVE-2026-2833: the tunnel was entered before the server had agreed.
#[tokio::test]
async fn i5_upgrade_no_body_byte_before_101() {
    let early = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&early);
    let wild = Wild::start(move |mut tls| {
        let noted = Arc::clone(&noted);
        async move {
            let head = read_head(&mut tls).await;
            // There is no event for what must not happen; half a second is a thousand times what it would take.
            let waited = timeout(Duration::from_millis(500), tls.read_u8()).await;
            *noted.lock().unwrap() = Some((head, waited.is_ok()));
            tls.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
            )
            .await
            .unwrap();
            let mut heard = [0; 9];
            tls.read_exact(&mut heard).await.unwrap();
            tls.write_all(&heard).await.unwrap();
            tls.shutdown().await.unwrap();
        }
    })
    .await;
    let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
    let request = Tunnel::request("POST", EXEC, "SPDY/3.1", As::Nobody, &[]) + "too early";
    let admin = As::Certificate(&PKI.admin);
    let mut client = Tunnel::send_first(proxy.address(), admin, request.as_bytes()).await;
    assert_eq!(client.status(), 101);
    assert_eq!(client.next(9).await, b"too early", "it is not lost either");
    let (head, came_early) = early.lock().unwrap().take().unwrap();
    assert!(!came_early, "a byte came before the 101");
    assert!(head.to_lowercase().contains("\r\nupgrade: spdy/3.1\r\n"), "{head}");
}

#[tokio::test]
async fn what_the_server_says_in_one_breath_with_its_101_arrives() {
    let wild = Wild::start(|mut tls| async move {
        read_head(&mut tls).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst words";
        tls.write_all(answer.as_bytes()).await.unwrap();
        tls.shutdown().await.unwrap();
        let _ = tls.read(&mut [0; 16]).await;
    })
    .await;
    let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
    let admin = As::Certificate(&PKI.admin);
    let mut client = Tunnel::ask(proxy.address(), admin, EXEC, "websocket", &[]).await;
    assert_eq!(client.rest().await, (b"first words".to_vec(), true));
}

#[tokio::test]
async fn i9_an_upgrade_whose_server_dies_before_it_answers_is_not_sent_again() {
    let heads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&heads);
    let wild = Wild::start(move |mut tls| {
        let counted = Arc::clone(&counted);
        async move {
            read_head(&mut tls).await;
            *counted.lock().unwrap() += 1;
        }
    })
    .await;
    let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
    let request = Tunnel::request("POST", EXEC, "SPDY/3.1", As::Nobody, &[]);
    let admin = As::Certificate(&PKI.admin);
    let mut client = Tunnel::send_first(proxy.address(), admin, request.as_bytes()).await;
    assert_eq!((client.status(), client.header("connection")), (503, vec!["close"]));
    assert!(client.body().await.contains("may have acted"));
    assert_eq!(*heads.lock().unwrap(), 1);
}

#[tokio::test]
async fn an_answer_of_101_that_nobody_asked_for_is_a_502() {
    let wild = Wild::start(|mut tls| async move {
        read_head(&mut tls).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        tls.write_all(answer.as_bytes()).await.unwrap();
        let _ = tls.read(&mut [0; 16]).await;
    })
    .await;
    let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
    let nobody = proxy.h2(As::Nobody).await;
    nobody.get("/api/v1/pods").await.refused(502);
}

#[tokio::test]
async fn an_upgrade_that_the_server_does_not_take_for_one_is_answered_502_and_discovery_is_no_exception() {
    let (cluster, proxy) = alone().await;
    for target in ["/apis", "/version", super::PODS] {
        let accept: &[_] = if target == "/apis" { &[("Accept", crate::kit::V2.1)] } else { &[] };
        let admin = As::Certificate(&PKI.admin);
        let client = Tunnel::ask(proxy.address(), admin, target, "websocket", accept).await;
        assert_eq!(client.status(), 502, "{target}");
    }
    assert_eq!(upgrades(&cluster, "v136").len(), 3);
}

#[tokio::test]
async fn a_refusal_in_chunks_goes_on_without_the_length_that_did_not_count() {
    let wild = Wild::start(|mut tls| async move {
        read_head(&mut tls).await;
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
        tls.write_all(answer.as_bytes()).await.unwrap();
        let _ = tls.read(&mut [0; 16]).await;
    })
    .await;
    let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!((client.status(), client.header("content-length")), (403, vec!["2"]));
    assert_eq!(client.rest().await.0, b"no");
}
