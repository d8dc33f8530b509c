//! Without `--home`: the home of each connection.

use std::collections::HashSet;

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};

use super::three;
use crate::kit::{As, Cluster, PKI, Proxy, until};

/// The minor version of the server that answers on a new connection, after several requests.
async fn home_of_a_new_connection(proxy: &Proxy) -> String {
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut minors = HashSet::new();
    for _ in 0..5 {
        minors.insert(admin.get("/version").await.json()["minor"].as_str().unwrap().to_owned());
    }
    assert_eq!(minors.len(), 1, "one connection, one home");
    minors.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_front_keeps_one_home_for_a_connection_and_spreads_connections() {
    let cluster = three().await;
    let proxy = cluster.proxy().start().await;
    let mut seen = HashSet::new();
    for _ in 0..40 {
        seen.insert(home_of_a_new_connection(&proxy).await);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn a_preference_for_the_oldest_or_newest_decides_the_home() {
    let cluster = three().await;
    for (preference, minor) in [("oldest", "32"), ("newest", "36")] {
        let proxy =
            cluster.proxy().flags(|args| args.home_preference = Some(preference.into())).start().await;
        for _ in 0..6 {
            assert_eq!(home_of_a_new_connection(&proxy).await, minor);
        }
    }
}

#[tokio::test]
async fn a_connection_whose_home_dies_gets_another_one() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().flags(|args| args.home_preference = Some("newest".into())).start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/version").await.json()["minor"], "36");
    cluster.server("v136").stop().await;
    let minor = until("an answer from the other server", async || {
        let reply = admin.get("/version").await;
        (reply.status == 200).then(|| reply.json()["minor"].clone())
    });
    assert_eq!(minor.await, "32");
}
