//! What else makes us fetch, and a server that never tells the same twice.

use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, ResourceSpec, Store};
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
    let count = async || syncs(&proxy, "v136", &["trigger=\"readiness\""]).await;
    cluster.server("v136").faults().ready(false);
    until("it was fetched for that", async || (count().await >= 1.0).then_some(())).await;
    cluster.server("v136").faults().ready(true);
    until("and for that", async || (count().await >= 2.0).then_some(())).await;
    proxy.until_it_is("v136", Fresh).await;
}
