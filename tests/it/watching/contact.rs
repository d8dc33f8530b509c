//! A live watch is contact, a dead one is found out.

use std::time::Instant;

use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale, Unknown};
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, Store, WatchFault};

use super::*;
use crate::kit::{Cluster, ProxyBuilder};

/// Probes that nobody answers are over soon, and two seconds without contact are too long.
fn attentive(proxy: ProxyBuilder) -> ProxyBuilder {
    let proxy = proxy.watching().file("healthProbeInterval", "200ms").file("healthProbeTimeout", "500ms");
    proxy.flags(|args| args.stale_after = Some("2s".into()))
}

#[tokio::test]
async fn a_watch_that_lives_is_contact_although_probes_get_no_answer() {
    let often = Duration::from_millis(100);
    let bookmarks = |server: kube_peer_proxy::embedded::Builder| server.bookmark_interval(often);
    let cluster = Cluster::with([("v136", V1_36)], bookmarks).await;
    let proxy = attentive(cluster.proxy().home("v136")).start().await;
    until_quiet(&proxy, "v136").await;
    cluster.server("v136").faults().hang(true);
    // Five times as long as it may be without contact.
    for _ in 0..20 {
        pass(Duration::from_millis(500)).await;
        assert_eq!(proxy.freshness("v136"), Fresh);
    }
    assert!(proxy.metric("kube_peer_proxy_server_probes_total", &["result=\"slow\""]).await >= 1.0);
    // Until the watches say nothing either.
    cluster.server("v136").faults().watch("*", Some(WatchFault::Silent));
    let began = Instant::now();
    proxy.until_it_is("v136", Stale).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    cluster.server("v136").faults().clear();
    proxy.until_it_is("v136", Fresh).await;
}

#[tokio::test]
async fn a_server_that_is_stopped_without_a_word_is_stale_within_stale_after_and_unknown_behind_it() {
    let cluster =
        Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| server.store(Store::new())).await;
    let proxy = cluster.proxy().home("v132").watching().hasty().start().await;
    for name in ["v132", "v136"] {
        until_watched(&proxy, name).await;
    }
    let server = cluster.server("v136");
    server.faults().freeze(true);
    let began = Instant::now();
    proxy.until_it_is("v136", Stale).await;
    crate::kit::say!("a frozen server is stale after {:?} (--stale-after 2 s)", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    eventually("its watches are given up", || !is_watched(&proxy, "v136")).await;
    assert!(is_watched(&proxy, "v132"));
    assert_eq!(proxy.freshness("v132"), Fresh);

    // Back again, but nobody knows what it serves now.
    server.faults().discovery(Some(DiscoveryFault::Status(StatusCode::SERVICE_UNAVAILABLE)));
    server.faults().freeze(false);
    proxy.until_it_is("v136", Unknown).await;
    server.faults().clear();
    proxy.until_it_is("v136", Fresh).await;
    until_watched(&proxy, "v136").await;
}

#[tokio::test]
async fn a_server_that_restarts_is_unknown_until_one_fetch_and_watched_again() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_quiet(&proxy, "v136").await;
    let server = cluster.server("v136");
    server.faults().discovery(Some(DiscoveryFault::Status(StatusCode::SERVICE_UNAVAILABLE)));
    server.restart().await.unwrap();
    proxy.until_it_is("v136", Unknown).await;
    create(&at(cluster.server("v132")).await, "example.com").await;
    server.faults().clear();
    proxy.until_it_is("v136", Fresh).await;
    until_watched(&proxy, "v136").await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    until_listed(&client, "example.com", &["v1"]).await;
    assert_eq!(informer(&proxy, "v136", DECISIVE[0]).objects, 1, "from where the last watch ended");
}

#[tokio::test]
async fn another_holder_of_its_lease_makes_a_server_unknown_until_one_fetch() {
    let cluster = Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| {
        server.store(Store::new()).identity_lease("host-a").advertise_address(true)
    })
    .await;
    let proxy = cluster.proxy().home("v132").watching().start().await;
    until_quiet(&proxy, "v136").await;
    let server = cluster.server("v136");
    let there = at(server).await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let lease = there.get(leases).await.json()["items"][0].clone();
    let one = format!("{leases}/{}", lease["metadata"]["name"].as_str().unwrap());
    let merge = ("content-type", "application/merge-patch+json");
    let losses = proxy.target("v136").health.losses();

    // Renewed, it says nothing new.
    let renewed = json!({ "metadata": { "labels": { "a": "b" } } });
    there.ask(Method::PATCH, &one).header(merge.0, merge.1).json(&renewed).whole().await;
    let seen = proxy.target("v136");
    let version = server.store().revision();
    eventually("the renewal was seen", || {
        let at = informer(&proxy, "v136", "leases").resource_version;
        at.parse::<u64>().is_ok_and(|at| at >= version)
    })
    .await;
    assert_eq!(seen.health.losses(), losses);

    server.faults().discovery(Some(DiscoveryFault::Status(StatusCode::SERVICE_UNAVAILABLE)));
    let taken = json!({ "spec": { "holderIdentity": "another" } });
    there.ask(Method::PATCH, &one).header(merge.0, merge.1).json(&taken).whole().await;
    proxy.until_it_is("v136", Unknown).await;
    server.faults().clear();
    proxy.until_it_is("v136", Fresh).await;

    // Deleted and made anew, as servers do since 1.35.
    server.faults().discovery(Some(DiscoveryFault::Status(StatusCode::SERVICE_UNAVAILABLE)));
    there.ask(Method::DELETE, &one).whole().await;
    let mut anew = lease.clone();
    anew["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    anew["spec"]["holderIdentity"] = json!("yet another");
    let made = there.post(leases, &anew).await;
    assert!(made.status == 201 || made.status == 409, "{}", made.text());
    proxy.until_it_is("v136", Unknown).await;
    server.faults().clear();
    proxy.until_it_is("v136", Fresh).await;
    assert_eq!(proxy.target("v132").health.losses(), 0, "it is the other one's");
}
