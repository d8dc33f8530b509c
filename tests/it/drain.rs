//! Leaving: clients are told at once and served until they go, and what has no end of its own is ended.

mod whole_events;

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::BoxError;
use kube_peer_proxy::embedded::Recorded::V1_36;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::kit::client::Protocol;
use crate::kit::{As, Client, Cluster, DEADLINE, PKI, Proxy, ProxyBuilder, Stub, eventually, until};

const WATCH: &str = "/api/v1/configmaps?watch=1";

/// A proxy on its way out.
struct Leaving {
    address: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    task: JoinHandle<()>,
}

async fn proxy(delay: &str, end: &str) -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").flags(|args| {
        args.shutdown_delay_duration = Some(delay.into());
        args.shutdown_timeout = Some(end.into());
    });
    (cluster, proxy.start().await)
}

fn leave(proxy: Proxy) -> Leaving {
    let (address, admin) = (proxy.address(), proxy.app.admin);
    Leaving { address, admin, task: tokio::spawn(proxy.app.shutdown()) }
}

impl Leaving {
    async fn left(self) {
        timeout(DEADLINE, self.task).await.expect("it leaves").unwrap();
    }

    async fn readyz(&self) -> u16 {
        Client::plain(self.admin).await.get("/readyz").await.status.as_u16()
    }
}

#[tokio::test]
async fn from_the_first_moment_it_is_not_ready_and_still_accepts() {
    let (_cluster, proxy) = proxy("10s", "15s").await;
    let before = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(before.get("/version").await.status, 200);
    let leaving = leave(proxy);
    until("not ready", async || (leaving.readyz().await == 500).then_some(())).await;
    eventually("GOAWAY ends an HTTP/2 connection that has nothing to do", || before.is_over()).await;

    let h2 = Client::connect(leaving.address, As::Certificate(&PKI.admin), Protocol::H2).await;
    assert_eq!(h2.get("/version").await.status, 200, "a new connection gets its first request answered");
    eventually("and is asked to go then", || h2.is_over()).await;
    let h1 = Client::connect(leaving.address, As::Certificate(&PKI.admin), Protocol::H1).await;
    let answer = h1.get("/version").await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
    leaving.task.abort();
}

#[tokio::test]
async fn after_the_delay_nobody_is_accepted_and_what_was_begun_is_finished() {
    let (cluster, proxy) = proxy("50ms", "20s").await;
    let (h2, h1) = (proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h1(As::Certificate(&PKI.admin)).await);
    let faults = cluster.server("v136").faults();
    faults.hang(true);
    let asked = async |client: &Client| client.get("/version").await.status;
    let (answers, ()) = tokio::join!(async { tokio::join!(asked(&h2), asked(&h1)) }, async {
        eventually("both are under way", || cluster.asked_for("v136", "/version").len() == 2).await;
        let leaving = leave(proxy);
        until("closed to others", async || TcpStream::connect(leaving.address).await.err()).await;
        faults.hang(false);
        leaving.left().await;
    });
    assert_eq!(answers, (http::StatusCode::OK, http::StatusCode::OK));
}

#[tokio::test]
async fn with_nothing_under_way_it_is_gone_as_soon_as_the_delay_is_over() {
    let (_cluster, proxy) = proxy("100ms", "19s").await;
    let (h2, h1) = (proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h1(As::Certificate(&PKI.admin)).await);
    assert_eq!(
        (h2.get("/version").await.status, h1.get("/version").await.status),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    let begin = Instant::now();
    leave(proxy).left().await;
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "idle connections do not keep it: {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn watches_go_on_until_the_deadline_and_end_cleanly_then() {
    let (_cluster, proxy) = proxy("0", "2s").await;
    let begun = Instant::now();
    let mut watches = Vec::new();
    for client in [
        proxy.h2(As::Certificate(&PKI.admin)).await,
        proxy.h1(As::Certificate(&PKI.admin)).await,
        proxy.h2(As::Token(crate::kit::BOB)).await,
    ] {
        let body = client.ask(Method::GET, WATCH).begin().await.into_body();
        watches.push((client, body));
    }
    let leaving = leave(proxy);
    for (_client, body) in watches {
        let end = timeout(DEADLINE, body.collect()).await.expect("an end");
        assert!(end.is_ok(), "not a broken stream, but one that is through: {end:?}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before its time");
    leaving.left().await;
}

#[tokio::test]
async fn a_stream_that_never_pauses_is_ended_too() {
    let stub = Stub::start(|request| {
        let answer = Stub::as_136(request.uri().path());
        let flood =
            stream::repeat_with(|| Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[b'x'; 10_000]))));
        async move { answer.unwrap_or_else(|| Response::new(StreamBody::new(flood).boxed_unsync())) }
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub");
    let proxy = proxy.flags(|args| args.shutdown_timeout = Some("0".into())).start().await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let log = "/api/v1/namespaces/default/pods/web-0/log?follow=1";
    let mut body = client.ask(Method::GET, log).begin().await.into_body();
    body.frame().await.unwrap().unwrap();
    let reading = tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            frame.unwrap();
        }
    });
    leave(proxy).left().await;
    timeout(DEADLINE, reading).await.expect("its end").expect("a clean one");
}

#[tokio::test]
async fn goaway_chance_moves_clients_on_and_loses_no_request() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy =
        cluster.proxy().home("v136").flags(|args| args.goaway_chance = Some("0.02".into())).start().await;
    let mut client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut moved = 0;
    for _ in 0..1000 {
        if client.is_over() {
            client = proxy.h2(As::Certificate(&PKI.admin)).await;
            moved += 1;
        }
        let answer = client.ask(Method::GET, "/version").attempt().await;
        // One that meets the end of its connection was never sent, and Go's client sends it again.
        match answer {
            Ok(answer) => assert_eq!(answer.status(), 200),
            Err(error) => assert!(error.is_canceled() || error.is_closed(), "{error:?}"),
        }
    }
    assert!((1..100).contains(&moved), "{moved} of 1,000, expected about 20");
}
