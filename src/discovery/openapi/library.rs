//! The servers' OpenAPI documents that we have, and those made of them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{
    document::Document,
    fetch::{self, Bounds, Good, Wanted},
    plan::united_tag,
    slot::{self, Need, Slot},
    unite::{Encoding, Generation},
};
use crate::{
    discovery::{catalog::Book, fetch::Fetcher},
    metrics::Metrics,
    servers::source::Fleet,
};

mod planned;
mod shown;

pub use planned::Planned;
use planned::may_have;
pub use shown::ServerState;

/// Everything that is known of OpenAPI. Knows the servers' indexes as long as it lives, and documents as long as
/// somebody asks for them.
pub struct Library {
    fleet: Fleet,
    book: Arc<Book>,
    fetcher: Fetcher,
    bounds: Bounds,
    metrics: Metrics,
    /// By number, of each server.
    indexes: Vec<Arc<Slot>>,
    /// Servers' own documents.
    documents: Cache<(usize, Wanted), Kept>,
    united: Cache<Wanted, Arc<Document>>,
    /// By home. Held by who makes a new one, and everybody waits for that one.
    plans: Vec<Arc<Mutex<Option<Arc<Planned>>>>>,
    /// Held by who unites documents of version 2, and of version 3. One at a time needs enough memory.
    uniting: [Arc<Mutex<()>>; 2],
    /// By number, of each server: documents that may be on their way at once.
    gates: Vec<Arc<Semaphore>>,
}

/// A document's slot, and the bytes as which the cache counts it.
#[derive(Clone)]
struct Kept {
    slot: Arc<Slot>,
    weight: usize,
}

/// A document that is united of several servers' own.
pub struct United {
    /// The document.
    pub document: Arc<Document>,
    /// Everybody's part is in it.
    pub whole: bool,
}

// === impl Library ===

impl Library {
    /// Knows nothing yet.
    pub fn new(fleet: Fleet, book: Arc<Book>, fetcher: Fetcher, bounds: Bounds, metrics: Metrics) -> Self {
        let weigh = |bytes: usize| u32::try_from(bytes + 1024).unwrap_or(u32::MAX);
        let indexes = fleet.iter().map(|_| Arc::default()).collect();
        let plans = fleet.iter().map(|_| Arc::default()).collect();
        let gates = fleet.iter().map(|_| Arc::new(Semaphore::new(bounds.fetches))).collect();
        let documents = Cache::builder()
            .max_capacity(bounds.cache)
            .weigher(move |_, kept: &Kept| weigh(kept.weight))
            // What was just fetched always gets in, or each request would fetch it again.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(bounds.idle);
        let united = Cache::builder()
            .max_capacity(bounds.cache)
            .weigher(move |_, document: &Arc<Document>| weigh(document.size()))
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(bounds.idle);
        Self {
            fleet,
            book,
            fetcher,
            bounds,
            metrics,
            indexes,
            documents: documents.build(),
            united: united.build(),
            plans,
            uniting: Default::default(),
            gates,
        }
    }

    /// The library of another fleet, which has of each server what this one has of the same. Nothing is united yet.
    #[must_use]
    pub fn succeed(&self, fleet: Fleet, book: Arc<Book>) -> Self {
        let Self { fetcher, bounds, metrics, .. } = self;
        let mut next = Self::new(fleet, book, fetcher.clone(), *bounds, metrics.clone());
        for (number, server) in self.fleet.iter().enumerate() {
            if let Some(now) = next.fleet.number(server) {
                next.indexes[now] = Arc::clone(&self.indexes[number]);
                next.gates[now] = Arc::clone(&self.gates[number]);
            }
        }
        for (whose, kept) in &self.documents {
            let (number, wanted) = &*whose;
            if let Some(now) = next.fleet.number(self.fleet.get(*number)) {
                next.documents.insert((now, wanted.clone()), kept);
            }
        }
        next
    }

    /// Gives up documents that nobody asked for lately. Without this it happens when somebody asks for others.
    pub fn sweep(&self) {
        self.documents.run_pending_tasks();
        self.united.run_pending_tasks();
    }

    /// Who answers for which document, and the index that says so.
    pub async fn plan(&self, home: usize) -> Arc<Planned> {
        let slots: Vec<_> = self.indexes.iter().cloned().enumerate().collect();
        self.gather(&Wanted::Index, &slots, home).await;
        let mut plan = Arc::clone(&self.plans[home]).lock_owned().await;
        let catalog = self.book.catalog();
        let indexes: Vec<_> = self.indexes.iter().map(|slot| slot.good()).collect();
        if let Some(last) = &*plan
            && last.is_of(&catalog, &indexes)
        {
            return Arc::clone(last);
        }
        let fleet = self.fleet.clone();
        // Goes on, and keeps others waiting, when nobody waits for it any more.
        let planning = tokio::task::spawn_blocking(move || {
            let planned = Arc::new(Planned::new(&fleet, &catalog, indexes, home));
            *plan = Some(Arc::clone(&planned));
            planned
        });
        match planning.await {
            Ok(planned) => planned,
            Err(error) => {
                tracing::error!(%error, "cannot unite the indexes of OpenAPI; the last ones stay");
                let nothing = || Arc::new(Planned::new(&self.fleet, &self.book.catalog(), Vec::new(), home));
                self.plans[home].lock().await.clone().unwrap_or_else(nothing)
            }
        }
    }

    /// How long a peer is waited for that is not the only one who could answer.
    pub fn grace(&self) -> Duration {
        self.bounds.grace
    }

    /// Whether a server's index names this document with this hash.
    pub fn has_hash(&self, server: usize, key: &str, hash: &str) -> bool {
        let good = self.indexes[server].good();
        good.is_some_and(|good| {
            good.index().and_then(|index| index.hash(key)).is_some_and(|own| &**own == hash)
        })
    }

    /// Whether a server may have a document whose index was never heard, or not since it became another.
    pub fn may_be_unheard(&self, key: &str) -> bool {
        let catalog = self.book.catalog();
        let unheard = self.indexes.iter().enumerate().filter(|(_, slot)| slot.is_unsure(&self.bounds));
        unheard.into_iter().any(|(server, _)| may_have(&catalog, server, key))
    }

    /// A server's index seems to be another one now.
    pub fn doubt_index(&self, server: usize) {
        self.indexes[server].doubt();
    }

    /// The same, if it was asked for before this.
    pub fn doubt_index_before(&self, server: usize, then: Instant) {
        self.indexes[server].doubt_before(Some(then));
    }

    /// The same of its `/openapi/v2`.
    pub fn doubt_v2(&self, server: usize) {
        for encoding in Encoding::ALL {
            if let Some(kept) = self.documents.get(&(server, Wanted::V2(encoding))) {
                kept.slot.doubt();
            }
        }
    }

    /// The ETag of a server's own `/openapi/v2`, if we have that.
    pub fn etag_v2(&self, server: usize) -> Option<String> {
        let encodings = Encoding::ALL.into_iter();
        let kept = encodings.filter_map(|encoding| self.documents.get(&(server, Wanted::V2(encoding))));
        let mut goods = kept.filter_map(|kept| kept.slot.good());
        goods.find_map(|good| good.etag.as_ref()?.to_str().ok().map(str::to_owned))
    }

    /// `/openapi/v2` of everybody. `None` if home, being healthy, has none for us.
    pub async fn v2(&self, home: usize, encoding: Encoding) -> Option<Arc<Document>> {
        let wanted = Wanted::V2(encoding);
        let all: Vec<usize> = (0..self.fleet.len()).collect();
        let parts = self.parts(&wanted, &all, home).await;
        let has_home = parts.iter().any(|(server, _)| *server == home);
        if !has_home && self.fleet.is_healthy(home) {
            return None;
        }
        self.unite(wanted, parts).await
    }

    /// A document of version 3, united of the servers' own. `None` if nobody's can be had.
    pub async fn v3(&self, key: &str, servers: &[usize], home: usize, encoding: Encoding) -> Option<United> {
        let wanted = Wanted::V3(Arc::from(key), encoding);
        let parts = self.parts(&wanted, servers, home).await;
        let whole = parts.len() == servers.len();
        self.unite(wanted, parts).await.map(|document| United { document, whole })
    }

    /// The servers' own documents, in the order of names.
    async fn parts(&self, wanted: &Wanted, servers: &[usize], home: usize) -> Vec<(usize, Arc<Good>)> {
        let key = |server| (server, wanted.clone());
        let kept: Vec<(usize, Kept)> = servers
            .iter()
            .map(|server| {
                let empty = || Kept { slot: Arc::default(), weight: 0 };
                (*server, self.documents.get_with(key(*server), empty))
            })
            .collect();
        let slots: Vec<_> = kept.into_iter().map(|(server, kept)| (server, kept.slot)).collect();
        if let Wanted::V3(key, _) = wanted {
            for (server, slot) in &slots {
                self.doubt_entry(*server, key, slot);
            }
        }
        self.gather(wanted, &slots, home).await;
        let goods = slots.into_iter().filter_map(|(server, slot)| Some((server, slot.good()?)));
        let mut parts: Vec<_> = goods.filter(|(_, good)| good.document().is_some()).collect();
        // A fleet is in the order of names.
        parts.sort_by_key(|(server, _)| *server);
        parts
    }

    /// An index that came after a document, and names another hash, knows better.
    fn doubt_entry(&self, server: usize, key: &str, document: &Slot) {
        let (index, known) = (&self.indexes[server], document.good());
        let named = index.good().and_then(|good| good.index()?.hash(key).cloned());
        if let (Some(named), Some(known)) = (named, known)
            && named != known.tag
        {
            document.doubt_before(index.changed());
        }
    }

    async fn unite(&self, wanted: Wanted, parts: Vec<(usize, Arc<Good>)>) -> Option<Arc<Document>> {
        if parts.is_empty() {
            return None;
        }
        let tags: Vec<(&str, &str)> =
            parts.iter().map(|(server, good)| (&*self.fleet.get(*server).name, &*good.tag)).collect();
        let tag = united_tag(&tags);
        let known = || self.united.get(&wanted).filter(|known| *known.tag() == tag);
        if let Some(known) = known() {
            return Some(known);
        }
        let turn =
            Arc::clone(&self.uniting[usize::from(matches!(wanted, Wanted::V3(..)))]).lock_owned().await;
        if let Some(known) = known() {
            return Some(known);
        }
        let (cache, metrics) = (self.united.clone(), self.metrics.clone());
        // Goes on, and keeps others waiting, when nobody waits for it any more.
        let united = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            metrics.openapi.united(wanted.as_str());
            let document = Arc::new(unite(&wanted, &parts, tag));
            cache.insert(wanted, Arc::clone(&document));
            document
        });
        united.await.inspect_err(|error| tracing::error!(%error, "cannot unite OpenAPI documents")).ok()
    }

    /// Fetches what is needed, and waits for it as long as that is worth it.
    async fn gather(&self, wanted: &Wanted, slots: &[(usize, Arc<Slot>)], home: usize) {
        let generation = self.book.catalog().generation;
        let bounds = &self.bounds;
        let age = if *wanted == Wanted::Index { bounds.index_age } else { bounds.document_age };
        let (mut first, mut again) = (Vec::new(), Vec::new());
        let mut of_home = None;
        for (server, slot) in slots {
            let need = slot.need(generation, age, bounds);
            if need == Need::Nothing {
                continue;
            }
            let flight = slot.start(generation, bounds, |known| {
                self.fetch(*server, wanted.clone(), Arc::clone(slot), known)
            });
            let healthy = self.fleet.is_healthy(*server);
            match need {
                Need::First if *server == home && healthy => of_home = Some(flight),
                // A peer that is away delays nobody.
                _ if *server != home && !healthy => {}
                Need::First => first.push(flight),
                Need::Again => again.push(flight),
                Need::Nothing | Need::Background => {}
            }
        }
        let until = Instant::now() + bounds.revalidate;
        if let Some(flight) = of_home {
            slot::landed(flight, None).await;
        }
        for flight in again {
            slot::landed(flight, Some(until)).await;
        }
        let until = Instant::now() + bounds.grace;
        for flight in first {
            slot::landed(flight, Some(until)).await;
        }
    }

    fn fetch(
        &self,
        number: usize,
        wanted: Wanted,
        slot: Arc<Slot>,
        known: Option<Arc<Good>>,
    ) -> impl Future<Output = Result<Option<Good>, fetch::FetchError>> + Send + use<> {
        let server = Arc::clone(self.fleet.get(number));
        let (fetcher, bounds, metrics) = (self.fetcher.clone(), self.bounds, self.metrics.clone());
        let (gate, documents) = (Arc::clone(&self.gates[number]), self.documents.clone());
        async move {
            let result = fetch::fetch(&fetcher, &bounds, &server, &gate, &wanted, known.as_deref()).await;
            let word = match &result {
                Ok(Some(good)) if matches!(good.content, fetch::Content::Absent) => "absent",
                Ok(Some(_)) => "changed",
                Ok(None) => "unchanged",
                Err(_) => "failed",
            };
            metrics.openapi.fetched(&server.name, wanted.as_str(), word);
            if let Ok(Some(good)) = &result
                && wanted != Wanted::Index
            {
                // Here, for whoever asked may be gone, and nobody else would count it.
                documents.insert((number, wanted.clone()), Kept { slot, weight: good.size() });
            }
            if let Err(error) = &result {
                let path = wanted.path();
                tracing::warn!(server = %server.name, path, %error, "cannot fetch OpenAPI; what was known before stays");
            }
            result
        }
    }
}

fn unite(wanted: &Wanted, parts: &[(usize, Arc<Good>)], tag: Arc<str>) -> Document {
    let (generation, encoding) = match wanted {
        Wanted::V3(_, encoding) => (Generation::V3, *encoding),
        Wanted::V2(encoding) => (Generation::V2, *encoding),
        Wanted::Index => (Generation::V3, Encoding::Json),
    };
    let bodies: Vec<&Bytes> = parts.iter().filter_map(|(_, good)| good.document()).collect();
    // Tags are what servers say.
    let alike = parts.iter().all(|(_, good)| good.tag == parts[0].1.tag)
        && bodies.iter().all(|body| *body == bodies[0]);
    let body = if alike {
        bodies[0].clone()
    } else {
        let bodies: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
        let united = generation.unite(encoding, &bodies).expect("each was checked when it was fetched");
        // Kept for long: without what a growing buffer has too much.
        united.into_boxed_slice().into()
    };
    Document::new(tag, encoding.media_type(generation), body)
}
