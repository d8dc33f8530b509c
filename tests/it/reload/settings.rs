//! Settings of the configuration file that can change, and some that can't.

use std::fs;

use http::Method;
use kube_peer_proxy::embedded::Recorded::V1_32;
use kube_peer_proxy::ops::telemetry::LogFormat;
use rustls::version::TLS12;

use super::*;
use crate::kit::{As, BOB, Capture, V2};

/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

async fn two() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = attentive(cluster.proxy().home("v132")).file("maxHandshakes", "50").start().await;
    (cluster, proxy)
}

#[tokio::test]
async fn the_kill_switches_take_effect_while_it_runs() {
    let (cluster, proxy) = two().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(POLICIES).await.status, 200);
    let merged = admin.get_with("/apis", V2).await;

    set(&proxy, "reroute", "off");
    until("it is off", async || (admin.get(POLICIES).await.status == 404).then_some(())).await;
    let asked = cluster.asked_for("v136", POLICIES).len();
    admin.get(POLICIES).await.refused(404);
    assert_eq!(cluster.asked_for("v136", POLICIES).len(), asked);

    set(&proxy, "merge", "off");
    until("it is off", async || (admin.get_with("/apis", V2).await.body != merged.body).then_some(())).await;

    set(&proxy, "reroute", "on");
    set(&proxy, "merge", "on");
    until("both are on", async || {
        let merged_again = admin.get_with("/apis", V2).await.body == merged.body;
        (merged_again && admin.get(POLICIES).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(reloads(&proxy, "failed").await, 0.0);
}

#[tokio::test]
async fn trusted_networks_and_the_lowest_tls_version_change_while_it_runs() {
    let (cluster, proxy) = two().await;
    let bob = proxy.h2(As::Token(BOB)).await;
    set(&proxy, "trustedProxyCidrs", "[127.0.0.0/8]");
    until_reloads(&proxy, "ok", 1.0).await;
    bob.ask(Method::GET, "/version?bob").header("x-forwarded-for", "1.2.3.4").whole().await;
    let seen = cluster.asked_for("v132", "/version?bob");
    assert_eq!(seen[0].headers["x-forwarded-for"], "1.2.3.4, 127.0.0.1");

    let older = Speaker::new(&[&TLS12], None, &[]);
    assert!(older.connect(&proxy, "localhost").await.is_ok());
    set(&proxy, "tlsMinVersion", "VersionTLS13");
    until_reloads(&proxy, "ok", 2.0).await;
    assert!(older.connect(&proxy, "localhost").await.is_err());
    assert_eq!(bob.get("/version").await.status, 200);
}

#[tokio::test]
async fn a_certificate_for_a_name_can_be_added_and_is_watched_from_then_on() {
    let (_cluster, proxy) = two().await;
    let leaf = Leaf::server("new.corp.example").only_names(&["new.corp.example".into()]);
    let speaker = Speaker::new(BOTH, None, &[]);
    let mut number = 0.0;
    for _ in 0..2 {
        let named = PKI.cluster_ca.issue(&leaf).unwrap();
        replace_pair(&proxy, "named", &named);
        if number == 0.0 {
            set(&proxy, "tlsSniCertKey", "['named.crt,named.key']");
        }
        number += 1.0;
        until_reloads(&proxy, "ok", number).await;
        assert_eq!(speaker.shown(&proxy, "new.corp.example").await, named.cert);
    }
}

#[tokio::test]
async fn what_takes_a_restart_waits_for_it_and_nothing_else_waits_with_it() {
    const IN_STEP: &str = "kube_peer_proxy_config_last_reload_successful";
    let logs = Capture::start("info", LogFormat::Json);
    let (_cluster, proxy) = two().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let file = fs::read_to_string(proxy.file("proxy.yaml")).unwrap();
    let new = serving();
    replace_pair(&proxy, "proxy", &new);
    let changed = format!(
        "{}reroute: off\nmaxTokenConnections: 7\n",
        file.replace("maxHandshakes: 50", "maxHandshakes: 51")
    );
    replace(&proxy.file("proxy.yaml"), &changed);
    until_reloads(&proxy, "partial", 1.0).await;
    let text = logs.text();
    let line = text.lines().find(|line| line.contains("take a restart")).expect("it is told");
    assert!(line.contains("\"maxHandshakes, maxTokenConnections\"") && line.contains("WARN"), "{line}");
    assert!(!line.contains("reroute"), "{line}");
    admin.get(POLICIES).await.refused(404);
    assert_eq!(Speaker::new(BOTH, None, &[]).shown(&proxy, "localhost").await, new.cert);
    assert_eq!(proxy.metric(IN_STEP, &[]).await, 0.0, "not all of the file is in use");

    // Certificates go on to rotate while it waits.
    let newer = serving();
    replace_pair(&proxy, "proxy", &newer);
    until_shown(&proxy, &newer).await;
    until_reloads(&proxy, "partial", 2.0).await;
    assert_eq!(proxy.metric(IN_STEP, &[]).await, 0.0);

    // Whatever is bad is refused as ever, and names both.
    replace(&proxy.file("proxy.yaml"), format!("{changed}merge: maybe\n"));
    until_reloads(&proxy, "failed", 1.0).await;

    replace(&proxy.file("proxy.yaml"), &file);
    until_reloads(&proxy, "ok", 1.0).await;
    assert_eq!(admin.get(POLICIES).await.status, 200);
    assert_eq!(proxy.metric(IN_STEP, &[]).await, 1.0);
}

#[tokio::test]
async fn a_file_with_a_fault_is_refused_whole_with_key_and_line() {
    let logs = Capture::start("info", LogFormat::Json);
    let (_cluster, proxy) = two().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    set(&proxy, "reroute", "of");
    until_reloads(&proxy, "failed", 1.0).await;
    assert!(logs.text().contains("reroute (") && logs.text().contains("proxy.yaml:"), "{}", logs.text());
    fs::write(proxy.file("proxy.yaml"), "reroute: [").unwrap();
    until_reloads(&proxy, "failed", 2.0).await;
    assert_eq!(admin.get(POLICIES).await.status, 200);
}

#[tokio::test]
async fn the_line_of_a_reload_names_the_settings_and_files_that_changed() {
    let logs = Capture::start("info", LogFormat::Json);
    let (_cluster, proxy) = two().await;
    set(&proxy, "reroute", "off");
    set(&proxy, "requestTimeout", "20s");
    let line = until("both are told", async || {
        let text = logs.text();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.find(|line| {
            let has = |field: &str, word: &str| line[field].as_str().is_some_and(|text| text.contains(word));
            has("message", "has changed and is in use") && has("keys", "requestTimeout")
        })
    })
    .await;
    assert!(line["files"].as_str().is_some_and(|files| files.ends_with(".yaml")), "{line}");
    assert!(!line["keys"].as_str().unwrap().contains("merge"), "{line}");
}
