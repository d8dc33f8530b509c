//! What ends a tunnel, and what is left of it then.

use std::time::Duration;

use kube_peer_proxy::embedded::UpgradeScript::Silent;
use kube_peer_proxy::embedded::{Farewell, Recorded::V1_36};
use kube_peer_proxy::ops::telemetry::LogFormat;
use kube_peer_proxy::servers::Class;
use tokio::time::timeout;

use super::{EXEC, Tunnel, alone, tunnel_at, until_closed_at, upgrade};
use crate::kit::{As, Capture, Cluster, DEADLINE, PKI, Proxy, eventually, until};

async fn ended(proxy: &Proxy, how: &str) {
    let label = format!("end=\"{how}\"");
    until(how, async || {
        (proxy.metric("kube_peer_proxy_tunnels_ended_total", &[&label]).await == 1.0).then_some(())
    })
    .await;
    eventually("its place is free", || proxy.connections("v136", Class::Upgrade).live == 0).await;
}

/// A tunnel through which something went.
async fn open(proxy: &Proxy) -> Tunnel {
    let mut client = upgrade(proxy.address(), EXEC).await;
    client.send(b"hello").await;
    assert_eq!(client.next(5).await, b"hello");
    client
}

#[tokio::test]
async fn a_server_that_is_killed_ends_the_clients_side_at_once() {
    let (cluster, proxy) = alone().await;
    let mut client = open(&proxy).await;
    cluster.server("v136").stop().await;
    assert_eq!(client.rest().await.0, b"");
    drop(client);
    ended(&proxy, "server broke off").await;
}

#[tokio::test]
async fn a_client_that_is_killed_ends_the_servers_side() {
    let (cluster, proxy) = alone().await;
    open(&proxy).await.cut();
    tunnel_at(&cluster, "v136", |tunnel| tunnel.ended.is_some()).await;
    until_closed_at(&cluster, "v136").await;
    ended(&proxy, "client broke off").await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_101_leaves_nothing_behind() {
    let (cluster, proxy) = alone().await;
    cluster.server("v136").faults().hang(true);
    let address = proxy.address();
    let asking = tokio::spawn(async move { upgrade(address, EXEC).await });
    eventually("it waits", || proxy.connections("v136", Class::Upgrade).live == 1).await;
    asking.abort();
    eventually("its place is free", || proxy.connections("v136", Class::Upgrade).live == 0).await;
    assert_eq!(proxy.target("v136").load.watches(), 0);
}

#[tokio::test]
async fn silence_ends_it_cleanly_on_both_sides() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").configure(|config| {
        config.upgrade_idle_timeout = Some(Duration::from_millis(300));
    });
    let proxy = proxy.start().await;
    let mut client = open(&proxy).await;
    assert_eq!(client.rest().await, (vec![], true));
    let seen = tunnel_at(&cluster, "v136", |tunnel| tunnel.ended.is_some()).await;
    assert_eq!(seen.ended, Some(Farewell::Clean));
    drop(client);
    ended(&proxy, "idle").await;
}

#[tokio::test(flavor = "current_thread")]
async fn leaving_lets_it_go_on_to_the_deadline_and_ends_it_cleanly_on_both_sides() {
    let capture = Capture::start("info", LogFormat::Json);
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").flags(|args| {
        args.shutdown_delay_duration = Some("100ms".into());
        args.shutdown_timeout = Some("4s".into());
    });
    let proxy = proxy.start().await;
    let address = proxy.address();
    let mut client = open(&proxy).await;
    let leaving = tokio::spawn(proxy.app.shutdown());
    until("nobody is accepted", async || tokio::net::TcpStream::connect(address).await.err()).await;
    client.send(b"still here").await;
    assert_eq!(client.next(10).await, b"still here");
    assert_eq!(client.rest().await, (vec![], true));
    let seen = tunnel_at(&cluster, "v136", |tunnel| tunnel.ended.is_some()).await;
    assert_eq!(seen.ended, Some(Farewell::Clean));
    drop(client);
    timeout(DEADLINE, leaving).await.expect("it waits for nobody else").unwrap();
    let path = EXEC.split('?').next().unwrap();
    let line = capture.access_line(path).expect("its line is written before the process is gone");
    assert_eq!((&line["end"], &line["bytes"]), (&"drained".into(), &15.into()), "{line}");
}

#[tokio::test]
async fn a_server_that_hangs_ends_it_when_others_know_that_it_is_dead() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").hasty().start().await;
    let mut client = open(&proxy).await;
    cluster.server("v136").faults().freeze(true);
    assert_eq!(client.rest().await.0, b"");
    drop(client);
    ended(&proxy, "server lost").await;
}

#[tokio::test]
async fn an_upgrade_that_nobody_answers_is_a_504_although_exec_may_last() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").configure(|config| {
        config.request_timeout = Duration::from_millis(500);
    });
    let proxy = proxy.start().await;
    let mut lasting = open(&proxy).await;
    cluster.server("v136").faults().hang(true);
    let mut client = upgrade(proxy.address(), EXEC).await;
    assert_eq!((client.status(), client.header("connection")), (504, vec!["close"]));
    assert!(client.body().await.contains("Timeout"));
    lasting.send(b"still here").await;
    assert_eq!(lasting.next(10).await, b"still here");
}

#[tokio::test]
async fn more_than_the_cap_is_a_503_until_one_ends() {
    let cluster = Cluster::start(&[V1_36]).await;
    cluster.server("v136").faults().upgrade(Silent);
    let proxy = cluster.proxy().home("v136").configure(|config| config.connections.max_upgrade = 2);
    let proxy = proxy.start().await;
    let first = upgrade(proxy.address(), EXEC).await;
    let second = Tunnel::ask(proxy.address(), As::Token(crate::kit::BOB), EXEC, "websocket", &[]).await;
    assert_eq!((first.status(), second.status()), (101, 101), "both kinds count together");
    let mut third = upgrade(proxy.address(), EXEC).await;
    assert_eq!((third.status(), third.header("retry-after")), (503, vec!["1"]));
    assert!(third.body().await.contains("2 upgraded connections"));
    assert_eq!(proxy.metric("kube_peer_proxy_upstream_exhausted_total", &[r#"class="upgrade""#]).await, 1.0);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/version").await.status, 200, "other classes go on");
    drop(first);
    until("there is room again", async || {
        let again = upgrade(proxy.address(), EXEC).await;
        (again.status() == 101).then_some(())
    })
    .await;
}
