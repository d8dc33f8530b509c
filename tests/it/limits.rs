//! Every limit towards clients, exceeded. (How much of a request may come, and frames that nobody honest sends:
//! `hostile`.)

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::kit::client::Protocol;
use crate::kit::{
    As, Client, Cluster, DEADLINE, PKI, Program, Proxy, ProxyBuilder, certificate, eventually, until,
};

async fn proxy(describe: impl FnOnce(ProxyBuilder) -> ProxyBuilder) -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = describe(cluster.proxy().home("v136")).start().await;
    (cluster, proxy)
}

/// A client that comes from that address.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Waits until the other end closes a connection on which nothing came before.
async fn closed(tcp: &mut TcpStream) {
    let read = timeout(DEADLINE, tcp.read(&mut [0; 1])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

async fn works(tcp: TcpStream) -> bool {
    match Client::through(tcp, Some(&PKI.admin), Protocol::H2).await {
        Ok(client) => client.get("/version").await.status == 200,
        Err(_) => false,
    }
}

// === Connections ===

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let (_cluster, proxy) = proxy(|proxy| proxy.file("tlsHandshakeTimeout", "100ms")).await;
    let mut silent = TcpStream::connect(proxy.address()).await.unwrap();
    let mut slow = TcpStream::connect(proxy.address()).await.unwrap();
    slow.write_all(b"\x16\x03\x01\x02\0").await.unwrap();
    closed(&mut silent).await;
    closed(&mut slow).await;
    let counted = proxy.metric("kube_peer_proxy_client_handshakes_total", &["timeout"]).await;
    assert_eq!(counted, 2.0);
}

#[tokio::test]
async fn too_many_handshakes_cost_the_longest_one_and_keep_no_honest_client_out() {
    let (_cluster, proxy) = proxy(|proxy| proxy.file("maxHandshakes", "3")).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    until("three at the door", async || {
        (proxy.metric("kube_peer_proxy_client_connections", &[]).await == 3.0).then_some(())
    })
    .await;
    assert!(works(TcpStream::connect(proxy.address()).await.unwrap()).await);
    closed(&mut silent[0]).await;
    let counted = proxy.metric("kube_peer_proxy_client_handshakes_total", &["given-up"]).await;
    assert_eq!(counted, 1.0);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_next_one_after_a_leave_is_not() {
    let (_cluster, proxy) = proxy(|proxy| proxy.flags(|args| args.max_connections = Some("2".into()))).await;
    let (one, _two) =
        (proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h2(As::Certificate(&PKI.admin)).await);
    assert_eq!(one.get("/version").await.status, 200);
    closed(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
    assert_eq!(refused(&proxy, "max-connections").await, 1.0);
    one.cut();
    until("a place is free again", async || {
        works(TcpStream::connect(proxy.address()).await.unwrap()).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_source_cannot_take_the_places_of_the_others() {
    let (_cluster, proxy) =
        proxy(|proxy| proxy.flags(|args| args.max_connections_per_source = Some("2".into()))).await;
    let (_one, _two) = (from("127.0.0.2", proxy.address()).await, from("127.0.0.2", proxy.address()).await);
    closed(&mut from("127.0.0.2", proxy.address()).await).await;
    assert_eq!(refused(&proxy, "max-connections-per-source").await, 1.0);
    assert!(works(from("127.0.0.3", proxy.address()).await).await);
}

async fn refused(proxy: &Proxy, limit: &str) -> f64 {
    let limit = format!("limit=\"{limit}\"");
    proxy.metric("kube_peer_proxy_client_connections_refused_total", &[&limit]).await
}

#[tokio::test]
async fn a_flood_that_takes_every_file_descriptor_leaves_the_admin_pages_and_open_connections_alone() {
    let cluster = Cluster::start(&[V1_36]).await;
    let program = Program::with_descriptors(&cluster.server("v136").url(), &[], Some(160)).await;
    let before = program.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(before.get("/version").await.status, 200);
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(TcpStream::connect(program.address).await.unwrap());
    }
    let admin = until("the flood is felt", async || {
        let admin = Client::plain(program.admin).await;
        admin.get("/metrics").await.text().contains("refused_total{limit=\"descriptors\"}").then_some(admin)
    })
    .await;
    assert_eq!(admin.get("/livez").await.status, 200);
    assert_eq!(before.get("/version").await.status, 200, "who is in is served");
    drop(flood);
    until("after the flood clients come in again", async || {
        works(TcpStream::connect(program.address).await.unwrap()).await.then_some(())
    })
    .await;
}

// === Requests ===

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off_and_an_idle_connection_is_not() {
    let (cluster, proxy) = proxy(|proxy| proxy.file("headerReadTimeout", "300ms")).await;
    let idle = proxy.h1(As::Certificate(&PKI.admin)).await;
    assert_eq!(idle.get("/version").await.status, 200);

    let mut slow = proxy.raw().await;
    let begun = Instant::now();
    let trickle = async {
        slow.send("GET /version HTTP/1.1\r\nHost: k8s\r\nX-Slow: ").await;
        while !slow.is_closed(Duration::from_millis(50)).await {
            slow.send("a").await;
            assert!(begun.elapsed() < DEADLINE, "it is never cut off");
        }
    };
    trickle.await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(cluster.asked_for("v136", "/version").len(), 1);
    // By now the other connection has been idle for longer than a head may take.
    assert_eq!(idle.get("/version").await.status, 200);
}

#[tokio::test]
async fn a_head_beyond_the_limit_of_bytes_is_a_431_on_both_protocols() {
    let (_cluster, proxy) = proxy(|proxy| proxy.file("maxHeaderBytes", "16Ki")).await;
    for client in [proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h1(As::Certificate(&PKI.admin)).await] {
        let fits = "a".repeat(10_000);
        assert_eq!(client.get_with("/version", ("x-big", &fits)).await.status, 200);
        let big = "a".repeat(20_000);
        let answer = client.ask(Method::GET, "/version").header("x-big", &big).attempt().await;
        assert_eq!(answer.unwrap().status(), 431);
    }
}

#[tokio::test]
async fn requests_beyond_the_cap_in_flight_are_429_and_watches_and_masters_do_not_count() {
    let (cluster, proxy) =
        proxy(|proxy| proxy.flags(|args| args.max_requests_inflight = Some("2".into()))).await;
    let jane = certificate("jane", &["dev"]);
    let (jane, master) =
        (proxy.h2(As::Certificate(&jane)).await, proxy.h2(As::Certificate(&PKI.admin)).await);
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push(jane.ask(Method::GET, "/api/v1/configmaps?watch=1").begin().await);
    }
    cluster.server("v136").faults().hang(true);
    let hanging = async || jane.get("/version").await.status;
    let ((one, two), ()) = tokio::join!(async { tokio::join!(hanging(), hanging()) }, async {
        eventually("two are under way", || cluster.asked_for("v136", "/version").len() == 2).await;
        let third = jane.get("/version").await;
        assert!(third.refused(429).contains("--max-requests-inflight"));
        assert_eq!(third.header("retry-after"), "1");
        let masters = async { master.get("/api").await.status };
        let (status, ()) = tokio::join!(masters, async {
            eventually("the master's is", || !cluster.asked_for("v136", "/api").is_empty()).await;
            cluster.server("v136").faults().hang(false);
        });
        assert_eq!(status, 200);
    });
    assert_eq!((one.as_u16(), two.as_u16()), (200, 200));
    eventually("seats come back", || proxy.app.proxy.load().seats.taken() == 0).await;
    assert_eq!(jane.get("/version").await.status, 200);
}

#[tokio::test]
async fn clients_that_stop_reading_cost_little_memory_each() {
    const STREAMS: usize = 200;
    let cluster = Cluster::start(&[V1_36]).await;
    let program = Program::start(&cluster.server("v136").url(), &[]).await;
    let client = program.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(client.get("/test/bytes?n=1000000").await.body.len(), 1_000_000);
    let before = program.resident();
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        unread.push(client.ask(Method::GET, "/test/bytes?n=1000000000").begin().await);
    }
    let mut last = 0;
    until("its memory stays as it is", async || {
        sleep(Duration::from_millis(100)).await;
        let now = program.resident();
        (std::mem::replace(&mut last, now) == now).then_some(())
    })
    .await;
    let each = last.saturating_sub(before) / STREAMS;
    let bound = limits::SEND_BUFFER + limits::UPSTREAM_STREAM_WINDOW as usize;
    assert!(each < bound * 3 / 2, "{each} bytes for each stream");
    let other = program.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(other.get("/version").await.status, 200);
}

#[tokio::test]
async fn a_stream_too_many_waits_for_its_turn() {
    let (cluster, proxy) =
        proxy(|proxy| proxy.flags(|args| args.http2_max_streams_per_connection = Some("2".into()))).await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(client.get("/version").await.status, 200);
    let first = client.ask(Method::GET, "/api/v1/configmaps?watch=1").begin().await;
    let _second = client.ask(Method::GET, "/api/v1/configmaps?watch=1").begin().await;
    let mut third = std::pin::pin!(client.get("/api/v1/namespaces"));
    assert!(timeout(Duration::from_millis(300), third.as_mut()).await.is_err());
    assert!(cluster.asked_for("v136", "/api/v1/namespaces").is_empty());
    drop(first);
    assert_eq!(timeout(DEADLINE, third).await.expect("its turn").status, 200);
}

// === Balancers ===

const FROM_LOOPBACK: &str = "127.0.0.0/8";

async fn behind_a_balancer() -> (Cluster, Proxy) {
    proxy(|proxy| proxy.flags(|args| args.proxy_protocol_from = vec![FROM_LOOPBACK.into()])).await
}

#[tokio::test]
async fn the_client_of_a_balancer_is_whom_the_proxy_protocol_names() {
    let (cluster, proxy) = behind_a_balancer().await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x7f\0\0\x01\x30\x39\x01\xbb";
    for (header, client) in
        [(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n".as_slice(), "192.0.2.7"), (v2, "10.1.2.3")]
    {
        let mut tcp = TcpStream::connect(proxy.address()).await.unwrap();
        tcp.write_all(header).await.unwrap();
        let client_of_it = Client::through(tcp, Some(&PKI.admin), Protocol::H2).await.unwrap();
        assert_eq!(client_of_it.get(&format!("/test/echo?{client}")).await.status, 200);
        let asked = cluster.asked_for("v136", &format!("/test/echo?{client}"));
        assert_eq!(asked[0].headers["x-forwarded-for"], client);
    }
}

#[tokio::test]
async fn a_balancer_that_does_not_say_for_whom_it_connects_is_not_served() {
    let (_cluster, proxy) = behind_a_balancer().await;
    let tcp = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(Client::through(tcp, Some(&PKI.admin), Protocol::H2).await.is_err());
    eventually_refused(&proxy, "proxy-protocol").await;
}

async fn eventually_refused(proxy: &Proxy, limit: &str) {
    until("it is counted", async || (refused(proxy, limit).await == 1.0).then_some(())).await;
}

#[tokio::test]
async fn who_is_no_balancer_cannot_name_another_client() {
    let (_cluster, proxy) =
        proxy(|proxy| proxy.flags(|args| args.proxy_protocol_from = vec!["192.0.2.0/24".into()])).await;
    let mut tcp = TcpStream::connect(proxy.address()).await.unwrap();
    tcp.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n").await.unwrap();
    assert!(Client::through(tcp, Some(&PKI.admin), Protocol::H2).await.is_err(), "that is no TLS");
    assert!(works(TcpStream::connect(proxy.address()).await.unwrap()).await);
}

#[tokio::test]
async fn the_limit_of_connections_by_source_counts_a_balancers_clients_apart() {
    let (_cluster, proxy) = proxy(|proxy| {
        proxy.flags(|args| {
            args.proxy_protocol_from = vec![FROM_LOOPBACK.into()];
            args.max_connections_per_source = Some("1".into());
        })
    })
    .await;
    let come = async |client: &str| {
        let mut tcp = TcpStream::connect(proxy.address()).await.unwrap();
        tcp.write_all(format!("PROXY TCP4 {client} 127.0.0.1 1 443\r\n").as_bytes()).await.unwrap();
        Client::through(tcp, Some(&PKI.admin), Protocol::H2).await
    };
    let _one = come("192.0.2.1").await.unwrap();
    assert!(come("192.0.2.1").await.is_err());
    let _other = come("192.0.2.2").await.unwrap();
}
