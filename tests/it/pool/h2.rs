//! What may be sent again, bodies in both directions, and the form of a request on HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{self, Body, BoxError};
use kube_peer_proxy::servers::pool::{SendErrorKind, Settings};
use tokio::sync::{mpsc, oneshot};

use super::server::*;
use super::{chunks, get, post, text, watch};

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
    assert_eq!(send("/api%2Fv1/a%20b//c?x=%zz&y", &[]).await, format!("{address} /api%2Fv1/a%20b//c?x=%zz&y {rest}"));
    assert_eq!(send("/a", &[("host", "front:6443")]).await, format!("front:6443 /a {rest}"));
    assert_eq!(send("https://uri:1/a", &[("host", "front")]).await, format!("uri:1 /a {rest}"));
    let hop = &[("connection", "x"), ("keep-alive", "1"), ("transfer-encoding", "chunked"), ("te", "gzip, trailers")];
    assert_eq!(send("/a", hop).await, format!("{address} /a {rest}"));
    let te = "host=None te=Some(\"trailers\") connection=None length=None";
    assert_eq!(send("/a", &[("te", "trailers")]).await, format!("{address} /a {te}"));
    let sent = pool.send(post("/a", body::full("12345"))).await.unwrap();
    assert!(text(sent).await.ends_with("length=Some(\"5\")"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    for alpn in ["h2", "http/1.1"] {
        let server = Server::hyper(&[alpn], 100, |request, _| async move {
            let got = request.into_body().collect().await.unwrap();
            let trailers = got.trailers().unwrap().clone();
            let frames = [Ok::<_, BoxError>(Frame::data(got.to_bytes())), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
            response.headers_mut().insert("trailer", HeaderValue::from_static("checksum"));
            response
        })
        .await;
        let pool = server.pool(Settings::default());
        let trailers = HeaderMap::from_iter([("checksum".parse().unwrap(), HeaderValue::from_static("abc"))]);
        let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers.clone()))];
        let mut request = post("/", StreamBody::new(stream::iter(frames)).boxed_unsync());
        request.headers_mut().insert("trailer", HeaderValue::from_static("checksum"));
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let response = pool.send(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(response.trailers(), Some(&trailers), "{alpn}");
        assert_eq!(response.to_bytes(), "x", "{alpn}");
    }
}

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_hundred_megabytes_come_down_no_faster_than_they_are_read() {
    for alpn in ["h2", "http/1.1"] {
        let sent = Count::default();
        let counter = sent.clone();
        let server = Server::hyper(&[alpn], 100, move |_, _| {
            let counter = counter.clone();
            async move {
                Response::new(chunks(1600, MIB / 16).map_frame(move |frame| {
                    counter.add(frame.data_ref().map_or(0, Bytes::len));
                    frame
                }).boxed_unsync())
            }
        })
        .await;
        let pool = server.pool(Settings::default());
        let mut body = pool.send(get("/")).await.unwrap().into_body();
        let (mut read, mut most) = (0, 0);
        while let Some(frame) = body.frame().await {
            read += frame.unwrap().into_data().unwrap().len();
            most = most.max(sent.get() - read);
        }
        assert_eq!(read, 100 * MIB, "{alpn}");
        println!("{alpn}: at most {} KiB between the server and the reader", most / 1024);
        assert!(most < 12 * MIB, "{alpn}: {most} bytes under way");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_go_up_no_faster_than_the_server_reads() {
    for alpn in ["h2", "http/1.1"] {
        let received = Count::default();
        let counter = received.clone();
        let server = Server::hyper(&[alpn], 100, move |request, _| {
            let counter = counter.clone();
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    counter.add(frame.unwrap().into_data().unwrap().len());
                }
                Response::new(body::full(counter.get().to_string()))
            }
        })
        .await;
        let pool = server.pool(Settings::default());
        let (produced, most) = (Count::default(), Count::default());
        let noted = most.clone();
        let body = chunks(1600, MIB / 16).map_frame(move |frame| {
            let under_way = produced.add(frame.data_ref().map_or(0, Bytes::len)) - received.get();
            noted.add(under_way.saturating_sub(noted.get()));
            frame
        });
        let response = pool.send(post("/", body.boxed_unsync())).await.unwrap();
        assert_eq!(text(response).await, (100 * MIB).to_string(), "{alpn}");
        println!("{alpn}: at most {} KiB between the sender and the server", most.get() / 1024);
        assert!(most.get() < 12 * MIB, "{alpn}: {} bytes under way", most.get());
    }
}

#[tokio::test]
async fn readers_that_stop_reading_hold_up_nobody_else_on_their_connection() {
    let server = Server::hyper(&["h2"], 100, |request, _| async move {
        Response::new(if request.uri().path() == "/list" { chunks(160, MIB / 16) } else { body::full("quick") })
    })
    .await;
    let pool = server.pool(Settings { max_connections: 1, ..Settings::default() });
    let mut stalled = Vec::new();
    for _ in 0..99 {
        stalled.push(pool.send(get("/list")).await.unwrap());
    }
    assert_eq!(text(pool.send(get("/get")).await.unwrap()).await, "quick");
    let list = pool.send(get("/list")).await.unwrap();
    let whole = tokio::time::timeout(Duration::from_secs(20), list.into_body().collect()).await;
    assert_eq!(whole.unwrap().unwrap().to_bytes().len(), 10 * MIB);
    assert_eq!(server.accepted.get(), 1);
}

#[tokio::test]
async fn a_response_may_begin_and_end_while_the_request_is_still_being_sent() {
    let server = Server::hyper(&["h2"], 100, |request, _| async move {
        // Echo: what comes in goes out, piece by piece.
        Response::new(request.into_body().map_err(Into::into).boxed_unsync())
    })
    .await;
    let pool = server.pool(Settings::default());
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|data| data.map(|data| Ok::<_, BoxError>(Frame::data(data))))
    }));
    let mut response = pool.send(post("/", body.boxed_unsync())).await.unwrap();
    for piece in ["one", "two"] {
        sender.send(Bytes::from(piece)).await.unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(response);
    tokio::time::timeout(Duration::from_secs(20), sender.closed()).await.expect("the rest is called off");
    until("its stream is given back", || pool.stats().in_use == 0).await;
}

#[tokio::test]
async fn a_response_head_over_the_limit_breaks_its_own_stream_only() {
    let server = Server::hyper(&["h2"], 100, |request, _| async move {
        let mut response = Response::new(if request.uri().path() == "/watch" { watch("x") } else { body::empty() });
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

#[tokio::test]
async fn expect_continue_does_not_hang() {
    for alpn in ["h2", "http/1.1"] {
        // hyper's server says 100 when the body is first read, as net/http does.
        let server = Server::hyper(&[alpn], 100, |request, _| async move {
            let expected = request.headers().contains_key("expect");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(body::full(format!("{expected} {}", body.len())))
        })
        .await;
        let mut request: Request<Body> = post("/", body::full(vec![1; 200_000]));
        request.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
        let response = server.pool(Settings::default()).send(request).await.unwrap();
        assert_eq!(text(response).await, "true 200000", "{alpn}");
    }
}
