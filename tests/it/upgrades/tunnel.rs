//! What goes through, and how it is told.

use std::sync::Arc;

use kube_peer_proxy::embedded::Farewell;
use kube_peer_proxy::embedded::UpgradeScript::{Listen, Say};
use kube_peer_proxy::ops::telemetry::LogFormat;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{EXEC, PODS, PROTOCOLS, Tunnel, WIDGET, alone, tunnel_at, two, upgrade, upgrades};
use crate::kit::{As, Capture, DEADLINE, PKI, ProxyBuilder, Wild, eventually, read_head, until};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn both_protocols_carry_bytes_at_home_and_at_a_peer() {
    let (cluster, proxy) = two().await;
    let sub = |name: &str| format!("{PODS}/p/{name}?x=%2F;y");
    for target in [sub("exec"), sub("attach"), sub("portforward"), format!("{WIDGET}/deep//path?a=b")] {
        for protocol in PROTOCOLS {
            let admin = As::Certificate(&PKI.admin);
            let mut client = Tunnel::ask(proxy.address(), admin, &target, protocol, &[]).await;
            assert_eq!(client.status(), 101, "{target}: {}", client.head);
            assert_eq!(
                (client.header("connection"), client.header("upgrade")),
                (vec!["Upgrade"], vec![protocol])
            );
            for word in [&b"one"[..], b"\0\r\n\r\n", &[255; 100_000]] {
                client.send(word).await;
                assert_eq!(client.next(word.len()).await, word);
            }
        }
        let server = if target == sub("exec") || target.starts_with(PODS) { "v132" } else { "v136" };
        assert!(upgrades(&cluster, server).iter().any(|one| one.target == target), "{target} byte for byte");
    }
}

#[tokio::test]
async fn a_client_that_has_said_its_last_still_hears_megabytes() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().upgrade(Listen(3 * MIB));
    let mut client = upgrade(proxy.address(), EXEC).await;
    client.send(vec![1; 2 * MIB]).await;
    client.finish().await;
    let (heard, clean) = client.rest().await;
    assert_eq!((heard.len(), clean), (3 * MIB, true));
    let seen = tunnel_at(&cluster, "v136", |tunnel| tunnel.ended.is_some()).await;
    assert_eq!((seen.received, seen.ended), (2 * MIB as u64, Some(Farewell::Clean)));
}

#[tokio::test]
async fn a_server_that_has_said_its_last_still_hears_megabytes() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().upgrade(Say(3 * MIB));
    let mut client = upgrade(proxy.address(), EXEC).await;
    let (heard, clean) = client.rest().await;
    assert_eq!((heard.len(), clean), (3 * MIB, true));
    client.send(vec![1; 2 * MIB]).await;
    client.finish().await;
    let seen = tunnel_at(&cluster, "v136", |tunnel| tunnel.ended.is_some()).await;
    assert_eq!((seen.received, seen.ended), (2 * MIB as u64, Some(Farewell::Clean)));
}

/// Few enough to be in the kernel's hands when the server goes.
const LAST: usize = MIB / 4;

/// A socket that is closed with unread bytes in it is reset, and what it was to send is lost.
#[tokio::test]
async fn the_last_bytes_arrive_even_if_the_client_is_still_talking_when_the_server_leaves() {
    let left = Arc::new(Notify::new());
    let leaves = Arc::clone(&left);
    let wild = Wild::start(move |mut tls| {
        let leaves = Arc::clone(&leaves);
        async move {
            read_head(&mut tls).await;
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
            tls.write_all(answer.as_bytes()).await.unwrap();
            tls.read_exact(&mut [0; 5]).await.unwrap();
            tls.write_all(&[b'k'; LAST]).await.unwrap();
            tls.shutdown().await.unwrap();
            drop(tls);
            leaves.notify_one();
        }
    })
    .await;
    let proxy = ProxyBuilder::new().server("wild", wild.address).home("wild").start().await;
    for _ in 0..5 {
        let mut client = upgrade(proxy.address(), EXEC).await;
        client.send(b"hello").await;
        timeout(DEADLINE, left.notified()).await.unwrap();
        // Nobody will read this.
        for _ in 0..4 {
            client.send(vec![1; 64 * 1024]).await;
        }
        let (heard, clean) = client.rest().await;
        assert_eq!((heard.len(), clean), (LAST, true));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_server_and_costs_bounded_memory() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().upgrade(Say(usize::MAX));
    let mut client = upgrade(proxy.address(), EXEC).await;
    let sent = || upgrades(&cluster, "v136")[0].tunnel.map_or(0, |tunnel| tunnel.sent);
    let (mut last, mut still) = (0, 0);
    let stopped = until("the server can send no more", async || {
        let now = sent();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        (still > 50).then_some(now)
    })
    .await;
    // Four sockets' buffers in the kernel, and next to nothing in the proxy.
    assert!(stopped < 32 * MIB as u64, "{stopped}");
    client.next(stopped as usize).await;
    eventually("it goes on", || sent() > stopped).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_upgrade_is_one_access_line_at_its_end_and_metrics_all_the_while() {
    let capture = Capture::start("info", LogFormat::Json);
    let (_cluster, proxy) = alone().await;
    let mut client = upgrade(proxy.address(), EXEC).await;
    client.send(b"hello").await;
    assert_eq!(client.next(5).await, b"hello");
    let path = EXEC.split('?').next().unwrap();
    assert_eq!(capture.access_line(path), None, "it is not over");
    let server = r#"server="v136""#;
    assert_eq!(proxy.metric("kube_peer_proxy_tunnels", &[server]).await, 1.0);
    assert_eq!(
        proxy.metric("kube_peer_proxy_upstream_connections", &[r#"class="upgrade""#, "live"]).await,
        1.0
    );
    assert_eq!(proxy.metric("kube_peer_proxy_requests_in_flight", &[r#"long_running="true""#]).await, 1.0);
    assert_eq!((proxy.target("v136").load.watches(), proxy.target("v136").load.requests()), (1, 0));
    for direction in ["up", "down"] {
        let labels = [server, &format!("direction=\"{direction}\"")];
        assert_eq!(proxy.metric("kube_peer_proxy_tunnel_bytes_total", &labels).await, 5.0, "{direction}");
    }

    client.finish().await;
    client.rest().await;
    drop(client);
    let line = until("the access line", async || capture.access_line(path)).await;
    assert_eq!((&line["status"], &line["class"]), (&101.into(), &"upgrade".into()), "{line}");
    assert_eq!((&line["bytes"], &line["received"]), (&5.into(), &5.into()), "{line}");
    assert_eq!((&line["end"], &line["server"]), (&"client closed".into(), &"v136".into()), "{line}");
    assert_eq!(proxy.metric("kube_peer_proxy_tunnels", &[server]).await, 0.0);
    assert_eq!(proxy.metric("kube_peer_proxy_tunnels_ended_total", &["client closed"]).await, 1.0);
    assert_eq!(proxy.metric("kube_peer_proxy_tunnel_duration_seconds_count", &[server]).await, 1.0);
    let requests = [r#"class="upgrade""#, r#"code="101""#];
    assert_eq!(proxy.metric("kube_peer_proxy_requests_total", &requests).await, 1.0);
    assert_eq!(proxy.target("v136").load.watches(), 0);
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_among_the_clients_connections() {
    let cluster = crate::kit::Cluster::start(&[kube_peer_proxy::embedded::Recorded::V1_36]).await;
    let proxy = cluster.proxy().home("v136").flags(|args| args.max_connections = Some("1".into()));
    let proxy = proxy.start().await;
    let mut client = upgrade(proxy.address(), EXEC).await;
    client.send(b"hello").await;
    assert_eq!(client.next(5).await, b"hello");
    assert_eq!(proxy.metric("kube_peer_proxy_client_connections", &[]).await, 1.0);
    let second = crate::kit::client::tls(proxy.address(), None, crate::kit::client::Protocol::H1).await;
    assert!(second.is_err(), "there is one place");
    client.finish().await;
    client.rest().await;
    drop(client);
    until("the place is free", async || {
        crate::kit::client::tls(proxy.address(), None, crate::kit::client::Protocol::H1).await.ok()
    })
    .await;
}
