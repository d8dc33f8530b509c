//! Clients' connections and requests.

use std::{sync::Arc, time::Duration};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::{
    GaugeGuard, ServerName,
    per_server::{PerServer, of_server},
};

/// Upper bounds in seconds: from an answer out of memory to kube-apiserver's own limit of 60 s.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The verbs of Kubernetes' authorization, and what else is an HTTP method in use.
const VERBS: [&str; 15] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "proxy",
    "connect",
    "post",
    "put",
    "head",
    "options",
    "trace",
];

/// Connections that clients have to us.
#[derive(Clone, Debug, Default)]
pub struct ClientMetrics {
    open: Gauge,
    handshakes: Family<Outcome, Counter>,
    refused: Family<Refused, Counter>,
}

/// What became of requests.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    total: PerServer<RequestLabels, Counter>,
    duration: PerServer<DurationLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<InFlightLabels, Gauge>,
    /// The two of `in_flight`, looked up once.
    short: Gauge,
    lasting: Gauge,
    received: Counter,
    sent: Counter,
    /// The server's name where no server answered.
    nobody: ServerName,
}

/// Counts one request when it is dropped, so that neither an early return nor a client that left loses a
/// sample. It belongs to whatever lives longest, normally the body of the answer.
#[derive(Debug)]
#[must_use = "dropping it counts the request at once"]
pub struct RequestRecorder {
    metrics: RequestMetrics,
    started: Instant,
    labels: RequestLabels,
    long_running: bool,
    in_flight: GaugeGuard,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    server: ServerName,
    class: &'static str,
    verb: &'static str,
    code: u16,
    decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    server: ServerName,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlightLabels {
    long_running: bool,
}

of_server!(RequestLabels, DurationLabels);

/// A verb as it may be shown: a method that a client made up is `other`.
pub(super) fn known_verb(verb: &str) -> &'static str {
    VERBS.into_iter().find(|known| verb.eq_ignore_ascii_case(known)).unwrap_or("other")
}

// === impl ClientMetrics ===

impl ClientMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_client_connections",
            "Client connections that are open",
            self.open.clone(),
        );
        registry.register(
            "kube_peer_proxy_client_handshakes",
            "TLS handshakes of clients, by result",
            self.handshakes.clone(),
        );
        registry.register(
            "kube_peer_proxy_client_connections_refused",
            "Client connections that were closed before their first request, by the limit that said so",
            self.refused.clone(),
        );
    }

    /// Counts an open connection for as long as the guard lives.
    pub fn opened(&self) -> GaugeGuard {
        GaugeGuard::new(self.open.clone())
    }

    /// Counts a connection that was not served: `max-connections`, `max-connections-per-source`, `descriptors`,
    /// `proxy-protocol`.
    pub fn refused(&self, limit: &'static str) {
        self.refused.get_or_create(&Refused { limit }).inc();
    }

    /// Counts a finished handshake: `ok`, `failed`, `timeout`, `given-up`.
    pub fn handshake(&self, result: &'static str) {
        self.handshakes.get_or_create(&Outcome { result }).inc();
    }
}

// === impl RequestMetrics ===

impl Default for Counted {
    fn default() -> Self {
        let in_flight = Family::<InFlightLabels, Gauge>::default();
        let gauge = |long_running| in_flight.get_or_create_owned(&InFlightLabels { long_running });
        Self {
            total: PerServer::default(),
            duration: PerServer::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            short: gauge(false),
            lasting: gauge(true),
            in_flight,
            received: Counter::default(),
            sent: Counter::default(),
            nobody: "".into(),
        }
    }
}

impl RequestMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_requests",
            "Requests that ended, by the server that answered (empty: we did), the class of connection to it, verb, \
             status code (0: the client left before there was one) and the decision that was made",
            self.0.total.family(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_request_duration",
            "From the request's head to the last byte of the answer; long-running requests are left out",
            Unit::Seconds,
            self.0.duration.family(),
        );
        registry.register(
            "kube_peer_proxy_requests_in_flight",
            "Requests that have not ended yet",
            self.0.in_flight.clone(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_request_body",
            "Bodies received from clients",
            Unit::Bytes,
            self.0.received.clone(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_response_body",
            "Bodies sent to clients",
            Unit::Bytes,
            self.0.sent.clone(),
        );
    }

    /// A request came in. What it is for is told later, by [`RequestRecorder::asked`].
    pub fn start(&self) -> RequestRecorder {
        RequestRecorder {
            metrics: self.clone(),
            started: Instant::now(),
            labels: RequestLabels {
                server: Arc::clone(&self.0.nobody),
                class: "none",
                verb: "other",
                code: 0,
                decision: "none",
            },
            long_running: false,
            in_flight: self.in_flight(false),
        }
    }

    /// A server is no longer among ours.
    pub(super) fn forget(&self, server: &ServerName) {
        self.0.total.forget(server);
        self.0.duration.forget(server);
    }

    /// So many bytes of a body came from a client.
    pub fn received_bytes(&self, bytes: u64) {
        self.0.received.inc_by(bytes);
    }

    fn in_flight(&self, long_running: bool) -> GaugeGuard {
        GaugeGuard::new(if long_running { &self.0.lasting } else { &self.0.short }.clone())
    }
}

// === impl RequestRecorder ===

impl RequestRecorder {
    /// What the request is for. A method that a client made up makes no new label.
    pub fn asked(&mut self, verb: &str, long_running: bool) {
        self.labels.verb = known_verb(verb);
        if long_running && !self.long_running {
            self.long_running = true;
            self.in_flight = self.metrics.in_flight(true);
        }
    }

    /// What the router decided, in one word.
    pub fn decided(&mut self, decision: &'static str) {
        self.labels.decision = decision;
    }

    /// Which server was tried last, over which class of connection.
    pub fn sent_to(&mut self, server: ServerName, class: &'static str) {
        self.labels.server = server;
        self.labels.class = class;
    }

    /// The status code that the client gets.
    pub fn answered(&mut self, code: u16) {
        self.labels.code = code;
    }

    /// So many bytes of body went to the client.
    pub fn sent_bytes(&self, bytes: u64) {
        self.metrics.0.sent.inc_by(bytes);
    }

    /// How long the request has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for RequestRecorder {
    fn drop(&mut self) {
        self.metrics.0.total.get_or_create(&self.labels).inc();
        if !self.long_running {
            let labels = DurationLabels { server: self.labels.server.clone(), verb: self.labels.verb };
            self.metrics.0.duration.get_or_create(&labels).observe(self.started.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn asked(metrics: &RequestMetrics, verb: &str, long_running: bool) -> RequestRecorder {
        let mut recorder = metrics.start();
        recorder.asked(verb, long_running);
        recorder
    }

    fn rendered(work: impl FnOnce(&Metrics)) -> String {
        let mut registry = Registry::default();
        work(&Metrics::register(&mut registry));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn an_early_return_still_counts_the_request() {
        let text = rendered(|metrics| drop(asked(&metrics.requests, "GET", false)));
        let line =
            r#"kube_peer_proxy_requests_total{server="",class="none",verb="get",code="0",decision="none"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains(r#"kube_peer_proxy_requests_in_flight{long_running="false"} 0"#), "{text}");
        assert!(text.contains(r#"_duration_seconds_count{server="",verb="get"} 1"#), "{text}");
    }

    #[test]
    fn a_long_running_request_is_in_flight_and_not_in_the_histogram() {
        let text = rendered(|metrics| {
            let mut ended = asked(&metrics.requests, "watch", true);
            ended.sent_to("a".into(), "token");
            ended.decided("home");
            ended.answered(200);
            ended.sent_bytes(7);
            drop(ended);
        });
        let line = r#"_requests_total{server="a",class="token",verb="watch",code="200",decision="home"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("_duration_seconds_count"), "{text}");
        assert!(text.contains("kube_peer_proxy_response_body_bytes_total 7"), "{text}");
    }

    #[test]
    fn in_flight_counts_while_the_recorder_lives() {
        let metrics = RequestMetrics::default();
        let gauge = metrics.0.in_flight.get_or_create_owned(&InFlightLabels { long_running: true });
        let recorder = asked(&metrics, "watch", true);
        assert_eq!(gauge.get(), 1);
        drop(recorder);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_made_up_method_makes_no_new_label() {
        let text = rendered(|metrics| drop(asked(&metrics.requests, "BREW-7f3a", false)));
        assert!(!text.to_lowercase().contains("brew"), "{text}");
        assert!(text.contains(r#"verb="other""#), "{text}");
    }
}
