//! Upgraded connections.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::{
    GaugeGuard, Server, ServerName,
    per_server::{PerServer, of_server},
};

/// Upper bounds in seconds: from a `kubectl exec` of one command to the default idle bound.
const DURATION_BUCKETS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0];

/// Tunnels, per server.
#[derive(Clone, Debug)]
pub struct UpgradeMetrics {
    open: PerServer<Server, Gauge>,
    ended: PerServer<End, Counter>,
    bytes: PerServer<Direction, Counter>,
    duration: PerServer<Server, Histogram, fn() -> Histogram>,
}

/// One tunnel; it counts as open while this lives.
#[derive(Debug)]
pub struct TunnelMetrics {
    metrics: UpgradeMetrics,
    server: ServerName,
    started: Instant,
    up: Counter,
    down: Counter,
    _open: GaugeGuard,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    server: ServerName,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    server: ServerName,
    direction: &'static str,
}

of_server!(End, Direction);

// === impl UpgradeMetrics ===

impl Default for UpgradeMetrics {
    fn default() -> Self {
        Self {
            open: PerServer::default(),
            ended: PerServer::default(),
            bytes: PerServer::default(),
            duration: PerServer::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
        }
    }
}

impl UpgradeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_tunnels",
            "Upgraded connections (exec, attach, port-forward) that are open",
            self.open.family(),
        );
        registry.register(
            "kube_peer_proxy_tunnels_ended",
            "Upgraded connections that ended, by what ended them",
            self.ended.family(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_tunnel",
            "What went through upgraded connections: up is from client to server",
            Unit::Bytes,
            self.bytes.family(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_tunnel_duration",
            "From the server's 101 to the end of the upgraded connection",
            Unit::Seconds,
            self.duration.family(),
        );
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.open.forget(server);
        self.ended.forget(server);
        self.bytes.forget(server);
        self.duration.forget(server);
    }

    /// A server answered 101.
    pub fn opened(&self, server: ServerName) -> TunnelMetrics {
        let bytes =
            |direction| self.bytes.get_or_create_owned(&Direction { server: Arc::clone(&server), direction });
        TunnelMetrics {
            metrics: self.clone(),
            started: Instant::now(),
            up: bytes("up"),
            down: bytes("down"),
            _open: GaugeGuard::new(self.open.get_or_create_owned(&Server { server: Arc::clone(&server) })),
            server,
        }
    }
}

// === impl TunnelMetrics ===

impl TunnelMetrics {
    /// So many bytes went through, from client to server (`up`) or the other way.
    pub fn passed(&self, up: bool, bytes: u64) {
        if up { &self.up } else { &self.down }.inc_by(bytes);
    }

    /// It is over, and this ended it.
    pub fn ended(&self, end: &'static str) {
        let server = Arc::clone(&self.server);
        self.metrics.duration.get_or_create(&Server { server }).observe(self.started.elapsed().as_secs_f64());
        self.metrics.ended.get_or_create(&End { server: Arc::clone(&self.server), end }).inc();
    }
}
