//! Discovery documents: fetched, merged, given out. The `aggregator_*` names and
//! `apiserver_peer_discovery_sync_errors_total` are upstream's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{
    Server, ServerName,
    per_server::{PerServer, of_server},
};

/// The words for how far a server's discovery may be trusted.
const FRESHNESS: [&str; 3] = ["fresh", "stale", "unknown"];

/// Documents in and out.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryMetrics {
    syncs: PerServer<Sync, Counter>,
    sync_errors: Family<SyncError, Counter>,
    last_sync: PerServer<Server, Gauge<f64, std::sync::atomic::AtomicU64>>,
    freshness: PerServer<Freshness, Gauge>,
    held_back: PerServer<Server, Counter>,
    stale_skips: Family<Skipped, Counter>,
    authorizations: Family<Authorization, Counter>,
    merged_hits: Counter,
    merged_misses: Counter,
    nopeer: Counter,
    conflicts: Gauge,
    skewed: Gauge,
    revalidations: Family<Revalidation, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sync {
    server: ServerName,
    trigger: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SyncError {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Freshness {
    server: ServerName,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Skipped {
    reason: &'static str,
}

/// Why we did not act on what we know; each is counted once for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// No API server is known at all: 503.
    NoServer,
    /// Nobody lists it, but not everybody was heard: 503.
    Unknown,
    /// Only servers list it whose word is old, and none of them answered: 503.
    StaleOnly,
    /// The server denied a route that its discovery lists: it was asked what it serves before anybody was told 404.
    RouteNotFound,
    /// What discovery is made of was written through us lately: the answer waited until servers were asked again.
    NotRevalidated,
    /// A peer sent it on and its home is away; whoever could stand in must not be asked: 503.
    LoopHeader,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revalidation {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Authorization {
    result: &'static str,
}

of_server!(Sync, Freshness);

// === impl Skip ===

impl Skip {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::NoServer,
        Self::Unknown,
        Self::StaleOnly,
        Self::RouteNotFound,
        Self::NotRevalidated,
        Self::LoopHeader,
    ];

    /// As in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoServer => "no-server",
            Self::Unknown => "unknown",
            Self::StaleOnly => "stale-only",
            Self::RouteNotFound => "route-not-found",
            Self::NotRevalidated => "not-revalidated",
            Self::LoopHeader => "loop-header",
        }
    }
}

// === impl DiscoveryMetrics ===

impl DiscoveryMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_discovery_sync",
            "Fetches of a server's discovery, by what triggered them and how they ended",
            self.syncs.family(),
        );
        registry.register(
            "apiserver_peer_discovery_sync_errors",
            "Fetches of a server's discovery that failed, by type of error",
            self.sync_errors.clone(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_discovery_last_sync_timestamp",
            "When a server's discovery was last known to be as we have it, since the epoch",
            Unit::Seconds,
            self.last_sync.family(),
        );
        registry.register(
            "kube_peer_proxy_server_freshness",
            "1 for the state in which a server's discovery is, 0 for the others",
            self.freshness.family(),
        );
        registry.register(
            "kube_peer_proxy_discovery_held_back",
            "Fetches put off because a server's discovery was another one at each of the last ones",
            self.held_back.family(),
        );
        registry.register(
            "kube_peer_proxy_stale_skips",
            "Requests whose answer was withheld (503), or waited, because our view was or may have been outdated",
            self.stale_skips.clone(),
        );
        // From the beginning, so that the first one shows as an increase.
        for reason in Skip::ALL {
            drop(self.stale_skips.get_or_create(&Skipped { reason: reason.as_str() }));
        }
        registry.register(
            "kube_peer_proxy_discovery_authorizations",
            "Whether a caller may read discovery: cached, allowed or refused by home",
            self.authorizations.clone(),
        );
        registry.register(
            "aggregator_discovery_peer_aggregated_cache_hits",
            "Merged discovery documents that had been rendered before",
            self.merged_hits.clone(),
        );
        registry.register(
            "aggregator_discovery_peer_aggregated_cache_misses",
            "Merged discovery documents that had to be rendered",
            self.merged_misses.clone(),
        );
        registry.register(
            "aggregator_discovery_nopeer_requests",
            "Requests for discovery with profile=nopeer",
            self.nopeer.clone(),
        );
        registry.register(
            "kube_peer_proxy_discovery_conflicts",
            "Things that API servers contradict each other in: scopes and kinds of resources and subresources",
            self.conflicts.clone(),
        );
        registry.register(
            "kube_peer_proxy_skewed_resources",
            "Resources (group, version and resource) that some API servers serve and others don't: 0 once an upgrade is done",
            self.skewed.clone(),
        );
        registry.register(
            "kube_peer_proxy_discovery_revalidations",
            "Discovery answers that waited for fetches because what discovery is made of was written through us",
            self.revalidations.clone(),
        );
    }

    /// How long ago a fetch from a server last succeeded.
    pub fn since_last_sync(&self, server: &ServerName) -> Option<Duration> {
        let at = self.last_sync.get(&Server { server: server.clone() })?.get();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Clocks are set back, too.
        Duration::try_from_secs_f64((now.as_secs_f64() - at).max(0.0)).ok()
    }

    /// A fetch ended: `unchanged` (304), `changed` or `failed`; a success moves the time of the last sync.
    pub fn synced(&self, server: &ServerName, trigger: &'static str, result: &'static str) {
        self.syncs.get_or_create(&Sync { server: server.clone(), trigger, result }).inc();
        if result == "failed" {
            self.sync_errors.get_or_create(&SyncError { r#type: "fetch_discovery" }).inc();
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_sync.get_or_create(&Server { server: server.clone() }).set(now.as_secs_f64());
        }
    }

    /// How far `server` may be trusted now: `fresh`, `stale` or `unknown`.
    pub fn freshness(&self, server: &ServerName, now: &'static str) {
        for state in FRESHNESS {
            let labels = Freshness { server: server.clone(), state };
            self.freshness.get_or_create(&labels).set(i64::from(state == now));
        }
    }

    /// A fetch is put off: the server changes too often.
    pub fn held_back(&self, server: &ServerName) {
        self.held_back.get_or_create(&Server { server: server.clone() }).inc();
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.syncs.forget(server);
        self.last_sync.forget(server);
        self.freshness.forget(server);
        self.held_back.forget(server);
    }

    /// We did not act on what we know.
    pub fn skipped(&self, reason: Skip) {
        self.stale_skips.get_or_create(&Skipped { reason: reason.as_str() }).inc();
    }

    /// Home's word on a caller: `cached`, `allowed`, `refused`, or `undecided` if nobody could say.
    pub fn authorized(&self, result: &'static str) {
        self.authorizations.get_or_create(&Authorization { result }).inc();
    }

    /// A merged document was asked for, and had been rendered before or not.
    pub fn merged(&self, rendered_before: bool) {
        if rendered_before {
            self.merged_hits.inc()
        } else {
            self.merged_misses.inc()
        };
    }

    /// So many things servers contradict each other in.
    pub fn conflicts(&self, count: usize) {
        self.conflicts.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many resources not all servers have, as the catalog tells at each scrape.
    pub fn skewed(&self, number: usize) {
        self.skewed.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// An answer waited for every healthy server, `in_time` or until that took too long.
    pub fn revalidated(&self, in_time: bool) {
        let result = if in_time { "done" } else { "timeout" };
        self.revalidations.get_or_create(&Revalidation { result }).inc();
    }

    /// A document with `profile=nopeer` was asked for.
    pub fn nopeer(&self) {
        self.nopeer.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_freshness_is_1() {
        let metrics = DiscoveryMetrics::default();
        let server: ServerName = "a".into();
        let value = |state| metrics.freshness.get_or_create(&Freshness { server: "a".into(), state }).get();
        for now in ["unknown", "fresh", "stale"] {
            metrics.freshness(&server, now);
            assert_eq!(FRESHNESS.map(value).iter().sum::<i64>(), 1);
            assert_eq!(value(now), 1);
        }
    }

    #[test]
    fn a_failed_fetch_does_not_move_the_last_sync() {
        let metrics = DiscoveryMetrics::default();
        let server: ServerName = "a".into();
        metrics.synced(&server, "interval", "failed");
        assert!(metrics.last_sync.get(&Server { server: server.clone() }).is_none());
        assert_eq!(metrics.sync_errors.get_or_create(&SyncError { r#type: "fetch_discovery" }).get(), 1);
        metrics.synced(&server, "interval", "unchanged");
        assert!(metrics.last_sync.get(&Server { server }).is_some());
    }
}
