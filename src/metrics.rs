//! What is counted, as plain structs that the floors receive and record into.
//!
//! This is a bottom module, so that no floor has to look up to be counted; `ops::metrics` puts the structs
//! into a registry and shows them. Where kube-apiserver has the metric its name and labels are used, the
//! others begin with `kube_peer_proxy_`.
//!
//! **Labels stay bounded.** They are `&'static str`, a name from the configuration, a status code, or group,
//! version and resource of something that the catalog lists: never a piece of a request. Nothing secret fits
//! into them (I12).

mod cache;
mod discovery;
mod informers;
mod openapi;
mod per_server;
pub mod recent;
mod reload;
mod requests;
mod reroutes;
mod servers;
mod sources;
mod upgrades;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use cache::CacheMetrics;
pub use discovery::{DiscoveryMetrics, Skip};
pub use informers::InformerMetrics;
pub use openapi::OpenApiMetrics;
pub use reload::{CertificateLabels, ReloadMetrics};
pub use requests::{ClientMetrics, RequestMetrics, RequestRecorder};
pub use reroutes::RerouteMetrics;
pub use servers::{ConnectionsNow, ServerMetrics};
pub use sources::{ServersByState, SourceMetrics};
pub use upgrades::{TunnelMetrics, UpgradeMetrics};

/// A name from the configuration.
pub type ServerName = Arc<str>;

/// Everything that is counted. Cloning gives another handle on the same counters; one made by `default` is not
/// in any registry, which is what tests of a single floor want.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Whether `/readyz` says so, as it stands at each scrape.
    pub ready: Gauge,
    /// Client connections.
    pub clients: ClientMetrics,
    /// Requests, whatever became of them.
    pub requests: RequestMetrics,
    /// Requests that went, or should have gone, to a peer.
    pub reroutes: RerouteMetrics,
    /// Documents: fetched, merged and given out.
    pub discovery: DiscoveryMetrics,
    /// Documents that outlive us.
    pub cache: CacheMetrics,
    /// Our own watches on API servers.
    pub informers: InformerMetrics,
    /// OpenAPI documents: fetched, united and given out.
    pub openapi: OpenApiMetrics,
    /// API servers and the connections to them.
    pub servers: ServerMetrics,
    /// Where API servers come from.
    pub sources: SourceMetrics,
    /// Upgraded connections.
    pub upgrades: UpgradeMetrics,
    /// The configuration and its certificates.
    pub reload: ReloadMetrics,
    /// Decisions of the last moments, in no registry.
    pub recent: recent::Recent,
}

/// One more while it lives, one less when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it counts down at once"]
pub struct GaugeGuard(Gauge);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: ServerName,
}

// === impl Metrics ===

impl Metrics {
    /// A set of metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("kube_peer_proxy_ready", "1 while /readyz says 200", metrics.ready.clone());
        metrics.clients.register(registry);
        metrics.requests.register(registry);
        metrics.reroutes.register(registry);
        metrics.discovery.register(registry);
        metrics.cache.register(registry);
        metrics.informers.register(registry);
        metrics.openapi.register(registry);
        metrics.servers.register(registry);
        metrics.sources.register(registry);
        metrics.upgrades.register(registry);
        metrics.reload.register(registry);
        metrics
    }

    /// A server is no longer among ours: nothing is shown of it any more. Its certificates are the configuration's.
    pub fn forget(&self, server: &ServerName) {
        self.requests.forget(server);
        self.discovery.forget(server);
        self.cache.forget(server);
        self.informers.forget(server);
        self.openapi.forget(server);
        self.servers.forget(server);
        self.upgrades.forget(server);
    }
}

// === impl GaugeGuard ===

impl GaugeGuard {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
