//! How streams are spread over connections.

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Response;
use http_body_util::BodyExt;
use kube_peer_proxy::body;
use kube_peer_proxy::servers::pool::{SendErrorKind, Settings};
use tokio::sync::{Mutex, mpsc};

use super::server::*;
use super::{get, soon, text, watch};

/// Answers `/watch` with an endless stream and notes how many are open per connection at most.
async fn watched(limit: u32) -> (Server, Arc<Mutex<Vec<usize>>>) {
    let per_connection = Arc::new(Mutex::new(Vec::<usize>::new()));
    let notes = Arc::clone(&per_connection);
    let server = Server::hyper(&["h2"], limit, move |request, connection| {
        let notes = Arc::clone(&notes);
        async move {
            if request.uri().path() == "/watch" {
                let mut notes = notes.lock().await;
                let len = notes.len().max(connection + 1);
                notes.resize(len, 0);
                notes[connection] += 1;
                Response::new(watch("ADDED"))
            } else {
                Response::new(body::full("quick"))
            }
        }
    })
    .await;
    (server, per_connection)
}

#[tokio::test]
async fn a_thousand_watches_leave_a_get_as_quick_as_ever() {
    let (server, per_connection) = watched(100).await;
    let pool = server.pool(Settings::default());
    let started = Instant::now();
    let watches = soon(join_all((0..1000).map(|_| pool.send(get("/watch"))))).await;
    let watches: Vec<_> = watches.into_iter().map(Result::unwrap).collect();
    println!("1,000 watches open after {:?}", started.elapsed());
    assert!(per_connection.lock().await.iter().all(|&streams| streams <= 100));
    assert!(pool.stats().live >= 10, "{:?}", pool.stats());

    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let started = Instant::now();
        assert_eq!(text(pool.send(get("/get")).await.unwrap()).await, "quick");
        slowest = slowest.max(started.elapsed());
    }
    println!("slowest GET beside them {slowest:?}, {:?}", pool.stats());
    // One pool of one connection took 3.75 s here.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    drop(watches);
    until("every stream given back", || pool.stats().in_use == 0).await;
}

#[tokio::test]
async fn the_limit_in_the_servers_settings_is_kept() {
    let (server, per_connection) = watched(7).await;
    let pool = server.pool(Settings::default());
    let watches = soon(join_all((0..50).map(|_| pool.send(get("/watch"))))).await;
    assert!(watches.iter().all(Result::is_ok));
    assert!(per_connection.lock().await.iter().all(|&streams| streams <= 7));
    assert!(server.accepted.get() >= 8);
}

#[tokio::test]
async fn our_own_limit_is_kept_below_the_servers() {
    let (server, per_connection) = watched(100).await;
    let pool = server.pool(Settings { max_streams: 3, ..Settings::default() });
    let watches = soon(join_all((0..9).map(|_| pool.send(get("/watch"))))).await;
    assert!(watches.iter().all(Result::is_ok));
    assert!(per_connection.lock().await.iter().all(|&streams| streams <= 3));
}

#[tokio::test]
async fn another_connection_is_opened_before_the_first_is_full() {
    let (server, _) = watched(10).await;
    let pool = server.pool(Settings::default());
    let mut watches = Vec::new();
    for _ in 0..8 {
        watches.push(pool.send(get("/watch")).await.unwrap());
    }
    assert_eq!(server.accepted.get(), 1);
    watches.push(pool.send(get("/watch")).await.unwrap());
    until("a second connection, though the first has room", || pool.stats().live == 2).await;
    assert_eq!(pool.stats().in_use, 9);
}

#[tokio::test]
async fn beyond_the_last_permitted_connection_a_request_is_refused_and_given_back() {
    let (server, _) = watched(2).await;
    let settings =
        Settings { max_connections: 2, queue_timeout: Duration::from_millis(50), ..Settings::default() };
    let pool = server.pool(settings);
    let watches = soon(join_all((0..4).map(|_| pool.send(get("/watch"))))).await;
    assert!(watches.iter().all(Result::is_ok));
    let error = pool.send(get("/get")).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Exhausted);
    assert_eq!(error.request.unwrap().uri(), "/get");
    assert_eq!(server.accepted.get(), 2);
}

#[tokio::test]
async fn a_waiting_request_gets_the_stream_that_becomes_free() {
    let (server, _) = watched(1).await;
    let settings =
        Settings { max_connections: 1, queue_timeout: Duration::from_secs(20), ..Settings::default() };
    let pool = server.pool(settings);
    let held = pool.send(get("/watch")).await.unwrap();
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { text(pool.send(get("/get")).await.unwrap()).await }
    });
    until("it waits", || pool.stats().waiting == 1).await;
    drop(held);
    assert_eq!(waiting.await.unwrap(), "quick");
}

#[tokio::test]
async fn dropping_a_request_or_a_response_frees_its_stream_on_both_sides() {
    let streams = Count::default();
    let seen = streams.clone();
    let server = Server::hyper(&["h2"], 100, move |request, _| {
        let guard = seen.guard();
        async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let body = watch("x").map_frame(move |frame| {
                let _alive_with_the_body = &guard;
                frame
            });
            Response::new(body.boxed_unsync())
        }
    })
    .await;
    let pool = server.pool(Settings::default());

    let mut response = pool.send(get("/watch")).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!((streams.get(), pool.stats().in_use), (1, 1));
    drop(response);
    until("the stream is given back", || pool.stats().in_use == 0).await;
    until("the server saw the response dropped", || streams.get() == 0).await;

    let request = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.send(get("/never")).await }
    });
    until("the server has the request", || streams.get() == 1).await;
    request.abort();
    until("the stream is given back", || pool.stats().in_use == 0).await;
    until("the server saw the request dropped", || streams.get() == 0).await;
    assert_eq!(server.open.get(), 1, "the connection stays");
}

#[tokio::test]
async fn thousands_of_cancelled_watches_do_not_cost_the_connection() {
    let server = Server::hyper(&["h2"], 100, |request, _| async move {
        let busy = request.uri().path() == "/watch";
        Response::new(if busy { super::chunks(500, 10) } else { watch("calm") })
    })
    .await;
    let pool = server.pool(Settings::default());
    let mut calm = pool.send(get("/calm")).await.unwrap();
    calm.body_mut().frame().await.unwrap().unwrap();
    for _ in 0..40 {
        let batch = join_all((0..50).map(|_| async {
            let mut response = pool.send(get("/watch")).await.unwrap();
            response.body_mut().frame().await.unwrap().unwrap();
        }));
        batch.await;
    }
    until("only the calm one is left", || pool.stats().in_use == 1).await;
    assert_eq!(server.open.get(), server.accepted.get(), "none had to be given up");
}

#[tokio::test]
async fn a_cancelled_stream_counts_until_the_server_is_known_to_know() {
    let (go, mut gone) = mpsc::channel::<()>(1);
    let gone = Arc::new(Mutex::new(move |cx: &mut Context<'_>| gone.poll_recv(cx)));
    let order = Arc::<std::sync::Mutex<Vec<u8>>>::default();
    let notes = Arc::clone(&order);
    let server = Server::start(&["h2"], move |tls, _| {
        let (notes, gone) = (Arc::clone(&notes), Arc::clone(&gone));
        async move {
            let mut raw = Raw::start(tls).await;
            while let Some(frame) = raw.next().await {
                if frame.kind == RST_STREAM || frame.kind == PING {
                    notes.lock().unwrap().push(frame.kind);
                }
                if frame.kind == PING {
                    let mut gone = gone.lock().await;
                    std::future::poll_fn(|cx| gone(cx)).await;
                    raw.send(PING, ACK, 0, &frame.payload).await;
                } else if frame.kind == HEADERS {
                    raw.send(HEADERS, END_HEADERS, frame.stream, OK).await;
                }
            }
        }
    })
    .await;
    let settings = Settings {
        max_connections: 1,
        max_streams: 2,
        queue_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let pool = server.pool(settings);
    for _ in 0..2 {
        drop(pool.send(get("/")).await.unwrap());
    }
    assert_eq!(pool.send(get("/")).await.unwrap_err().kind, SendErrorKind::Exhausted);
    go.send(()).await.unwrap();
    go.send(()).await.unwrap();
    until("both are free", || pool.stats().in_use == 0).await;
    pool.send(get("/")).await.unwrap();
    let order = order.lock().unwrap();
    assert_eq!(order[0], RST_STREAM, "the PING comes after: {order:?}");
    assert_eq!(server.accepted.get(), 1);
}
