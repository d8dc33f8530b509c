//! The API servers and the connections to them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{GaugeGuard, Server, ServerName};

/// Health and connections, per server.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    healthy: Family<Server, Gauge>,
    probes: Family<Probe, Counter>,
    connections: Family<Connection, Gauge>,
    connects: Family<Connect, Counter>,
    streams: Family<Class, Gauge>,
    exhausted: Family<Class, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Probe {
    server: ServerName,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connection {
    server: ServerName,
    class: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connect {
    server: ServerName,
    class: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    server: ServerName,
    class: &'static str,
}

// === impl ServerMetrics ===

impl ServerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_server_healthy",
            "1 while a server is thought to be healthy",
            self.healthy.clone(),
        );
        registry.register("kube_peer_proxy_server_probes", "Health probes, by result", self.probes.clone());
        registry.register(
            "kube_peer_proxy_upstream_connections",
            "Connections to servers, by class and whether they are live or draining",
            self.connections.clone(),
        );
        registry.register(
            "kube_peer_proxy_upstream_connects",
            "Attempts to connect to a server, by result",
            self.connects.clone(),
        );
        registry.register(
            "kube_peer_proxy_upstream_streams",
            "Requests that are outstanding at servers",
            self.streams.clone(),
        );
        registry.register(
            "kube_peer_proxy_upstream_exhausted",
            "Requests refused because all connections of their class were full",
            self.exhausted.clone(),
        );
    }

    /// Whether `server` is thought to be healthy now.
    pub fn healthy(&self, server: &ServerName, healthy: bool) {
        self.healthy.get_or_create(&Server { server: server.clone() }).set(i64::from(healthy));
    }

    /// A health probe ended: `ok`, `failed` or `timeout`.
    pub fn probed(&self, server: &ServerName, result: &'static str) {
        self.probes.get_or_create(&Probe { server: server.clone(), result }).inc();
    }

    /// Counts a connection in a state (`live`, `draining`) for as long as the guard lives. A connection that
    /// changes its state takes a new guard and drops the old one.
    pub fn connection(&self, server: &ServerName, class: &'static str, state: &'static str) -> GaugeGuard {
        let labels = Connection { server: server.clone(), class, state };
        GaugeGuard::new(self.connections.get_or_create_owned(&labels))
    }

    /// An attempt to connect ended: `ok`, `refused`, `timeout`, `tls` or `other`.
    pub fn connected(&self, server: &ServerName, class: &'static str, result: &'static str) {
        self.connects.get_or_create(&Connect { server: server.clone(), class, result }).inc();
    }

    /// Counts a request that is outstanding at a server for as long as the guard lives.
    pub fn stream(&self, server: &ServerName, class: &'static str) -> GaugeGuard {
        GaugeGuard::new(self.streams.get_or_create_owned(&Class { server: server.clone(), class }))
    }

    /// A request found all connections of its class full, and no further one was allowed.
    pub fn exhausted(&self, server: &ServerName, class: &'static str) {
        self.exhausted.get_or_create(&Class { server: server.clone(), class }).inc();
    }

    /// A server is no longer ours: its health is no longer shown.
    pub fn forget(&self, server: &ServerName) {
        self.healthy.remove(&Server { server: server.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_in_one_state_at_a_time() {
        let metrics = ServerMetrics::default();
        let server: ServerName = "a".into();
        let count = |state| {
            let labels = Connection { server: "a".into(), class: "token", state };
            metrics.connections.get_or_create_owned(&labels).get()
        };
        let live = metrics.connection(&server, "token", "live");
        assert_eq!((count("live"), count("draining")), (1, 0));
        let draining = metrics.connection(&server, "token", "draining");
        drop(live);
        assert_eq!((count("live"), count("draining")), (0, 1));
        drop(draining);
        assert_eq!((count("live"), count("draining")), (0, 0));
    }
}
