//! Faults, endpoints for tests, the log, and the end of connections.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::body::{self, Body, BoxError};
use kube_peer_proxy::embedded::{DiscoveryFault, RouteFault};
use serde_json::{Value, json};

use super::client::Client;
use super::{BOB, DEADLINE, builder, server_and_bob, start};

const V2: [(&str, &str); 1] =
    [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];

#[tokio::test]
async fn discovery_fails_in_the_way_that_was_switched_on_and_recovers() {
    let (server, mut bob) = server_and_bob().await;
    let good = bob.call(Method::GET, "/apis", &V2, None).await.body;
    let fails = |fault| server.faults().discovery(Some(fault));

    fails(DiscoveryFault::Status(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(bob.call(Method::GET, "/apis", &V2, None).await.status, 500);
    for fault in [DiscoveryFault::Garbage, DiscoveryFault::Truncated] {
        fails(fault);
        let reply = bob.call(Method::GET, "/apis", &V2, None).await;
        assert!(reply.status == 200 && serde_json::from_slice::<Value>(&reply.body).is_err());
    }
    fails(DiscoveryFault::Oversized(1_000_000));
    let reply = bob.call(Method::GET, "/apis", &V2, None).await;
    assert_eq!(reply.body.len(), 1_000_000);
    assert_eq!(reply.json(), serde_json::from_slice::<Value>(&good).unwrap());
    fails(DiscoveryFault::Slow(Duration::from_millis(1)));
    assert_eq!(bob.call(Method::GET, "/apis", &V2, None).await.json(), reply.json());

    fails(DiscoveryFault::Aborted);
    let answer = bob.send(Method::GET, "/apis", &V2, body::empty()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    fails(DiscoveryFault::Endless);
    let mut endless = bob.send(Method::GET, "/apis", &V2, body::empty()).await.unwrap().into_body();
    let mut size = 0;
    while size < 1_000_000 {
        size += endless.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    drop(endless);
    server.faults().clear();
    assert_eq!(bob.call(Method::GET, "/apis", &V2, None).await.body, good);
}

#[tokio::test]
async fn a_hanging_server_answers_when_it_hangs_no_longer() {
    let (server, mut bob) = server_and_bob().await;
    server.faults().hang(true);
    let asked = tokio::spawn(async move { bob.get("/version").await.status });
    assert!(server.log().wait_for(DEADLINE, |request| request.target == "/version").await.is_some());
    assert!(!asked.is_finished());
    server.faults().hang(false);
    assert_eq!(asked.await.unwrap(), 200);
}

#[tokio::test]
async fn a_frozen_server_neither_reads_nor_writes_until_it_thaws() {
    let (server, mut bob) = server_and_bob().await;
    assert_eq!(bob.get("/version").await.status, 200);
    server.faults().freeze(true);
    let before = server.log().count();
    let asked = tokio::spawn(async move { bob.get("/version").await.status });
    assert!(
        server.log().wait_for(Duration::from_millis(200), |request| request.number >= before).await.is_none()
    );
    assert!(!asked.is_finished());
    server.faults().freeze(false);
    assert_eq!(asked.await.unwrap(), 200);
}

#[tokio::test]
async fn a_delay_and_a_status_for_all_hold_until_cleared() {
    let (server, mut bob) = server_and_bob().await;
    server.faults().delay(Some(Duration::from_millis(50)));
    let begun = std::time::Instant::now();
    assert_eq!(bob.get("/version").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    server.faults().clear();
    server.faults().answer_all(Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(bob.get("/version").await.status, 429);
    server.faults().clear();
    assert_eq!(bob.get("/version").await.status, 200);
}

#[tokio::test]
async fn readiness_and_liveness_fail_apart() {
    let (server, mut bob) = server_and_bob().await;
    server.faults().ready(false);
    let states = [bob.get("/readyz").await.status.as_u16(), bob.get("/livez").await.status.as_u16()];
    assert_eq!(states, [500, 200]);
    server.faults().ready(true);
    server.faults().alive(false);
    let states = [bob.get("/readyz").await.status.as_u16(), bob.get("/livez").await.status.as_u16()];
    assert_eq!(states, [200, 500]);
    assert!(bob.get("/readyz?verbose").await.text().contains("[+]ping ok"));
}

#[tokio::test]
async fn a_listed_resource_can_be_missing_in_both_ways() {
    let (server, mut bob) = server_and_bob().await;
    let jobs = GroupVersionResource { group: "batch".into(), version: "v1".into(), resource: "jobs".into() };
    server.faults().missing(jobs.clone(), Some(RouteFault::PlainText));
    assert_eq!(bob.get("/apis/batch/v1/jobs").await.text(), "404 page not found\n");
    server.faults().missing(jobs.clone(), Some(RouteFault::Status));
    assert_eq!(bob.get("/apis/batch/v1/jobs").await.json()["details"], json!({}));
    assert_eq!(bob.get("/apis/batch/v1/cronjobs").await.status, 200);
    server.faults().missing(jobs, None);
    assert_eq!(bob.get("/apis/batch/v1/jobs").await.status, 200);
}

#[tokio::test]
async fn bytes_stream_with_a_trailer_over_both_protocols() {
    let server = start(builder()).await;
    let h1 = Client::h1(&server, None).await.with(("te", "trailers"));
    for client in [h1, Client::h2(&server, None).await] {
        let mut client = client.with(BOB);
        let path = "/test/bytes?n=3000001";
        let answer = client.send(Method::GET, path, &[], body::empty()).await.unwrap();
        let collected = answer.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-test-trailer"], "done");
        assert_eq!(collected.to_bytes().len(), 3_000_001);
    }
}

#[tokio::test]
async fn the_sink_counts_and_hashes_an_upload_with_its_trailers() {
    let (_server, mut bob) = server_and_bob().await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-up", "load".parse().unwrap());
    let piece = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[b'a'; 1000])));
    let frames = std::iter::repeat_with(piece).take(1000).chain([Ok(Frame::trailers(trailers))]);
    let upload: Body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>())).boxed_unsync();
    let answer = bob.send(Method::POST, "/test/sink", &[], upload).await.unwrap();
    let seen: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&seen["bytes"], &seen["trailers"]), (&json!(1_000_000), &json!([["x-up", "load"]])));
    // A million times the letter a, the third test vector of FIPS 180.
    assert_eq!(seen["sha256"], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

#[tokio::test]
async fn echo_shows_the_request_byte_for_byte_and_is_off_by_default() {
    let (server, mut bob) = server_and_bob().await;
    let path = "/test/echo?b=%2f&a=%7E;c&d";
    let seen = bob.call(Method::GET, path, &[("x-a", "1"), ("x-a", "2")], None).await.json();
    assert_eq!((&seen["target"], &seen["authority"]), (&json!(path), &json!("kubernetes.default.svc")));
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-a", "1"])) && headers.contains(&json!(["x-a", "2"])));

    let logged = server.log().wait_for(DEADLINE, |request| request.status.is_some()).await.unwrap();
    assert_eq!((logged.target.as_str(), logged.connection, logged.certificate), (path, 1, false));
    assert_eq!((logged.version, logged.status), (http::Version::HTTP_2, Some(StatusCode::OK)));
    assert_eq!(
        (logged.server_name.as_deref(), logged.user.unwrap().name.as_str()),
        (Some("kubernetes.default.svc"), "bob")
    );

    let plain = start(builder().test_endpoints(false)).await;
    assert_eq!(Client::h2(&plain, None).await.with(BOB).get("/test/echo").await.status, 404);
}

#[tokio::test]
async fn every_answer_carries_one_audit_id_the_callers_if_it_has_one() {
    let (_server, mut bob) = server_and_bob().await;
    let reply = bob.call(Method::GET, "/version", &[("audit-id", "mine")], None).await;
    assert_eq!(reply.headers.get_all("audit-id").iter().collect::<Vec<_>>(), ["mine"]);
    assert_eq!(reply.header("cache-control"), "no-cache, private");
    assert!(!bob.get("/version").await.header("audit-id").is_empty());
}

#[tokio::test]
async fn the_log_forgets_the_oldest_but_goes_on_counting() {
    let server = start(builder().remember_requests(2)).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    for n in 0..5 {
        bob.get(&format!("/version?{n}")).await;
    }
    let targets: Vec<_> = server.log().all().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/version?3", "/version?4"]);
    assert_eq!(server.log().count(), 5);
}

#[tokio::test]
async fn a_stopped_server_drops_everything_and_comes_back_on_the_same_port() {
    let (server, mut bob) = server_and_bob().await;
    bob.get("/version").await;
    let watch = bob.send(Method::GET, "/api/v1/pods?watch=1", &[], body::empty()).await.unwrap();
    let addr = server.addr();
    server.stop().await;
    assert_eq!(server.connections_open(), 0);
    assert!(bob.ended().await);
    assert!(watch.into_body().collect().await.is_err(), "the watch breaks off");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the port is closed");
    server.restart().await.unwrap();
    assert_eq!(server.addr(), addr);
    assert_eq!(Client::h2(&server, None).await.with(BOB).get("/version").await.status, 200);
    assert_eq!(server.connections_accepted(), 2);
}

#[tokio::test]
async fn a_server_that_shuts_down_finishes_what_runs() {
    let (server, mut bob) = server_and_bob().await;
    server.faults().hang(true);
    let asked = tokio::spawn(async move { bob.get("/version").await.status });
    assert!(server.log().wait_for(DEADLINE, |_| true).await.is_some());
    let faults = server.faults().clone();
    let down = tokio::spawn(async move { server.shut_down(DEADLINE).await });
    faults.hang(false);
    assert_eq!(asked.await.unwrap(), 200);
    down.await.unwrap();
}

#[tokio::test]
async fn connections_can_be_dropped_or_sent_away_while_the_port_stays_open() {
    let (server, mut bob) = server_and_bob().await;
    bob.get("/version").await;
    server.send_goaway();
    assert!(bob.ended().await);
    let mut bob = Client::h1(&server, None).await.with(BOB);
    bob.get("/version").await;
    server.drop_connections();
    assert!(bob.ended().await);
    assert!(server.wait_for_connections(DEADLINE, |open| *open == 0).await);
    assert_eq!(Client::h2(&server, None).await.with(BOB).get("/version").await.status, 200);
}

#[tokio::test]
async fn http2_can_be_switched_off_and_its_stream_limit_holds_clients_back() {
    let server = start(builder().max_streams(2)).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    assert_eq!(bob.get("/version").await.status, 200);
    let watch = "/api/v1/pods?watch=1";
    let first = bob.send(Method::GET, watch, &[], body::empty()).await.unwrap();
    let _second = bob.send(Method::GET, watch, &[], body::empty()).await.unwrap();
    let third = bob.send(Method::GET, watch, &[], body::empty());
    assert!(tokio::time::timeout(Duration::from_millis(200), third).await.is_err(), "it has to wait");
    drop(first);
    assert_eq!(bob.get("/version").await.status, 200);
    let old = start(builder().http2(false)).await;
    assert_eq!(Client::h1(&old, None).await.with(BOB).get("/version").await.status, 200);
}
