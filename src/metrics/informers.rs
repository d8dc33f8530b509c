//! Our own watches on API servers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{
    ServerName,
    per_server::{PerServer, of_server},
};

/// One informer for each kind of object that is watched on each server.
#[derive(Clone, Debug, Default)]
pub struct InformerMetrics {
    resource_version: PerServer<Informer, Gauge>,
    objects: PerServer<Informer, Gauge>,
    live: PerServer<Informer, Gauge>,
    events: PerServer<Typed, Counter>,
    relists: PerServer<Reasoned, Counter>,
    errors: PerServer<Typed, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Informer {
    server: ServerName,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Typed {
    server: ServerName,
    resource: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reasoned {
    server: ServerName,
    resource: &'static str,
    reason: &'static str,
}

of_server!(Informer, Typed, Reasoned);

// === impl InformerMetrics ===

impl InformerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_informer_resource_version",
            "What an informer saw last of a server's objects",
            self.resource_version.family(),
        );
        registry.register(
            "kube_peer_proxy_informer_objects",
            "Objects that an informer knows of",
            self.objects.family(),
        );
        registry.register(
            "kube_peer_proxy_informer_live",
            "1 if an informer listed everything and its watch is connected, else 0",
            self.live.family(),
        );
        registry.register(
            "kube_peer_proxy_informer_events",
            "Events of watches: added, modified, deleted, bookmark, error",
            self.events.family(),
        );
        registry.register(
            "kube_peer_proxy_informer_relists",
            "Times that everything had to be listed again: gone (the server forgot what happened since), failures",
            self.relists.family(),
        );
        registry.register(
            "kube_peer_proxy_informer_errors",
            "Lists and watches that went wrong: failed, refused, too-many",
            self.errors.family(),
        );
    }

    /// How an informer is doing. Resource versions are decimal numbers (`k8s.io/apimachinery/pkg/util/resourceversion`);
    /// one that is none does not show.
    pub fn at(&self, server: &ServerName, resource: &'static str, version: &str, objects: usize, live: bool) {
        let labels = Informer { server: server.clone(), resource };
        if let Ok(version) = version.parse() {
            self.resource_version.get_or_create(&labels).set(version);
        }
        self.objects.get_or_create(&labels).set(i64::try_from(objects).unwrap_or(i64::MAX));
        self.live.get_or_create(&labels).set(live.into());
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.resource_version.forget(server);
        self.objects.forget(server);
        self.live.forget(server);
        self.events.forget(server);
        self.relists.forget(server);
        self.errors.forget(server);
    }

    /// An event came: `added`, `modified`, `deleted`, `bookmark` or `error`.
    pub fn event(&self, server: &ServerName, resource: &'static str, r#type: &'static str) {
        self.events.get_or_create(&Typed { server: server.clone(), resource, r#type }).inc();
    }

    /// Everything is listed again: `gone` or `failures`.
    pub fn relisted(&self, server: &ServerName, resource: &'static str, reason: &'static str) {
        self.relists.get_or_create(&Reasoned { server: server.clone(), resource, reason }).inc();
    }

    /// A list or watch went wrong: `failed`, `refused` or `too-many`.
    pub fn failed(&self, server: &ServerName, resource: &'static str, r#type: &'static str) {
        self.errors.get_or_create(&Typed { server: server.clone(), resource, r#type }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_version_that_is_no_number_does_not_show() {
        let metrics = InformerMetrics::default();
        let labels = Informer { server: "a".into(), resource: "leases" };
        metrics.at(&labels.server, labels.resource, "opaque", 3, true);
        assert!(metrics.resource_version.get(&labels).is_none());
        assert_eq!(metrics.objects.get_or_create(&labels).get(), 3);
        metrics.at(&labels.server, labels.resource, "42", 3, true);
        assert_eq!(metrics.resource_version.get_or_create(&labels).get(), 42);
        metrics.forget(&labels.server);
        assert!(metrics.resource_version.get(&labels).is_none());
    }
}
