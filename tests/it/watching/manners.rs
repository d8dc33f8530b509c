//! As whom we watch, how much, what we keep, and that we stop.

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, ListFault, Store};

use super::*;
use crate::kit::{Cluster, PROXIED};

#[tokio::test]
async fn watches_are_stamped_with_our_own_identity_and_ask_for_metadata() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_quiet(&proxy, "v136").await;
    let server = cluster.server("v136");
    let watches = server.log().matching(|request| request.target.contains("watch=true"));
    let kinds = ["customresourcedefinitions", "apiservices", "leases", "endpointslices"];
    assert_eq!(watches.len(), kinds.len(), "one for each kind");
    for resource in kinds {
        let requests: Vec<_> =
            [false, true].into_iter().flat_map(|watch| asked_of(server, resource, watch)).collect();
        assert_eq!(requests.len(), 2, "{resource}: a list and a watch");
        for request in requests {
            let user = request.user.as_ref().unwrap();
            assert_eq!(user.name, PROXY_USER);
            assert_eq!(request.headers[PROXIED], "true");
            assert!(request.certificate && !request.headers.contains_key("authorization"));
            let whole = matches!(resource, "leases" | "endpointslices");
            let accept = request.headers.get("accept").map_or("", |accept| accept.to_str().unwrap());
            assert_eq!(accept.contains("as=PartialObjectMetadata"), !whole, "{accept}");
            assert_eq!(request.target.contains("labelSelector="), whole, "{}", request.target);
        }
    }
    assert_eq!(
        proxy.connections("v136", kube_peer_proxy::servers::Class::Own).live,
        1,
        "all over one connection"
    );
}

#[tokio::test]
async fn a_server_that_speaks_http_1_only_is_watched_too() {
    let cluster = Cluster::with([("v132", V1_32)], |server| server.http2(false)).await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_watched(&proxy, "v132").await;
    create(&at_h1(cluster.server("v132")).await, "example.com").await;
    until_listed(&proxy.h2(As::Certificate(&PKI.admin)).await, "example.com", &["v1"]).await;
}

async fn at_h1(server: &RunningServer) -> Client {
    Client::connect(server.addr(), As::Certificate(&PKI.admin), Protocol::H1).await
}

#[tokio::test]
async fn more_than_we_want_to_read_or_to_remember_is_an_error_of_that_server_alone() {
    let cluster =
        Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| server.store(Store::new())).await;
    let big = DiscoveryFault::Oversized(limits::MAX_KUBE_ANSWER_BYTES + 1);
    cluster.server("v136").faults().list("customresourcedefinitions", Some(ListFault::Document(big)));
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_watched(&proxy, "v132").await;
    let labels = ["server=\"v136\"", "resource=\"customresourcedefinitions\"", "type=\"failed\""];
    until("the list failed", async || {
        (proxy.metric("kube_peer_proxy_informer_errors_total", &labels).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(informer(&proxy, "v136", DECISIVE[0]).objects, 0);
    cluster.server("v136").faults().clear();
    until_watched(&proxy, "v136").await;
}

#[tokio::test]
async fn a_server_that_was_removed_is_watched_no_longer_and_its_gauges_are_gone() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let list = |names: &[&str]| {
        let items: Vec<String> = names
            .iter()
            .map(|name| format!("{{name: {name}, url: \"{}\"}}", cluster.server(name).url()))
            .collect();
        format!("[{}]", items.join(", "))
    };
    let proxy = crate::kit::ProxyBuilder::new()
        .file("apiServers", &list(&["v132", "v136"]))
        .file("reloadCheckInterval", "20ms")
        .home("v132")
        .watching()
        .start()
        .await;
    for name in ["v132", "v136"] {
        until_quiet(&proxy, name).await;
    }
    let gauges = async || {
        let page = proxy.page("/metrics").await;
        let of_it = |line: &&str| line.starts_with("kube_peer_proxy_informer_") && line.contains("\"v136\"");
        let gauges = page.text().lines().filter(of_it).filter(|line| !line.contains("_total{"));
        gauges.count()
    };
    assert_eq!(gauges().await, 4 * 3);
    let file = proxy.file("proxy.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace(&list(&["v132", "v136"]), &list(&["v132"]));
    std::fs::write(&file, changed).unwrap();
    until("it is taken over", async || {
        (proxy.metric("kube_peer_proxy_config_reloads_total", &["result=\"ok\""]).await == 1.0).then_some(())
    })
    .await;
    let server = cluster.server("v136");
    assert!(server.wait_for_connections(crate::kit::DEADLINE, |open| *open == 0).await, "its watches end");
    until("its gauges are gone", async || (gauges().await == 0).then_some(())).await;
    let asked = server.log().count();
    create(&at(cluster.server("v132")).await, "example.com").await;
    until_listed(&proxy.h2(As::Certificate(&PKI.admin)).await, "example.com", &["v1"]).await;
    assert_eq!(server.log().count(), asked, "nobody asks it any more");
}

#[tokio::test]
async fn whoever_leaves_ends_his_watches() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_watched(&proxy, "v136").await;
    let began = std::time::Instant::now();
    proxy.app.shutdown().await;
    assert!(cluster.server("v136").wait_for_connections(crate::kit::DEADLINE, |open| *open == 0).await);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
