//! What changes is seen as soon as an event tells of it, and many events make few fetches.

use std::time::Instant;

use futures_util::future::join_all;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, ResourceSpec, Store};

use super::*;
use crate::kit::{Cluster, EVE};

/// Long before any timer: the interval is an hour and the resync ten minutes in these tests.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_crd_that_comes_changes_or_goes_is_in_merged_discovery_without_any_timer() {
    // Two clusters, so that only the events of the one server can tell.
    let cluster =
        Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| server.store(Store::new())).await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_watched(&proxy, "v136").await;
    let (there, client) = (at(cluster.server("v136")).await, proxy.h2(As::Certificate(&PKI.admin)).await);
    assert_eq!(versions(&client, "example.com").await, [""; 0]);

    let began = Instant::now();
    create(&there, "example.com").await;
    until_listed(&client, "example.com", &["v1"]).await;
    assert_eq!(client.get("/apis/example.com/v1/widgets").await.status, 200);

    let merge = ("content-type", "application/merge-patch+json");
    let one = format!("{CRDS}/widgets.example.com");
    let patch = async |versions: Value| {
        let asking = there.ask(Method::PATCH, &one).header(merge.0, merge.1);
        let reply = asking.json(&json!({ "spec": { "versions": versions } })).whole().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let version =
        |name: &str, served: bool| json!({ "name": name, "served": served, "storage": name == "v1" });
    patch(json!([version("v1", true), version("v2", true)])).await;
    until_listed(&client, "example.com", &["v2", "v1"]).await;
    patch(json!([version("v1", true), version("v2", false)])).await;
    until_listed(&client, "example.com", &["v1"]).await;

    delete(&there, "example.com").await;
    until_listed(&client, "example.com", &[]).await;
    assert_eq!(client.get("/apis/example.com/v1/widgets").await.status, 404);
    assert!(began.elapsed() < 2 * SOON, "{:?}", began.elapsed());
    for timer in ["trigger=\"interval\"", "trigger=\"resync\""] {
        assert_eq!(syncs(&proxy, "v136", &[timer]).await, 0.0);
    }
    // An APIService comes and goes with the definition, and the last event names the fetch.
    let changed = async |trigger| syncs(&proxy, "v136", &[trigger, "result=\"changed\""]).await;
    assert!(changed("trigger=\"crd\"").await + changed("trigger=\"apiservice\"").await >= 4.0);
    assert_eq!(syncs(&proxy, "v132", &["result=\"changed\""]).await, 1.0, "the first");
}

#[tokio::test]
async fn an_aggregated_api_that_comes_and_goes_is_in_merged_discovery_too() {
    let cluster = Cluster::start(&[V1_36]).await;
    let server = cluster.server("v136");
    let nodes = vec![ResourceSpec::new("nodes", "NodeMetrics", false)];
    server.discovery().extension("metrics.example.com", "v1", Some(nodes));
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_watched(&proxy, "v136").await;
    let (there, client) = (at(server).await, proxy.h2(As::Token(EVE)).await);
    let service = json!({
        "metadata": { "name": "v1.metrics.example.com" },
        "spec": {
            "group": "metrics.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": { "namespace": "kube-system", "name": "metrics" },
        },
    });
    assert_eq!(there.post(SERVICES, &service).await.status, 201);
    until_listed(&client, "metrics.example.com", &["v1"]).await;
    there.ask(Method::DELETE, &format!("{SERVICES}/v1.metrics.example.com")).whole().await;
    until_listed(&client, "metrics.example.com", &[]).await;
    assert!(syncs(&proxy, "v136", &["trigger=\"apiservice\""]).await > 0.0);
    assert_eq!(syncs(&proxy, "v136", &["trigger=\"resync\""]).await, 0.0);
}

#[tokio::test]
async fn discovery_that_lags_behind_the_event_is_looked_at_again() {
    let lag = Duration::from_millis(700);
    let cluster = Cluster::with([("v136", V1_36)], |server| server.crd_lag(lag)).await;
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_quiet(&proxy, "v136").await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    create(&at(cluster.server("v136")).await, "example.com").await;
    until_listed(&client, "example.com", &["v1"]).await;
}

#[tokio::test]
async fn a_hundred_crds_within_a_second_make_a_handful_of_fetches_one_at_a_time() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    for name in ["v132", "v136"] {
        until_quiet(&proxy, name).await;
    }
    let (there, client) = (at(cluster.server("v136")).await, proxy.h2(As::Certificate(&PKI.admin)).await);
    let before = ["v132", "v136"].map(|name| cluster.fetches(name, "/apis"));
    let counted = [syncs(&proxy, "v132", &[]).await, syncs(&proxy, "v136", &[]).await];
    let began = Instant::now();
    let groups: Vec<String> = (0..100).map(|number| format!("g{number}.example")).collect();
    join_all(groups.iter().map(|group| create(&there, group))).await;
    assert!(began.elapsed() < SOON);
    until("all of them are listed", async || {
        let document = client.get_with("/apis", V2).await.json();
        let names = document["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]);
        (names.filter(|name| name.as_str().unwrap().ends_with(".example")).count() == 100).then_some(())
    })
    .await;
    // The looks behind the last event, the last of which comes five seconds after it.
    pass(limits::EVENTS_FOLLOW_UPS[1] + Duration::from_secs(1)).await;
    for ((name, before), counted) in ["v132", "v136"].into_iter().zip(before).zip(counted) {
        let asked = cluster.fetches(name, "/apis") - before;
        assert!((1..=7).contains(&asked), "{name} was asked {asked} times");
        let counted = syncs(&proxy, name, &[]).await - counted;
        assert!((1.0..=7.0).contains(&counted), "{name}: {counted}");
        crate::kit::say!("a hundred CRDs: {name} was fetched {counted} times");
    }
}

#[tokio::test]
async fn what_happens_during_a_fetch_is_fetched_behind_it() {
    let cluster = Cluster::start(&[V1_36]).await;
    let server = cluster.server("v136");
    let proxy = cluster.proxy().home("v136").watching().start().await;
    until_quiet(&proxy, "v136").await;
    let (there, client) = (at(server).await, proxy.h2(As::Certificate(&PKI.admin)).await);
    let before = cluster.fetches("v136", "/apis");
    server.faults().discovery(Some(DiscoveryFault::Slow(Duration::from_millis(10))));
    create(&there, "one.example").await;
    eventually("it is being fetched", || cluster.fetches("v136", "/apis") > before).await;
    create(&there, "other.example").await;
    server.faults().clear();
    until_listed(&client, "other.example", &["v1"]).await;
    assert_eq!(versions(&client, "one.example").await, ["v1"]);
    assert_eq!(syncs(&proxy, "v136", &["trigger=\"resync\""]).await, 0.0);
}
