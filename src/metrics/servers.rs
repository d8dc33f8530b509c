//! The API servers and the connections to them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Server, ServerName};

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

/// The connections of one class to one server at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionsNow {
    /// They take requests.
    pub live: usize,
    /// They finish their requests and take no new ones.
    pub draining: usize,
    /// Requests outstanding.
    pub streams: usize,
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

    /// A server is no longer among ours: what it is now is nothing. What was counted stays.
    pub fn forget(&self, server: &ServerName, classes: impl IntoIterator<Item = &'static str>) {
        self.healthy.remove(&Server { server: server.clone() });
        for class in classes {
            for state in ["live", "draining"] {
                self.connections.remove(&Connection { server: server.clone(), class, state });
            }
            self.streams.remove(&Class { server: server.clone(), class });
        }
    }

    /// A health probe ended: `ok`, `failed`, or `slow` before either.
    pub fn probed(&self, server: &ServerName, result: &'static str) {
        self.probes.get_or_create(&Probe { server: server.clone(), result }).inc();
    }

    /// How the connections of a class are now, as its pool tells at each scrape: those that take requests, those
    /// that only finish theirs, and the requests outstanding on both.
    pub fn connections(&self, server: &ServerName, class: &'static str, now: ConnectionsNow) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for (state, number) in [("live", now.live), ("draining", now.draining)] {
            let labels = Connection { server: server.clone(), class, state };
            self.connections.get_or_create(&labels).set(count(number));
        }
        self.streams.get_or_create(&Class { server: server.clone(), class }).set(count(now.streams));
    }

    /// An attempt to connect ended: `ok`, `tls` or `failed`.
    pub fn connected(&self, server: &ServerName, class: &'static str, result: &'static str) {
        self.connects.get_or_create(&Connect { server: server.clone(), class, result }).inc();
    }

    /// A request found all connections of its class full, and no further one was allowed.
    pub fn exhausted(&self, server: &ServerName, class: &'static str) {
        self.exhausted.get_or_create(&Class { server: server.clone(), class }).inc();
    }
}
