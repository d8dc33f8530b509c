//! The catalog: an immutable snapshot of what every API server serves, and the documents made of it.
//!
//! A request loads one snapshot and decides everything by it. [`Book`] holds the facts from which the next
//! snapshot is made; only the refresh tasks write into it, and only what they fetched with our own identity.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    merge::{self, Source},
    render::Rendered,
};
use crate::{
    api::{discovery::GroupDiscoveryList, request_info::RequestInfo},
    servers::source::{Fleet, ServerSet},
};

mod index;

use index::Index;

/// How far what we know of a server may be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Never heard since start, or reconnected after a loss and not fetched yet.
    #[default]
    Unknown,
    /// Contact is confirmed, and nothing said that the document changed since the last good fetch.
    Fresh,
    /// Contact is lost, or the last fetch failed.
    Stale,
}

/// What one server said that it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `/api`: the core group.
    pub api: Part,
    /// `/apis`: every other group.
    pub apis: Part,
    /// `major.minor` of `/version`.
    pub version: Option<(u32, u32)>,
}

/// One of the two discovery documents of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Groups, versions, resources.
    pub list: GroupDiscoveryList,
    /// The server's own `ETag`, quotes included, to ask for changes with.
    pub etag: Option<String>,
}

/// What we know of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// The last good document; a failure never removes it (I7).
    pub document: Option<Arc<Document>>,
    /// Contact is lost.
    pub lost: bool,
    /// How the last fetch ended, if what it brought is still to be believed.
    pub fetch: Fetch,
}

/// How far the last fetch is to be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// There was none.
    #[default]
    Never,
    /// Something said since that the document may have changed, and another fetch is on its way.
    Due,
    /// The same, and the other fetch failed.
    Overdue,
    /// It succeeded.
    Good,
    /// It failed, after one that succeeded.
    Failed,
}

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
    /// `/apis` of everybody; `None` while nobody was heard.
    pub apis: Option<Rendered>,
    /// `/api` of everybody; `None` while nobody was heard.
    pub api: Option<Rendered>,
    index: Index,
}

/// The facts, and the snapshot made of them.
pub struct Book {
    facts: Mutex<Vec<Knowledge>>,
    current: ArcSwap<Catalog>,
    published: watch::Sender<u64>,
}

/// What a catalog says of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Servers that list it, in a group-version that they do not call Stale themselves.
    pub current: ServerSet,
    /// Servers that list it in a group-version that they call Stale: its extension server is away.
    pub stale: ServerSet,
}

// === impl Catalog ===

impl Catalog {
    fn build(generation: u64, fleet: Fleet, servers: Vec<Knowledge>) -> Self {
        let with = |wanted: fn(&Knowledge) -> bool| -> ServerSet {
            (0..servers.len()).filter(|index| wanted(&servers[*index])).collect()
        };
        let fresh = with(|known| known.freshness() == Freshness::Fresh);
        let unknown = with(|known| known.freshness() == Freshness::Unknown);
        let believed = with(Knowledge::is_believed_in_documents);
        let documents = || {
            servers.iter().enumerate().filter_map(|(index, known)| Some((index, known.document.as_ref()?)))
        };
        let merged = |part: fn(&Document) -> &Part| {
            let sources: Vec<Source<'_>> = documents()
                .map(|(index, document)| Source {
                    id: &fleet.get(index).name,
                    document: &part(document).list,
                    fresh: believed.contains(index),
                })
                .collect();
            (!sources.is_empty()).then(|| Rendered::new(&merge::merge(&sources)))
        };
        let (apis, api) = (merged(|document| &document.apis), merged(|document| &document.api));
        let mut index = Index::default();
        for (server, document) in documents() {
            index.add(server, &document.api.list);
            index.add(server, &document.apis.list);
        }
        Self { generation, fleet, servers, fresh, unknown, apis, api, index }
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

    /// The merged document of a path.
    pub fn merged(&self, path: DiscoveryPath) -> Option<&Rendered> {
        match path {
            DiscoveryPath::Api => self.api.as_ref(),
            DiscoveryPath::Apis => self.apis.as_ref(),
        }
    }
}

/// The two paths of aggregated discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiscoveryPath {
    /// The core group.
    Api,
    /// All other groups.
    Apis,
}

// === impl DiscoveryPath ===

impl DiscoveryPath {
    /// Exactly `/api` or `/apis`, as upstream: with a trailing slash it is another handler.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/api" => Some(Self::Api),
            "/apis" => Some(Self::Apis),
            _ => None,
        }
    }

    /// The path itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "/api",
            Self::Apis => "/apis",
        }
    }
}

// === impl Knowledge ===

impl Knowledge {
    /// How far to trust it.
    pub fn freshness(&self) -> Freshness {
        match (self.fetch, self.lost) {
            (Fetch::Never | Fetch::Due | Fetch::Overdue, _) => Freshness::Unknown,
            (Fetch::Good, false) => Freshness::Fresh,
            (Fetch::Good, true) | (Fetch::Failed, _) => Freshness::Stale,
        }
    }

    /// Whether its group-versions are Current in documents. A server that is only being asked again stays so
    /// until that fails: clients drop a Stale group-version whole, and a moment's doubt is no reason for that.
    fn is_believed_in_documents(&self) -> bool {
        !self.lost && matches!(self.fetch, Fetch::Good | Fetch::Due)
    }

    /// Whether the other would make the same catalog.
    fn shows_as(&self, other: &Self) -> bool {
        let same_document = match (&self.document, &other.document) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            (None, None) => true,
            _ => false,
        };
        same_document
            && self.freshness() == other.freshness()
            && self.is_believed_in_documents() == other.is_believed_in_documents()
    }

    /// Contact is lost: nothing is confirmed any more.
    pub fn contact_lost(&mut self) {
        self.lost = true;
    }

    /// Contact is back, maybe with another process.
    pub fn contact_back(&mut self) {
        self.lost = false;
        self.doubt();
    }

    /// The document may have changed.
    pub fn doubt(&mut self) {
        if self.fetch != Fetch::Never {
            self.fetch = Fetch::Due;
        }
    }

    /// A fetch succeeded; `document` if it brought another one. `settled` says that nothing happened meanwhile
    /// that makes the answer an old one, and that the server was ready.
    pub fn fetched(&mut self, document: Option<Arc<Document>>, settled: bool) {
        if document.is_some() {
            self.document = document;
        }
        self.lost = false;
        self.fetch = if settled { Fetch::Good } else { Fetch::Due };
    }

    /// A fetch failed.
    pub fn fetch_failed(&mut self) {
        self.fetch = match self.fetch {
            Fetch::Never => Fetch::Never,
            Fetch::Due | Fetch::Overdue => Fetch::Overdue,
            Fetch::Good | Fetch::Failed => Fetch::Failed,
        };
    }
}

// === impl Document ===

impl Document {
    /// The part for a path.
    pub fn part(&self, path: DiscoveryPath) -> &Part {
        match path {
            DiscoveryPath::Api => &self.api,
            DiscoveryPath::Apis => &self.apis,
        }
    }

    /// The first thing that this document lists and `newer` does not: a group-version, resource, subresource
    /// or verb.
    pub fn dropped_by(&self, newer: &Self) -> Option<String> {
        index::dropped(&self.api.list, &newer.api.list)
            .or_else(|| index::dropped(&self.apis.list, &newer.apis.list))
    }
}

// === impl Serving ===

impl Serving {
    /// Everybody who lists it.
    pub fn listed(self) -> ServerSet {
        self.current.union(self.stale)
    }

    /// The same without some servers, unless nobody would be left.
    #[must_use]
    pub fn avoiding(self, avoided: ServerSet) -> Self {
        let left = Self { current: self.current.without(avoided), stale: self.stale.without(avoided) };
        if left.listed().is_empty() { self } else { left }
    }
}

// === impl Book ===

impl Book {
    /// Nothing is known of anybody.
    pub fn new(fleet: Fleet) -> Self {
        let facts = vec![Knowledge::default(); fleet.len()];
        let first = Catalog::build(0, fleet, facts.clone());
        Self {
            facts: Mutex::new(facts),
            current: ArcSwap::from_pointee(first),
            published: watch::Sender::new(0),
        }
    }

    /// The current snapshot.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Tells when a newer snapshot than the last one seen is out.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
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
        let next = Catalog::build(current.generation + 1, current.fleet.clone(), facts.clone());
        let generation = next.generation;
        self.current.store(Arc::new(next));
        self.published.send_replace(generation);
    }
}

// === impl Freshness ===

impl Freshness {
    /// As in metrics and admin pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests;
