//! Read your own writes: whoever changed what there is to discover sees it in the next discovery answer.
//!
//! Custom resource definitions and APIServices are what discovery is made of. After a write on one of them went well
//! through us, every discovery answer waits for a while until home and each healthy server was asked again, by a fetch that
//! began after the request came; everybody who waits at the same time shares one. So nobody gets an older view than
//! home has. The answer to the write is not read for it: which group-versions it is about does not matter. What was written
//! in one trust domain changes nothing in another, whose servers are not asked for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::join_all;
use http::{Method, Response};
use tokio::time::{self, Instant};

use super::{Exchange, Proxy, asks_for_nopeer, documents::offers_cbor, openapi};
use crate::{
    api::{
        discovery::DiscoveryPath,
        request_info::{RequestInfo, query_value},
    },
    body::Body,
    discovery::refresh::Trigger,
    limits,
    metrics::Skip,
    servers::source::ServerSet,
};

/// The resources whose objects decide what discovery lists, with their groups.
const REGISTRATIONS: [(&str, &str); 2] =
    [("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// For how long discovery is revalidated: one window for everybody, since the last write.
#[derive(Debug)]
pub struct Writes {
    began: Instant,
    /// Milliseconds after `began`; 0 if there is nothing to wait for.
    until: AtomicU64,
    /// The same of each trust domain.
    domains: Mutex<BTreeMap<Arc<str>, u64>>,
}

// === impl Writes ===

impl Default for Writes {
    fn default() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0), domains: Mutex::default() }
    }
}

impl Writes {
    /// There was a write just now in a trust domain.
    fn open(&self, domain: &Arc<str>) {
        let now = self.now();
        let until = now + u64::try_from(limits::WRITE_WINDOW.as_millis()).unwrap_or(u64::MAX);
        let mut domains = self.domains();
        domains.retain(|_, until| now < *until);
        domains.insert(Arc::clone(domain), until);
        drop(domains);
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether there was one lately. Mostly one atomic load.
    fn is_open(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 || self.now() < until {
            return until != 0;
        }
        // So that the next one need not look at the clock. Another write may have come in between.
        let _ = self.until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        false
    }

    /// Whether there was one lately in this trust domain.
    fn is_open_in(&self, domain: &str) -> bool {
        let now = self.now();
        self.domains().get(domain).is_some_and(|until| now < *until)
    }

    fn domains(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, u64>> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether a request, if it goes well, may change what there is to discover. Another server of a chain may have sent
/// it here: it is a write all the same.
pub(super) fn is_registration(info: &RequestInfo<'_>, exchange: &Exchange) -> bool {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    REGISTRATIONS.contains(&(info.group, info.resource))
        && writes.contains(&exchange.method)
        && exchange.uri.query().and_then(|query| query_value(query, "dryRun")).as_deref() != Some("All")
}

impl Proxy {
    /// An answer of the server with this name to a write on what discovery is made of.
    pub(super) fn registered(&self, answer: &Response<Body>, server: Option<&str>) {
        if answer.status().is_success()
            && let Some(number) = server.and_then(|name| self.fleet.position(name))
        {
            self.authorizations.forget();
            self.writes.open(&self.fleet.get(number).trust_domain);
        }
    }

    /// Waits until what we know of home and of every healthy server was true after this call, if somebody wrote lately in
    /// their trust domain and a request for this path is answered here. A server that hangs is not waited for beyond
    /// [`limits::WRITE_REVALIDATION`].
    pub(super) async fn revalidate(&self, path: &str, exchange: &Exchange) {
        if !self.writes.is_open() || !self.tells_of_discovery(path, exchange) {
            return;
        }
        let index = openapi::is_index(path);
        let now = Instant::now();
        let mut wanted = self.fleet.healthy();
        // Its view is the one that the answer must not be older than, also if its last fetch failed.
        if self.fleet.get(exchange.home).health.is_connected() {
            wanted.insert(exchange.home);
        }
        let written = |domain: &&ServerSet| {
            domain
                .iter()
                .next()
                .is_some_and(|first| self.writes.is_open_in(&self.fleet.get(first).trust_domain))
        };
        let written = self.fleet.domains().iter().filter(written).copied();
        wanted = wanted.intersection(written.fold(ServerSet::EMPTY, ServerSet::union));
        if wanted.is_empty() {
            return;
        }
        let asked = wanted.iter().map(|number| self.refresh[number].ask_and_wait(Trigger::Write));
        // Rare: boxed, it does not make every other request's future as big.
        let all = Box::pin(time::timeout(limits::WRITE_REVALIDATION, join_all(asked)));
        self.metrics.discovery.skipped(Skip::NotRevalidated);
        let in_time = all.await.is_ok();
        self.metrics.discovery.revalidated(in_time);
        if index {
            for number in wanted.iter() {
                self.library.doubt_index_before(number, now);
            }
        }
    }

    /// Whether the answer to a request is made of what we know.
    fn tells_of_discovery(&self, path: &str, exchange: &Exchange) -> bool {
        let Exchange { policy, method, headers, home, peer_proxied, upgrade, .. } = exchange;
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if !policy.settings.merge || *peer_proxied || upgrade.is_some() || !is_read {
            return false;
        }
        openapi::is_index(path)
            || DiscoveryPath::of(path).is_some()
                && !asks_for_nopeer(path, headers, offers_cbor(&self.book.catalog(), *home))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_window_lasts_from_the_last_write() {
        let writes = Writes::default();
        assert!(!writes.is_open());
        let domain = "a".into();
        writes.open(&domain);
        assert!(writes.is_open());
        time::advance(limits::WRITE_WINDOW / 2).await;
        writes.open(&domain);
        time::advance(limits::WRITE_WINDOW - time::Duration::from_millis(1)).await;
        assert!(writes.is_open());
        time::advance(time::Duration::from_millis(1)).await;
        assert!(!writes.is_open());
        assert_eq!(writes.until.load(Ordering::Relaxed), 0, "nobody looks at the clock any more");
        writes.open(&domain);
        assert!(writes.is_open(), "and it opens again");
    }

    #[tokio::test(start_paused = true)]
    async fn each_trust_domain_has_a_window_of_its_own() {
        let writes = Writes::default();
        writes.open(&"a".into());
        assert!(writes.is_open_in("a") && !writes.is_open_in("b"));
        time::advance(limits::WRITE_WINDOW / 2).await;
        writes.open(&"b".into());
        time::advance(limits::WRITE_WINDOW / 2).await;
        assert!(writes.is_open() && !writes.is_open_in("a") && writes.is_open_in("b"));
    }
}
