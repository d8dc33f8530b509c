//! I4: which connection to a server a request takes, and how many there are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, Response, StatusCode, Version};
use kube_peer_proxy::body;
use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::servers::Class;
use serde_json::json;

use crate::kit::{As, BOB, Cluster, EVE, PKI, Proxy, ProxyBuilder, Stub, certificate, eventually};

async fn alone() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").start().await;
    (cluster, proxy)
}

#[tokio::test]
async fn i4_each_kind_of_caller_has_its_own_kind_of_connection() {
    let (cluster, proxy) = alone().await;
    let jane = certificate("jane", &[]);
    let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
    for (name, who, expected) in [
        ("certificate", As::Certificate(&jane), [(h2, true), (h2, true), (h2, true)]),
        ("token", As::Token(BOB), [(h1, false), (h2, false), (h2, false)]),
        ("bad token", As::Token("unknown"), [(h1, false), (h1, false), (h1, false)]),
        ("anonymous", As::Nobody, [(h1, false), (h1, false), (h1, false)]),
    ] {
        let client = proxy.h2(who).await;
        for _ in 0..3 {
            client.get(&format!("/version?{}", name.replace(' ', "-"))).await;
        }
        let seen = cluster.asked("v136", |one| one.target.ends_with(&name.replace(' ', "-")));
        let seen: Vec<_> = seen.iter().map(|one| (one.version, one.certificate)).collect();
        assert_eq!(seen, expected, "{name}");
    }
    let all = cluster.server("v136").log().all();
    let shown: HashSet<_> = all.iter().filter(|one| one.certificate).map(|one| one.connection).collect();
    assert!(all.iter().all(|one| one.certificate == shown.contains(&one.connection)));
    let tokens = |one: &&kube_peer_proxy::embedded::LoggedRequest| one.headers.contains_key("authorization");
    assert!(all.iter().filter(tokens).all(|one| !shown.contains(&one.connection)));
}

#[tokio::test]
async fn i4_a_flood_without_credentials_never_moves_a_token_callers_connection() {
    let (cluster, proxy) = alone().await;
    let bob = proxy.h2(As::Token(BOB)).await;
    bob.get("/version?bob").await;
    bob.get("/version?bob").await;
    let flood = (0..8).map(|number| {
        let proxy = &proxy;
        async move {
            let who = if number % 2 == 0 { As::Nobody } else { As::Token("unknown") };
            let client = proxy.h2(who).await;
            for _ in 0..25 {
                client.get("/version?flood").await;
            }
        }
    });
    let watching = async {
        for _ in 0..50 {
            assert_eq!(bob.get("/version?bob").await.status, 200);
        }
    };
    tokio::join!(join_all(flood), watching);
    let seen = cluster.asked_for("v136", "/version?bob");
    let connections: HashSet<_> = seen[1..].iter().map(|one| (one.connection, one.version)).collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
    assert_eq!(cluster.asked_for("v136", "/version?flood").len(), 200);
    assert!(cluster.asked_for("v136", "/version?flood").iter().all(|one| one.version == Version::HTTP_11));
}

#[tokio::test]
async fn i4_a_token_that_is_refused_later_goes_back_to_the_unproven() {
    let accepted = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&accepted);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let stub = Stub::start(move |request| {
        let answer = Stub::as_136(request.uri().path()).unwrap_or_else(|| {
            noted.lock().unwrap().push(request.version());
            let code = if *accepted.lock().unwrap() { 200 } else { 401 };
            Response::builder().status(code).body(body::empty()).unwrap()
        });
        async move { answer }
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
    let bob = proxy.h2(As::Token(BOB)).await;
    for good in [true, true, false, false, true, true] {
        *switch.lock().unwrap() = good;
        bob.get("/api/v1/pods").await;
    }
    let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
    assert_eq!(*seen.lock().unwrap(), [h1, h2, h2, h1, h1, h2]);
}

/// kube-apiserver answers some requests before it looks at who sends them: 400 for a `timeout` that is none
/// (`WithRequestDeadline`), 204 to a CORS preflight (`WithCORS`), 429 and 5xx when it starts, stops or fails.
#[tokio::test]
async fn i4_an_answer_that_says_nothing_about_the_token_does_not_prove_it() {
    for early in [204, 400, 429, 500, 503, 504] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let stub = Stub::start(move |request| {
            let answer = Stub::as_136(request.uri().path()).unwrap_or_else(|| {
                noted.lock().unwrap().push(request.version());
                Response::builder().status(early).body(body::empty()).unwrap()
            });
            async move { answer }
        })
        .await;
        let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub").start().await;
        let mallory = proxy.h2(As::Token("unknown")).await;
        for _ in 0..3 {
            assert_eq!(mallory.get("/api/v1/pods?timeout=never").await.status, early);
        }
        assert_eq!(*seen.lock().unwrap(), [Version::HTTP_11; 3], "{early}");
    }
}

/// Upstream reads a token from `Sec-WebSocket-Protocol` of an upgrade only: to the server this caller is anonymous.
#[tokio::test]
async fn i4_a_websocket_token_on_a_request_that_is_no_upgrade_is_anonymous() {
    let (cluster, proxy) = alone().await;
    let token = "base64url.bearer.authorization.k8s.io.bWFsbG9yeQ";
    let mallory = proxy.h2(As::Nobody).await.with("sec-websocket-protocol", token);
    for _ in 0..3 {
        assert_eq!(mallory.get("/version").await.status, 200);
    }
    let seen = cluster.asked_for("v136", "/version");
    assert!(seen.iter().all(|one| one.version == Version::HTTP_11), "{seen:?}");
    assert_eq!(proxy.connections("v136", Class::Token).live, 0);
}

#[tokio::test]
async fn i4_a_server_without_h2_is_used_over_http_1_1_in_every_class() {
    let cluster = Cluster::with([("v136", V1_36)], |builder| builder.http2(false)).await;
    let proxy = cluster.proxy().home("v136").start().await;
    let jane = certificate("jane", &[]);
    for who in [As::Certificate(&jane), As::Token(BOB), As::Nobody] {
        let client = proxy.h2(who).await;
        for _ in 0..3 {
            assert_eq!(client.get("/version").await.status, 200);
        }
    }
    let seen = cluster.asked_for("v136", "/version");
    assert!(seen.len() == 9 && seen.iter().all(|one| one.version == Version::HTTP_11));
}

#[tokio::test]
async fn a_cap_on_connections_is_a_503_that_says_so_and_other_classes_go_on() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").file("maxUnprovenConnections", "2").start().await;
    cluster.server("v136").faults().delay(Some(Duration::from_secs(3)));
    let clients = join_all((0..2).map(|_| proxy.h2(As::Nobody))).await;
    let held = async {
        join_all(clients.iter().map(|client| client.get("/version"))).await;
    };
    let refused = async {
        let unproven = || proxy.connections("v136", Class::Unproven).in_use;
        eventually("both connections are busy", || unproven() == 2).await;
        let reply = proxy.h2(As::Nobody).await.get("/version").await;
        let message = reply.refused(503);
        assert!(message.contains("full") && message.contains("2 connections"), "{message}");
        cluster.server("v136").faults().delay(None);
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        assert_eq!(admin.get("/version").await.status, 200);
    };
    tokio::join!(held, refused);
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy =
        cluster.proxy().home("v136").file("poolIdleTimeout", "300ms").file("deadAfter", "2s").start().await;
    for who in [As::Token(BOB), As::Token(EVE), As::Nobody] {
        let client = proxy.h2(who).await;
        client.get("/version").await;
        client.get("/version").await;
    }
    let live = |class| proxy.connections("v136", class).live;
    assert!(live(Class::Token) > 0 && live(Class::Unproven) > 0);
    eventually("they are closed", || live(Class::Token) == 0 && live(Class::Unproven) == 0).await;
    assert_eq!(live(Class::Own), 1, "our own probes keep that one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watches_on_one_server_do_not_delay_a_get() {
    const WATCHES: usize = 1000;
    let (cluster, proxy) = alone().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(proxy.h2(As::Certificate(&PKI.admin)).await);
    }
    let mut watches = Vec::new();
    for _ in 0..WATCHES / 200 {
        let open = (0..200).map(|number| {
            clients[number % clients.len()].ask(Method::GET, "/api/v1/configmaps?watch=1").begin()
        });
        watches.extend(join_all(open).await);
    }
    assert!(watches.iter().all(|watch| watch.status() == StatusCode::OK));
    let stats = proxy.connections("v136", Class::Identity);
    assert!(stats.in_use >= WATCHES && stats.live >= 10, "{stats:?}");
    assert_eq!(proxy.target("v136").load.watches(), WATCHES);

    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(admin.get("/version").await.status, 200);
        slowest = slowest.max(began.elapsed());
    }
    // Behind one of the watches it would wait for ever.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");

    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "news" } });
    admin.post("/api/v1/namespaces/default/configmaps", &object).await;
    let told = join_all(watches.into_iter().map(|watch| async {
        use http_body_util::BodyExt;
        let mut body = watch.into_body();
        let frame = tokio::time::timeout(crate::kit::DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
        assert!(frame.into_data().unwrap().windows(4).any(|window| window == b"news"));
        body
    }))
    .await;
    drop(told);
    eventually("no watch is left", || proxy.target("v136").load.watches() == 0).await;
    eventually("no stream is left", || proxy.connections("v136", Class::Identity).in_use <= 1).await;
    assert_eq!(cluster.asked("v136", |one| one.target.contains("watch")).len(), WATCHES);
}

#[tokio::test]
async fn callers_who_fill_their_connections_do_not_make_the_server_look_dead() {
    let modes: [fn(ProxyBuilder) -> ProxyBuilder; 2] =
        [|proxy| proxy.interval("200ms"), |proxy| proxy.watching()];
    for mode in modes {
        they_fill_their_connections(mode).await;
    }
}

async fn they_fill_their_connections(mode: fn(ProxyBuilder) -> ProxyBuilder) {
    let cluster = Cluster::with([("v136", V1_36)], |builder| builder.max_streams(3)).await;
    let proxy = mode(cluster.proxy().home("v136"))
        .file("healthProbeInterval", "200ms")
        .file("deadAfter", "1s")
        .file("maxIdentityConnections", "1")
        .start()
        .await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let bob = proxy.h2(As::Token(BOB)).await;
    let watch = "/api/v1/namespaces?watch=1";
    let mut watches = Vec::new();
    for client in [&bob, &admin, &admin, &admin] {
        watches.push(client.ask(http::Method::GET, watch).begin().await);
    }
    assert!(admin.get("/version").await.refused(503).contains("full"));
    assert!(admin.get("/version").await.refused(503).contains("full"));
    let (before, probes) = (cluster.fetches("v136", "/readyz"), 8);
    eventually("it was probed for longer than a dead server is given", || {
        cluster.fetches("v136", "/readyz") >= before + probes
    })
    .await;
    assert!(proxy.target("v136").health.is_healthy());
    assert_eq!(proxy.target("v136").load.watches(), 4, "nobody's watch was cut");
}
