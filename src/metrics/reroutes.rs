//! Requests that went, or should have gone, to a peer. Names and labels of the first two are upstream's
//! (`k8s.io/apiserver/pkg/util/peerproxy/metrics`).

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Server, ServerName};

/// Requests and peers.
#[derive(Clone, Debug, Default)]
pub struct RerouteMetrics {
    rerouted: Family<Rerouted, Counter>,
    errors: Family<Failed, Counter>,
    dry_run: Family<Resource, Counter>,
    route_404s: Family<Server, Counter>,
    retries: Family<Retried, Counter>,
}

/// What a request is about: as the catalog lists it, never as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rerouted {
    code: u16,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    r#type: &'static str,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retried {
    reason: &'static str,
}

// === impl RerouteMetrics ===

impl RerouteMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_rerouted_request",
            "Requests that a peer answered, by status code and resource",
            self.rerouted.clone(),
        );
        registry.register(
            "apiserver_peer_proxy_errors",
            "Requests for which no peer could be reached, by type of error and resource",
            self.errors.clone(),
        );
        registry.register(
            "kube_peer_proxy_dry_run_reroutes",
            "Requests that would have been rerouted without --reroute=dry-run",
            self.dry_run.clone(),
        );
        registry.register(
            "kube_peer_proxy_route_level_404s",
            "404s from a server that was thought to serve the resource; each makes us look again",
            self.route_404s.clone(),
        );
        registry.register(
            "kube_peer_proxy_retries",
            "Requests that were sent once more because they provably had not been processed",
            self.retries.clone(),
        );
    }

    /// A peer answered.
    pub fn rerouted(&self, code: u16, group: &str, version: &str, resource: &str) {
        let labels =
            Rerouted { code, group: group.into(), version: version.into(), resource: resource.into() };
        self.rerouted.get_or_create(&labels).inc();
    }

    /// No peer could be reached. Upstream knows the types `endpoint_resolution` and `proxy_transport`; we
    /// use the second for every failure to connect or to send, and `trust_domain` where nothing of the caller's may go to
    /// who serves it (I13).
    pub fn failed(&self, kind: &'static str, group: &str, version: &str, resource: &str) {
        let labels =
            Failed { r#type: kind, group: group.into(), version: version.into(), resource: resource.into() };
        self.errors.get_or_create(&labels).inc();
    }

    /// A request stayed at home only because of the dry run.
    pub fn would_have_rerouted(&self, group: &str, version: &str, resource: &str) {
        let labels = Resource { group: group.into(), version: version.into(), resource: resource.into() };
        self.dry_run.get_or_create(&labels).inc();
    }

    /// `server` answered a route-level 404 for something that its discovery lists (I8).
    pub fn route_level_404(&self, server: &ServerName) {
        self.route_404s.get_or_create(&Server { server: server.clone() }).inc();
    }

    /// A request was sent once more (I9), because of `connect`, `refused_stream`, `goaway` or `route_404`.
    pub fn retried(&self, reason: &'static str) {
        self.retries.get_or_create(&Retried { reason }).inc();
    }
}
