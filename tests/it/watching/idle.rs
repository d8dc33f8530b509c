//! Where nothing happens, nothing is fetched but the resync.

use http::header::IF_NONE_MATCH;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};

use super::*;
use crate::kit::Cluster;

#[tokio::test]
async fn an_idle_server_is_fetched_for_the_resync_only_with_a_condition() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let rare = |proxy: crate::kit::ProxyBuilder| proxy.file("healthProbeInterval", "5s");
    let proxy = rare(cluster.proxy().home("v132")).watching().start().await;
    for name in ["v132", "v136"] {
        until_quiet(&proxy, name).await;
    }
    let total = async || syncs(&proxy, "v132", &[]).await + syncs(&proxy, "v136", &[]).await;
    let before = total().await;
    let log = cluster.server("v136").log();
    log.clear();
    pass(Duration::from_secs(8 * 60)).await;
    assert_eq!(total().await, before, "nothing is fetched");
    assert!(is_watched(&proxy, "v136") && is_watched(&proxy, "v132"));
    assert!(asked_of(cluster.server("v136"), DECISIVE[0], true).len() <= 3, "watches last four minutes");

    pass(Duration::from_secs(4 * 60)).await;
    for name in ["v132", "v136"] {
        assert_eq!(syncs(&proxy, name, &["trigger=\"resync\"", "result=\"unchanged\""]).await, 1.0, "{name}");
    }
    assert_eq!(total().await, before + 2.0);
    let fetched = log.matching(|request| is_our_own(request) && request.target == "/apis");
    assert!(fetched.iter().all(|request| request.headers.contains_key(IF_NONE_MATCH)));
    assert!(fetched.iter().all(|request| request.status == Some(StatusCode::NOT_MODIFIED)));
    assert_eq!(fetched.len(), 1);
    for resource in DECISIVE {
        assert!(asked_of(cluster.server("v136"), resource, false).is_empty(), "nothing is listed again");
    }
}

#[tokio::test]
async fn the_resync_of_servers_is_not_in_step() {
    let names: Vec<String> = (0..4).map(|number| format!("s{number}")).collect();
    let cluster = Cluster::with(names.iter().map(|name| (name.clone(), V1_36)), |server| server).await;
    let proxy = cluster.proxy().watching().file("discoveryResync", "2s").start().await;
    for name in &names {
        until(name, async || {
            (syncs(&proxy, name, &["trigger=\"resync\"", "result=\"unchanged\""]).await >= 3.0).then_some(())
        })
        .await;
    }
    let counts =
        futures_util::future::join_all(names.iter().map(|name| syncs(&proxy, name, &["changed\""]))).await;
    assert!(counts.iter().all(|count| *count >= 3.0), "{counts:?}");
}
