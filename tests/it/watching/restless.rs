//! What else makes us fetch, and a server that never tells the same twice.

use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, ResourceSpec, RouteFault, Store};
use kube_peer_proxy::ops::telemetry::LogFormat;

use super::*;
use crate::kit::{Capture, Cluster};

#[tokio::test]
async fn a_document_that_changed_without_an_event_is_noticed_while_authorizing() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").watching().file("discoveryAuthorizationTtl", "0s").start().await;
    until_quiet(&proxy, "v136").await;
    let widgets = ResourceSpec::new("widgets", "Widget", false);
    cluster.server("v136").discovery().add_resource("example.com", "v1", &widgets);
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    until_listed(&client, "example.com", &["v1"]).await;
    assert!(syncs(&proxy, "v136", &["trigger=\"changed\""]).await >= 1.0);
}

#[tokio::test]
async fn a_server_that_is_ready_no_longer_is_fetched_and_again_when_it_is() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_quiet(&proxy, "v136").await;
    let count = async || syncs(&proxy, "v136", &["trigger=\"health\""]).await;
    cluster.server("v136").faults().ready(false);
    until("it was fetched for that", async || (count().await >= 1.0).then_some(())).await;
    cluster.server("v136").faults().ready(true);
    until("and for that", async || (count().await >= 2.0).then_some(())).await;
    proxy.until_it_is("v136", Fresh).await;
}

#[tokio::test]
async fn a_document_that_changes_for_ever_costs_little_and_is_told_once() {
    let cluster =
        Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| server.store(Store::new())).await;
    let log = Capture::start("info", LogFormat::Json);
    let proxy = cluster
        .proxy()
        .home("v136")
        .watching()
        .file("healthProbeInterval", "5s")
        .file("discoveryAuthorizationTtl", "10ms")
        .start()
        .await;
    until_quiet(&proxy, "v132").await;
    until_quiet(&proxy, "v136").await;
    let generation = || proxy.app.proxy.load().book.catalog().generation;
    let (fetched, made) = (syncs(&proxy, "v136", &[]).await, generation());
    let others = syncs(&proxy, "v132", &[]).await;
    cluster.server("v136").faults().discovery(Some(DiscoveryFault::Changing));
    // Whoever asks for discovery finds another document at home each time.
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let minutes = 5;
    for _ in 0..minutes * 60 {
        pass(Duration::from_secs(1)).await;
        assert_eq!(client.get_with("/apis", V2).await.status, 200);
    }
    let (fetched, made) = (syncs(&proxy, "v136", &[]).await - fetched, generation() - made);
    crate::kit::say!(
        "{minutes} minutes of another document at each fetch: {fetched} fetches, {made} catalogs"
    );
    let every = limits::CHANGE_INTERVAL.as_secs();
    // A tenth more, for what takes time beside.
    let most = (u64::from(limits::CHANGES_AT_ONCE) + minutes * 60 / every) * 11 / 10;
    assert!((most / 2..=most).contains(&(fetched as u64)), "{fetched} of {most}");
    // The unaggregated lists of what changed come behind it.
    assert!(made <= 2 * most, "{made}");
    assert!(proxy.metric("kube_peer_proxy_discovery_held_back_total", &["v136"]).await > 0.0);
    let text = log.text();
    assert_eq!(text.matches("another one at each fetch").count(), 1);
    // Some comes back while the allowance is being used up.
    assert!(text.matches("discovery changed").count() <= limits::CHANGES_AT_ONCE as usize * 3 / 2);
    assert_eq!(syncs(&proxy, "v132", &[]).await, others, "nobody else is asked more");

    // An event of somebody else is seen as ever.
    create(&at(cluster.server("v132")).await, "example.com").await;
    until_listed(&client, "example.com", &["v1"]).await;
    assert_eq!((proxy.freshness("v132"), proxy.freshness("v136")), (Fresh, Fresh));
}

#[tokio::test]
async fn whoever_just_wrote_through_us_sees_it_in_the_next_answer() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_quiet(&proxy, "v132").await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    for number in 0..5 {
        let group = format!("g{number}.example");
        create(&client, &group).await;
        assert_eq!(versions(&client, &group).await, ["v1"]);
        delete(&client, &group).await;
        assert_eq!(versions(&client, &group).await, [""; 0]);
    }
}

#[tokio::test]
async fn i8_a_denied_route_does_not_wait_behind_what_is_held_back() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy =
        cluster.proxy().home("v136").watching().file("discoveryAuthorizationTtl", "10ms").start().await;
    until_quiet(&proxy, "v136").await;
    let server = cluster.server("v136");
    server.faults().discovery(Some(DiscoveryFault::Changing));
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    let held_back = async || proxy.metric("kube_peer_proxy_discovery_held_back_total", &["v136"]).await;
    let before = async || {
        assert_eq!(client.get_with("/apis", V2).await.status, 200);
        pass(Duration::from_secs(1)).await;
        held_back().await
    };
    for _ in 0..2 * limits::CHANGES_AT_ONCE {
        if before().await > 0.0 {
            break;
        }
    }
    let waiting = held_back().await;
    until("a fetch is held back", async || {
        assert_eq!(client.get_with("/apis", V2).await.status, 200);
        (held_back().await > waiting).then_some(())
    })
    .await;
    let deployments =
        GroupVersionResource { group: "apps".into(), version: "v1".into(), resource: "deployments".into() };
    server.faults().missing(deployments, Some(RouteFault::PlainText));
    client.get("/apis/apps/v1/namespaces/default/deployments").await;
    assert!(syncs(&proxy, "v136", &["trigger=\"route-not-found\""]).await >= 1.0);
}
