//! Upgraded connections: exec, attach, port-forward, and what hostile clients and servers make of them.

mod admission;
mod ends;
mod identity;
mod refused;
mod routed;
mod tunnel;

use std::collections::HashSet;
use std::net::SocketAddr;

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{LoggedRequest, LoggedTunnel, ResourceSpec};

use crate::kit::{As, Cluster, PKI, Proxy, Tunnel, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const EXEC: &str = "/api/v1/namespaces/default/pods/p/exec?command=sh&stdin=true";
/// Only 1.36 serves this one.
const WIDGET: &str = "/apis/example.com/v1/namespaces/default/widgets/w/proxy";
const PROTOCOLS: [&str; 2] = ["websocket", "SPDY/3.1"];

/// Home is 1.36, and nobody else is there.
async fn alone() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").trusts_front_proxies().start().await;
    (cluster, proxy)
}

/// Home is 1.32; 1.36 serves widgets.
async fn two() -> (Cluster, Proxy) {
    let cluster = with_widgets().await;
    let proxy = cluster.proxy().home("v132").trusts_front_proxies().start().await;
    (cluster, proxy)
}

async fn with_widgets() -> Cluster {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let widgets = ResourceSpec::new("widgets", "Widget", true).subresource("proxy");
    cluster.server("v136").discovery().add_resource("example.com", "v1", &widgets);
    cluster
}

/// An upgrade by an administrator with a certificate.
async fn upgrade(address: SocketAddr, target: &str) -> Tunnel {
    Tunnel::ask(address, As::Certificate(&PKI.admin), target, "SPDY/3.1", &[]).await
}

/// The upgrades that a server was asked for.
fn upgrades(cluster: &Cluster, name: &str) -> Vec<LoggedRequest> {
    cluster.asked(name, |request| request.headers.contains_key("upgrade"))
}

/// What a server saw of its only upgraded connection, as soon as it is as wanted.
async fn tunnel_at(cluster: &Cluster, name: &str, wanted: impl Fn(&LoggedTunnel) -> bool) -> LoggedTunnel {
    let found = async || upgrades(cluster, name).pop()?.tunnel.filter(|tunnel| wanted(tunnel));
    until("the server saw the tunnel so", found).await
}

/// Waits until a server has no connection left that brought an upgrade.
async fn until_closed_at(cluster: &Cluster, name: &str) {
    let server = cluster.server(name);
    let others: HashSet<u64> = server
        .log()
        .matching(|request| !request.headers.contains_key("upgrade"))
        .iter()
        .map(|request| request.connection)
        .collect();
    let closed = server.wait_for_connections(crate::kit::DEADLINE, |open| *open <= others.len()).await;
    assert!(
        closed,
        "{} connections are open at {name}, {} are not for upgrades",
        server.connections_open(),
        others.len()
    );
}
