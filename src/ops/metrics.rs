//! The registry and its rendering: what `/metrics` answers.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::{metrics::Metrics, version};

/// The media type of [`Exposition::render`]: OpenMetrics 1.0.0, which Prometheus negotiates and everybody
/// else who reads its older text format understands too.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Holds the registry behind `/metrics`; cloning is cheap.
#[derive(Clone, Debug)]
pub struct Exposition {
    registry: Arc<Registry>,
}

// === impl Exposition ===

impl Exposition {
    /// A fresh set of metrics and the registry that shows them.
    #[must_use]
    pub fn new() -> (Metrics, Self) {
        let mut registry = Registry::default();
        registry.register(
            "kube_peer_proxy_build",
            "The program that runs",
            Info::new([("version", version::VERSION), ("commit", version::COMMIT)]),
        );
        let started = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        started.set(now.as_secs_f64());
        registry.register_with_unit(
            "process_start_time",
            "When the process began, since the epoch",
            Unit::Seconds,
            started,
        );
        let metrics = Metrics::register(&mut registry);
        (metrics, Self { registry: Arc::new(registry) })
    }

    /// All metrics as text, to be sent as [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing into a string can't fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metrics::{CertificateLabels, ConnectionsNow, Skip};

    /// A set of metrics where every one has a sample.
    fn touched() -> String {
        let (metrics, exposition) = Exposition::new();
        let server = "a".into();
        let (group, version, resource) = ("apps", "v1", "deployments");
        metrics.clients.handshake("ok");
        metrics.clients.refused("max-connections");
        drop(metrics.clients.opened());
        drop(metrics.requests.start());
        metrics.reroutes.rerouted(200, group, version, resource);
        metrics.reroutes.failed("proxy_transport", group, version, resource);
        metrics.reroutes.would_have_rerouted(group, version, resource);
        metrics.reroutes.route_level_404(&server);
        metrics.reroutes.retried("connect");
        metrics.discovery.synced(&server, "interval", "unchanged");
        metrics.discovery.synced(&server, "interval", "failed");
        metrics.discovery.freshness(&server, "fresh");
        metrics.discovery.skipped(Skip::Unknown);
        metrics.discovery.authorized("cached");
        metrics.discovery.merged(true);
        metrics.discovery.merged(false);
        metrics.discovery.nopeer();
        metrics.discovery.skewed(1);
        metrics.upgrades.opened("a".into()).ended("idle");
        metrics.servers.healthy(&server, true);
        metrics.servers.probed(&server, "ok");
        metrics.servers.ejected(&server, "slow");
        metrics.servers.connected(&server, "identity", "ok");
        metrics.servers.exhausted(&server, "identity");
        metrics.servers.connections(&server, "identity", ConnectionsNow { live: 1, ..Default::default() });
        let labels = CertificateLabels { certificate: "serving", server: "".into(), subject: "CN=x".into() };
        metrics.reload.expiries([(labels, 1)]);
        exposition.render()
    }

    #[test]
    fn upstreams_metrics_have_exactly_upstreams_names() {
        let text = touched();
        for line in [
            r#"apiserver_rerouted_request_total{code="200",group="apps",version="v1",resource="deployments"} 1"#,
            r#"apiserver_peer_proxy_errors_total{type="proxy_transport",group="apps",version="v1",resource="deployments"} 1"#,
            r#"apiserver_peer_discovery_sync_errors_total{type="fetch_discovery"} 1"#,
            "aggregator_discovery_peer_aggregated_cache_hits_total 1",
            "aggregator_discovery_peer_aggregated_cache_misses_total 1",
            "aggregator_discovery_nopeer_requests_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn our_metrics_have_our_prefix_and_a_known_name() {
        let text = touched();
        for name in [
            "kube_peer_proxy_build_info",
            "kube_peer_proxy_ready",
            "kube_peer_proxy_client_connections",
            "kube_peer_proxy_client_connections_refused_total",
            "kube_peer_proxy_client_handshakes_total",
            "kube_peer_proxy_requests_total",
            "kube_peer_proxy_request_duration_seconds_bucket",
            "kube_peer_proxy_requests_in_flight",
            "kube_peer_proxy_request_body_bytes_total",
            "kube_peer_proxy_response_body_bytes_total",
            "kube_peer_proxy_discovery_sync_total",
            "kube_peer_proxy_discovery_last_sync_timestamp_seconds",
            "kube_peer_proxy_skewed_resources",
            "kube_peer_proxy_server_healthy",
            "kube_peer_proxy_server_ejections_total",
            "kube_peer_proxy_server_freshness",
            "kube_peer_proxy_upstream_connections",
            "kube_peer_proxy_upstream_connects_total",
            "kube_peer_proxy_upstream_streams",
            "kube_peer_proxy_upstream_exhausted_total",
            "kube_peer_proxy_tunnels",
            "kube_peer_proxy_tunnels_ended_total",
            "kube_peer_proxy_tunnel_bytes_total",
            "kube_peer_proxy_tunnel_duration_seconds_bucket",
            "kube_peer_proxy_stale_skips_total",
            "kube_peer_proxy_config_reloads_total",
            "kube_peer_proxy_config_last_reload_success_timestamp_seconds",
            "kube_peer_proxy_certificate_expiration_timestamp_seconds",
            "process_start_time_seconds",
        ] {
            assert!(
                text.lines()
                    .any(|line| line.starts_with(&format!("{name}{{"))
                        || line.starts_with(&format!("{name} "))),
                "{name} is not in\n{text}"
            );
        }
    }

    #[test]
    fn every_family_is_told_once_and_the_text_ends_as_openmetrics_asks() {
        let text = touched();
        let mut seen = HashSet::new();
        for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = family.split(' ').next().unwrap();
            assert!(seen.insert(name), "{name} is there twice");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("..\n"), "help texts end with one full stop");
    }
}
