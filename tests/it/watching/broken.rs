//! A server that fails or hangs delays nobody but itself.

use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale};
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, Store, WatchFault};

use super::*;
use crate::kit::{Cluster, ProxyBuilder};

const SLOW: Duration = Duration::from_secs(60);

/// Servers with a store each.
async fn apart() -> Cluster {
    Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| server.store(Store::new())).await
}

/// An event of the good server is seen as ever.
async fn goes_on(cluster: &Cluster, proxy: &Proxy, group: &str) {
    create(&at(cluster.server("v132")).await, group).await;
    until_listed(&proxy.h2(As::Certificate(&PKI.admin)).await, group, &["v1"]).await;
}

fn patient(proxy: ProxyBuilder) -> ProxyBuilder {
    proxy.watching().file("discoveryFetchTimeout", "4s")
}

#[tokio::test]
async fn a_server_that_hangs_on_discovery_on_lists_or_on_watches_delays_nobody_else() {
    let cluster = apart().await;
    let wedged = cluster.server("v136");
    let faults = wedged.faults();
    let proxy = patient(cluster.proxy().home("v132")).start().await;
    until_watched(&proxy, "v132").await;
    until_watched(&proxy, "v136").await;

    faults.discovery(Some(DiscoveryFault::Slow(SLOW)));
    create(&at(wedged).await, "wedged.example").await;
    goes_on(&cluster, &proxy, "discovery.example").await;
    faults.clear();

    // Without answers to anything, open watches live.
    faults.hang(true);
    goes_on(&cluster, &proxy, "all.example").await;
    faults.clear();

    for resource in DECISIVE {
        faults.watch(resource, Some(WatchFault::Silent));
    }
    goes_on(&cluster, &proxy, "watch.example").await;
    faults.clear();
    until_listed(&proxy.h2(As::Certificate(&PKI.admin)).await, "wedged.example", &["v1"]).await;
}

#[tokio::test]
async fn a_server_whose_lists_hang_from_the_start_delays_nobody_and_is_fetched_all_the_same() {
    let cluster = apart().await;
    let slow = kube_peer_proxy::embedded::ListFault::Document(DiscoveryFault::Slow(SLOW));
    cluster.server("v136").faults().list("*", Some(slow));
    let proxy = cluster.proxy().home("v132").watching().start().await;
    assert_eq!((proxy.freshness("v132"), proxy.freshness("v136")), (Fresh, Fresh));
    until_watched(&proxy, "v132").await;
    goes_on(&cluster, &proxy, "example.com").await;
    assert!(!informer(&proxy, "v136", DECISIVE[0]).live);
    cluster.server("v136").faults().clear();
    // The one that waits is given up for another after a while.
    pass(Duration::from_secs(80)).await;
    until_watched(&proxy, "v136").await;
}

#[tokio::test]
async fn fetches_that_fail_back_off_for_that_server_alone() {
    let cluster = apart().await;
    let proxy = cluster.proxy().home("v132").watching().file("healthProbeInterval", "5s").start().await;
    until_quiet(&proxy, "v136").await;
    cluster
        .server("v136")
        .faults()
        .discovery(Some(DiscoveryFault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    create(&at(cluster.server("v136")).await, "example.com").await;
    proxy.until_it_is("v136", Stale).await;
    pass(Duration::from_secs(5 * 60)).await;
    let failed = syncs(&proxy, "v136", &["result=\"failed\""]).await;
    // Half a second, doubled each time, and the looks behind the event.
    assert!((6.0..=16.0).contains(&failed), "{failed}");
    assert_eq!(syncs(&proxy, "v132", &["result=\"failed\""]).await, 0.0);
    goes_on(&cluster, &proxy, "other.example").await;
    assert_eq!(proxy.freshness("v132"), Fresh);
    cluster.server("v136").faults().clear();
    // The next event need not wait for the timer.
    create(&at(cluster.server("v136")).await, "more.example").await;
    proxy.until_it_is("v136", Fresh).await;
}
