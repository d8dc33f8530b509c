//! What may be sent again, and the form of a request on HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{self, Body, BoxError};
use kube_peer_proxy::servers::pool::{SendErrorKind, Settings};
use tokio::sync::oneshot;

use super::server::*;
use super::{get, post, text, watch};

#[tokio::test]
async fn a_connection_with_goaway_finishes_its_streams_and_does_not_count() {
    let server = Server::start(&["h2"], |tls, number| async move {
        let mut raw = Raw::start(tls).await;
        let watch = raw.expect(HEADERS).await.unwrap().stream;
        raw.send(HEADERS, END_HEADERS, watch, OK).await;
        if number == 0 {
            raw.go_away(watch).await;
            // It says goodbye to the watch when the test has had its second answer.
            raw.expect(RST_STREAM).await;
        } else {
            raw.send(DATA, END_STREAM, watch, b"second").await;
        }
        raw.rest().await;
    })
    .await;
    let pool = server.pool(Settings { max_connections: 1, ..Settings::default() });
    let held = pool.send(get("/watch")).await.unwrap();
    until("draining", || pool.stats().draining == 1).await;
    assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "second");
    assert_eq!((pool.stats().live, pool.stats().draining), (1, 1));
    assert_eq!(server.open.get(), 2);
    drop(held);
    until("the drained connection is closed", || server.open.get() == 1).await;
    assert_eq!(pool.stats().draining, 0);
}

#[tokio::test]
async fn i9_a_request_above_goaway_goes_out_again_on_a_fresh_connection_body_and_all() {
    let server = Server::start(&["h2"], |tls, number| async move {
        let mut raw = Raw::start(tls).await;
        let request = raw.expect(HEADERS).await.unwrap().stream;
        let body = raw.expect(DATA).await.unwrap().payload;
        if number == 0 {
            raw.go_away(0).await;
        } else {
            raw.send(HEADERS, END_HEADERS, request, OK).await;
            raw.send(DATA, END_STREAM, request, &body).await;
        }
        raw.rest().await;
    })
    .await;
    let pool = server.pool(Settings::default());
    let response = pool.send(post("/", body::full("a pod"))).await.unwrap();
    assert_eq!(text(response).await, "a pod");
    assert_eq!(server.accepted.get(), 2);
}

#[tokio::test]
async fn i9_resends_are_bounded_and_then_the_request_is_given_back() {
    let server = Server::start(&["h2"], |tls, _| async move {
        let mut raw = Raw::start(tls).await;
        raw.expect(HEADERS).await;
        raw.go_away(0).await;
        raw.rest().await;
    })
    .await;
    let error = server.pool(Settings::default()).send(get("/pods?watch=1")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Unprocessed);
    assert_eq!(error.request.unwrap().uri(), "/pods?watch=1");
    assert_eq!(server.accepted.get(), 3);
}

/// Refuses every stream after it has read a DATA frame, if there is one to come.
async fn refusing() -> Server {
    Server::start(&["h2"], |tls, _| async move {
        let mut raw = Raw::start(tls).await;
        while let Some(headers) = raw.expect(HEADERS).await {
            if headers.flags & END_STREAM == 0 {
                raw.expect(DATA).await;
            }
            raw.send(RST_STREAM, 0, headers.stream, &REFUSED.to_be_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn i9_a_refused_stream_gives_the_request_back_whole() {
    let server = refusing().await;
    let pool = server.pool(Settings::default());
    let mut request = post("/pods?dryRun=All", body::full("a pod"));
    request.headers_mut().insert("host", HeaderValue::from_static("front.example"));
    request.headers_mut().insert("x-remote-user", HeaderValue::from_static("jane"));
    request.extensions_mut().insert(42_u8);
    let wanted = request.headers().clone();
    let error = pool.send(request).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Unprocessed);
    let request = error.request.unwrap();
    assert_eq!((request.uri().to_string().as_str(), request.method().as_str()), ("/pods?dryRun=All", "POST"));
    assert_eq!((request.headers(), request.extensions().get()), (&wanted, Some(&42_u8)));
    assert_eq!(request.body().size_hint_exact(), Some(5));
    assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "a pod");
    assert_eq!(server.accepted.get(), 1, "not tried again on the same server");
    until("its stream is given back", || pool.stats().in_use == 0).await;
}

trait SizeHintExact {
    fn size_hint_exact(&self) -> Option<u64>;
}

impl SizeHintExact for Body {
    fn size_hint_exact(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

#[tokio::test]
async fn i9_a_body_longer_than_the_replay_limit_is_not_given_back() {
    let server = refusing().await;
    let pool = server.pool(Settings { replay_limit: 4, ..Settings::default() });
    let error = pool.send(post("/", body::full("12345"))).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Unprocessed);
    assert!(error.request.is_none());
}

#[tokio::test]
async fn i9_an_exchange_that_breaks_off_at_or_below_goaway_is_lost() {
    let server = Server::start(&["h2"], |tls, _| async move {
        let mut raw = Raw::start(tls).await;
        let request = raw.expect(HEADERS).await.unwrap().stream;
        raw.go_away(request).await;
    })
    .await;
    let error = server.pool(Settings::default()).send(get("/")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Lost, "{error}");
    assert!(error.request.is_none());
    assert_eq!(server.accepted.get(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault_and_resets_the_stream() {
    let (reset, was_reset) = oneshot::channel();
    let reset = std::sync::Mutex::new(Some(reset));
    let server = Server::start(&["h2"], move |tls, _| {
        let reset = reset.lock().unwrap().take();
        async move {
            let mut raw = Raw::start(tls).await;
            raw.expect(HEADERS).await;
            reset.unwrap().send(raw.expect(RST_STREAM).await.is_some()).unwrap();
            raw.rest().await;
        }
    })
    .await;
    let broken = stream::iter([Ok(Frame::data(Bytes::from("half"))), Err(BoxError::from("client gone"))]);
    let request = post("/", StreamBody::new(broken).boxed_unsync());
    let pool = server.pool(Settings::default());
    let error = pool.send(request).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::RequestBody);
    assert!(error.to_string().contains("client gone"));
    assert!(was_reset.await.unwrap());
}

/// Says what it got: authority, path, and a few headers.
async fn echo() -> Server {
    Server::hyper(&["h2"], 100, |request, _| async move {
        let header = |name| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let seen = format!(
            "{} {} host={:?} te={:?} connection={:?} length={:?}",
            request.uri().authority().unwrap(),
            request.uri().path_and_query().unwrap(),
            header("host"),
            header("te"),
            header("connection").or_else(|| header("keep-alive")).or_else(|| header("transfer-encoding")),
            header("content-length"),
        );
        Response::new(body::full(seen))
    })
    .await
}

#[tokio::test]
async fn on_http2_the_host_becomes_the_authority_and_connection_fields_stay_behind() {
    let server = echo().await;
    let pool = server.pool(Settings::default());
    let send = |uri: &'static str, headers: &'static [(&'static str, &'static str)]| {
        let pool = Arc::clone(&pool);
        async move {
            let mut request = get(uri);
            for (name, value) in headers {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            text(pool.send(request).await.unwrap()).await
        }
    };
    let address = server.address;
    let rest = "host=None te=None connection=None length=None";
    assert_eq!(
        send("/api%2Fv1/a%20b//c?x=%zz&y", &[]).await,
        format!("{address} /api%2Fv1/a%20b//c?x=%zz&y {rest}")
    );
    assert_eq!(send("/a", &[("host", "front:6443")]).await, format!("front:6443 /a {rest}"));
    assert_eq!(send("https://uri:1/a", &[("host", "front")]).await, format!("uri:1 /a {rest}"));
    let hop = &[
        ("connection", "x"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip, trailers"),
    ];
    assert_eq!(send("/a", hop).await, format!("{address} /a {rest}"));
    let te = "host=None te=Some(\"trailers\") connection=None length=None";
    assert_eq!(send("/a", &[("te", "trailers")]).await, format!("{address} /a {te}"));
    let sent = pool.send(post("/a", body::full("12345"))).await.unwrap();
    assert!(text(sent).await.ends_with("length=Some(\"5\")"));
}

#[tokio::test]
async fn a_response_head_over_the_limit_breaks_its_own_stream_only() {
    let server = Server::hyper(&["h2"], 100, |request, _| async move {
        let mut response =
            Response::new(if request.uri().path() == "/watch" { watch("x") } else { body::empty() });
        if request.uri().path() == "/big" {
            response.headers_mut().insert("big", HeaderValue::from_str(&"x".repeat(70_000)).unwrap());
        }
        response
    })
    .await;
    let pool = server.pool(Settings::default());
    let mut held = pool.send(get("/watch")).await.unwrap();
    held.body_mut().frame().await.unwrap().unwrap();
    let error = pool.send(get("/big")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Lost, "{error}");
    pool.send(get("/small")).await.unwrap();
    assert_eq!(server.accepted.get(), 1);
}
