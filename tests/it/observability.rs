//! What `compose/observability` speaks of is there, and the gauges that it was made for tell the truth.

use std::collections::BTreeSet;

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::Tree;
use serde_json::{Value, json};

use crate::kit::{As, Cluster, NOPEER, PKI, V2, eventually, until};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const DASHBOARD: &str = include_str!("../../compose/observability/grafana/dashboards/dashboard.json");
const ALERTS: &str = include_str!("../../compose/observability/alerts.yaml");

/// Names of metrics in a text: all of ours and of upstream's begin with one of these.
fn names(text: &str) -> BTreeSet<&str> {
    let word = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
    let known = ["kube_peer_proxy_", "apiserver_", "aggregator_"];
    text.split(word).filter(|name| known.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// Every expression of the dashboard.
fn expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_str() {
                Some(text) if key == "expr" || key == "query" => vec![text],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn every_metric_of_the_dashboard_and_the_alerts_exists_at_a_proxy_that_saw_traffic() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(POLICIES).await.status, 200);
    for form in [V2, NOPEER, V2] {
        assert_eq!(admin.get_with("/apis", form).await.status, 200);
    }
    cluster.server("v136").stop().await;
    until("nobody has them", async || (admin.get(POLICIES).await.status == 503).then_some(())).await;

    let page = proxy.page("/metrics").await;
    let shown: BTreeSet<_> = page.text().lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut wanted = names(ALERTS);
    let expressions = expressions(&dashboard);
    wanted.extend(expressions.iter().flat_map(|text| names(text)));
    assert!(wanted.len() > 15, "{wanted:?}");
    let missing: Vec<_> = wanted.difference(&shown).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{}", page.text());
}

#[test]
fn every_panel_of_the_dashboard_has_its_own_place_and_number() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    for (index, panel) in panels.iter().enumerate() {
        assert_eq!(panel["id"], json!(index + 1));
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
    }
}

#[tokio::test]
async fn skew_is_counted_until_everybody_serves_the_same() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().interval("100ms").start().await;
    let skew = async || proxy.metric("kube_peer_proxy_skewed_resources", &[]).await;
    let before = skew().await;
    assert!(before > 0.0, "1.36 has what 1.32 has not");
    // Who is away counts with what he said last: his absence ends no skew.
    cluster.server("v136").stop().await;
    proxy.until_healthy("v136", false).await;
    assert_eq!(skew().await, before);
    cluster.server("v136").restart().await.unwrap();

    let old = cluster.server("v132").discovery();
    let new = cluster.server("v136").discovery();
    for tree in [Tree::Api, Tree::Apis] {
        old.replace(tree, new.document(tree));
    }
    until("there is none", async || (skew().await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn readiness_is_a_metric() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").start().await;
    assert_eq!(proxy.metric("kube_peer_proxy_ready", &[]).await, 1.0);
    let latch = proxy.app.readiness.latch("something");
    assert_eq!(proxy.metric("kube_peer_proxy_ready", &[]).await, 0.0);
    latch.done();
    eventually("it is ready", || proxy.app.readiness.is_ready()).await;
    assert_eq!(proxy.metric("kube_peer_proxy_ready", &[]).await, 1.0);
}
