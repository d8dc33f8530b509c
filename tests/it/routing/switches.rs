//! The kill switches.

use super::{CONFIG_MAPS, POLICIES, three};
use crate::kit::{As, Capture, NOPEER, PKI, V2};
use kube_peer_proxy::ops::telemetry::LogFormat;

#[tokio::test]
async fn with_reroute_off_home_answers_everything() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").flags(|args| args.reroute = Some("off".into())).start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    admin.get(POLICIES).await.refused(404);
    assert_eq!(admin.get(CONFIG_MAPS).await.status, 200);
    assert!(cluster.asked("v136", |_| true).is_empty());
    assert_eq!(proxy.metric("kube_peer_proxy_dry_run_reroutes_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_dry_run_answers_as_off_and_counts_and_logs_what_would_have_happened() {
    let logs = Capture::start("info", LogFormat::Json);
    let cluster = three().await;
    let proxy =
        cluster.proxy().home("v132").flags(|args| args.reroute = Some("dry-run".into())).start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    admin.get(POLICIES).await.refused(404);
    admin.get(CONFIG_MAPS).await;
    assert!(cluster.asked("v136", |_| true).is_empty());
    assert_eq!(
        proxy.metric("kube_peer_proxy_dry_run_reroutes_total", &["mutatingadmissionpolicies"]).await,
        1.0
    );
    assert_eq!(proxy.metric("apiserver_rerouted_request_total", &[]).await, 0.0);
    assert_eq!(logs.text().matches("would reroute").count(), 1);
}

#[tokio::test]
async fn with_merge_off_discovery_is_homes_own_and_requests_are_still_rerouted() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").flags(|args| args.merge = Some("off".into())).start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for path in ["/api", "/apis"] {
        let (plain, own) = (admin.get_with(path, V2).await, admin.get_with(path, NOPEER).await);
        assert_eq!((plain.header("etag"), &plain.body), (own.header("etag"), &own.body));
    }
    assert_eq!(admin.get(POLICIES).await.status, 200);
}
