//! The API servers and the connections to them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{
    Server, ServerName,
    per_server::{PerServer, of_server},
};

/// Health and connections, per server.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    healthy: PerServer<Server, Gauge>,
    probes: PerServer<Probe, Counter>,
    ejections: PerServer<Ejection, Counter>,
    connections: PerServer<Connection, Gauge>,
    connects: PerServer<Connect, Counter>,
    streams: PerServer<Class, Gauge>,
    exhausted: PerServer<Class, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Probe {
    server: ServerName,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ejection {
    server: ServerName,
    reason: &'static str,
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

of_server!(Probe, Ejection, Connection, Connect, Class);

// === impl ServerMetrics ===

impl ServerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_server_healthy",
            "1 while a server is thought to be healthy",
            self.healthy.family(),
        );
        registry.register("kube_peer_proxy_server_probes", "Health probes, by result", self.probes.family());
        registry.register(
            "kube_peer_proxy_server_ejections",
            "How often a server was ejected, so that others are asked first, by reason",
            self.ejections.family(),
        );
        registry.register(
            "kube_peer_proxy_upstream_connections",
            "Connections to servers, by class and whether they are live or draining",
            self.connections.family(),
        );
        registry.register(
            "kube_peer_proxy_upstream_connects",
            "Attempts to connect to a server, by result",
            self.connects.family(),
        );
        registry.register(
            "kube_peer_proxy_upstream_streams",
            "Requests that are outstanding at servers",
            self.streams.family(),
        );
        registry.register(
            "kube_peer_proxy_upstream_exhausted",
            "Requests refused because all connections of their class were full",
            self.exhausted.family(),
        );
    }

    /// Whether `server` is thought to be healthy now.
    pub fn healthy(&self, server: &ServerName, healthy: bool) {
        self.healthy.get_or_create(&Server { server: server.clone() }).set(i64::from(healthy));
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.healthy.forget(server);
        self.probes.forget(server);
        self.ejections.forget(server);
        self.connections.forget(server);
        self.connects.forget(server);
        self.streams.forget(server);
        self.exhausted.forget(server);
    }

    /// A health probe ended: `ok`, `failed`, or `slow` before either.
    pub fn probed(&self, server: &ServerName, result: &'static str) {
        self.probes.get_or_create(&Probe { server: server.clone(), result }).inc();
    }

    /// A server was ejected: `connect`, `not-ready`, `slow` or `passive`.
    pub fn ejected(&self, server: &ServerName, reason: &'static str) {
        self.ejections.get_or_create(&Ejection { server: server.clone(), reason }).inc();
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
