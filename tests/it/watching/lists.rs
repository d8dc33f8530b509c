//! Lists replace all at once, and come again when the server no longer knows what happened since.

use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::embedded::{DiscoveryFault, ListFault, Store, WatchFault};

use super::*;
use crate::kit::Cluster;

const NAME: &str = DECISIVE[0];

fn page_of(name: &str) -> impl Fn(&LoggedRequest) -> bool {
    let query = name.to_owned();
    move |request| is_our_own(request) && request.target.contains(&query)
}

async fn relists(proxy: &Proxy, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    proxy.metric("kube_peer_proxy_informer_relists_total", &[&reason, &format!("\"{NAME}\"")]).await
}

/// A server with so many CRDs, and a proxy that has seen them.
async fn with_crds(count: usize) -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let there = at(cluster.server("v136")).await;
    for number in 0..count {
        create(&there, &format!("g{number}.example")).await;
    }
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_watched(&proxy, "v136").await;
    assert_eq!(informer(&proxy, "v136", NAME).objects, count);
    (cluster, proxy)
}

#[tokio::test]
async fn a_half_received_list_is_never_visible() {
    let faults = [
        ListFault::Document(DiscoveryFault::Truncated),
        ListFault::Document(DiscoveryFault::Aborted),
        ListFault::Document(DiscoveryFault::Garbage),
        ListFault::Document(DiscoveryFault::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        ListFault::Rubbish,
        ListFault::Expired,
    ];
    for fault in faults {
        // Each with a backoff of its own.
        let (cluster, proxy) = with_crds(3).await;
        let server = cluster.server("v136");
        server.faults().list(NAME, Some(fault));
        let asked = asked_of(server, NAME, false).len();
        // Everything has to be listed again, and cannot be.
        server.faults().watch(NAME, Some(WatchFault::Expired));
        eventually(&format!("it is listed twice: {fault:?}"), || {
            assert_eq!(informer(&proxy, "v136", NAME).objects, 3, "{fault:?}");
            asked_of(server, NAME, false).len() >= asked + 2
        })
        .await;
        assert!(!informer(&proxy, "v136", NAME).live, "{fault:?}");
        server.faults().clear();
        until_watched(&proxy, "v136").await;
        assert_eq!(informer(&proxy, "v136", NAME).objects, 3);
    }
}

#[tokio::test]
async fn what_no_event_told_comes_with_the_list() {
    let (cluster, proxy) = with_crds(3).await;
    let server = cluster.server("v136");
    server.faults().list(NAME, Some(ListFault::Rubbish));
    server.faults().watch(NAME, Some(WatchFault::Expired));
    eventually("it is not watched", || !informer(&proxy, "v136", NAME).live).await;
    create(&at(server).await, "unseen.example").await;
    delete(&at(server).await, "g0.example").await;
    server.faults().clear();
    until_watched(&proxy, "v136").await;
    let custom = proxy.target("v136").watched.custom();
    let groups: Vec<&str> = custom.crds.iter().map(|((group, _), _)| group.as_str()).collect();
    assert_eq!(groups, ["g1.example", "g2.example", "unseen.example"]);
}

#[tokio::test]
async fn a_list_of_many_pages_is_seen_when_the_last_one_is_there() {
    let count = 2 * limits::INFORMER_PAGE as usize + 50;
    let (cluster, proxy) = with_crds(count).await;
    let server = cluster.server("v136");
    assert_eq!(
        server.log().matching(page_of("continue=")).len(),
        2 + 2,
        "of CRDs, and of APIServices with theirs"
    );
    // The second page cannot be had any more: from the start.
    server.log().clear();
    server.faults().watch(NAME, Some(WatchFault::Expired));
    server.log().wait_for(crate::kit::DEADLINE, page_of("customresourcedefinitions?&limit=")).await;
    server.faults().list(NAME, Some(ListFault::Expired));
    eventually("a page is refused", || {
        assert_eq!(informer(&proxy, "v136", NAME).objects, count);
        server.log().matching(|request| request.status == Some(StatusCode::GONE)).len() >= 2
    })
    .await;
    server.faults().clear();
    until_watched(&proxy, "v136").await;
    assert_eq!(informer(&proxy, "v136", NAME).objects, count);
}

#[tokio::test]
async fn after_410_everything_is_listed_again_and_fetched_only_if_something_changed() {
    let (cluster, proxy) = with_crds(2).await;
    until_quiet(&proxy, "v136").await;
    let server = cluster.server("v136");
    let (before, listed) = (syncs(&proxy, "v136", &[]).await, asked_of(server, NAME, false).len());
    server.faults().watch(NAME, Some(WatchFault::Expired));
    until("it was told 410", async || (relists(&proxy, "gone").await >= 1.0).then_some(())).await;
    server.faults().clear();
    eventually("it was listed again", || asked_of(server, NAME, false).len() > listed).await;
    until_watched(&proxy, "v136").await;
    assert_eq!(syncs(&proxy, "v136", &[]).await, before, "nothing changed");
    create(&at(server).await, "example.com").await;
    until_listed(&proxy.h2(As::Certificate(&PKI.admin)).await, "example.com", &["v1"]).await;
}

#[tokio::test]
async fn a_version_that_is_too_old_by_the_time_of_a_reconnect_leads_to_a_list() {
    let store = Store::with_history(5);
    let cluster =
        Cluster::with([("v136", V1_36)], |server| server.store(std::sync::Arc::clone(&store))).await;
    let server = cluster.server("v136");
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_watched(&proxy, "v136").await;
    server.faults().watch(NAME, Some(WatchFault::Refused(StatusCode::INTERNAL_SERVER_ERROR)));
    server.drop_connections();
    eventually("it is not watched", || !informer(&proxy, "v136", NAME).live).await;
    let there = at(server).await;
    for number in 0..10 {
        create(&there, &format!("g{number}.example")).await;
    }
    server.faults().clear();
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    until_listed(&client, "g9.example", &["v1"]).await;
    until_watched(&proxy, "v136").await;
    assert_eq!(informer(&proxy, "v136", NAME).objects, 10);
}

#[tokio::test]
async fn bookmarks_keep_the_resource_version_fresh() {
    let often = Duration::from_millis(50);
    let cluster = Cluster::with([("v136", V1_36)], |server| server.bookmark_interval(often)).await;
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_watched(&proxy, "v136").await;
    let there = at(cluster.server("v136")).await;
    let version = async || {
        let labels = ["server=\"v136\"", "resource=\"customresourcedefinitions\""];
        proxy.metric("kube_peer_proxy_informer_resource_version", &labels).await
    };
    let before = version().await;
    // Something else changes.
    let map = json!({ "metadata": { "name": "m" } });
    assert_eq!(there.post("/api/v1/namespaces/default/configmaps", &map).await.status, 201);
    let now = cluster.server("v136").store().revision();
    until("a bookmark tells of it", async || (version().await >= now as f64).then_some(())).await;
    assert!(version().await > before);
    let bookmarks = proxy.metric("kube_peer_proxy_informer_events_total", &["type=\"bookmark\""]).await;
    assert!(bookmarks >= 1.0);
    assert_eq!(relists(&proxy, "").await, 0.0);
}
