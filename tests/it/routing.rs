//! Which server a request goes to, and what of it arrives there.

mod forwarding;
mod front;
mod home;
mod peers;
mod switches;

use kube_peer_proxy::embedded::LoggedRequest;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use serde_json::{Value, json};

use crate::kit::{Cluster, PROXIED};

/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
/// 1.35 and 1.36 serve these.
const DEVICE_CLASSES: &str = "/apis/resource.k8s.io/v1/deviceclasses";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn three() -> Cluster {
    Cluster::start(&[V1_32, V1_35, V1_36]).await
}

fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": name }, "spec": {},
    })
}

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

/// The values of the loop header as they arrived.
fn proxied(request: &LoggedRequest) -> Vec<&str> {
    request.headers.get_all(PROXIED).iter().map(|value| value.to_str().unwrap()).collect()
}
