//! The task that writes down what changed, beside everything else: no request and no fetch waits for a disk.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{self, Instant},
};

use super::Cache;
use crate::{
    discovery::catalog::{Book, Document, Fetch, ghosts::Remembered},
    limits,
    servers::Server,
};

/// Keeps the files as the catalog is, each written at most once in [`limits::CACHE_WRITE_INTERVAL`].
pub struct Keeper {
    cache: Cache,
    book: Arc<Book>,
    kept: HashMap<Arc<str>, Kept>,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

/// Has everything written at once.
#[derive(Clone, Debug)]
pub struct Flush(mpsc::Sender<oneshot::Sender<()>>);

/// How the file of one server is doing.
#[derive(Debug, Default)]
struct Kept {
    /// When it may be written again.
    next: Option<Instant>,
    /// What the last try came to, if it failed, and how long to wait before another.
    failing: Option<(String, Duration)>,
}

// === impl Keeper ===

impl Keeper {
    /// Writes down what this book, and those that succeed it, know.
    pub fn new(cache: Cache, book: Arc<Book>) -> (Self, Flush) {
        let (ask, asked) = mpsc::channel(1);
        (Self { cache, book, kept: HashMap::new(), asked }, Flush(ask))
    }

    /// Ends when nobody can ask for a flush any more.
    pub async fn run(mut self) {
        let mut published = self.book.published();
        loop {
            published.borrow_and_update();
            let next = self.write(false).await;
            tokio::select! {
                // The book is ours, too, so this is never an error.
                _ = published.changed() => {}
                () = time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                asked = self.asked.recv() => {
                    let Some(done) = asked else { return };
                    self.write(true).await;
                    // Whoever asked may be gone.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Writes what changed and is due, or all that changed; says when the rest is due.
    ///
    /// Only what a settled fetch brought is written: of a server that is being doubted the last good document is
    /// there already.
    async fn write(&mut self, all: bool) -> Option<Instant> {
        if let Some(latest) = self.book.books().latest() {
            self.book = latest;
        }
        let catalog = self.book.catalog();
        // Who was forgotten is not written any more, and the next run does not hear of him.
        self.kept.retain(|name, _| catalog.fleet.position(name).is_some());
        let is_forgotten = |name: &Arc<str>, _: &mut _| catalog.fleet.position(name).is_none();
        let forgotten: Vec<_> = self.cache.held().extract_if(is_forgotten).map(|(name, _)| name).collect();
        if !forgotten.is_empty() {
            let cache = self.cache.clone();
            // One that panicked leaves files behind, no more.
            let _ = spawn_blocking(move || forgotten.iter().for_each(|name| cache.remove(name))).await;
        }
        let mut rest = None;
        for (number, (server, known)) in catalog.fleet.iter().zip(&catalog.servers).enumerate() {
            // What is gone may be found out later, of a server that is away.
            let written = known.fetch == Fetch::Good || !known.gone().is_empty();
            let Some(document) = known.document.as_ref().filter(|_| written) else { continue };
            let remembered = catalog.remembered(number);
            if self.cache.holds(&server.name, &server.authority, document, &remembered) {
                continue;
            }
            let kept = self.kept.entry(Arc::clone(&server.name)).or_default();
            if !all && kept.next.is_some_and(|next| Instant::now() < next) {
                rest = rest.into_iter().chain(kept.next).min();
                continue;
            }
            kept.put(&self.cache, server, document, remembered).await;
            if kept.failing.is_some() {
                rest = rest.into_iter().chain(kept.next).min();
            }
        }
        rest
    }
}

// === impl Flush ===

impl Flush {
    /// Comes back when all is on the disk, or that takes too long.
    pub async fn now(self) {
        let (done, written) = oneshot::channel();
        let flush = async {
            if self.0.send(done).await.is_ok() {
                // An error says that the task is gone.
                let _ = written.await;
            }
        };
        if time::timeout(limits::CACHE_FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::warn!(
                "the discovery cache is not on the disk in time; some of it may be as it was before"
            );
        }
    }
}

// === impl Kept ===

impl Kept {
    async fn put(
        &mut self,
        cache: &Cache,
        server: &Arc<Server>,
        document: &Arc<Document>,
        remembered: Remembered,
    ) {
        let (blocking, whose, new) = (cache.clone(), Arc::clone(server), Arc::clone(document));
        let remembered = Arc::new(remembered);
        let stored = spawn_blocking(move || blocking.store(&whose.name, &whose.authority, &new, &remembered));
        let stored = match stored.await {
            Ok(stored) => stored.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match stored {
            Ok(()) => {
                self.next = Some(Instant::now() + limits::CACHE_WRITE_INTERVAL);
                if mem::take(&mut self.failing).is_some() {
                    tracing::info!(server = %server.name, "the discovery cache can be written again");
                }
            }
            Err(error) => self.failed(cache, server, error),
        }
    }

    /// Warns once for each fault and not each time.
    fn failed(&mut self, cache: &Cache, server: &Server, error: String) {
        cache.metrics.wrote(&server.name, "failed");
        let before = mem::take(&mut self.failing);
        let wait = before.as_ref().map_or(limits::CACHE_WRITE_INTERVAL, |(_, wait)| *wait * 2);
        let wait = wait.min(limits::CACHE_RETRY_MAX);
        if before.is_none_or(|(before, _)| before != error) {
            tracing::warn!(
                server = %server.name, file = %cache.path(&server.name).display(), error,
                "the discovery cache cannot be written; it is tried again",
            );
        }
        self.next = Some(Instant::now() + wait);
        self.failing = Some((error, wait));
    }
}
