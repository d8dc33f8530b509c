use std::{convert::Infallible, time::Duration};

use hyper::client::conn::{http1, http2};
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    task::JoinHandle,
    time::sleep,
};
use tower::{service_fn, util::BoxCloneSyncService};

use super::*;
use crate::{body, drain::Drain};

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
        let body = if request.uri().path() == "/watch" {
            body::watched(body::after(b"event".to_vec(), pending()), Held(request.extensions_mut().remove()))
        } else {
            body::empty()
        };
        Ok::<_, Infallible>(Response::new(body))
    }));
    let drain = Drain::default();
    let (connection, signal) = (Connection::new(([127, 0, 0, 1], 1).into(), None, None), drain.signal());
    let task =
        tokio::spawn(
            async move { serve(server, is_h2, connection, handler, &Limits::default(), signal).await },
        );
    Served { client, task, _drain: drain }
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
