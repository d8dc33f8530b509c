//! I11: who may be dialled, and who is believed.

use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Unknown};
use kube_peer_proxy::pki::{Leaf, Pki};

use super::*;

#[tokio::test]
async fn i11_an_impostor_inside_of_the_ranges_gets_no_request_and_no_identity() {
    let other = Pki::generate(&[]).unwrap();
    let wrong_name = PKI.cluster_ca.issue(&Leaf::server("etcd").only_names(&["etcd".into()])).unwrap();
    let mut town = Town::with("cp1").await;
    town.add("wrong-ca", V1_36, |server| leased(server, "wrong-ca").pki(&other)).await;
    town.add("wrong-name", V1_36, |server| leased(server, "wrong-name").serving(&wrong_name)).await;
    for impostor in ["wrong-ca", "wrong-name"] {
        town.give_widgets(impostor);
    }
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    for impostor in ["wrong-ca", "wrong-name"] {
        let before = town[impostor].connections_accepted();
        eventually("it is tried again", || town[impostor].connections_accepted() > before + 1).await;
        assert_eq!(freshness(&proxy, impostor), Some(Unknown));
        let failed = proxy
            .metric(
                "kube_peer_proxy_upstream_connects_total",
                &[&format!("\"{impostor}\""), "result=\"tls\""],
            )
            .await;
        assert!(failed >= 1.0, "{failed}");
    }
    try_again(&admin.get(WIDGETS).await);
    assert_eq!(marked(&admin, "example.com", "v1").await, None);
    assert_eq!(admin.get("/api/v1/namespaces").await.status, 200);
    for impostor in ["wrong-ca", "wrong-name"] {
        assert_eq!(town[impostor].log().count(), 0, "{impostor}");
    }
}

#[tokio::test]
async fn i11_a_server_outside_of_the_ranges_is_never_dialled_even_with_the_right_certificate() {
    let mut town = Town::with("cp1").await;
    town.add_at("outside", [127, 9, 0, 1], V1_36, |server| leased(server, "outside").endpoint_slice(true))
        .await;
    town.give_widgets("outside");
    for source in ["leases", "endpointslices"] {
        let proxy = town
            .proxy(source, "cp1", "cp1")
            .flags(|args| args.peer_allowed_cidrs = vec!["127.0.0.0/24".into()])
            .start()
            .await;
        until("it is refused", async || (refused(&proxy, source, "not-allowed").await == 1.0).then_some(()))
            .await;
        assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 404);
        assert_eq!(names(&proxy), ["cp1"]);
    }
    // The test's own clerk is nobody who could have: he writes through another server.
    assert_eq!(town["outside"].connections_accepted(), 0);
}

/// The address of a peer that is trusted changes to an impostor's.
#[tokio::test]
async fn i11_a_lease_that_moves_to_an_impostor_moves_no_connection_and_no_identity() {
    let other = Pki::generate(&[]).unwrap();
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    town.add("impostor", V1_36, |server| server.pki(&other)).await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let clerk = town.clerk().await;
    let (path, at) = (clerk.lease_of("cp2").await, town["impostor"].addr().to_string());
    let annotations =
        |at: &str| json!({ "metadata": { "annotations": { "kubernetes.io/peer-advertise-address": at } } });
    clerk.patch(&path, &annotations(&at)).await;
    eventually("it is there now", || the(&proxy, "cp2").authority == at).await;
    eventually("it was tried", || town["impostor"].connections_accepted() > 0).await;
    try_again(&admin.get(WIDGETS).await);
    assert_eq!(town["impostor"].log().count(), 0);
    clerk.patch(&path, &annotations(&town["cp2"].addr().to_string())).await;
    until_it_is(&proxy, "cp2", Fresh).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
}
