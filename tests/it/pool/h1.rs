//! HTTP/1.1, where the server offers nothing better or nothing else is wanted.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{self, BoxError};
use kube_peer_proxy::servers::pool::{SendErrorKind, Settings};
use kube_peer_proxy::tls::client::Alpn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{Server, Tls, until};
use super::{get, post, text, watch};

async fn plain(alpn: &[&str]) -> Server {
    Server::hyper(alpn, 100, |request, connection| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        if request.uri().path() == "/watch" {
            return Response::new(watch("x"));
        }
        Response::new(body::full(format!("{connection} {:?} {host} {}", request.version(), request.uri())))
    })
    .await
}

#[tokio::test]
async fn http1_connections_are_reused_one_request_at_a_time() {
    let server = plain(&["http/1.1"]).await;
    let pool = server.pool(Settings::default());
    let address = server.address;
    for _ in 0..10 {
        let seen = text(pool.send(get("https://api:6443/a%2Fb?c=%zz")).await.unwrap()).await;
        assert_eq!(seen, "0 HTTP/1.1 api:6443 /a%2Fb?c=%zz");
        let seen = text(pool.send(get("/")).await.unwrap()).await;
        assert_eq!(seen, format!("0 HTTP/1.1 {address} /"));
    }
    assert_eq!(server.accepted.get(), 1);
    let mut request = get("/");
    request.headers_mut().insert("host", HeaderValue::from_static("front"));
    assert_eq!(text(pool.send(request).await.unwrap()).await, "0 HTTP/1.1 front /");
}

#[tokio::test]
async fn http1_is_spoken_where_it_is_all_that_is_wanted() {
    let server = plain(&["h2", "http/1.1"]).await;
    let pool = server.pool_of(Alpn::Http11, Settings::default());
    let held = join_all((0..20).map(|_| pool.send(get("/watch")))).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!((pool.stats().live, pool.stats().in_use), (20, 20));
    assert!(text(pool.send(get("/")).await.unwrap()).await.contains("HTTP/1.1"));
    drop(held);
    until("dropped responses take their connections along", || server.open.get() == 1).await;
    assert_eq!((pool.stats().live, pool.stats().in_use), (1, 0));
}

#[tokio::test]
async fn http1_connections_are_capped() {
    let server = plain(&["http/1.1"]).await;
    let pool = server.pool(Settings { max_connections: 3, ..Settings::default() });
    let held = join_all((0..3).map(|_| pool.send(get("/watch")))).await;
    assert!(held.iter().all(Result::is_ok));
    let error = pool.send(post("/", body::full("x"))).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Exhausted);
    assert_eq!(error.request.unwrap().into_body().collect().await.unwrap().to_bytes(), "x");
}

async fn read_head(tls: &mut Tls) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

#[tokio::test]
async fn i9_http1_closed_before_a_byte_of_the_response_is_lost() {
    let server = Server::start(&["http/1.1"], |mut tls, _| async move {
        read_head(&mut tls).await;
    })
    .await;
    let error = server.pool(Settings::default()).send(get("/")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Lost);
    assert!(error.request.is_none());
    assert_eq!(server.accepted.get(), 1);
}

#[tokio::test]
async fn an_idle_http1_connection_that_the_server_closed_is_not_used_again() {
    let server = Server::start(&["http/1.1"], |mut tls, _| async move {
        read_head(&mut tls).await;
        tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        tls.shutdown().await.unwrap();
    })
    .await;
    let pool = server.pool(Settings::default());
    for _ in 0..5 {
        assert_eq!(text(pool.send(post("/", body::full("x"))).await.unwrap()).await, "ok");
        until("the pool saw it", || pool.stats().live == 0).await;
    }
    assert_eq!(server.accepted.get(), 5);
}

#[tokio::test]
async fn an_early_http1_response_gives_the_connection_back_only_after_the_request() {
    let server = Server::start(&["http/1.1"], |mut tls, _| async move {
        while let Some(head) = read_head(&mut tls).await {
            tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await.unwrap();
            if head.contains("content-length: 400000") {
                tls.read_exact(&mut vec![0; 400_000]).await.unwrap();
            }
        }
    })
    .await;
    let pool = server.pool(Settings::default());
    let send = |size: usize| {
        let pool = Arc::clone(&pool);
        async move {
            let mut request = post("/", super::chunks(4, size / 4));
            request.headers_mut().insert("content-length", size.into());
            text(pool.send(request).await.unwrap()).await
        }
    };
    for _ in 0..3 {
        assert_eq!(send(400_000).await, "early");
        until("it comes back", || pool.stats().in_use == 0).await;
    }
    assert_eq!(server.accepted.get(), 1);
}

#[tokio::test]
async fn an_http1_response_head_over_the_limit_is_refused() {
    let server = Server::start(&["http/1.1"], |mut tls, _| async move {
        read_head(&mut tls).await;
        let head = format!("HTTP/1.1 200 OK\r\nbig: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(70_000));
        let _cut_short = tls.write_all(head.as_bytes()).await;
        read_head(&mut tls).await;
    })
    .await;
    let error = server.pool(Settings::default()).send(get("/")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Lost, "{error}");
}

#[tokio::test]
async fn an_http1_request_body_that_breaks_off_is_the_clients_fault() {
    let server = Server::start(&["http/1.1"], |mut tls, _| async move {
        let _never_whole = tls.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let broken = stream::iter([Ok(Frame::data(Bytes::from("half"))), Err(BoxError::from("client gone"))]);
    let request = post("/", StreamBody::new(broken).boxed_unsync());
    let error = server.pool(Settings::default()).send(request).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::RequestBody, "{error}");
    let cause = error.source().unwrap().source().unwrap();
    assert_eq!(cause.to_string(), "client gone");
}

#[tokio::test]
async fn an_early_http1_response_holds_no_place_for_a_request_that_never_ends() {
    for last in ["connection: close\r\n", ""] {
        let server = Server::start(&["http/1.1"], move |mut tls, _| async move {
            while read_head(&mut tls).await.is_some() {
                let answer = format!("HTTP/1.1 403 Forbidden\r\n{last}content-length: 2\r\n\r\nno");
                tls.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        let pool = server.pool(Settings { max_connections: 1, ..Settings::default() });
        let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>()).boxed_unsync();
        assert_eq!(text(pool.send(post("/", endless)).await.unwrap()).await, "no");
        until("the connection is gone", || server.open.get() == 0).await;
        assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "no", "{last:?}");
    }
}
