//! Where API servers come from: what a source names, and what of it is not taken.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The list of servers and its source.
#[derive(Clone, Debug, Default)]
pub struct SourceMetrics {
    refused: Family<Refusal, Counter>,
    servers: Family<State, Gauge>,
    last_change: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    source: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// How many servers there are, by why they are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServersByState {
    /// The configuration has them.
    pub fixed: usize,
    /// The source names them.
    pub seen: usize,
    /// The source names them no longer.
    pub departed: usize,
}

// === impl SourceMetrics ===

impl SourceMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_peer_source_refused",
            "What a source named and was not taken for an API server, each counted once while it stays so",
            self.refused.clone(),
        );
        registry.register(
            "kube_peer_proxy_peer_source_servers",
            "API servers, by whether the configuration has them (static), a source names them (seen), or did (departed)",
            self.servers.clone(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_peer_source_last_change_timestamp",
            "When the list of API servers changed last, since the epoch; 0: not yet",
            Unit::Seconds,
            self.last_change.clone(),
        );
    }

    /// Something was not taken, for a reason that it did not have at the last look.
    pub fn refused(&self, source: &'static str, reason: &'static str) {
        self.refused.get_or_create(&Refusal { source, reason }).inc();
    }

    /// How many servers there are.
    pub fn servers(&self, now: ServersByState) {
        for (state, number) in [("static", now.fixed), ("seen", now.seen), ("departed", now.departed)] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.servers.get_or_create(&State { state }).set(number);
        }
    }

    /// The list of servers changed.
    pub fn changed(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_change.set(now.as_secs_f64());
    }
}
