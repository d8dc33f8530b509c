//! What the status page shows, gathered at one moment. Nothing of it is secret (I12).

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::{
    discovery::{
        catalog::{Catalog, Freshness},
        skew::{Column, ServerSeen, Skew},
    },
    metrics::{Metrics, ServerName, recent},
    ops::readiness::Readiness,
    proxy::{Proxy, home::Home},
    servers::{
        Class, Server,
        health::{Reason, State},
        pool::Stats,
    },
};

/// Everything on the page.
#[derive(Debug)]
pub(super) struct View {
    /// The server that the proxy stands beside; `None`: it stands before all of them.
    pub(super) home: Option<ServerName>,
    /// What keeps us from being ready.
    pub(super) pending: Vec<Arc<str>>,
    pub(super) servers: Vec<Seen>,
    pub(super) skew: Arc<Skew>,
    pub(super) recent: recent::Snapshot,
    /// The matrix is wanted whole.
    pub(super) all: bool,
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: ServerName,
    pub(super) address: String,
    pub(super) version: Option<String>,
    /// It is asked first.
    pub(super) healthy: bool,
    pub(super) state: State,
    /// Why it is not asked first.
    pub(super) reason: Option<&'static str>,
    pub(super) freshness: Freshness,
    /// Its source names it no more.
    pub(super) departed: bool,
    /// Since it was last heard.
    pub(super) contact: Option<Duration>,
    /// Since what it serves was last read.
    pub(super) read: Option<Duration>,
    pub(super) error: Option<String>,
    pub(super) requests: usize,
    pub(super) watches: usize,
    /// In the order of [`Class::ALL`].
    pub(super) connections: Vec<(&'static str, Stats)>,
}

// === impl View ===

impl View {
    pub(super) fn of(proxy: &Proxy, readiness: &Readiness, compared: &Compared, all: bool) -> Self {
        let catalog = proxy.book.catalog();
        let home = match proxy.home {
            Home::Sidecar(home) => Some(Arc::clone(&proxy.fleet.get(home).name)),
            Home::Front(..) => None,
        };
        let servers = proxy.fleet.iter().zip(&catalog.servers).map(|(server, known)| {
            let version = known.document.as_ref().and_then(|document| document.version);
            let standing = server.health.standing();
            let reason = match standing.reason {
                Some(reason) => Some(reason.as_str()),
                None if !server.health.is_connected() => Some(Reason::Connect.as_str()),
                None if !server.health.is_fetched() => Some("discovery"),
                None => None,
            };
            Seen {
                name: Arc::clone(&server.name),
                address: server.authority.clone(),
                version: version.map(|(major, minor)| format!("{major}.{minor}")),
                healthy: server.health.is_healthy(),
                state: standing.state,
                reason,
                freshness: known.freshness(),
                departed: known.departed,
                contact: server.health.last_contact().map(|at| at.elapsed()),
                read: proxy.metrics.discovery.since_last_sync(&server.name),
                error: server.health.last_error(),
                requests: server.load.requests(),
                watches: server.load.watches(),
                connections: Class::ALL.map(|class| (class.as_str(), server.connections(class))).to_vec(),
            }
        });
        Self {
            home,
            pending: readiness.pending(),
            servers: servers.collect(),
            skew: compared.of(&catalog, &proxy.metrics),
            recent: proxy.metrics.recent.snapshot(),
            all,
        }
    }
}

/// What came of comparing the servers of a catalog.
type Kept = (Weak<Catalog>, Arc<Skew>);

/// Servers side by side, kept for as long as the catalog stays: with thousands of custom resources it takes a while to
/// compare them, and each page that somebody has open asks every other second.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared(Arc<Mutex<Option<Kept>>>);

// === impl Compared ===

impl Compared {
    /// What every server serves. Ages and errors are those of the moment when they were compared; [`seen`] has the
    /// latest.
    pub(super) fn of(&self, catalog: &Arc<Catalog>, metrics: &Metrics) -> Arc<Skew> {
        // Who comes second waits for the first: then it is there.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, skew)) if std::ptr::eq(of.as_ptr(), Arc::as_ptr(catalog)) => Arc::clone(skew),
            _ => {
                let columns = columns(catalog, metrics).collect();
                let skew = Arc::new(Skew::of(columns));
                *kept = Some((Arc::downgrade(catalog), Arc::clone(&skew)));
                skew
            }
        }
    }
}

/// The servers as they are now, in the order of the catalog.
pub(super) fn seen(skew: &Skew, catalog: &Catalog, metrics: &Metrics) -> Vec<ServerSeen> {
    let now = columns(catalog, metrics).zip(&skew.servers);
    let now = now.map(|(column, then)| ServerSeen {
        known: then.known,
        stale_group_versions: then.stale_group_versions.clone(),
        ..column.seen
    });
    now.collect()
}

/// What every server says that it serves; what is known to be gone does not count.
fn columns(catalog: &Catalog, metrics: &Metrics) -> impl Iterator<Item = Column> {
    catalog.fleet.iter().zip(&catalog.servers).map(|(server, known)| {
        let document = known.counts().cloned();
        let version = document.as_ref().and_then(|document| document.version);
        let etags = document.iter().flat_map(|document| {
            let etags = [("/api", &document.api.etag), ("/apis", &document.apis.etag)];
            etags.into_iter().filter_map(|(tree, etag)| Some((tree.to_owned(), etag.clone()?)))
        });
        let seen = ServerSeen {
            name: Arc::clone(&server.name),
            address: Some(format!("https://{}", server.authority)),
            version: version.map(|(major, minor)| format!("{major}.{minor}")),
            freshness: known.freshness(),
            age_seconds: since(server, metrics),
            etags: etags.collect(),
            error: server.health.last_error().filter(|_| !server.health.is_healthy()),
            ..ServerSeen::default()
        };
        Column { seen, document }
    })
}

fn since(server: &Server, metrics: &Metrics) -> Option<f64> {
    metrics.discovery.since_last_sync(&server.name).map(|since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{discovery::catalog::Book, servers::source::Fleet};

    #[test]
    fn a_catalog_is_compared_once_and_another_one_anew() {
        let (compared, metrics) = (Compared::default(), Metrics::default());
        let catalog = || Book::new(Fleet::default()).catalog();
        let (one, other) = (catalog(), catalog());
        let first = compared.of(&one, &metrics);
        assert!(Arc::ptr_eq(&first, &compared.of(&one, &metrics)));
        assert!(Arc::ptr_eq(&first, &compared.clone().of(&one, &metrics)));
        assert!(!Arc::ptr_eq(&first, &compared.of(&other, &metrics)));
    }
}
