//! How connections begin and end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http_body_util::BodyExt;
use kube_peer_proxy::body;
use kube_peer_proxy::servers::pool::{Event, Pool, SendErrorKind, Settings, Target};
use kube_peer_proxy::tls::client::{self, Alpn, Pem};
use tokio::net::TcpListener;

use super::server::*;
use super::{get, post, text};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    let good = Server::hyper(&["h2"], 100, |_, _| async { http::Response::new(body::empty()) }).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { port: silent.local_addr().unwrap().port(), ..good.target() };
    let pool =
        pool_to(&good.ca, target, Settings { connect_timeout: MS(100), ..Settings::default() }, |_| ());
    let started = Instant::now();
    // All of them at once: one attempt is enough to tell everybody.
    let errors = join_all((0..50).map(|_| pool.send(post("/", body::full("kept"))))).await;
    assert!(started.elapsed() < MS(2000));
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Unanswered);
        assert!(error.to_string().contains("no TLS handshake within 100ms"), "{error}");
        let body = error.request.unwrap().into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "kept");
    }
}

#[tokio::test]
async fn a_server_without_settings_is_given_up_in_time() {
    let server = Server::start(&["h2"], |tls, _| async move {
        std::future::pending::<()>().await;
        drop(tls);
    })
    .await;
    let pool = server.pool(Settings { connect_timeout: MS(300), ..Settings::default() });
    let error = pool.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Unanswered);
    assert!(error.to_string().contains("no HTTP/2 SETTINGS within 300ms"), "{error}");
}

fn pool_to(
    ca: &str,
    target: Target,
    settings: Settings,
    observer: impl Fn(Event<'_>) + Send + Sync + 'static,
) -> Arc<Pool> {
    let roots = client::roots_from_pem(Pem { name: "ca.crt", pem: ca.as_bytes() }).unwrap();
    let config = client::config(roots, None, Alpn::H2OrHttp11).unwrap();
    Pool::new(target, config, settings, Arc::new(observer)).unwrap()
}

#[tokio::test]
async fn a_refused_connection_fails_at_once_and_names_the_address() {
    let good = Server::hyper(&["h2"], 100, |_, _| async { http::Response::new(body::empty()) }).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let pool = pool_to(&good.ca, Target { port, ..good.target() }, Settings::default(), |_| ());
    let error = pool.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.request.is_some());
}

#[tokio::test]
async fn a_certificate_of_another_ca_or_name_is_refused() {
    let server = Server::hyper(&["h2"], 100, |_, _| async { http::Response::new(body::empty()) }).await;
    let other = Server::hyper(&["h2"], 100, |_, _| async { http::Response::new(body::empty()) }).await;
    let wrong_name = Target { server_name: "example.com".try_into().unwrap(), ..server.target() };
    for (ca, target) in [(&other.ca, server.target()), (&server.ca, wrong_name)] {
        let error = pool_to(ca, target, Settings::default(), |_| ()).send(get("/")).await.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Tls, "{error}");
        assert!(error.request.is_some());
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let server = Server::hyper(&["h2"], 100, |_, _| async { http::Response::new(body::full("ok")) }).await;
    // On most machines `localhost` is ::1 as well, where nobody listens.
    let target = Target { host: "localhost".to_owned(), ..server.target() };
    let pool = pool_to(&server.ca, target, Settings::default(), |_| ());
    assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "ok");
}

/// A server that answers the head of each request, then all else or nothing at all.
async fn hanging(answers_pings: bool, pings: Count) -> Server {
    Server::start(&["h2"], move |tls, _| {
        let pings = pings.clone();
        async move {
            let mut raw = Raw::start(tls).await;
            let watch = raw.expect(HEADERS).await.unwrap().stream;
            raw.send(HEADERS, END_HEADERS, watch, OK).await;
            raw.expect(HEADERS).await;
            while let Some(frame) = raw.next().await {
                if frame.kind == PING && frame.flags & ACK == 0 {
                    pings.add(1);
                    if answers_pings {
                        raw.send(PING, ACK, 0, &frame.payload).await;
                    }
                }
            }
        }
    })
    .await
}

fn impatient() -> Settings {
    Settings { ping_interval: MS(100), ping_timeout: MS(100), ..Settings::default() }
}

#[tokio::test]
async fn a_hung_server_is_declared_dead_and_every_exchange_ends_at_once() {
    let server = hanging(false, Count::default()).await;
    let pool = server.pool(impatient());
    let started = Instant::now();
    let mut watch = pool.send(get("/watch")).await.unwrap();
    let (frame, waiting) = tokio::join!(watch.body_mut().frame(), pool.send(get("/waits")));
    println!("declared dead after {:?}", started.elapsed());
    assert!(frame.unwrap().is_err());
    assert_eq!(waiting.unwrap_err().kind, SendErrorKind::Lost);
    assert!((MS(200)..MS(1500)).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!((pool.stats().live, pool.stats().draining), (0, 0));
}

#[tokio::test]
async fn a_slow_server_that_answers_pings_is_waited_for() {
    let pings = Count::default();
    let server = hanging(true, pings.clone()).await;
    let pool = server.pool(impatient());
    let _watch = pool.send(get("/watch")).await.unwrap();
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.send(get("/waits")).await.map(|_| ()) }
    });
    until("pinged many times over", || pings.get() >= 5).await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn an_idle_connection_is_not_pinged_and_closed_after_a_while() {
    let pings = Count::default();
    let seen = pings.clone();
    let server = Server::start(&["h2"], move |tls, _| {
        let seen = seen.clone();
        async move {
            let mut raw = Raw::start(tls).await;
            while let Some(frame) = raw.next().await {
                match frame.kind {
                    HEADERS => raw.send(HEADERS, END_HEADERS | END_STREAM, frame.stream, OK).await,
                    PING => _ = seen.add(1),
                    _ => {}
                }
            }
        }
    })
    .await;
    let pool = server.pool(Settings { idle_timeout: MS(300), ..impatient() });
    pool.send(get("/")).await.unwrap();
    assert_eq!(pool.stats().live, 1);
    until("closed", || server.open.get() == 0).await;
    assert_eq!((pool.stats().live, pool.stats().draining, pings.get()), (0, 0, 0));
    pool.send(get("/")).await.unwrap();
    assert_eq!(server.accepted.get(), 2);
}

#[tokio::test]
async fn an_idle_http1_connection_is_closed_after_a_while() {
    let server =
        Server::hyper(&["http/1.1"], 1, |_, _| async { http::Response::new(body::full("ok")) }).await;
    let pool = server.pool(Settings { idle_timeout: MS(100), ping_interval: MS(50), ..Settings::default() });
    text(pool.send(get("/")).await.unwrap()).await;
    assert_eq!(pool.stats().live, 1);
    until("closed", || server.open.get() == 0).await;
    assert_eq!(pool.stats().live, 0);
}

#[tokio::test]
async fn surplus_connections_run_empty_and_are_closed() {
    let server = Server::hyper(&["h2"], 10, |request, _| async move {
        http::Response::new(if request.uri().path() == "/watch" { super::watch("x") } else { body::empty() })
    })
    .await;
    let pool = server.pool(Settings { idle_timeout: MS(200), ping_interval: MS(50), ..Settings::default() });
    let watches = join_all((0..50).map(|_| pool.send(get("/watch")))).await;
    assert!(pool.stats().live >= 5);
    drop(watches);
    // The load that is left keeps one connection busy, and only one.
    let deadline = Instant::now() + Duration::from_secs(20);
    while pool.stats().live > 1 {
        pool.send(get("/")).await.unwrap();
        tokio::task::yield_now().await;
        assert!(Instant::now() < deadline, "{:?}", pool.stats());
    }
    pool.send(get("/")).await.unwrap();
}

#[tokio::test]
async fn close_all_ends_everything_now_and_leaves_the_pool_usable() {
    for alpn in ["h2", "http/1.1"] {
        let server = Server::hyper(&[alpn], 100, |request, _| async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            http::Response::new(super::watch("x"))
        })
        .await;
        let pool = server.pool(Settings::default());
        let mut watch = pool.send(get("/watch")).await.unwrap();
        watch.body_mut().frame().await.unwrap().unwrap();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.send(get("/never")).await.map(|_| ()) }
        });
        until("both are under way", || pool.stats().in_use == 2).await;
        pool.close_all();
        assert!(watch.body_mut().frame().await.unwrap().is_err(), "{alpn}");
        assert_eq!(waiting.await.unwrap().unwrap_err().kind, SendErrorKind::Lost, "{alpn}");
        pool.send(get("/watch")).await.unwrap();
    }
}

#[tokio::test]
async fn close_unwatched_ends_what_no_ping_looks_after_and_nothing_else() {
    for (alpn, survives) in [("h2", true), ("http/1.1", false)] {
        let server = Server::hyper(&[alpn], 1, |_, _| async { http::Response::new(super::watch("x")) }).await;
        let pool = server.pool(Settings::default());
        let mut watch = pool.send(get("/watch")).await.unwrap();
        watch.body_mut().frame().await.unwrap().unwrap();
        // One stream on each connection, so this one has another, on which nothing is under way any more.
        drop(pool.send(get("/watch")).await.unwrap());
        until("one is left", || pool.stats().in_use == 1).await;
        pool.close_unwatched();
        let open = usize::from(survives);
        until("only what is looked after is open", || server.open.get() == open).await;
        let goes_on = tokio::time::timeout(MS(50), watch.body_mut().frame()).await.is_err();
        assert_eq!((goes_on, pool.stats().live), (survives, open), "{alpn}");
        pool.send(get("/watch")).await.unwrap();
    }
}

#[tokio::test]
async fn a_pool_that_nobody_holds_any_more_lets_exchanges_finish_and_closes() {
    let server =
        Server::hyper(&["h2"], 100, |_, _| async { http::Response::new(super::chunks(50, 50_000)) }).await;
    let pool = server.pool(Settings { ping_interval: MS(50), ..Settings::default() });
    let response = pool.send(get("/")).await.unwrap();
    drop(pool);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 2_500_000);
    until("closed", || server.open.get() == 0).await;
}

#[tokio::test]
async fn the_observer_hears_of_each_beginning_and_end() {
    let server = Server::start(&["h2"], |tls, _| async move {
        let mut raw = Raw::start(tls).await;
        let request = raw.expect(HEADERS).await.unwrap().stream;
        raw.send(HEADERS, END_HEADERS, request, OK).await;
        raw.go_away(request).await;
        raw.rest().await;
    })
    .await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    let observer = move |event: Event<'_>| {
        notes.lock().unwrap().push(match event {
            Event::Connected { http2, .. } => format!("connected {http2}"),
            Event::ConnectFailed { kind, .. } => format!("failed {kind:?}"),
            Event::Draining => "draining".to_owned(),
            Event::Closed { error } => format!("closed {}", error.is_some()),
        });
    };
    let pool = pool_to(&server.ca, server.target(), Settings::default(), observer);
    let held = pool.send(get("/")).await.unwrap();
    until("draining", || pool.stats().draining == 1).await;
    drop(held);
    until("closed", || heard.lock().unwrap().len() >= 3).await;
    assert_eq!(*heard.lock().unwrap(), ["connected true", "draining", "closed false"]);
    drop(server);
    until("no server", || pool.stats().live == 0).await;
    pool.send(get("/")).await.unwrap_err();
    assert_eq!(heard.lock().unwrap().last().unwrap(), "failed Connect");
}
