//! API servers that went mad, or were taken over: what their discovery and their answers can do to us.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_peer_proxy::body::{self, Body, BoxError};
use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::embedded::Recorded::V1_36;

use super::{has_the_process_to_itself, resident};
use crate::kit::{As, Cluster, PKI, Stub, V2, say};

static BLANKS: [u8; 64 * 1024] = [b' '; 64 * 1024];

fn document(content: impl Into<Bytes>) -> Response<Body> {
    Response::builder().header("content-type", V2.1).body(body::full(content)).unwrap()
}

fn endless() -> Body {
    let blanks = stream::repeat_with(|| Ok::<_, BoxError>(Frame::data(Bytes::from_static(&BLANKS))));
    StreamBody::new(blanks).boxed_unsync()
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

type Bomb = Box<dyn Fn() -> Response<Body> + Send + Sync>;

fn bombs() -> Vec<(&'static str, Bomb)> {
    let list = |items: &str| format!(r#"{{"kind":"APIGroupDiscoveryList","items":[{items}]}}"#);
    let deep = format!("{}{}", "[".repeat(2_000_000), "]".repeat(2_000_000));
    let deep_field =
        list(&format!(r#"{{"metadata":{{"name":"a"}},"unknown":{}}}"#, "{\"a\":".repeat(1_000_000)));
    let long_name = list(&format!(r#"{{"metadata":{{"name":"{}"}}}}"#, "a".repeat(70 << 20)));
    let real = V1_36.apis().to_string();
    let packed = gzipped(&vec![b' '; 200 << 20]);
    let packed_real = gzipped(real.as_bytes());
    let as_gzip = |bytes: Vec<u8>| -> Bomb {
        Box::new(move || {
            let mut response = document(bytes.clone());
            response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            response
        })
    };
    vec![
        ("nested deep", Box::new(move || document(deep.clone()))),
        ("nested deep in a field that nobody knows", Box::new(move || document(deep_field.clone()))),
        ("70 MiB in one name", Box::new(move || document(long_name.clone()))),
        ("no end", Box::new(|| Response::builder().header("content-type", V2.1).body(endless()).unwrap())),
        ("compressed, though we never asked for that", as_gzip(packed)),
        ("the right document compressed, though we never asked for that", as_gzip(packed_real)),
        ("an array", Box::new(|| document("[]"))),
        ("a string", Box::new(|| document("\"\""))),
        ("nothing", Box::new(|| document(""))),
        ("a number beyond all numbers", Box::new(|| document(r#"{"items":[1e999999]}"#))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_document_bomb() {
    if !has_the_process_to_itself("bombs::peer_document_bomb") {
        return;
    }
    // Beside a good server stands one that gives the next bomb whenever it is asked.
    let good = Cluster::start(&[V1_36]).await;
    for (name, bomb) in bombs() {
        let bomb = Arc::new(bomb);
        let stub = Stub::start(move |request| {
            let bomb = Arc::clone(&bomb);
            async move {
                match request.uri().path() {
                    "/apis" => bomb(),
                    path => Stub::as_136(path).unwrap_or_else(|| Response::new(body::empty())),
                }
            }
        })
        .await;
        let before = resident();
        let proxy = good.proxy().server("mad", stub.address).home("v136").file("discoveryFetchTimeout", "5s");
        let proxy = proxy.start().await;
        assert_eq!(proxy.freshness("mad"), Freshness::Unknown, "{name}");
        let error = proxy.target("mad").health.last_error().unwrap();
        let more = resident().saturating_sub(before);
        say!("{name}: {} MiB more in memory; {error:.150}", more >> 20);
        // The limit is 64 MiB; while it is parsed there may be two of them, and the stub has its own.
        assert!(more < 300 << 20, "{name}: {} MiB", more >> 20);
        assert!(error.len() < 1000, "{name}: an error of {} bytes", error.len());
        assert_eq!(proxy.freshness("v136"), Freshness::Fresh, "{name}");
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        assert_eq!(admin.get("/api/v1/configmaps").await.status, 200, "{name}");
        assert!(admin.get_with("/apis", V2).await.text().contains("apps"), "{name}");
    }
}

/// A server's `Location`, whatever the status, is the client's to judge; we dial nothing that it names.
#[tokio::test]
async fn upstream_redirect_is_blocked() {
    let canary = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let elsewhere = format!("https://{}/steal", canary.local_addr().unwrap());
    let code = Arc::new(Mutex::new(200_u16));
    let (told, current) = (elsewhere.clone(), Arc::clone(&code));
    let stub = Stub::start(move |request| {
        let (status, to) = (*current.lock().unwrap(), told.clone());
        async move {
            let redirect =
                || Response::builder().status(status).header("location", &to).body(body::full("moved"));
            match Stub::as_136(request.uri().path()) {
                Some(answer) if status == 200 || request.uri().path() == "/readyz" => answer,
                _ => redirect().unwrap(),
            }
        }
    })
    .await;
    let proxy = crate::kit::ProxyBuilder::new()
        .server("stub", stub.address)
        .home("stub")
        .interval("100ms")
        .start()
        .await;
    assert_eq!(proxy.freshness("stub"), Freshness::Fresh);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for status in [300, 301, 302, 303, 305, 307, 308] {
        *code.lock().unwrap() = status;
        for method in [http::Method::GET, http::Method::POST] {
            let reply = admin.ask(method, "/api/v1/configmaps").whole().await;
            let seen = (reply.status.as_u16(), reply.header("location"), reply.text());
            assert_eq!(seen, (status, &*elsewhere, "moved"));
        }
    }
    // Our own fetches took none of them for an answer, and what was known stays (I7).
    let said = || proxy.target("stub").health.last_error().unwrap_or_default();
    crate::kit::eventually("a fetch was refused", || said().contains("redirect is never followed")).await;
    *code.lock().unwrap() = 200;
    assert!(admin.get_with("/apis", V2).await.text().contains("apps"));
    assert!(canary.accept().is_err(), "nobody may have connected");
}
