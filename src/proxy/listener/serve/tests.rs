use std::{convert::Infallible, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    task::JoinHandle,
    time::sleep,
};
use tower::{service_fn, util::BoxCloneSyncService};

use super::*;
use crate::{body, drain::Drain, proxy::listener::connection::Turn};

const A_WHILE: Duration = Duration::from_secs(3600);

/// A connection that is being served; nothing else but the clock moves.
struct Served {
    client: DuplexStream,
    task: JoinHandle<Result<(), hyper::Error>>,
    _drain: Drain,
}

/// Answers at once; a `/watch` without an end.
fn served(is_h2: bool) -> Served {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let handler = BoxCloneSyncService::new(service_fn(|mut request: Request<Body>| async move {
        let path = request.uri().path().to_owned();
        let body = if path == "/big" || path == "/log" {
            body::watched(pieces(), Held(request.extensions_mut().remove()))
        } else if path == "/one-piece" {
            body::full(vec![b'x'; 1_000_000])
        } else if path == "/watch" {
            body::watched(body::after(b"event".to_vec(), pending()), Held(request.extensions_mut().remove()))
        } else {
            body::empty()
        };
        let mut response = Response::new(body);
        if path != "/big" {
            response.extensions_mut().insert(MayPause);
        }
        Ok::<_, Infallible>(response)
    }));
    let drain = Drain::default();
    let (connection, signal) = (Connection::new(([127, 0, 0, 1], 1).into(), None, None), drain.signal());
    let task =
        tokio::spawn(
            async move { serve(server, is_h2, connection, handler, &Limits::default(), signal).await },
        );
    Served { client, task, _drain: drain }
}

fn pieces() -> Body {
    let piece = || Ok::<_, BoxError>(http_body::Frame::data(bytes::Bytes::from_static(&[b'x'; 10_000])));
    let pieces = std::iter::repeat_with(piece).take(100);
    http_body_util::StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
}

fn pending() -> Body {
    http_body_util::StreamBody::new(futures_util::stream::pending()).boxed_unsync()
}

struct Held(#[expect(dead_code, reason = "counts by living")] Option<Turn>);

impl body::Watcher for Held {}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("https://k8s{path}")).header("host", "k8s").body(body::empty()).unwrap()
}

/// How long a connection lasts from now on.
async fn lasts<T>(task: JoinHandle<T>) -> Option<Duration> {
    let begun = Instant::now();
    tokio::time::timeout(A_WHILE, task).await.ok()?.unwrap();
    Some(begun.elapsed())
}

fn about(limit: Duration) -> std::ops::Range<Duration> {
    limit.saturating_sub(Duration::from_secs(1))..limit + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_one_with_a_watch_is_not() {
    let Served { client, task, _drain } = served(true);
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(driver);
    let watch = sender.send_request(get("/watch")).await.unwrap();
    sender.send_request(get("/version")).await.unwrap();
    sleep(A_WHILE).await;
    assert!(!task.is_finished());
    drop(watch);
    let lasted = lasts(task).await.expect("it is closed");
    assert!(about(limits::CLIENT_IDLE_TIMEOUT).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_http1_connection_is_closed() {
    let Served { client, task, _drain } = served(false);
    let (mut sender, driver) = http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(driver);
    sender.send_request(get("/version")).await.unwrap();
    let lasted = lasts(task).await.expect("it is closed");
    assert!(about(limits::CLIENT_IDLE_TIMEOUT).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_gone() {
    let Served { mut client, task, _drain } = served(true);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let lasted = lasts(task).await.expect("it is closed");
    assert!(
        about(limits::CLIENT_PING_INTERVAL + limits::CLIENT_PING_TIMEOUT).contains(&lasted),
        "{lasted:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_never_begins_to_speak_http2_is_closed_as_any_idle_client() {
    for said in [b"".as_slice(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
        let Served { mut client, task, _drain } = served(true);
        client.write_all(said).await.unwrap();
        let lasted = lasts(task).await.expect("it is closed");
        assert!(lasted <= limits::CLIENT_IDLE_TIMEOUT + Duration::from_secs(1), "{said:?} {lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_may_take_so_long_from_its_first_byte_and_no_longer() {
    let Served { mut client, task, _drain } = served(false);
    sleep(limits::HEADER_READ_TIMEOUT * 2).await;
    let begun = Instant::now();
    for byte in b"GET /version HTTP/1.1\r\nhost: a-rather-long-name" {
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(task.is_finished());
    assert!(about(limits::HEADER_READ_TIMEOUT + Duration::from_secs(1)).contains(&begun.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_that_nobody_takes_is_given_up_and_a_log_is_not() {
    for (path, ends) in [("/big", true), ("/log", false)] {
        let Served { client, task, _drain } = served(true);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.initial_stream_window_size(1000);
        let (mut sender, driver) = builder.handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(driver);
        let unread = sender.send_request(get(path)).await.unwrap();
        // The stream goes, and then nothing is under way.
        let lasted = lasts(task).await;
        let bound = limits::UNREAD_ANSWER_TIMEOUT + limits::CLIENT_IDLE_TIMEOUT;
        assert_eq!(lasted.is_some_and(|lasted| about(bound).contains(&lasted)), ends, "{path} {lasted:?}");
        drop(unread);
    }
}

#[tokio::test(start_paused = true)]
async fn over_http1_the_connection_goes_with_the_answer() {
    for (path, ends) in [("/big", true), ("/log", false)] {
        let Served { mut client, task, _drain } = served(false);
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: k8s\r\n\r\n").as_bytes()).await.unwrap();
        let lasted = lasts(task).await;
        // Another timer of the connection may make hyper ask for one more piece.
        let bound =
            limits::UNREAD_ANSWER_TIMEOUT..=limits::UNREAD_ANSWER_TIMEOUT + limits::HEADER_READ_TIMEOUT;
        assert_eq!(lasted.is_some_and(|lasted| bound.contains(&lasted)), ends, "{path} {lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_last_piece_of_an_answer_is_asked_to_go_and_then_cut() {
    let Served { client, task, _drain } = served(true);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let builder = builder.initial_stream_window_size(1000);
    let (mut sender, driver) = builder.handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(driver);
    let unread = sender.send_request(get("/one-piece")).await.unwrap();
    let lasted = lasts(task).await.expect("it is closed");
    assert!(lasted <= 2 * limits::CLIENT_IDLE_TIMEOUT + Duration::from_secs(1), "{lasted:?}");
    drop(unread);
}
