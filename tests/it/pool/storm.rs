//! Many at once, on several threads, with everything that can come in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube_peer_proxy::body;
use kube_peer_proxy::servers::pool::Settings;
use tokio::time::timeout;

use super::server::{Count, Server, until};
use super::{get, post, text, watch};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_and_no_limit_broken_whatever_is_cancelled_when() {
    for alpn in ["h2", "http/1.1"] {
        let worst = Count::default();
        let noted = worst.clone();
        let streams: Arc<Mutex<HashMap<usize, Count>>> = Arc::default();
        let server = Server::hyper(&[alpn], 10, move |request, connection| {
            let count = streams.lock().unwrap().entry(connection).or_default().clone();
            let guard = count.guard();
            noted.add(count.get().saturating_sub(noted.get()));
            async move {
                match request.uri().path() {
                    "/never" => std::future::pending::<()>().await,
                    "/slow" => tokio::time::sleep(Duration::from_millis(5)).await,
                    _ => {}
                }
                let body = if request.uri().path() == "/watch" { watch("x") } else { body::full("ok") };
                Response::new(
                    body.map_frame(move |frame| {
                        let _alive_with_the_body = &guard;
                        frame
                    })
                    .boxed_unsync(),
                )
            }
        })
        .await;
        let pool = server.pool(Settings { queue_timeout: Duration::from_secs(20), ..Settings::default() });
        let requests = stream::iter(0..3000_u64).map(|n| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let wait = Duration::from_millis(n % 7);
                match n % 4 {
                    0 => assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "ok"),
                    1 => drop(timeout(wait, pool.send(get("/slow"))).await),
                    2 => drop(timeout(wait, pool.send(get("/never"))).await),
                    _ => drop(pool.send(get("/watch")).await.unwrap().into_body().frame().await),
                }
            })
        });
        requests.buffer_unordered(150).for_each(|task| async { task.unwrap() }).await;
        until("everything given back", || pool.stats().in_use == 0 && pool.stats().waiting == 0).await;
        // On HTTP/2 the server itself refuses what is too many, and the request above would fail.
        assert!(alpn == "h2" || worst.get() <= 1, "{alpn}: {}", worst.get());
        println!("{alpn}: {} connections in all, {:?}", server.accepted.get(), pool.stats());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i9_a_server_that_says_goaway_all_the_time_gets_every_request_once() {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let server = Server::start(&["h2"], move |tls, _| {
        let notes = Arc::clone(&notes);
        async move {
            let served = Count::default();
            let counter = served.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (notes, counter) = (Arc::clone(&notes), counter.clone());
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let id = String::from_utf8(body.to_vec()).unwrap();
                    *notes.lock().unwrap().entry(id.clone()).or_default() += 1;
                    counter.add(1);
                    Ok::<_, hyper::Error>(Response::new(body::full(id)))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(tls), service);
            let mut connection = std::pin::pin!(builder);
            let mut leaving = false;
            std::future::poll_fn(|cx| {
                if served.get() >= 20 && !leaving {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx).map(drop)
            })
            .await;
            // As net/http: a socket closed at once, with requests unread in it, would be reset, and
            // the client would never get to read the GOAWAY that tells which of them were left.
            std::future::pending::<()>().await;
        }
    })
    .await;
    let pool = server.pool(Settings::default());
    let requests = stream::iter(0..2000).map(|n: usize| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let mut request = post("/", body::full(n.to_string()));
            // Unlucky three times in a row, a request comes back; then it is up to the caller.
            let response = loop {
                match pool.send(request).await {
                    Ok(response) => break response,
                    Err(error) if error.request.is_some() => request = *error.request.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(text(response).await, n.to_string());
        })
    });
    requests.buffer_unordered(50).for_each(|task| async { task.unwrap() }).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2000);
    assert!(seen.values().all(|&times| times == 1));
    println!("2,000 requests on {} connections", server.accepted.get());
    assert!(server.accepted.get() >= 10);
}
