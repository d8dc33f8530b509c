//! Who may not watch asks on the timer, there and nowhere else.

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{DiscoveryFault, ListFault, ResourceSpec, Store, WatchFault};
use kube_peer_proxy::ops::telemetry::LogFormat;

use super::*;
use crate::kit::{Capture, Cluster, ProxyBuilder};

async fn apart() -> Cluster {
    Cluster::with([("v132", V1_32), ("v136", V1_36)], |server| server.store(Store::new())).await
}

fn often(proxy: ProxyBuilder) -> ProxyBuilder {
    proxy.home("v132").watching().refresh("300ms")
}

async fn until_on_the_timer(proxy: &Proxy, name: &str) {
    eventually("it is asked on the timer", || proxy.target(name).watched.mode() == Mode::Interval).await;
}

/// What only a timer finds: no event tells of it.
async fn is_found(cluster: &Cluster, proxy: &Proxy, group: &str) {
    let widgets = ResourceSpec::new("widgets", "Widget", false);
    cluster.server("v136").discovery().add_resource(group, "v1", &widgets);
    until_listed(&proxy.h2(As::Certificate(&PKI.admin)).await, group, &["v1"]).await;
}

#[tokio::test]
async fn a_server_that_refuses_lists_or_watches_is_asked_on_the_timer_and_no_other() {
    for code in [403, 404, 405] {
        let status = StatusCode::from_u16(code).unwrap();
        for watch in [false, true] {
            let cluster = apart().await;
            let faults = cluster.server("v136").faults();
            if watch {
                faults.watch("*", Some(WatchFault::Refused(status)));
            } else {
                faults.list("*", Some(ListFault::Document(DiscoveryFault::Status(status))));
            }
            let log = Capture::start("info", LogFormat::Json);
            let proxy = often(cluster.proxy()).start().await;
            until_on_the_timer(&proxy, "v136").await;
            until_watched(&proxy, "v132").await;
            is_found(&cluster, &proxy, "example.com").await;
            until("the timer counts", async || {
                (syncs(&proxy, "v136", &["trigger=\"interval\""]).await > 0.0).then_some(())
            })
            .await;
            assert_eq!(syncs(&proxy, "v132", &["trigger=\"interval\""]).await, 0.0);
            let text = log.text();
            let lines: Vec<&str> =
                text.lines().filter(|line| line.contains("fetched in another way")).collect();
            assert_eq!(lines.len(), 1, "{code}, watch {watch}: {lines:?}");
            assert!(lines[0].contains("v136") && lines[0].contains(&code.to_string()), "{}", lines[0]);
            // What is missing is said, for each kind once.
            assert_eq!(text.matches("cannot be watched here").count(), 4, "{text}");
        }
    }
}

#[tokio::test]
async fn it_is_watched_again_when_the_right_is_granted() {
    let cluster = apart().await;
    let server = cluster.server("v136");
    server.faults().watch("*", Some(WatchFault::Refused(StatusCode::FORBIDDEN)));
    let log = Capture::start("info", LogFormat::Json);
    let proxy = cluster
        .proxy()
        .home("v132")
        .watching()
        .file("healthProbeInterval", "5s")
        .refresh("30s")
        .start()
        .await;
    until_on_the_timer(&proxy, "v136").await;
    let asked = asked_of(server, DECISIVE[0], false).len();
    pass(limits::REFUSED_RETRY.mul_f64(2.5)).await;
    let again = asked_of(server, DECISIVE[0], false).len() - asked;
    assert!((1..=5).contains(&again), "rarely: {again}");
    assert_eq!(log.text().matches("cannot be watched here").count(), 4, "it is not said again");
    server.faults().clear();
    pass(limits::REFUSED_RETRY.mul_f64(1.2)).await;
    until_watched(&proxy, "v136").await;
    assert_eq!(log.text().matches("fetched in another way").count(), 2, "there, and back");
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    create(&at(server).await, "example.com").await;
    until_listed(&client, "example.com", &["v1"]).await;
}

#[tokio::test]
async fn a_user_without_rights_costs_a_few_questions_and_nothing_else() {
    let denied = |builder: kube_peer_proxy::embedded::Builder| {
        builder.store(Store::new()).authorizer(|_, _, verb| !matches!(verb, "list" | "watch"))
    };
    let cluster = Cluster::with([("v136", V1_36)], denied).await;
    let proxy = cluster.proxy().home("v136").watching().refresh("300ms").start().await;
    until_on_the_timer(&proxy, "v136").await;
    is_found(&cluster, &proxy, "example.com").await;
    let refusals = proxy.target("v136").watched.informers();
    for resource in DECISIVE {
        assert!(refusals[resource].refused.as_ref().unwrap().starts_with("403"), "{refusals:?}");
    }
    assert!(asked_of(cluster.server("v136"), DECISIVE[0], false).len() <= 3);
}
