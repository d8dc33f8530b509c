//! One task per API server that keeps the catalog right: it fetches, and says how far to trust what came.
//!
//! Fetches come on a timer, after a reconnect or another word on readiness ([`super::probe`]), and when something
//! says that the document changed. There is one at a time per server, and a server that hangs delays nobody but
//! itself.
//!
//! Behind a fetch, and with nobody waiting, come the server's unaggregated lists that are due ([`Ledger`]): all in one
//! *pass*, that ends in one change of the catalog at most.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    catalog::{Book, Document, Knowledge},
    fetch::{FetchError, Fetched, Fetcher, Found, Ledger, Wanted},
};
use crate::{metrics::Metrics, servers::Server};

/// How often it is looked for lists that have got old, in the time in which one gets old.
const LOOKS: u32 = 20;

/// When a refresh task does what.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Between two fetches of a healthy server; jittered by a tenth.
    pub refresh_interval: Duration,
    /// Between two fetches at least, whatever asks for them.
    pub min_interval: Duration,
    /// The first wait after a failure; it doubles up to `refresh_interval`.
    pub first_backoff: Duration,
    /// No unaggregated list that only storage version hashes are wanted of gets older, while the server is healthy.
    pub list_max_age: Duration,
}

/// What made us fetch; a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Never heard yet.
    Start,
    /// The timer.
    Interval,
    /// Contact came back.
    Reconnect,
    /// The server said that it is ready no longer, or again.
    Readiness,
    /// The server denied a route that its discovery lists (I8).
    RouteNotFound,
    /// A client's authorization showed another ETag.
    Changed,
    /// The last fetch failed.
    Retry,
}

/// Asks a server's refresh task for a fetch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Refresh {
    ask: mpsc::Sender<Trigger>,
    /// Counts fetches that ended, well or not.
    ended: watch::Receiver<u64>,
}

struct Task {
    server: Arc<Server>,
    book: Arc<Book>,
    fetcher: Fetcher,
    schedule: Schedule,
    metrics: Metrics,
    asked: mpsc::Receiver<Trigger>,
    ended: watch::Sender<u64>,
    backoff: Duration,
    last_fetch: Option<Instant>,
    /// A document of the server was believed.
    proven: bool,
    /// When to fetch if nothing happens before, and what to call it.
    next_fetch: (Instant, Trigger),
    ledger: Ledger,
    /// The pass under way, if there is one.
    pass: JoinSet<Pass>,
    /// When to look for lists that have got old.
    next_look: Instant,
}

/// A pass that ended.
struct Pass {
    read: Vec<(Wanted, Option<Found>)>,
    /// The rest was not asked for.
    broke_off: bool,
}

// === impl Trigger ===

impl Trigger {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Reconnect => "reconnect",
            Self::Readiness => "readiness",
            Self::RouteNotFound => "route-not-found",
            Self::Changed => "changed",
            Self::Retry => "retry",
        }
    }
}

// === impl Refresh ===

impl Refresh {
    /// Starts the task of one server, which ends when `tasks` is dropped.
    pub fn spawn(
        tasks: &mut JoinSet<()>,
        server: Arc<Server>,
        book: Arc<Book>,
        fetcher: Fetcher,
        schedule: Schedule,
        metrics: Metrics,
    ) -> Self {
        // One question under way and one waiting say all there is to say.
        let (ask, asked) = mpsc::channel(2);
        let (ended_tx, ended) = watch::channel(0);
        let task = Task {
            server,
            book,
            fetcher,
            backoff: schedule.first_backoff,
            ledger: Ledger::new(schedule.list_max_age),
            pass: JoinSet::new(),
            next_look: Instant::now(),
            schedule,
            metrics,
            asked,
            ended: ended_tx,
            last_fetch: None,
            proven: false,
            next_fetch: (Instant::now(), Trigger::Start),
        };
        tasks.spawn(task.run());
        Self { ask, ended }
    }

    /// Asks for a fetch and does not wait.
    pub fn ask(&self, trigger: Trigger) {
        // A full queue means that a fetch is coming anyway.
        let _ = self.ask.try_send(trigger);
    }

    /// Asks for a fetch and waits until one ended that began after the question, well or not.
    pub async fn ask_and_wait(&self, trigger: Trigger) {
        let mut ended = self.ended.clone();
        // The fetch that may be under way began before; wait for one more than that. Odd numbers say that one
        // is under way.
        let now = *ended.borrow_and_update();
        let wanted = now + if now.is_multiple_of(2) { 2 } else { 3 };
        self.ask(trigger);
        // An error says that the task is gone, and then nothing is worth waiting for.
        let _ = ended.wait_for(|count| *count >= wanted).await;
    }

    /// Whether a fetch of this server has ended at all.
    pub async fn asked_once(&self) {
        let _ = self.ended.clone().wait_for(|count| *count >= 2).await;
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        self.fetch(Trigger::Start).await;
        loop {
            let (next_fetch, trigger) = self.next_fetch;
            let trigger = tokio::select! {
                asked = self.asked.recv() => match asked {
                    Some(trigger) => trigger,
                    None => return,
                },
                () = time::sleep_until(next_fetch) => trigger,
                Some(ended) = self.pass.join_next() => {
                    // One that panicked is tried again like one that failed.
                    if let Ok(pass) = ended {
                        self.passed(pass).await;
                    }
                    continue;
                }
                () = time::sleep_until(self.next_look) => {
                    self.start_pass(false);
                    continue;
                }
            };
            self.fetch(trigger).await;
        }
    }

    /// Reads the lists that are due, unless that is being done. A server that is not well has other worries.
    fn start_pass(&mut self, again: bool) {
        let now = Instant::now();
        self.next_look = now + self.schedule.list_max_age / LOOKS;
        let Some(document) = self.known().document else { return };
        if !self.pass.is_empty() || !self.server.health.is_healthy() {
            return;
        }
        let due = self.ledger.due(&document, again, now);
        if due.is_empty() {
            return;
        }
        let (fetcher, server) = (self.fetcher.clone(), Arc::clone(&self.server));
        self.pass.spawn(async move {
            let asked = due.len();
            let read = fetcher.lists(&server, due).await;
            Pass { broke_off: read.len() < asked, read }
        });
    }

    /// Publishes what a pass found out, all at once.
    async fn passed(&mut self, Pass { read, broke_off }: Pass) {
        let Some(document) = self.known().document else { return };
        let lists = self.ledger.enter(read, &document, Instant::now());
        if lists != *document.lists {
            // Nobody else writes this server's document.
            let document = Arc::new(Document { lists: Arc::new(lists), ..Document::clone(&document) });
            self.write(|known| known.document = Some(document)).await;
        }
        if !broke_off {
            // What changed meanwhile.
            self.start_pass(false);
        }
    }

    /// Fetches once, not sooner than `min_interval` after the last time.
    async fn fetch(&mut self, trigger: Trigger) {
        if let Some(last) = self.last_fetch {
            time::sleep_until(last + self.schedule.min_interval).await;
        }
        if trigger == Trigger::RouteNotFound {
            self.write(Knowledge::doubt).await;
        }
        // Whoever asked until now is served by this one.
        while self.asked.try_recv().is_ok() {}
        self.ended.send_modify(|count| *count += 1);
        let known = self.known().document;
        let losses = self.server.health.losses();
        let result = self.fetcher.fetch(&self.server, known.as_ref(), self.proven).await;
        self.last_fetch = Some(Instant::now());
        let outcome = match &result {
            Ok(Fetched { document: Some(_), .. }) => "changed",
            Ok(_) => "unchanged",
            Err(_) => "failed",
        };
        self.metrics.discovery.synced(&self.server.name, trigger.as_str(), outcome);
        match result {
            Ok(fetched) => {
                self.succeeded(fetched, losses, trigger).await;
                self.start_pass(true);
            }
            Err(error) => self.failed(&error, trigger).await,
        }
        self.metrics.discovery.freshness(&self.server.name, self.known().freshness().as_str());
        self.metrics.discovery.conflicts(self.book.catalog().conflicts().count());
        self.metrics.servers.healthy(&self.server.name, self.server.health.is_healthy());
        self.ended.send_modify(|count| *count += 1);
    }

    async fn succeeded(&mut self, fetched: Fetched, losses: u64, trigger: Trigger) {
        let Fetched { document, ready } = fetched;
        self.server.health.contact();
        if !ready {
            self.server.health.ready(false);
        }
        self.server.health.fetched(Ok(()));
        // What was lost while we asked makes the answer an old one.
        let settled = ready && losses == self.server.health.losses();
        if settled {
            self.proven = true;
            self.backoff = self.schedule.first_backoff;
            self.fetch_again_after(self.schedule.refresh_interval, Trigger::Interval);
        } else {
            self.back_off();
        }
        if document.is_some() {
            tracing::info!(server = %self.server.name, trigger = trigger.as_str(), ready, "discovery changed");
        }
        self.write(move |known| known.fetched(document, settled)).await;
    }

    async fn failed(&mut self, error: &FetchError, trigger: Trigger) {
        let error = error.to_string();
        tracing::warn!(
            server = %self.server.name, at = %self.server.authority, trigger = trigger.as_str(), %error,
            "cannot fetch discovery; what was known before stays",
        );
        self.server.health.fetched(Err(&error));
        self.back_off();
        self.write(Knowledge::fetch_failed).await;
    }

    fn known(&self) -> Knowledge {
        self.book.knowledge(&self.server)
    }

    async fn write(&mut self, change: impl FnOnce(&mut Knowledge) + Send + 'static) {
        self.book = self.book.latest();
        self.book.write(&self.server, change).await;
    }

    fn back_off(&mut self) {
        self.fetch_again_after(self.backoff, Trigger::Retry);
        self.backoff = (self.backoff * 2).min(self.schedule.refresh_interval);
    }

    fn fetch_again_after(&mut self, wait: Duration, trigger: Trigger) {
        self.next_fetch = (Instant::now() + jitter(wait), trigger);
    }
}

/// Up to a tenth more or less, so that servers are not asked in step.
pub(super) fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.9..=1.1))
}
