//! The discovery cache: files of the last run, and files for the next one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::ServerName;

/// Files in and out.
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    loads: Family<Outcome, Counter>,
    writes: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    server: ServerName,
    result: &'static str,
}

// === impl CacheMetrics ===

impl CacheMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_discovery_cache_loads",
            "Files of the discovery cache at the start: used, absent, or ignored because of a fault",
            self.loads.clone(),
        );
        registry.register(
            "kube_peer_proxy_discovery_cache_writes",
            "Writes of a server's file in the discovery cache, by how they ended",
            self.writes.clone(),
        );
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
