//! The catalog: an immutable snapshot of what every API server serves, and the documents made of it.
//!
//! A request loads one snapshot and decides everything by it. [`Book`] holds the facts from which the next
//! snapshot is made; only the refresh tasks write into it, and only what they fetched with our own identity.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::merge::Conflict;
use crate::{
    api::{discovery::Tree, request_info::RequestInfo},
    servers::{
        Server,
        source::{Fleet, ServerSet},
    },
};

mod answers;
mod document;
pub mod ghosts;
mod index;
mod knowledge;

pub use answers::{Answers, Found, Key, Origin};
pub use document::{Document, Form, Forms, Lists, Part};
use ghosts::{Memory, Remembered};
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
    memory: Arc<Memory>,
}

/// The facts about the servers of one fleet, and the snapshot made of them.
///
/// Another fleet has a book of its own, which begins with what this one knows ([`Book::succeed`]); what is written
/// here from then on is written there.
pub struct Book {
    facts: Mutex<Facts>,
    current: ArcSwap<Catalog>,
    /// The generation of the current snapshot; shared with the book that succeeds this one.
    published: watch::Sender<u64>,
    latest: Books,
}

/// The book that counts, whichever that is by now. Keeps none of them: of a fleet that is no more there is nothing left
/// as soon as the last request that began with it is through.
#[derive(Clone)]
pub struct Books(Arc<Mutex<Weak<Book>>>);

struct Facts {
    /// By number.
    servers: Vec<Knowledge>,
    /// What informers ever named.
    memory: Arc<Memory>,
    /// Successful fetches so far.
    fetches: u64,
    /// What is written here is written in the latest book instead.
    succeeded: bool,
}

// === impl Catalog ===

impl Catalog {
    fn first(fleet: Fleet) -> Self {
        let servers = vec![Knowledge::default(); fleet.len()];
        let unknown = fleet.all();
        let (fresh, index, memory) = (ServerSet::EMPTY, Arc::default(), Arc::default());
        Self { generation: 0, fleet, servers, fresh, unknown, answers: None, index, memory }
    }

    /// The snapshot after this one. What the facts leave as it was is not made again: with thousands of CRDs that
    /// takes tens of milliseconds.
    fn next_of(&self, fleet: Fleet, servers: Vec<Knowledge>, memory: Arc<Memory>) -> Self {
        let with = |wanted: fn(&Knowledge) -> bool| -> ServerSet {
            (0..servers.len()).filter(|index| wanted(&servers[*index])).collect()
        };
        let fresh = with(|known| known.freshness() == Freshness::Fresh);
        let unknown = with(|known| known.freshness() == Freshness::Unknown);
        let documents =
            || servers.iter().enumerate().filter_map(|(index, known)| Some((index, known.counts()?)));
        let origins = documents().map(|(index, document)| Origin {
            name: Arc::clone(&fleet.get(index).name),
            document: Arc::clone(document),
            believed: servers[index].is_believed_in_documents(),
        });
        let answers = Answers::new(origins.collect(), self.answers.as_deref()).map(Arc::new);
        let same = self.fleet.is_same(&fleet)
            && self.servers.iter().zip(&servers).all(|(old, new)| match (old.counts(), new.counts()) {
                (Some(old), Some(new)) => {
                    [Tree::Api, Tree::Apis].into_iter().all(|tree| old.lists_as(new, tree))
                }
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
            index.complete(documents().map(|(server, _)| server).collect());
            Arc::new(index)
        };
        Self { generation: self.generation + 1, fleet, servers, fresh, unknown, answers, index, memory }
    }

    /// Which servers' discovery lists what a request asks for: group, version, resource, scope, subresource
    /// and verb.
    pub fn serving(&self, info: &RequestInfo<'_>) -> Serving {
        self.index.serving(info)
    }

    /// Which servers' discovery lists the resource of a request, in whatever version, scope, and with whatever verbs and
    /// subresources.
    pub fn having(&self, info: &RequestInfo<'_>) -> ServerSet {
        self.index.having(info.group, info.resource)
    }

    /// Whether discovery speaks of such requests: of resources, with a verb that it knows. `OPTIONS`, for one, is
    /// in no list, whoever answers it.
    pub fn speaks_of(info: &RequestInfo<'_>) -> bool {
        info.is_resource && index::is_listable(&info.verb)
    }

    /// How many resources (group, version and resource) some of the servers that were ever heard list and others
    /// don't.
    pub fn skewed(&self) -> usize {
        self.index.skewed
    }

    /// Whether a server lists a group, or of it a version.
    pub fn lists(&self, server: usize, group: &str, version: Option<&str>) -> bool {
        let document = self.servers[server].counts();
        document.is_some_and(|document| document.has(group, version))
    }

    /// Servers that may serve what a request asks for without our knowledge. A server of which nothing is known now
    /// is none of them if it listed the thing before, and that is gone ([`ghosts`]).
    pub fn ignorance_of(&self, info: &RequestInfo<'_>) -> ServerSet {
        self.unknown_but(|gone| {
            gone.keys().any(|key| {
                key.group == info.group && key.version == info.version && key.resource == info.resource
            })
        })
    }

    /// Servers that never said what they serve.
    pub fn unheard(&self) -> ServerSet {
        let heard = self.servers.iter().map(|known| known.document.is_some()).enumerate();
        heard.filter_map(|(number, heard)| (!heard).then_some(number)).collect()
    }

    /// The same of a group, or of it a version.
    pub fn ignorance_of_group(&self, group: &str, version: Option<&str>) -> ServerSet {
        let unknown = self.unknown.iter().filter(|number| {
            let listed = self.servers[*number].document.as_ref();
            !listed.is_some_and(|listed| listed.has(group, version)) || self.lists(*number, group, version)
        });
        unknown.collect()
    }

    fn unknown_but(&self, gone: impl Fn(&ghosts::Gone) -> bool) -> ServerSet {
        self.unknown.iter().filter(|number| !gone(self.servers[*number].gone())).collect()
    }

    /// What has to outlive us of what is known of a server, beside its document.
    pub fn remembered(&self, server: usize) -> Remembered {
        self.memory.of(&self.servers[server])
    }

    /// What servers contradict each other in.
    pub fn conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.answers.iter().flat_map(|answers| answers.conflicts())
    }
}

// === impl Book ===

impl Book {
    /// Nothing is known of anybody.
    #[must_use]
    pub fn new(fleet: Fleet) -> Arc<Self> {
        Self::with(Catalog::first(fleet), watch::Sender::new(0), Books(Arc::default()))
    }

    /// From now on this is the latest one.
    fn with(catalog: Catalog, published: watch::Sender<u64>, latest: Books) -> Arc<Self> {
        let (servers, memory) = (catalog.servers.clone(), Arc::clone(&catalog.memory));
        let fetches = servers.iter().map(Knowledge::fetched_at).max().unwrap_or_default();
        let facts = Mutex::new(Facts { servers, memory, fetches, succeeded: false });
        let current = ArcSwap::from_pointee(catalog);
        let book = Arc::new(Self { facts, current, published, latest });
        *book.latest.lock() = Arc::downgrade(&book);
        book
    }

    /// The book of another fleet, which knows of each server what this one knows of the same. Of one that is
    /// somewhere else now, or is called something else, the document is known, but not whether it is still right; of
    /// one that is gone nothing.
    #[must_use]
    pub fn succeed(&self, fleet: Fleet) -> Arc<Self> {
        let mut facts = self.lock();
        let current = self.current.load();
        let knowledge = |server: &Arc<Server>| {
            let there = |old: &Arc<Server>| old.authority == server.authority;
            let number =
                current.fleet.position(&server.name).or_else(|| current.fleet.iter().position(there));
            let Some(number) = number else { return Knowledge::default() };
            let known = facts.servers[number].clone();
            if Arc::ptr_eq(current.fleet.get(number), server) {
                known
            } else {
                known.of_somebody_else(!there(current.fleet.get(number)))
            }
        };
        let servers = fleet.iter().map(knowledge).collect();
        let catalog = current.next_of(fleet, servers, Arc::clone(&facts.memory));
        let next = Self::with(catalog, self.published.clone(), self.latest.clone());
        facts.succeeded = true;
        self.published.send_replace(next.catalog().generation);
        next
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one, and those that will succeed it.
    #[must_use]
    pub fn books(&self) -> Books {
        self.latest.clone()
    }

    /// The current snapshot.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Tells of each new snapshot, by its generation; also of those of the books that succeed this one.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// What was known of a server when we last ran.
    fn recall(&self, server: &Arc<Server>, document: Arc<Document>, remembered: Remembered) {
        let Remembered { storage, named, gone } = remembered;
        if let Some(storage) = &storage {
            Arc::make_mut(&mut self.lock().memory).recall(storage, named);
        }
        self.update(server, |known| known.recall(document, storage.as_deref(), gone));
    }

    /// Changes what is known of one server, and publishes a new snapshot if that changed anything. Nothing happens if
    /// the server is gone, or another one under the same name.
    pub fn update(&self, server: &Arc<Server>, change: impl FnOnce(&mut Knowledge)) {
        // The lock spans the publication, so that snapshots come out in the order of their facts.
        let mut facts = self.lock();
        if facts.succeeded {
            drop(facts);
            return self.latest.update(server, change);
        }
        let current = self.current.load();
        let Some(number) = current.fleet.number(server) else { return };
        let before = facts.servers.clone();
        change(&mut facts.servers[number]);
        let news = facts.settle(&before, number);
        if !news && before.iter().zip(&facts.servers).all(|(before, now)| before.shows_as(now)) {
            return;
        }
        let next = current.next_of(current.fleet.clone(), facts.servers.clone(), Arc::clone(&facts.memory));
        if !next.conflicts().eq(current.conflicts()) {
            report(&next);
        }
        let generation = next.generation;
        self.current.store(Arc::new(next));
        self.published.send_replace(generation);
    }
}

// === impl Facts ===

impl Facts {
    /// Draws the conclusions from a change of what is known of one server; whether informers named anything new.
    fn settle(&mut self, before: &[Knowledge], number: usize) -> bool {
        let mut news = false;
        let (then, now) = (&before[number], &mut self.servers[number]);
        if then.fetches() != now.fetches() {
            self.fetches += 1;
            now.set_fetched_at(self.fetches);
        }
        if !Arc::ptr_eq(then.board(), now.board()) {
            let memory = Arc::make_mut(&mut self.memory);
            news = memory.learn(now.board());
            memory.bound(&self.servers);
        }
        let (then, now) = (&before[number], &mut self.servers[number]);
        if !then.has_document_of(now) {
            now.filter();
        }
        if !before[number].judges_as(&self.servers[number]) {
            ghosts::judge(&mut self.servers, &self.memory);
        }
        news
    }
}

// === impl Books ===

impl Books {
    fn lock(&self) -> MutexGuard<'_, Weak<Book>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The book that counts; none if nobody has use for it any more.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Book>> {
        self.lock().upgrade()
    }

    /// What is known of a server; nothing of one that is gone.
    #[must_use]
    pub fn knowledge(&self, server: &Arc<Server>) -> Knowledge {
        let Some(book) = self.latest() else { return Knowledge::default() };
        let catalog = book.catalog();
        let number = catalog.fleet.number(server);
        number.map(|number| catalog.servers[number].clone()).unwrap_or_default()
    }

    /// [`Book::update`] of the book that counts.
    pub fn update(&self, server: &Arc<Server>, change: impl FnOnce(&mut Knowledge)) {
        if let Some(book) = self.latest() {
            book.update(server, change);
        }
    }

    /// What was known of a server when we last ran.
    pub fn recall(&self, server: &Arc<Server>, document: Arc<Document>, remembered: Remembered) {
        if let Some(book) = self.latest() {
            book.recall(server, document, remembered);
        }
    }

    /// [`Self::update`] on a blocking thread, for merging takes milliseconds with thousands of CRDs.
    pub async fn write(&self, server: &Arc<Server>, change: impl FnOnce(&mut Knowledge) + Send + 'static) {
        let (books, server) = (self.clone(), Arc::clone(server));
        if tokio::task::spawn_blocking(move || books.update(&server, change)).await.is_err() {
            tracing::error!("merging discovery failed; the last catalog stays");
        }
    }
}

/// Has the books know what a server's informers say, from moment to moment. Never ends by itself.
pub async fn attend(server: Arc<Server>, books: Books) {
    let mut changes = server.watched.custom_changes();
    loop {
        let board = Arc::clone(&changes.borrow_and_update());
        books.write(&server, move |known| known.watched(board)).await;
        if changes.changed().await.is_err() {
            return;
        }
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
