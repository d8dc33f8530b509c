//! The configuration is held against what the API servers say of whom they believe.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube_peer_proxy::body::BoxError;
use kube_peer_proxy::embedded::Recorded::{V1_35, V1_36};
use kube_peer_proxy::embedded::{RunningServer, Server, Store};
use kube_peer_proxy::ops::telemetry::LogFormat;
use kube_peer_proxy::pki::Authority;
use serde_json::{Value, json};

use crate::kit::client::Protocol;
use crate::kit::{As, Capture, Client, Cluster, PKI, PROXY_USER, ProxyBuilder, Stub, eventually};

const MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// The proxy of these tests shows a certificate with this name.
const NAME: &str = "front-proxy-client";

/// What kube-apiserver publishes that was started with the CAs of these tests.
fn published(allowed_name: &str, more_clients: &str) -> Value {
    let list = |name: &str| json!([name]).to_string();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "extension-apiserver-authentication", "namespace": "kube-system" },
        "data": {
            "client-ca-file": format!("{}{more_clients}", PKI.cluster_ca.cert_pem()),
            "requestheader-client-ca-file": PKI.front_proxy_ca.cert_pem(),
            "requestheader-allowed-names": list(allowed_name),
            "requestheader-username-headers": list("X-Remote-User"),
            "requestheader-uid-headers": list("X-Remote-Uid"),
            "requestheader-group-headers": list("X-Remote-Group"),
            "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
        },
    })
}

async fn admin(server: &RunningServer) -> Client {
    Client::connect(server.addr(), As::Certificate(&PKI.admin), Protocol::H2).await
}

async fn publish(server: &RunningServer, map: &Value) {
    assert_eq!(admin(server).await.post(MAPS, map).await.status, 201);
}

/// How many lines of the log have all of `words`.
fn lines(log: &Capture, words: &[&str]) -> usize {
    log.text().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[tokio::test]
async fn what_differs_is_said_once_with_consequence_and_remedy() {
    let log = Capture::start("info", LogFormat::Text);
    let cluster = Cluster::start(&[V1_35, V1_36]).await;
    let other = Authority::new("clients-of-old").unwrap();
    publish(cluster.server("v135"), &published("aggregator", other.cert_pem())).await;
    let _proxy = cluster.proxy().start().await;
    eventually("both differences are told", || {
        lines(
            &log,
            &["WARN", "its --client-ca-file believes CAs that ours does not: CN=clients-of-old; whom"],
        ) == 1
            && lines(&log, &["WARN", "has the CN \"front-proxy-client\"", "names are aggregator", "401"]) == 1
    })
    .await;
    let asked = |name: &str| cluster.server(name).log().matching(|request| request.target == MAP).len();
    eventually("both servers are asked", || asked("v135") == 1 && asked("v136") == 1).await;
    assert_eq!(lines(&log, &["extension-apiserver-authentication"]), 2, "{}", log.text());
}

#[tokio::test]
async fn what_agrees_is_no_warning_and_a_reload_looks_again() {
    let log = Capture::start("debug", LogFormat::Text);
    let cluster = Cluster::start(&[V1_36]).await;
    let server = cluster.server("v136");
    publish(server, &published(NAME, "")).await;
    let proxy = cluster.proxy().start().await;
    let agrees = "it believes whom the configuration says that it does";
    eventually("it agrees", || lines(&log, &["v136", agrees]) == 1).await;
    assert_eq!(lines(&log, &["WARN", "extension-apiserver-authentication"]), 0, "{}", log.text());

    let put = admin(server).await.ask(Method::PUT, MAP).json(&published("aggregator", "")).whole().await;
    assert_eq!(put.status, 200, "{}", put.text());
    let configuration = std::fs::read_to_string(proxy.file("proxy.yaml")).unwrap();
    std::fs::write(proxy.file("proxy.yaml"), configuration + "reroute: dry-run\n").unwrap();
    proxy.app.reloader.check_now();
    eventually("it differs now", || lines(&log, &["WARN", "names are aggregator"]) == 1).await;
}

#[tokio::test]
async fn who_may_not_look_is_told_which_right_is_missing_and_nothing_waits() {
    let log = Capture::start("info", LogFormat::Text);
    let guard = |builder: kube_peer_proxy::embedded::Builder| {
        builder.authorizer(|user, path, _| user.name != PROXY_USER || path != MAP)
    };
    let cluster = Cluster::with([("v136", V1_36)], guard).await;
    let proxy = cluster.proxy().start().await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(client.get("/api/v1/namespaces").await.status, 200);
    assert_eq!(lines(&log, &["extension-apiserver-authentication"]), 0, "it is ready before that");
    let right =
        "system:kube-peer-proxy may not read the ConfigMap kube-system/extension-apiserver-authentication";
    eventually("the right is named", || lines(&log, &["INFO", right, "rbac.yaml"]) == 1).await;
    assert_eq!(lines(&log, &["WARN"]), 0, "{}", log.text());
    let asked = cluster.server("v136").log().matching(|request| request.target == MAP);
    assert_eq!(asked.len(), 3, "and then it is believed");
}

#[tokio::test]
async fn a_server_that_takes_us_for_nobody_is_told_of() {
    let log = Capture::start("info", LogFormat::Text);
    let other = Authority::new("front-proxies-of-old").unwrap();
    let strange = |builder: kube_peer_proxy::embedded::Builder| builder.front_proxy_ca(other.cert(), &[NAME]);
    let cluster = Cluster::with([("v136", V1_36)], strange).await;
    let _proxy = cluster.proxy().unready().start().await;
    eventually("it is told", || {
        lines(&log, &["WARN", "it answers our own requests with 401", "--requestheader-client-ca-file"]) == 1
    })
    .await;
}

#[tokio::test]
async fn a_server_that_starts_and_refuses_at_first_is_asked_again() {
    let log = Capture::start("info", LogFormat::Text);
    let cluster = Cluster::start(&[V1_36]).await;
    let server = cluster.server("v136");
    let _proxy = cluster.proxy().start().await;
    let asked = || server.log().matching(|request| request.target == MAP);
    eventually("it is asked", || asked().iter().any(|request| request.status == Some(StatusCode::NOT_FOUND)))
        .await;
    publish(server, &published("aggregator", "")).await;
    eventually("it is asked again", || lines(&log, &["WARN", "names are aggregator"]) == 1).await;
}

#[tokio::test]
async fn a_server_whose_answer_does_not_end_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let stub = Stub::start(move |request| {
        let answer = if request.uri().path() == MAP {
            counted.fetch_add(1, Ordering::Relaxed);
            let beginning =
                stream::once(future::ready(Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"{")))));
            Response::new(StreamBody::new(beginning.chain(stream::pending())).boxed_unsync())
        } else {
            Stub::as_136(request.uri().path()).unwrap()
        };
        future::ready(answer)
    })
    .await;
    let _proxy = ProxyBuilder::new().server("slow", stub.address).home("slow").start().await;
    // Not before limits::TRUST_TIMEOUT has passed.
    eventually("it is asked again", || asked.load(Ordering::Relaxed) > 1).await;
}

#[tokio::test]
async fn a_server_that_comes_later_is_asked_then() {
    let log = Capture::start("debug", LogFormat::Text);
    let store = Store::new();
    let start = async |name: &str| {
        let builder = Server::builder(name).version(V1_36).pki(&PKI).store(Arc::clone(&store));
        builder.endpoint_slice(true).start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
    };
    let first = start("first").await;
    publish(&first, &published(NAME, "")).await;
    let _proxy = ProxyBuilder::new()
        .server("first", first.addr())
        .home("first")
        .flags(|args| {
            args.peer_source = Some("endpointslices".to_owned());
            args.peer_allowed_cidrs = vec!["127.0.0.0/8".to_owned()];
        })
        .start()
        .await;
    let agrees = "it believes whom the configuration says that it does";
    eventually("the first one is asked", || lines(&log, &["server=first", agrees]) == 1).await;
    let second = start("second").await;
    let name = format!("server={}", second.addr().to_string().replace(':', "-"));
    eventually("the second one is asked", || lines(&log, &[&name, agrees]) == 1).await;
    assert_eq!(lines(&log, &["server=first", agrees]), 1, "once is enough");
}
