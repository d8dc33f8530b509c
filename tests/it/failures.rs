//! Servers that die, hang, refuse and break off.

mod home_down;
mod leaving;
mod lost;
mod wires;

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};

use crate::kit::{Cluster, ProxyBuilder, Wire};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// 1.35 and 1.36 serve these.
const DEVICE_CLASSES: &str = "/apis/resource.k8s.io/v1/deviceclasses";

/// Three servers, the two newer ones at the end of a wire each. Home is the oldest.
async fn wired() -> (Cluster, [Wire; 2], ProxyBuilder) {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let wires =
        [Wire::to(cluster.server("v135").addr()).await, Wire::to(cluster.server("v136").addr()).await];
    let proxy =
        cluster.proxy().server("v135", wires[0].address).server("v136", wires[1].address).home("v132");
    (cluster, wires, proxy)
}
