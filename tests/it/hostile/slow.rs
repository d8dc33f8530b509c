//! Clients that take, or give, as slowly as they can.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use http::StatusCode;
use kube_peer_proxy::embedded::Recorded::V1_36;

use super::{alone, bystander, has_the_process_to_itself, is_well, resident};
use crate::kit::raw_h2::{INITIAL_WINDOW_SIZE, pseudo, request};
use crate::kit::{As, BOB, Cluster, PKI, Proxy, Raw, RawH2, say, until};

/// Waits until no more of the answers arrives here, for nobody takes it.
async fn stalled(cluster: &Cluster, proxy: &Proxy, requests: usize) -> usize {
    let other = bystander(proxy).await;
    until("all have arrived", async || {
        let seen = cluster.asked("v136", |one| one.target.starts_with("/test/bytes")).len();
        (seen >= requests).then_some(())
    })
    .await;
    let mut last = 0;
    until("nothing grows any more", async || {
        for _ in 0..20 {
            is_well(&other).await;
        }
        let now = resident();
        (std::mem::replace(&mut last, now) + (2 << 20) >= now).then_some(now)
    })
    .await
}

#[tokio::test]
async fn zero_windows_on_all_streams_cost_bounded_memory() {
    if !has_the_process_to_itself("slow::zero_windows_on_all_streams_cost_bounded_memory") {
        return;
    }
    const STREAMS: u32 = 200;
    let (cluster, proxy) = alone().await;
    let before = resident();
    let mut slow = RawH2::with(proxy.address(), Some(&PKI.admin), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    for number in 0..STREAMS {
        slow.send(request(2 * number + 1, &pseudo("GET", "/test/bytes?n=100000000"))).await;
    }
    let more = stalled(&cluster, &proxy, STREAMS as usize).await.saturating_sub(before);
    say!(
        "{STREAMS} streams of 100 MB with no window: {} MiB more in memory, {} KiB each",
        more >> 20,
        (more >> 10) / STREAMS as usize
    );
    // A stream's window toward the server, and as much again in the server that is in this process too.
    assert!(more < (STREAMS as usize) * (3 << 20), "{} MiB", more >> 20);
}

#[tokio::test]
async fn slow_readers_of_http_1_1_cost_bounded_memory() {
    if !has_the_process_to_itself("slow::slow_readers_of_http_1_1_cost_bounded_memory") {
        return;
    }
    const READERS: usize = 25;
    let (cluster, proxy) = alone().await;
    let before = resident();
    let readers = join_all((0..READERS).map(|_| async {
        let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
        raw.send("GET /test/bytes?n=100000000 HTTP/1.1\r\nHost: k8s\r\n\r\n").await;
        raw.until("\r\n\r\n").await;
        raw
    }))
    .await;
    let more = stalled(&cluster, &proxy, READERS).await.saturating_sub(before);
    say!(
        "{READERS} readers of 100 MB that read nothing: {} MiB more in memory, {} KiB each",
        more >> 20,
        (more >> 10) / READERS
    );
    assert!(more < READERS * (3 << 20), "{} MiB", more >> 20);
    drop(readers);
}

#[tokio::test]
async fn who_pipelines_without_reading_is_not_read_either() {
    if !has_the_process_to_itself("slow::who_pipelines_without_reading_is_not_read_either") {
        return;
    }
    const ROUNDS: usize = 200;
    let (cluster, proxy) = alone().await;
    let other = bystander(&proxy).await;
    let before = resident();
    let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    let piece = "GET /test/bytes?n=10000 HTTP/1.1\r\nHost: k8s\r\n\r\n".repeat(1000);
    let mut sent = 0;
    while sent < ROUNDS && timeout(Duration::from_secs(2), raw.send(&piece)).await.is_ok() {
        sent += 1;
        is_well(&other).await;
    }
    let served = cluster.asked("v136", |one| one.target.starts_with("/test/bytes")).len();
    let more = resident().saturating_sub(before) >> 20;
    say!("pipelined without reading: {} were taken, {served} served, {more} MiB more in memory", sent * 1000);
    assert!(sent < ROUNDS, "the flood was never held back");
    // As many answers as the sockets hold between them.
    assert!(served < 5_000 && more < 64, "{served} {more}");
    is_well(&other).await;
}

#[tokio::test]
async fn a_stranger_who_takes_no_answer_keeps_nobody_out() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").flags(|args| args.max_requests_inflight = Some("2".into()));
    let proxy = proxy.start().await;
    let other = proxy.h2(As::Token(BOB)).await;
    assert_eq!(other.get("/version").await.status, StatusCode::OK);
    let mut stranger = RawH2::with(proxy.address(), None, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    for stream in [1, 3] {
        stranger.send(request(stream, &pseudo("GET", "/api/v1/secrets"))).await;
    }
    until("all were answered", async || {
        (cluster.asked_for("v136", "/api/v1/secrets").len() == 2).then_some(())
    })
    .await;
    until("somebody else is served again", async || {
        (other.get("/version").await.status == StatusCode::OK).then_some(())
    })
    .await;
}
