//! Bodies in both directions: at once, in constant memory, to their end or to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{Body, BoxError};
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::servers::Class;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::kit::{As, BOB, Cluster, DEADLINE, PKI, Proxy, ProxyBuilder, Raw, Stub, eventually};

const WATCH: &str = "/api/v1/configmaps?watch=1";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const BIG: usize = 100_000_000;
/// More than all windows and buffers on the way together, much less than the body.
const MEMORY: usize = 60_000_000;

static PIECE: [u8; 50_000] = [b'a'; 50_000];
/// SHA-256 of a hundred million times the letter a: `head -c 100000000 /dev/zero | tr '\0' a | sha256sum`
const BIG_SHA256: &str = "83d30385a4a11980275dc23de3fb49ff37b906cc841efa048a96c62d90ff3b5f";

async fn alone() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").start().await;
    (cluster, proxy)
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

/// A body of so many pieces, and a trailer if there is one.
fn pieces(count: usize, trailer: Option<HeaderMap>) -> Body {
    let piece = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(&PIECE)));
    let frames = std::iter::repeat_with(piece).take(count).chain(trailer.map(|one| Ok(Frame::trailers(one))));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn an_event_of_a_watch_arrives_at_once_and_the_watch_goes_on() {
    let (_cluster, proxy) = alone().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let (certified, token) = (As::Certificate(&PKI.admin), As::Token(BOB));
    let clients = [
        proxy.h2(certified).await,
        proxy.h1(certified).await,
        proxy.h2(token).await,
        proxy.h1(token).await,
        proxy.h1(token).await,
    ];
    for (number, client) in clients.iter().enumerate() {
        let mut watch = client.ask(Method::GET, WATCH).begin().await.into_body();
        let mut seen = String::new();
        for event in ["first", "second"] {
            let name = format!("{event}-{number}");
            admin.post(CONFIG_MAPS, &config_map(&name)).await;
            while !seen.contains(&name) {
                let frame =
                    timeout(DEADLINE, watch.frame()).await.expect("the event in time").unwrap().unwrap();
                seen += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_megabytes_come_down_in_constant_memory_with_their_trailer() {
    let (_cluster, proxy) = alone().await;
    for client in [
        proxy.h2(As::Certificate(&PKI.admin)).await,
        proxy.h1(As::Certificate(&PKI.admin)).await.with("te", "trailers"),
    ] {
        let before = resident();
        let mut body = client.ask(Method::GET, &format!("/test/bytes?n={BIG}")).begin().await.into_body();
        let (mut size, mut most, mut trailers) = (0, before, None);
        while let Some(frame) = timeout(DEADLINE, body.frame()).await.expect("bytes in time") {
            match frame.unwrap().into_data() {
                Ok(data) => size += data.len(),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            most = most.max(resident());
        }
        assert_eq!(size, BIG);
        assert_eq!(trailers.unwrap()["x-test-trailer"], "done");
        assert!(most < before + MEMORY, "{} MB more", (most - before) / 1_000_000);
    }
}

#[tokio::test]
async fn a_hundred_megabytes_go_up_in_constant_memory_with_their_trailer() {
    let (_cluster, proxy) = alone().await;
    let mut trailer = HeaderMap::new();
    trailer.insert("x-up", "load".parse().unwrap());
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let before = resident();
    let most = Arc::new(AtomicUsize::new(0));
    let measured = Arc::clone(&most);
    let body = pieces(BIG / PIECE.len(), Some(trailer)).map_frame(move |frame| {
        measured.fetch_max(resident(), SeqCst);
        frame
    });
    let reply = client.ask(Method::POST, "/test/sink").body(body.boxed_unsync()).whole().await;
    let seen = reply.json();
    assert_eq!((&seen["bytes"], &seen["sha256"]), (&json!(BIG), &json!(BIG_SHA256)));
    assert_eq!(seen["trailers"], json!([["x-up", "load"]]));
    let most = most.load(SeqCst);
    assert!(most < before + MEMORY, "{} MB more", (most - before) / 1_000_000);
}

#[tokio::test]
async fn a_reader_that_stops_reading_stops_the_server_and_nobody_else() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let stub = Stub::start(move |request| {
        let counter = Arc::clone(&counter);
        let frames = stream::unfold((), move |()| {
            counter.fetch_add(PIECE.len(), SeqCst);
            async { Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(&PIECE))), ())) }
        });
        let answer = Stub::as_136(request.uri().path());
        async move { answer.unwrap_or_else(|| Response::new(StreamBody::new(frames).boxed_unsync())) }
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    let slow = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut body = slow.ask(Method::GET, "/api/v1/pods").begin().await.into_body();
    body.frame().await.unwrap().unwrap();
    let others = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut before = 0;
    crate::kit::until("the server has stopped", async || {
        for _ in 0..50 {
            assert_eq!(others.get("/version").await.status, 200);
        }
        let now = made.load(SeqCst);
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    assert!(made.load(SeqCst) < 20_000_000, "{} bytes", made.load(SeqCst));
    let stopped = made.load(SeqCst);
    let mut size = 0;
    while size < stopped + 5_000_000 {
        size += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(made.load(SeqCst) > stopped, "it goes on when the reader does");
}

#[tokio::test]
async fn a_server_that_stops_reading_stops_the_upload() {
    let (cluster, proxy) = alone().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let body = pieces(4000, None).map_frame(move |frame| {
        counter.fetch_add(PIECE.len(), SeqCst);
        frame
    });
    cluster.server("v136").faults().hang(true);
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let upload = tokio::spawn(async move {
        client.ask(Method::POST, "/test/sink").body(body.boxed_unsync()).whole().await.status
    });
    let mut before = usize::MAX;
    crate::kit::until("the upload has stopped", async || {
        for _ in 0..20 {
            proxy.page("/livez").await;
        }
        let now = sent.load(SeqCst);
        (now > 0 && std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    assert!(sent.load(SeqCst) < 20_000_000, "{} bytes", sent.load(SeqCst));
    cluster.server("v136").faults().hang(false);
    assert_eq!(upload.await.unwrap(), 200);
    assert_eq!(sent.load(SeqCst), 4000 * PIECE.len());
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let (_cluster, proxy) = alone().await;
    let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    raw.send("POST /test/sink HTTP/1.1\r\nHost: k8s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(raw.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("hello").await;
    assert!(raw.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert!(raw.until("}").await.contains("\"bytes\":5"));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_watch_at_the_server_with_it() {
    let (cluster, proxy) = alone().await;
    let idle = proxy.connections("v136", Class::Identity).in_use;
    for who in [As::Certificate(&PKI.admin), As::Token(BOB), As::Token(BOB)] {
        let server = cluster.server("v136");
        let client = proxy.h2(who).await;
        let watch = client.ask(Method::GET, WATCH).begin().await;
        assert_eq!((watch.status().as_u16(), proxy.target("v136").load.watches()), (200, 1));
        client.cut();
        eventually("the watch is over", || proxy.target("v136").load.watches() == 0).await;
        let streams = |class| proxy.connections("v136", class).in_use;
        eventually("no stream is left", || {
            streams(Class::Identity) <= idle.max(1) && streams(Class::Token) == 0
        })
        .await;
        eventually("nor a connection of its own", || streams(Class::Unproven) == 0).await;
        // At most: ours, and one kept for each of certificates and tokens.
        assert!(server.wait_for_connections(DEADLINE, |open| *open <= 3).await);
    }
}

#[tokio::test]
async fn a_client_that_resets_one_stream_keeps_its_other_streams() {
    let (_cluster, proxy) = alone().await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut kept = client.ask(Method::GET, WATCH).begin().await.into_body();
    drop(client.ask(Method::GET, WATCH).begin().await);
    eventually("one watch is left", || proxy.target("v136").load.watches() == 1).await;
    client.post(CONFIG_MAPS, &config_map("news")).await;
    assert!(timeout(DEADLINE, kept.frame()).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn i9_an_upload_that_breaks_off_is_not_made_whole_by_us() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    raw.send("POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: k8s\r\nContent-Length: 1000\r\n\r\n{\"meta").await;
    let home = cluster.server("v132");
    let arrived = home.log().wait_for(DEADLINE, |request| request.target == CONFIG_MAPS).await;
    assert!(arrived.is_some());
    drop(raw);
    let status = || cluster.asked_for("v132", CONFIG_MAPS)[0].status;
    eventually("the server has given up", || {
        status().is_some_and(|status| status == 400) || proxy.connections("v132", Class::Identity).in_use <= 1
    })
    .await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(CONFIG_MAPS).await.json()["items"], json!([]));
    assert!(cluster.asked("v136", |_| true).is_empty());
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_upload_arrives() {
    let (_cluster, proxy) = alone().await;
    for client in [proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h2(As::Token(BOB)).await] {
        // A token that is proven goes over HTTP/2. HTTP/1.1 can't promise this: a server that closes while bytes
        // still come may take its answer back with a reset.
        assert_eq!(client.get("/version").await.status, 200);
        let (more, mut wanted) = mpsc::channel::<Bytes>(1);
        let frames = stream::poll_fn(move |cx| wanted.poll_recv(cx));
        let frames = futures_util::StreamExt::map(frames, |data| Ok::<_, BoxError>(Frame::data(data)));
        let body = StreamBody::new(frames).boxed_unsync();
        let feeding = tokio::spawn(async move {
            // The server reads 3 MiB of an object and no more.
            while more.send(Bytes::from_static(&PIECE)).await.is_ok() {}
        });
        let reply =
            client.ask(Method::POST, CONFIG_MAPS).header("content-type", "application/json").body(body);
        let reply = timeout(DEADLINE, reply.whole()).await.expect("an answer in time");
        assert!(reply.refused(413).contains("limit"), "{}", reply.text());
        timeout(Duration::from_secs(10), feeding).await.expect("nobody reads the rest").unwrap();
    }
}

#[tokio::test]
async fn answers_of_any_size_and_none_keep_their_length() {
    let (_cluster, proxy) = alone().await;
    for client in [proxy.h1(As::Certificate(&PKI.admin)).await, proxy.h2(As::Token(BOB)).await] {
        for size in [0, 1, 16_383, 16_384, 16_385, 1_000_000] {
            let reply = client.get(&format!("/test/bytes?n={size}")).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, size));
        }
        assert_eq!(client.ask(Method::HEAD, "/version").whole().await.body.len(), 0);
    }
}
