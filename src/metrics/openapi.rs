//! OpenAPI documents: fetched, united and given out.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{
    ServerName,
    per_server::{PerServer, of_server},
};

/// Documents in and out.
#[derive(Clone, Debug, Default)]
pub struct OpenApiMetrics {
    fetches: PerServer<Fetch, Counter>,
    last_fetch: PerServer<Kind, Gauge<f64, std::sync::atomic::AtomicU64>>,
    united: Family<Made, Counter>,
    answers: Family<Answer, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fetch {
    server: ServerName,
    document: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    server: ServerName,
    document: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Made {
    document: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    document: &'static str,
    from: &'static str,
}

of_server!(Fetch, Kind);

// === impl OpenApiMetrics ===

impl OpenApiMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_openapi_fetches",
            "Fetches of a server's OpenAPI documents, by how they ended",
            self.fetches.family(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_openapi_last_fetch_timestamp",
            "When a server's OpenAPI was last known to be as we have it, since the epoch",
            Unit::Seconds,
            self.last_fetch.family(),
        );
        registry.register(
            "kube_peer_proxy_openapi_unions",
            "OpenAPI documents that were united of several servers' own",
            self.united.clone(),
        );
        registry.register(
            "kube_peer_proxy_openapi_answers",
            "Requests for OpenAPI, by whose document they were answered with: home's, a peer's or a united one",
            self.answers.clone(),
        );
    }

    /// A fetch ended: `unchanged`, `changed`, `absent` (the server does not have it) or `failed`. Anything but a
    /// failure moves the time of the last one.
    pub fn fetched(&self, server: &ServerName, document: &'static str, result: &'static str) {
        self.fetches.get_or_create(&Fetch { server: server.clone(), document, result }).inc();
        if result != "failed" {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let labels = Kind { server: server.clone(), document };
            self.last_fetch.get_or_create(&labels).set(now.as_secs_f64());
        }
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.fetches.forget(server);
        self.last_fetch.forget(server);
    }

    /// A document was united.
    pub fn united(&self, document: &'static str) {
        self.united.get_or_create(&Made { document }).inc();
    }

    /// A request was answered with the document of `home`, a `peer`, or a `merged` one.
    pub fn answered(&self, document: &'static str, from: &'static str) {
        self.answers.get_or_create(&Answer { document, from }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fetch_is_counted_and_does_not_move_the_last_one() {
        let metrics = OpenApiMetrics::default();
        let server: ServerName = "a".into();
        let kind = Kind { server: server.clone(), document: "v3-index" };
        metrics.fetched(&server, "v3-index", "failed");
        assert!(metrics.last_fetch.get(&kind).is_none());
        let labels = Fetch { server: server.clone(), document: "v3-index", result: "failed" };
        assert_eq!(metrics.fetches.get_or_create(&labels).get(), 1);
        metrics.fetched(&server, "v3-index", "unchanged");
        assert!(metrics.last_fetch.get(&kind).is_some());
    }
}
