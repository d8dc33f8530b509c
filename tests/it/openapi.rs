//! OpenAPI of servers that serve different things.

mod api;
mod broken;
mod complete;
mod doubtful;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use http::Method;
use serde_json::{Value, json};

use self::api::{Api, V2_PROTOBUF, V3_PROTOBUF};
use crate::kit::{As, BOB, Client, PKI, PROXIED, Proxy, ProxyBuilder, Stub, eventually, until};

/// Servers and a proxy beside the first one.
struct Scene {
    _stubs: Vec<Stub>,
    proxy: Proxy,
}

async fn scene(apis: &[&Arc<Api>]) -> Scene {
    scene_with(apis, |proxy| proxy.home("a")).await
}

async fn scene_with(apis: &[&Arc<Api>], describe: impl FnOnce(ProxyBuilder) -> ProxyBuilder) -> Scene {
    let mut proxy = ProxyBuilder::new();
    let mut stubs = Vec::new();
    for (api, name) in apis.iter().zip(["a", "b", "c"]) {
        let stub = api.start().await;
        proxy = proxy.server(name, stub.address);
        stubs.push(stub);
    }
    Scene { _stubs: stubs, proxy: describe(proxy).start().await }
}

impl Scene {
    async fn admin(&self) -> Client {
        self.proxy.h2(As::Certificate(&PKI.admin)).await
    }
}

/// By document, its address.
async fn index(client: &Client) -> BTreeMap<String, String> {
    let reply = client.get("/openapi/v3").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let paths = reply.json()["paths"].as_object().unwrap().clone();
    let address = |entry: &Value| entry["serverRelativeURL"].as_str().unwrap().to_owned();
    paths.iter().map(|(key, entry)| (key.clone(), address(entry))).collect()
}

/// `a` lacks a group that `b` has, and resources of another.
fn two() -> (Arc<Api>, Arc<Api>) {
    let a = Api::new("a", &[("api/v1", &["pods"]), ("apis/apps/v1", &["deployments"])]);
    let more: [(&str, &[&str]); 3] = [
        ("api/v1", &["pods"]),
        ("apis/apps/v1", &["deployments", "statefulsets"]),
        ("apis/batch/v1", &["cronjobs", "jobs"]),
    ];
    (a, Api::new("b", &more))
}

#[tokio::test]
async fn every_entry_of_the_index_leads_to_the_document_of_who_serves_all_of_it() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let index = index(&admin).await;
    let owners = [("api/v1", &a), ("apis/apps/v1", &b), ("apis/batch/v1", &b), ("version", &a)];
    assert!(index.keys().eq(owners.map(|(key, _)| key)), "{index:?}");
    for (key, owner) in owners {
        let address = format!("/openapi/v3/{key}?hash={}", owner.hash(key));
        assert_eq!(index[key], address);
        let reply = admin.get(&address).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..]),
            (200, &owner.document(key).unwrap()[..]),
            "{key}"
        );
        assert_eq!(reply.header("cache-control"), "public, immutable", "{key}");
        let reply = admin.get(&format!("/openapi/v3/{key}")).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..]),
            (200, &owner.document(key).unwrap()[..]),
            "{key}"
        );
        assert_eq!(reply.header("cache-control"), "no-cache, private", "{key}");
    }
}

#[tokio::test]
async fn the_index_is_fetched_once_and_revalidated_with_its_etag() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let first = admin.get("/openapi/v3").await;
    assert_eq!(first.header("content-type"), "application/json");
    for _ in 0..10 {
        let again =
            admin.ask(Method::GET, "/openapi/v3").header("if-none-match", first.header("etag")).whole().await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    }
    for api in [&a, &b] {
        assert_eq!(api.fetches("/openapi/v3"), 1);
        let own = &api.asked(true)[0];
        assert_eq!(own.headers[PROXIED], "true");
        assert_eq!(own.headers["x-remote-user"], "system:kube-peer-proxy");
    }
}

#[tokio::test]
async fn what_a_peer_answers_passes_as_it_is() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let (target, etag) = ("/openapi/v3/apis/batch/v1", format!("\"{}\"", b.hash("apis/batch/v1")));
    let known = admin.ask(Method::GET, target).header("if-none-match", &etag).whole().await;
    assert_eq!((known.status.as_u16(), known.header("x-answered-by")), (304, "b"));
    let head = admin.ask(Method::HEAD, target).whole().await;
    assert_eq!((head.status.as_u16(), head.header("etag"), head.body.len()), (200, &*etag, 0));
    let protobuf = admin.get_with(target, ("accept", V3_PROTOBUF)).await;
    assert_eq!((protobuf.header("content-type"), protobuf.header("x-answered-by")), (V3_PROTOBUF, "b"));
    let wrong = admin.get(&format!("{target}?hash=WRONG")).await;
    assert_eq!(wrong.status, 301);
    let right = admin.get(wrong.header("location")).await;
    assert_eq!((right.status.as_u16(), right.header("x-answered-by")), (200, "b"));
    for asked in b.asked(false) {
        assert_eq!(asked.headers[PROXIED], "true", "{}", asked.target);
        assert_eq!(asked.headers["x-remote-user"], "kubernetes-admin");
    }
}

#[tokio::test]
async fn a_hash_leads_to_whose_it_is() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    for (key, owner) in [("api/v1", &a), ("api/v1", &b), ("apis/apps/v1", &a), ("apis/apps/v1", &b)] {
        let reply = admin.get(&format!("/openapi/v3/{key}?hash={}", owner.hash(key))).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &owner.document(key).unwrap()[..]));
    }
}

/// Nobody serves all of `apis/mixed/v1`.
fn mixed() -> (Arc<Api>, Arc<Api>) {
    let a = Api::new("a", &[("apis/mixed/v1", &["apples", "both"])]);
    (a, Api::new("b", &[("apis/mixed/v1", &["berries", "both"])]))
}

const MIXED: &str = "/openapi/v3/apis/mixed/v1";

#[tokio::test]
async fn what_no_server_serves_whole_is_united() {
    let (a, b) = mixed();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let address = index(&admin).await["apis/mixed/v1"].clone();
    let reply = admin.get(&address).await;
    let schemas = json!({ "apples": { "by": "a" }, "berries": { "by": "b" }, "both": { "by": "a" } });
    assert_eq!(reply.json()["components"]["schemas"], schemas);
    let paths = reply.json()["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths, ["apples", "berries", "both"].map(|name| format!("/apis/mixed/v1/{name}")));
    assert_eq!(reply.header("cache-control"), "public, immutable");
    assert_eq!(reply.header("vary"), "Accept");
    let etag = reply.header("etag");
    assert_eq!(format!("{MIXED}?hash={}", etag.trim_matches('"')), address);

    let protobuf = admin.get_with(&address, ("accept", V3_PROTOBUF)).await;
    assert_eq!((protobuf.header("content-type"), protobuf.header("etag")), (V3_PROTOBUF, etag));
    for name in ["/apis/mixed/v1/apples", "/apis/mixed/v1/berries"] {
        assert!(protobuf.body.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name}");
    }
    let wrong = admin.get(&format!("{MIXED}?hash=WRONG")).await;
    assert_eq!((wrong.status.as_u16(), wrong.header("location")), (301, &*address));
    let plain = admin.get(MIXED).await;
    assert_eq!((plain.header("cache-control"), &plain.body), ("no-cache, private", &reply.body));
    let known = admin.ask(Method::GET, &address).header("if-none-match", &format!("W/{etag}")).whole().await;
    assert_eq!((known.status.as_u16(), known.header("etag")), (304, etag));
    let html = admin.get_with(MIXED, ("accept", "text/html")).await;
    assert_eq!((html.status.as_u16(), html.body.len()), (406, 0));
    for api in [&a, &b] {
        assert_eq!(api.fetches(MIXED), 2, "once for each encoding");
    }
}

#[tokio::test]
async fn united_documents_are_equal_for_every_home() {
    let (a, b) = mixed();
    let mut seen = Vec::new();
    for home in ["a", "b"] {
        let scene = scene_with(&[&a, &b], |proxy| proxy.home(home)).await;
        let admin = scene.admin().await;
        let address = index(&admin).await["apis/mixed/v1"].clone();
        let mut replies = Vec::new();
        for (target, accept) in [
            (&*address, "application/json"),
            (&*address, V3_PROTOBUF),
            ("/openapi/v2", "application/json"),
            ("/openapi/v2", V2_PROTOBUF),
        ] {
            let reply = admin.get_with(target, ("accept", accept)).await;
            assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, accept));
            replies.push((reply.header("etag").to_owned(), reply.body));
        }
        seen.push((address, replies));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn parts_without_a_hash_are_united_too() {
    let (a, b) = mixed();
    b.without_hashes();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let address = index(&admin).await["apis/mixed/v1"].clone();
    assert_eq!(address, MIXED);
    assert_eq!(admin.get(&address).await.json()["components"]["schemas"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn version_2_is_the_union_in_both_encodings() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let json = admin.get("/openapi/v2").await;
    let definitions = json.json()["definitions"].clone();
    let expected = json!({
        "cronjobs": { "by": "b" }, "deployments": { "by": "a" }, "jobs": { "by": "b" }, "pods": { "by": "a" },
        "statefulsets": { "by": "b" },
    });
    assert_eq!(definitions.to_string(), expected.to_string());
    assert_eq!(json.json()["paths"].as_object().unwrap().len(), 5);
    let vary: Vec<_> = json.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Accept"]);
    for accept in [V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"] {
        let protobuf = admin.get_with("/openapi/v2", ("accept", accept)).await;
        assert_eq!(
            (protobuf.header("content-type"), protobuf.header("etag")),
            (V2_PROTOBUF, json.header("etag"))
        );
        for name in expected.as_object().unwrap().keys() {
            assert!(protobuf.body.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name}");
        }
    }
    let zipped = admin.get_with("/openapi/v2", ("accept-encoding", "gzip")).await;
    let mut plain = Vec::new();
    GzDecoder::new(&zipped.body[..]).read_to_end(&mut plain).unwrap();
    assert_eq!((zipped.header("content-encoding"), &plain[..]), ("gzip", &json.body[..]));
    for known in [json.header("etag"), "*", &format!("\"x\", W/{}", json.header("etag"))] {
        let reply = admin.ask(Method::GET, "/openapi/v2").header("if-none-match", known).whole().await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0), "{known}");
    }
    assert_eq!(admin.get_with("/openapi/v2", ("accept", "text/html")).await.status, 406);
    for api in [&a, &b] {
        assert_eq!(api.fetches("/openapi/v2"), 2, "once for each encoding");
    }
    let unions =
        proxy_metric(&scene, "kube_peer_proxy_openapi_unions_total", &["document=\"v2-json\""]).await;
    assert_eq!(unions, 1.0);
}

async fn proxy_metric(scene: &Scene, name: &str, labels: &[&str]) -> f64 {
    scene.proxy.metric(name, labels).await
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_fetch() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let replies = futures_util::future::join_all((0..20).map(|_| admin.get("/openapi/v2"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body));
    for api in [&a, &b] {
        assert_eq!(api.fetches("/openapi/v2"), 1);
    }
}

#[tokio::test]
async fn servers_that_are_alike_need_no_uniting() {
    let same: [(&str, &[&str]); 1] = [("api/v1", &["pods"])];
    let apis = [Api::new("a", &same), Api::new("a", &same)];
    let scene = scene(&[&apis[0], &apis[1]]).await;
    let admin = scene.admin().await;
    let direct =
        Client::connect(scene._stubs[0].address, As::Token(BOB), crate::kit::client::Protocol::H2).await;
    let (ours, theirs) = (admin.get("/openapi/v2").await, direct.get("/openapi/v2").await);
    assert_eq!((ours.header("etag"), &ours.body), (theirs.header("etag"), &theirs.body));
}

#[tokio::test]
async fn what_a_server_serves_anew_is_there_when_discovery_has_it() {
    let (a, b) = two();
    let scene = scene_with(&[&a, &b], |proxy| proxy.home("a").interval("1s")).await;
    let admin = scene.admin().await;
    assert!(!index(&admin).await.contains_key("apis/new/v1"));
    let before = admin.get("/openapi/v2").await;
    b.serve("apis/new/v1", &["things"]);
    let catalog = || scene.proxy.app.proxy.load().book.catalog();
    let generation = catalog().generation;
    eventually("the catalog is another", || catalog().generation > generation).await;
    let address = index(&admin).await["apis/new/v1"].clone();
    assert_eq!(admin.get(&address).await.status, 200);
    let after = admin.get("/openapi/v2").await;
    assert!(after.text().contains("things"));
    assert_ne!(before.header("etag"), after.header("etag"));
}

#[tokio::test]
async fn i10_whom_home_refuses_gets_nothing_of_peers() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    a.refuse();
    let bob = scene.proxy.h2(As::Token(BOB)).await;
    for target in ["/openapi/v3", "/openapi/v3/apis/batch/v1", "/openapi/v2", "/openapi/v3/apis/apps/v1"] {
        assert_eq!(bob.get(target).await.status, 403, "{target}");
    }
    assert!(b.asked(false).is_empty());
}

#[tokio::test]
async fn home_is_asked_whether_without_sending_the_document() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let bob = scene.proxy.h2(As::Token(BOB)).await;
    for target in ["/openapi/v3", "/openapi/v3/apis/batch/v1?hash=x", "/openapi/v2"] {
        bob.get(target).await;
    }
    let asked = a.asked(false);
    let targets: Vec<&str> = asked.iter().map(|asked| &*asked.target).collect();
    assert_eq!(targets, ["/openapi/v3", "/openapi/v3/apis/batch/v1", "/openapi/v2"]);
    assert!(asked.iter().all(|asked| asked.headers["if-none-match"] == "*"));
}

#[tokio::test]
async fn i3_what_a_peer_sent_and_what_is_switched_off_is_homes() {
    let (a, b) = two();
    let merging = scene(&[&a, &b]).await;
    let off =
        scene_with(&[&a, &b], |proxy| proxy.home("a").flags(|args| args.merge = Some("off".into()))).await;
    let alone = scene(&[&a]).await;
    let proxied = merging.admin().await.with(PROXIED, "true");
    for client in [proxied, off.admin().await, alone.admin().await] {
        assert_eq!(client.get("/openapi/v3/apis/batch/v1").await.status, 404);
        let index = client.get("/openapi/v3").await;
        assert_eq!((index.header("x-answered-by"), index.text().contains("batch")), ("a", false));
        assert_eq!(client.get("/openapi/v2").await.header("x-answered-by"), "a");
    }
    let admin = merging.admin().await;
    assert_eq!(admin.ask(Method::POST, "/openapi/v3").whole().await.header("x-answered-by"), "a");
    assert!(b.asked(false).is_empty() && b.asked(true).is_empty());
}

#[tokio::test]
async fn without_rerouting_the_index_names_nothing_that_cannot_be_had() {
    let (a, b) = two();
    let scene =
        scene_with(&[&a, &b], |proxy| proxy.home("a").flags(|args| args.reroute = Some("off".into()))).await;
    let admin = scene.admin().await;
    assert!(!index(&admin).await.contains_key("apis/batch/v1"));
    // This one is answered here, as discovery is.
    assert!(admin.get("/openapi/v2").await.text().contains("cronjobs"));
}

#[tokio::test]
async fn what_nobody_has_is_homes_own_404() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    for target in ["/openapi/v3/apis/nope/v1", "/openapi/v3/", "/openapi/v3/apis/batch/v1/", "/openapi/v2/"] {
        let reply = admin.get(target).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (404, 0), "{target}");
    }
}

#[tokio::test]
async fn memory_is_given_back_when_nobody_asks() {
    let (a, b) = two();
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy
            .home("a")
            .configure(|config| config.discovery.openapi.idle = std::time::Duration::from_millis(300))
    })
    .await;
    let admin = scene.admin().await;
    assert_eq!(admin.get("/openapi/v2").await.status, 200);
    let library = Arc::clone(&scene.proxy.app.proxy.load().library);
    assert!(library.state(0).bytes > 2000);
    eventually("the documents are given up", || {
        library.sweep();
        library.state(0).bytes == 0 && library.state(1).bytes == 0
    })
    .await;
    assert_eq!(library.state(0).entries, 0, "only what was asked for was fetched");
    let again = until("it can be had again", async || Some(admin.get("/openapi/v2").await)).await;
    assert_eq!((again.status.as_u16(), a.fetches("/openapi/v2")), (200, 2));
}
