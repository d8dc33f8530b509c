//! The discovery cache: files of the last run, and files for the next one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::{
    ServerName,
    per_server::{PerServer, of_server},
};

/// Files in and out.
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    loads: PerServer<Outcome, Counter>,
    writes: PerServer<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    server: ServerName,
    result: &'static str,
}

of_server!(Outcome);

// === impl CacheMetrics ===

impl CacheMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_discovery_cache_loads",
            "Files of the discovery cache at the start: used, absent, or ignored because of a fault",
            self.loads.family(),
        );
        registry.register(
            "kube_peer_proxy_discovery_cache_writes",
            "Writes of a server's file in the discovery cache, by how they ended",
            self.writes.family(),
        );
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.loads.forget(server);
        self.writes.forget(server);
    }

    /// A server's file was `used`, `absent` or `ignored`.
    pub fn loaded(&self, server: &ServerName, result: &'static str) {
        self.loads.get_or_create(&Outcome { server: server.clone(), result }).inc();
    }

    /// A server's file was written (`ok`) or not (`failed`).
    pub fn wrote(&self, server: &ServerName, result: &'static str) {
        self.writes.get_or_create(&Outcome { server: server.clone(), result }).inc();
    }
}
