//! The configuration: how often it was read anew, and until when its certificates are good.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::ServerName;

/// Reloads and expiries.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics {
    reloads: Family<Outcome, Counter>,
    last_success: Gauge<f64, AtomicU64>,
    in_step: Gauge,
    expiries: Family<CertificateLabels, Gauge>,
    /// Those that are shown.
    shown: Arc<Mutex<HashSet<CertificateLabels>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Which certificate. There are as many as the configuration's files hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabels {
    /// What it is for.
    pub certificate: &'static str,
    /// The API server that it is for, or nothing.
    pub server: ServerName,
    /// Whom it names.
    pub subject: String,
}

// === impl ReloadMetrics ===

impl ReloadMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_peer_proxy_config_reloads",
            "Changes of the configuration's files: taken over (ok), but for what takes a restart (partial), or refused (failed)",
            self.reloads.clone(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_config_last_reload_success_timestamp",
            "When the configuration in use was taken over, since the epoch",
            Unit::Seconds,
            self.last_success.clone(),
        );
        registry.register(
            "kube_peer_proxy_config_last_reload_successful",
            "1 if what the configuration's files hold is in use, 0 if it was refused or some of it takes a restart",
            self.in_step.clone(),
        );
        registry.register_with_unit(
            "kube_peer_proxy_certificate_expiration_timestamp",
            "When a certificate in use expires, since the epoch",
            Unit::Seconds,
            self.expiries.clone(),
        );
        for result in ["ok", "partial", "failed"] {
            let _ = self.reloads.get_or_create(&Outcome { result });
        }
    }

    /// The first configuration is in use.
    pub fn started(&self) {
        self.taken_over();
        self.in_step(true);
    }

    fn taken_over(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(now.as_secs_f64());
    }

    /// Whether what the files hold is in use.
    pub fn in_step(&self, yes: bool) {
        self.in_step.set(yes.into());
    }

    /// A changed configuration was taken over (`ok`), but for what takes a restart (`partial`), or refused (`failed`).
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.get_or_create(&Outcome { result }).inc();
        if result != "failed" {
            self.taken_over();
        }
        self.in_step(result == "ok");
    }

    /// When each certificate in use expires, in seconds since the epoch; others are no longer shown. Of several
    /// with the same labels the first to expire counts.
    pub fn expiries(&self, all: impl IntoIterator<Item = (CertificateLabels, i64)>) {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(_, not_after)| std::cmp::Reverse(*not_after));
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: HashSet<_> = all.iter().map(|(labels, _)| labels.clone()).collect();
        for gone in shown.difference(&now) {
            self.expiries.remove(gone);
        }
        *shown = now;
        for (labels, not_after) in all {
            self.expiries.get_or_create(&labels).set(not_after);
        }
    }
}
