//! Forms and encodings of the merged document, and what is said about it.

use http::Method;
use kube_peer_proxy::api::discovery::Tree;
use kube_peer_proxy::api::encoding::{Object, encode};
use kube_peer_proxy::api::media_type::{AggregatedVersion, Media};
use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use kube_peer_proxy::embedded::ResourceSpec;

use crate::kit::{As, Client, Cluster, PKI, Proxy, V2, until};

const SOURCES: &str = "x-kube-peer-proxy-discovery-sources";

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

fn aggregated(media: &str, version: &str) -> String {
    format!("{media};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}

#[tokio::test]
async fn the_etag_is_the_same_in_every_encoding_and_version() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    let catalog = proxy.app.proxy.load().book.catalog();
    for (path, tree) in [("/api", Tree::Api), ("/apis", Tree::Apis)] {
        let etag = admin.get_with(path, V2).await.header("etag").to_owned();
        let list = catalog.answers.as_ref().unwrap().list(tree);
        for (version, word) in [(AggregatedVersion::V2, "v2"), (AggregatedVersion::V2Beta1, "v2beta1")] {
            for media in [Media::Json, Media::Yaml, Media::Protobuf] {
                let accept = aggregated(media.as_str(), word);
                let reply = admin.get_with(path, ("accept", &accept)).await;
                let seen = ["content-type", "etag", "vary"].map(|name| reply.header(name));
                assert_eq!(seen, [&*accept, &*etag, "Accept"], "{path}");
                assert_eq!(reply.body, encode(Object::Aggregated(list, version), media, false), "{accept}");
                let known = [("accept", &*accept), ("if-none-match", &*etag)];
                let again = admin.ask(Method::GET, path).headers(&known).whole().await;
                assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{accept}");
            }
        }
    }
}

#[tokio::test]
async fn lists_come_in_every_encoding() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
        for media in [Media::Json, Media::Yaml, Media::Protobuf] {
            let reply = admin.get_with(path, ("accept", media.as_str())).await;
            let seen = (reply.status.as_u16(), reply.header("content-type"));
            assert_eq!(seen, (200, media.as_str()), "{path}");
            assert!(!reply.body.is_empty());
        }
        assert_eq!(admin.get_with(path, ("accept", "application/cbor")).await.status, 406);
    }
}

#[tokio::test]
async fn clients_of_the_beta_get_it_wherever_home_stands() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    // What client-go 1.26 sends.
    let accept = format!("{},application/json", aggregated("application/json", "v2beta1"));
    let mut bodies = Vec::new();
    for home in ["v132", "v136"] {
        let proxy = cluster.proxy().home(home).start().await;
        let reply = admin(&proxy).await.get_with("/apis", ("accept", &accept)).await;
        assert_eq!(reply.json()["kind"], "APIGroupDiscoveryList");
        assert!(reply.text().contains("mutatingadmissionpolicies"));
        bodies.push(reply.body);
    }
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn if_none_match_is_read_as_rfc_9110_has_it() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    let etag = admin.get_with("/apis", V2).await.header("etag").to_owned();
    for tags in [
        vec![etag.clone()],
        vec![format!("W/{etag}")],
        vec!["*".into()],
        vec![format!("\"x\", W/{etag}")],
        vec!["\"x\"".into(), etag.clone()],
    ] {
        for method in [Method::GET, Method::HEAD] {
            let mut lines = vec![V2];
            lines.extend(tags.iter().map(|tag| ("if-none-match", tag.as_str())));
            let reply = admin.ask(method, "/apis").headers(&lines).whole().await;
            let seen = (reply.status.as_u16(), reply.body.len(), reply.header("etag"));
            assert_eq!(seen, (304, 0, &*etag), "{tags:?}");
        }
    }
    for other in [etag.trim_matches('"').to_owned(), "\"x\"".into(), "\"*\"".into()] {
        let lines = [V2, ("if-none-match", &*other)];
        assert_eq!(admin.ask(Method::GET, "/apis").headers(&lines).whole().await.status, 200, "{other}");
    }
}

#[tokio::test]
async fn a_long_list_is_compressed_too() {
    let cluster = Cluster::start(&[V1_32]).await;
    for number in 0..1000 {
        let group = format!("group{number}.example.com");
        let widgets = ResourceSpec::new("widgets", "Widget", true);
        cluster.server("v132").discovery().add_resource(&group, "v1", &widgets);
    }
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    let plain = admin.get("/apis").await;
    assert!(plain.body.len() > 128 * 1024, "{}", plain.body.len());
    let small = admin.ask(Method::GET, "/apis").header("accept-encoding", "gzip").whole().await;
    let seen = ["content-encoding", "vary", "etag"].map(|name| small.header(name));
    assert_eq!(seen, ["gzip", "Accept-Encoding", ""]);
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&small.body[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
}

#[tokio::test]
async fn whose_documents_went_into_an_answer_is_told_if_the_operator_wants_it() {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let things = ResourceSpec::new("things", "Thing", true);
    cluster.server("v136").discovery().add_resource("new.example.com", "v1", &things);
    let silent = cluster.proxy().home("v132").start().await;
    assert_eq!(admin(&silent).await.get_with("/apis", V2).await.header(SOURCES), "");

    let on =
        |args: &mut kube_peer_proxy::config::ServeArgs| args.discovery_sources_header = Some("on".into());
    let proxy = cluster.proxy().home("v132").hasty().flags(on).start().await;
    let admin = admin(&proxy).await;
    let etag = admin.get_with("/apis", V2).await.header("etag").to_owned();
    let all = "v132, v135, v136";
    for (path, sources) in [
        ("/api", all),
        ("/apis/", all),
        ("/apis/apps", all),
        ("/apis/apps/v1", all),
        ("/apis/new.example.com", "v136"),
        ("/apis/new.example.com/v1", "v136"),
        ("/apis/nope.example.com/v1", ""),
    ] {
        assert_eq!(admin.get(path).await.header(SOURCES), sources, "{path}");
    }
    let lines = [V2, ("if-none-match", &*etag)];
    let known = admin.ask(Method::GET, "/apis").headers(&lines).whole().await;
    assert_eq!((known.status.as_u16(), known.header(SOURCES)), (304, all));

    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Freshness::Stale).await;
    assert_eq!(admin.get_with("/apis", V2).await.header(SOURCES), "v132, v135, v136;stale");
    assert_eq!(admin.get("/apis/new.example.com").await.header(SOURCES), "v136;stale");
}

#[tokio::test]
async fn what_servers_contradict_each_other_in_is_reported() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let namespaced = [("v132", true), ("v136", false)];
    for (server, namespaced) in namespaced {
        let things = ResourceSpec::new("things", "Thing", namespaced);
        cluster.server(server).discovery().add_resource("new.example.com", "v1", &things);
    }
    let proxy = cluster.proxy().home("v136").interval("200ms").start().await;
    let listed = admin(&proxy).await.get("/apis/new.example.com/v1").await.json();
    assert_eq!(listed["resources"][0]["namespaced"], true, "the first name decides, not home");
    let conflicts = proxy.debug("catalog").await["conflicts"].clone();
    let about = conflicts.as_array().unwrap().iter().find(|one| one["about"] == "scope").unwrap();
    assert_eq!(
        about,
        &serde_json::json!({
            "groupVersion": "new.example.com/v1", "resource": "things", "about": "scope",
            "kept": "Namespaced",
            "said": [{"server": "v132", "value": "Namespaced"}, {"server": "v136", "value": "Cluster"}],
        })
    );
    let count = conflicts.as_array().unwrap().len();
    assert_eq!(proxy.metric("kube_peer_proxy_discovery_conflicts", &[]).await as usize, count);

    cluster.server("v136").discovery().remove_group_version("new.example.com", "v1");
    until("it is over", async || {
        let left = proxy.debug("catalog").await["conflicts"].as_array().unwrap().len();
        let counted = proxy.metric("kube_peer_proxy_discovery_conflicts", &[]).await as usize;
        (left == count - 1 && counted == left).then_some(())
    })
    .await;
}
