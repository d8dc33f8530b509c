//! The catalog: an immutable snapshot of what every API server serves, and the documents made of it.
//!
//! A request loads one snapshot and decides everything by it. [`Book`] holds the facts from which the next
//! snapshot is made; only the refresh tasks write into it, and only what they fetched with our own identity.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::merge::Conflict;
use crate::{
    api::{discovery::Tree, request_info::RequestInfo},
    servers::source::{Fleet, ServerSet},
};

mod answers;
mod document;
mod index;
mod knowledge;

pub use answers::{Answers, Found, Key, Origin};
pub use document::{Document, Form, Forms, Lists, Part};
use index::Index;
pub use index::Serving;
pub use knowledge::{Fetch, Freshness, Knowledge};

/// One snapshot.
pub struct Catalog {
    /// Counts snapshots.
    pub generation: u64,
    /// Whose catalog it is.
    pub fleet: Fleet,
    /// What is known of each, by number.
    pub servers: Vec<Knowledge>,
    /// Servers that are fresh.
    pub fresh: ServerSet,
    /// Servers of which we do not know what they serve now.
    pub unknown: ServerSet,
    /// The merged documents; `None` while nobody was heard.
    pub answers: Option<Arc<Answers>>,
    index: Arc<Index>,
}

/// The facts, and the snapshot made of them.
pub struct Book {
    facts: Mutex<Vec<Knowledge>>,
    current: ArcSwap<Catalog>,
    /// The generation of the current snapshot.
    published: watch::Sender<u64>,
}

// === impl Catalog ===

impl Catalog {
    fn first(fleet: Fleet) -> Self {
        let servers = vec![Knowledge::default(); fleet.len()];
        let unknown = fleet.all();
        let (fresh, index) = (ServerSet::EMPTY, Arc::default());
        Self { generation: 0, fleet, servers, fresh, unknown, answers: None, index }
    }

    /// The snapshot after this one. What the facts leave as it was is not made again: with thousands of CRDs that
    /// takes tens of milliseconds.
    fn next(&self, servers: Vec<Knowledge>) -> Self {
        let with = |wanted: fn(&Knowledge) -> bool| -> ServerSet {
            (0..servers.len()).filter(|index| wanted(&servers[*index])).collect()
        };
        let fresh = with(|known| known.freshness() == Freshness::Fresh);
        let unknown = with(|known| known.freshness() == Freshness::Unknown);
        let documents = || {
            servers.iter().enumerate().filter_map(|(index, known)| Some((index, known.document.as_ref()?)))
        };
        let origins = documents().map(|(index, document)| Origin {
            name: Arc::clone(&self.fleet.get(index).name),
            document: Arc::clone(document),
            believed: servers[index].is_believed_in_documents(),
        });
        let answers = Answers::new(origins.collect(), self.answers.as_deref()).map(Arc::new);
        let same = self.servers.iter().zip(&servers).all(|(old, new)| match (&old.document, &new.document) {
            (Some(old), Some(new)) => [Tree::Api, Tree::Apis].into_iter().all(|tree| old.lists_as(new, tree)),
            (None, None) => true,
            _ => false,
        });
        let index = if same {
            Arc::clone(&self.index)
        } else {
            let mut index = Index::default();
            for (server, document) in documents() {
                index.add(server, &document.api.list);
                index.add(server, &document.apis.list);
            }
            Arc::new(index)
        };
        let (generation, fleet) = (self.generation + 1, self.fleet.clone());
        Self { generation, fleet, servers, fresh, unknown, answers, index }
    }

    /// Which servers' discovery lists what a request asks for: group, version, resource, scope, subresource
    /// and verb.
    pub fn serving(&self, info: &RequestInfo<'_>) -> Serving {
        self.index.serving(info)
    }

    /// Whether discovery speaks of such requests: of resources, with a verb that it knows. `OPTIONS`, for one, is
    /// in no list, whoever answers it.
    pub fn speaks_of(info: &RequestInfo<'_>) -> bool {
        info.is_resource && index::is_listable(&info.verb)
    }

    /// Whether a server lists a group, or of it a version.
    pub fn lists(&self, server: usize, group: &str, version: Option<&str>) -> bool {
        let document = self.servers[server].document.as_ref();
        let list = document.map(|document| &document.part(Tree::of_group(group)).list);
        let mut versions = list
            .into_iter()
            .flat_map(|list| &list.items)
            .filter(|listed| listed.name() == group)
            .flat_map(|group| &group.versions);
        versions.any(|listed| version.is_none_or(|version| listed.version == version))
    }

    /// What servers contradict each other in.
    pub fn conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.answers.iter().flat_map(|answers| answers.conflicts())
    }
}

// === impl Book ===

impl Book {
    /// Nothing is known of anybody.
    pub fn new(fleet: Fleet) -> Self {
        let first = Catalog::first(fleet);
        let facts = Mutex::new(first.servers.clone());
        Self { facts, current: ArcSwap::from_pointee(first), published: watch::Sender::new(0) }
    }

    /// The current snapshot.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Tells of each new snapshot, by its generation.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// [`Self::update`] on a blocking thread, for merging takes milliseconds with thousands of CRDs.
    pub async fn write(
        self: &Arc<Self>,
        server: usize,
        change: impl FnOnce(&mut Knowledge) + Send + 'static,
    ) {
        let book = Arc::clone(self);
        if tokio::task::spawn_blocking(move || book.update(server, change)).await.is_err() {
            tracing::error!("merging discovery failed; the last catalog stays");
        }
    }

    /// Changes what is known of one server, and publishes a new snapshot if that changed anything.
    pub fn update(&self, server: usize, change: impl FnOnce(&mut Knowledge)) {
        // The lock spans the publication, so that snapshots come out in the order of their facts.
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = facts[server].clone();
        change(&mut facts[server]);
        if before.shows_as(&facts[server]) {
            return;
        }
        let current = self.current.load();
        let next = current.next(facts.clone());
        if !next.conflicts().eq(current.conflicts()) {
            report(&next);
        }
        let generation = next.generation;
        self.current.store(Arc::new(next));
        self.published.send_replace(generation);
    }
}

/// One line for all that servers contradict each other in.
fn report(catalog: &Catalog) {
    let Some(first) = catalog.conflicts().next() else {
        tracing::info!("API servers contradict each other in nothing any more");
        return;
    };
    tracing::warn!(
        conflicts = catalog.conflicts().count(),
        first = %first,
        "API servers contradict each other in what a resource is (see /debug/catalog on the admin address)",
    );
}

#[cfg(test)]
mod tests;
