//! New certificates for a pool that is in use.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::servers::pool::{Pool, SendErrorKind, Settings};
use kube_peer_proxy::tls::client::{self, Alpn, Pem};
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc};

use super::server::*;
use super::{get, soon, text};

/// Trusts this CA.
fn key(ca: &str, alpn: Alpn) -> Arc<ClientConfig> {
    let roots = client::roots_from_pem(Pem { name: "ca.crt", pem: ca.as_bytes() }).unwrap();
    client::config(roots, None, alpn).unwrap()
}

type Watchers = Arc<Mutex<Vec<mpsc::UnboundedSender<Bytes>>>>;

/// Says on which connection a request came; `/watch` goes on with what the watchers are told.
async fn telling(alpn: &[&str], watchers: &Watchers) -> Server {
    let watchers = Arc::clone(watchers);
    Server::hyper(alpn, 100, move |request, number| {
        let body: Body = if request.uri().path() == "/watch" {
            let (tell, told) = mpsc::unbounded_channel();
            watchers.lock().unwrap().push(tell);
            let frames = futures_util::stream::unfold(told, |mut told| async {
                Some((Ok::<_, std::convert::Infallible>(Frame::data(told.recv().await?)), told))
            });
            StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync()
        } else {
            body::full(number.to_string())
        };
        async move { Response::new(body) }
    })
    .await
}

#[tokio::test]
async fn requests_take_a_new_connection_and_streams_under_way_live_on() {
    for (alpn, offered) in [("h2", Alpn::H2OrHttp11), ("http/1.1", Alpn::Http11)] {
        let watchers = Watchers::default();
        let server = telling(&[alpn], &watchers).await;
        let pool = server.pool(Settings::default());
        let mut watch = pool.send(get("/watch")).await.unwrap();
        pool.rekey(key(&server.ca, offered));
        assert_eq!((pool.stats().live, pool.stats().draining), (0, 1), "{alpn}");
        assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "1", "{alpn}");
        watchers.lock().unwrap()[0].send(Bytes::from_static(b"news")).unwrap();
        let news = soon(watch.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(news.into_data().unwrap(), "news", "{alpn}");
        assert_eq!(pool.stats().draining, 1, "{alpn}");

        watchers.lock().unwrap().clear();
        assert_eq!(text(watch).await, "", "{alpn}");
        until("the old connection is closed", || server.open.get() == 1).await;
        assert_eq!((pool.stats().live, pool.stats().draining), (1, 0), "{alpn}");
        assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "1", "{alpn}");
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_at_once() {
    for (alpn, offered) in [("h2", Alpn::H2OrHttp11), ("http/1.1", Alpn::Http11)] {
        let server = telling(&[alpn], &Watchers::default()).await;
        let pool = server.pool(Settings::default());
        assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "0");
        pool.rekey(key(&server.ca, offered));
        until("it is closed", || server.open.get() == 0 && pool.stats().draining == 0).await;
    }
}

#[tokio::test]
async fn new_connections_go_by_the_new_cas() {
    let server = telling(&["h2"], &Watchers::default()).await;
    let other = telling(&["h2"], &Watchers::default()).await;
    let pool = server.pool(Settings::default());
    assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "0");
    pool.rekey(key(&other.ca, Alpn::H2OrHttp11));
    let error = pool.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Tls, "{error}");
    pool.rekey(key(&server.ca, Alpn::H2OrHttp11));
    assert!(pool.send(get("/")).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_was_being_opened_takes_no_request_any_more() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let server = Server::start(&["h2"], move |tls, number| {
        let held = Arc::clone(&held);
        async move {
            if number == 0 {
                held.notified().await;
            }
            let service = service_fn(move |_| async move {
                Ok::<_, std::convert::Infallible>(Response::new(body::full(number.to_string())))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ended = server.serve_connection(TokioIo::new(tls), service).await;
        }
    })
    .await;
    let pool = server.pool(Settings::default());
    let asking = |pool: &Arc<Pool>| {
        let pool = Arc::clone(pool);
        tokio::spawn(async move { text(pool.send(get("/")).await.unwrap()).await })
    };
    let asked = asking(&pool);
    until("the handshake is over", || server.accepted.get() == 1 && pool.stats().opening == 1).await;
    pool.rekey(key(&server.ca, Alpn::H2OrHttp11));
    gate.notify_one();
    assert_eq!(soon(asked).await.unwrap(), "1");
    until("the first one is closed unused", || server.open.get() == 1).await;
}

#[tokio::test]
async fn no_request_is_lost_while_keys_change_all_the_time() {
    let server = telling(&["h2"], &Watchers::default()).await;
    let pool = server.pool(Settings { max_connections: 4, ..Settings::default() });
    let answered = AtomicUsize::new(0);
    let asking = join_all((0..20).map(|_| async {
        for _ in 0..20 {
            let number = text(pool.send(get("/")).await.unwrap()).await;
            assert!(number.parse::<usize>().is_ok());
            answered.fetch_add(1, SeqCst);
        }
    }));
    let rekeying = async {
        for _ in 0..20 {
            pool.rekey(key(&server.ca, Alpn::H2OrHttp11));
            let before = server.accepted.get();
            // Unless nobody asks any more.
            let anew = || server.accepted.get() > before || pool.stats().live > 0;
            until("somebody came anew", || anew() || answered.load(SeqCst) == 400).await;
        }
    };
    soon(async { tokio::join!(asking, rekeying) }).await;
    until("only the last connections are left", || pool.stats().draining == 0).await;
}
