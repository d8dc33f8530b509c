//! The merged document as clients get it, and who may have it.

mod authorized;
mod legacy;
mod negotiated;
mod one_at_a_time;

use std::io::Read;

use flate2::read::GzDecoder;
use http::Method;
use kube_peer_proxy::api::discovery::GroupDiscoveryList;
use kube_peer_proxy::discovery::merge::{Source, merge};
use kube_peer_proxy::embedded::Recorded::{self, V1_32, V1_35, V1_36};
use kube_peer_proxy::embedded::ResourceSpec;
use serde_json::Value;

use crate::kit::client::Protocol;
use crate::kit::{As, BOB, Client, Cluster, NOPEER, PKI, V2};
use crate::vectors::json_and_etag;

const CONTENT_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What kubectl from 1.26 to 1.36 sends.
const KUBECTL: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

async fn three() -> Cluster {
    Cluster::start(&[V1_32, V1_35, V1_36]).await
}

/// What the library merges from the recorded documents of three fresh servers, and its tag.
fn expected(document: fn(Recorded) -> Value) -> (Vec<u8>, String) {
    let lists = [V1_32, V1_35, V1_36]
        .map(|version| GroupDiscoveryList::parse(document(version).to_string().as_bytes()).unwrap());
    let sources: Vec<_> = ["v132", "v135", "v136"]
        .into_iter()
        .zip(&lists)
        .map(|(id, document)| Source { id, document, fresh: true })
        .collect();
    json_and_etag(&merge(&sources))
}

#[tokio::test]
async fn i6_every_home_gives_the_merge_of_all_documents() {
    let cluster = three().await;
    for home in ["v132", "v135", "v136"] {
        let proxy = cluster.proxy().home(home).start().await;
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        for (path, (json, etag)) in [("/api", expected(Recorded::api)), ("/apis", expected(Recorded::apis))] {
            let reply = admin.get_with(path, V2).await;
            assert_eq!(reply.header("etag"), format!("\"{etag}\""), "{path} of {home}");
            assert_eq!(reply.body, json, "{path} of {home}");
        }
    }
}

#[tokio::test]
async fn subresources_and_resources_of_the_core_group_are_merged_too() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let core = admin.get_with("/api", V2).await.json();
    let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
    let pods = resources.iter().find(|one| one["resource"] == "pods").unwrap();
    assert!(pods["subresources"].as_array().unwrap().iter().any(|one| one["subresource"] == "resize"));
    assert!(!admin.get_with("/api", NOPEER).await.text().contains("resize"));
}

#[tokio::test]
async fn nopeer_is_homes_own_document_byte_for_byte() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let through = proxy.h2(As::Token(BOB)).await.with("audit-id", "same");
    let direct = Client::connect(cluster.server("v132").addr(), As::Token(BOB), Protocol::H2).await;
    let direct = direct.with("audit-id", "same");
    for path in ["/api", "/apis"] {
        let (ours, theirs) = (through.get_with(path, NOPEER).await, direct.get_with(path, NOPEER).await);
        assert_eq!((ours.status, ours.headers, ours.body), (theirs.status, theirs.headers, theirs.body));
    }
    assert_eq!(proxy.metric("aggregator_discovery_nopeer_requests_total", &[]).await, 2.0);
}

#[tokio::test]
async fn the_headers_are_those_of_kube_apiserver_and_the_etag_gives_304() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get_with("/apis", V2).await;
    let seen = ["content-type", "vary", "cache-control"].map(|name| reply.header(name));
    assert_eq!(seen, [CONTENT_TYPE, "Accept", "public"]);
    assert_eq!(reply.body.last(), Some(&b'\n'));
    let etag = reply.header("etag");
    let digits = etag.trim_matches('"');
    assert!(
        digits.len() == 128
            && digits.bytes().all(|digit| digit.is_ascii_digit() || digit.is_ascii_uppercase())
    );

    let ask = |tag: String| admin.ask(Method::GET, "/apis").headers(&[V2, ("if-none-match", &tag)]).whole();
    let same = ask(etag.to_owned()).await;
    assert_eq!((same.status.as_u16(), same.body.len(), same.header("etag")), (304, 0, etag));
    for other in [digits.to_owned(), "\"x\"".into()] {
        assert_eq!(ask(other.clone()).await.status, 200, "{other}");
    }
}

#[tokio::test]
async fn a_document_above_128_kib_is_compressed_for_those_who_ask() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    for number in 0..400 {
        let group = format!("group{number}.example.com");
        cluster.server("v136").discovery().add_resource(
            &group,
            "v1",
            &ResourceSpec::new("widgets", "Widget", true),
        );
    }
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let plain = admin.get_with("/apis", V2).await;
    assert!(plain.body.len() > 128 * 1024, "{}", plain.body.len());
    assert_eq!(plain.header("content-encoding"), "");
    let small =
        admin.ask(Method::GET, "/apis").headers(&[V2, ("accept-encoding", "deflate, gzip")]).whole().await;
    assert_eq!((small.header("content-encoding"), small.header("etag")), ("gzip", plain.header("etag")));
    let vary: Vec<_> = small.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept", "Accept-Encoding"]);
    let mut unpacked = Vec::new();
    GzDecoder::new(&small.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    let core = admin.ask(Method::GET, "/api").headers(&[V2, ("accept-encoding", "gzip")]).whole().await;
    assert_eq!(core.header("content-encoding"), "", "a small one stays as it is");
}

#[tokio::test]
async fn accept_decides_between_merged_own_and_unaggregated() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let (v2, nopeer) = (V2.1, NOPEER.1);
    let plain = "application/json";
    for (lines, kind, merged) in [
        (vec![KUBECTL], "APIGroupDiscoveryList", true),
        (vec![v2], "APIGroupDiscoveryList", true),
        (
            vec![
                "application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0.1",
            ],
            "APIGroupDiscoveryList",
            true,
        ),
        (vec!["*/*;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"], "APIGroupDiscoveryList", true),
        (vec![nopeer], "APIGroupDiscoveryList", false),
        (vec![v2, nopeer], "APIGroupDiscoveryList", true),
        (vec![nopeer, v2], "APIGroupDiscoveryList", false),
        (vec![plain, v2], "APIGroupDiscoveryList", true),
        (vec![plain, "text/html"], "APIGroupList", false),
        (vec![], "APIGroupList", false),
        (vec!["*/*"], "APIGroupList", false),
    ] {
        let lines: Vec<_> = lines.iter().map(|value| ("accept", *value)).collect();
        let reply = admin.ask(Method::GET, "/apis").headers(&lines).whole().await;
        let document = reply.json();
        assert_eq!((reply.status.as_u16(), document["kind"].as_str().unwrap()), (200, kind), "{lines:?}");
        assert_eq!(reply.text().contains("mutatingadmissionpolicies"), merged, "{lines:?}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    for admin in [proxy.h2(As::Certificate(&PKI.admin)).await, proxy.h1(As::Certificate(&PKI.admin)).await] {
        let whole = admin.get_with("/apis", V2).await;
        let head = admin.ask(Method::HEAD, "/apis").headers(&[V2]).whole().await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        for name in ["etag", "content-type", "content-length", "vary"] {
            assert_eq!(head.header(name), whole.header(name), "{name}");
        }
        assert_eq!(admin.get("/version").await.status, 200, "the connection goes on");
    }
}

#[tokio::test]
async fn other_methods_on_the_roots_go_to_home() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    admin.ask(Method::POST, "/apis").headers(&[V2]).whole().await;
    let asked = cluster.asked("v132", |request| request.method == Method::POST);
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn hits_and_misses_are_counted_as_upstream_does() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    proxy.until_lists_are_read().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..3 {
        admin.get_with("/apis", V2).await;
    }
    let count = async |what: &str| {
        proxy.metric(&format!("aggregator_discovery_peer_aggregated_cache_{what}_total"), &[]).await
    };
    assert_eq!((count("misses").await, count("hits").await), (1.0, 2.0));
}
