//! Bodies in both directions: large, slow, early, with trailers.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{self, Body, BoxError};
use kube_peer_proxy::servers::pool::Settings;
use tokio::sync::mpsc;

use super::server::*;
use super::{chunks, get, post, soon, text};

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
        let frames =
            [Ok::<_, BoxError>(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers.clone()))];
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
                Response::new(
                    chunks(1600, MIB / 16)
                        .map_frame(move |frame| {
                            counter.add(frame.data_ref().map_or(0, Bytes::len));
                            frame
                        })
                        .boxed_unsync(),
                )
            }
        })
        .await;
        let pool = server.pool(Settings::default());
        let mut body = pool.send(get("/")).await.unwrap().into_body();
        let (mut read, mut most) = (0, 0);
        while let Some(frame) = soon(body.frame()).await {
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
        Response::new(if request.uri().path() == "/list" {
            chunks(160, MIB / 16)
        } else {
            body::full("quick")
        })
    })
    .await;
    let pool = server.pool(Settings { max_connections: 1, ..Settings::default() });
    let mut stalled = Vec::new();
    for _ in 0..99 {
        stalled.push(pool.send(get("/list")).await.unwrap());
    }
    assert_eq!(text(pool.send(get("/get")).await.unwrap()).await, "quick");
    let list = pool.send(get("/list")).await.unwrap();
    let whole = soon(list.into_body().collect()).await;
    assert_eq!(whole.unwrap().to_bytes().len(), 10 * MIB);
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
    soon(sender.closed()).await;
    until("its stream is given back", || pool.stats().in_use == 0).await;
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

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let server = Server::start(&["h2"], |tls, _| async move {
        let mut raw = Raw::start(tls).await;
        let request = raw.expect(HEADERS).await.unwrap().stream;
        for status in ["100", "103"] {
            let status = [&[0x08, 3], status.as_bytes()].concat();
            raw.send(HEADERS, END_HEADERS, request, &status).await;
        }
        raw.send(HEADERS, END_HEADERS, request, OK).await;
        raw.send(DATA, END_STREAM, request, b"final").await;
        raw.rest().await;
    })
    .await;
    let pool = server.pool(Settings::default());
    let response = pool.send(post("/", body::full("x"))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "final");
}

#[tokio::test]
async fn a_stream_counts_until_the_request_is_through_even_if_the_response_was_first() {
    let server = Server::start(&["h2"], |tls, _| async move {
        let mut raw = Raw::start(tls).await;
        let request = raw.expect(HEADERS).await.unwrap().stream;
        raw.send(HEADERS, END_HEADERS, request, OK).await;
        raw.send(DATA, END_STREAM, request, b"early").await;
        raw.rest().await;
    })
    .await;
    let pool = server.pool(Settings::default());
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|data| data.map(|data| Ok::<_, BoxError>(Frame::data(data))))
    }));
    let response = pool.send(post("/", body.boxed_unsync())).await.unwrap();
    assert_eq!(text(response).await, "early");
    sender.send(Bytes::from("still going")).await.unwrap();
    assert_eq!(pool.stats().in_use, 1);
    drop(sender);
    until("the request is through", || pool.stats().in_use == 0).await;
}
