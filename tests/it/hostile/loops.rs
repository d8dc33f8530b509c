//! I3: no header of a client makes a request go round, and none leads a proxy astray.

use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::RouteFault;

use crate::kit::{Cluster, PKI, PROXIED, Raw};

/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

#[tokio::test]
async fn client_cannot_defeat_loop_guard() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    // What a client sends, and whether that counts as "a peer sent this".
    for (lines, counts) in [
        ("", false),
        ("X-Kubernetes-Peer-Proxied: true\r\n", true),
        ("X-KUBERNETES-PEER-PROXIED:true\r\n", true),
        ("X-Kubernetes-Peer-Proxied: true\r\nConnection: X-Kubernetes-Peer-Proxied\r\n", true),
        ("X-Kubernetes-Peer-Proxied: false\r\n", false),
        ("X-Kubernetes-Peer-Proxied: TRUE\r\n", false),
        ("X-Kubernetes-Peer-Proxied:\r\n", false),
        ("X-Kubernetes-Peer-Proxied: true, false\r\n", false),
        ("X-Kubernetes-Peer-Proxied: false\r\nX-Kubernetes-Peer-Proxied: true\r\n", false),
        ("X-Kubernetes-Peer-Proxied: true\r\nX-Kubernetes-Peer-Proxied: true\r\n", false),
        ("X-Kubernetes-Peer-Proxied: true\r\nX-Kubernetes-Peer-Proxied: false\r\n", false),
        ("X_Kubernetes_Peer_Proxied: true\r\n", false),
    ] {
        for server in cluster.servers() {
            server.log().clear();
        }
        let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
        raw.send(format!("GET {POLICIES} HTTP/1.1\r\nHost: k8s\r\n{lines}Connection: close\r\n\r\n")).await;
        let code = raw.rest().await[9..12].to_owned();
        let (home, peer) = (cluster.asked_for("v132", POLICIES), cluster.asked_for("v136", POLICIES));
        if counts {
            assert_eq!((&*code, home.len(), peer.len()), ("404", 1, 0), "{lines}");
            continue;
        }
        assert_eq!((&*code, home.len(), peer.len()), ("200", 0, 1), "{lines}");
        // One value, ours: whoever reads the first or the last reads the same.
        let values: Vec<_> = peer[0].headers.get_all(PROXIED).iter().collect();
        assert_eq!(values, ["true"], "{lines}");
    }
}

#[tokio::test]
async fn servers_that_all_deny_what_they_list_end_the_search() {
    let cluster = Cluster::with([("a", V1_36), ("b", V1_36), ("c", V1_36)], |builder| builder).await;
    for server in cluster.servers() {
        let policies = GroupVersionResource {
            group: "admissionregistration.k8s.io".into(),
            version: "v1".into(),
            resource: "mutatingadmissionpolicies".into(),
        };
        server.faults().missing(policies, Some(RouteFault::Status));
    }
    let proxy = cluster.proxy().home("a").start().await;
    let mut raw = Raw::connect(proxy.address(), Some(&PKI.admin)).await;
    raw.send(format!("GET {POLICIES} HTTP/1.1\r\nHost: k8s\r\nConnection: close\r\n\r\n")).await;
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let asked = ["a", "b", "c"].map(|name| cluster.asked_for(name, POLICIES).len());
    // Home once more, when nobody else is left.
    assert!(asked == [1, 1, 1] || asked == [2, 1, 1], "{asked:?}");
}
