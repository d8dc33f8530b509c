//! One task per API server that keeps the catalog right: it fetches, and says how far to trust what came.
//!
//! Fetches come after a reconnect or another word on readiness ([`super::probe`]), and when something says that the
//! document changed: mostly an event ([`super::informer`]), of which many make few fetches (`coalesce`). Where nobody
//! tells of events they come on a timer, and on a slow one everywhere ([`Mode`]). There is one at a time per server, and
//! a server that hangs delays nobody but itself.
//!
//! Behind a fetch, and with nobody waiting, come the server's unaggregated lists that are due ([`Ledger`]): all in one
//! *pass*, that ends in one change of the catalog at most.

mod coalesce;
mod restless;
mod trigger;

use std::{sync::Arc, time::Duration};

use coalesce::Coalesce;
use futures_util::FutureExt as _;
use rand::RngExt as _;
use restless::{News, Restless};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{self, Instant},
};

pub use self::trigger::Trigger;
use super::{
    catalog::{Books, Document, Knowledge},
    fetch::{FetchError, Fetched, Fetcher, Found, Ledger, Wanted},
};
use crate::{
    limits,
    metrics::Metrics,
    servers::{Server, health::Word, watched::Mode},
};

/// How often it is looked for lists that have got old, in the time in which one gets old.
const LOOKS: u32 = 20;

/// When a refresh task does what.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Between two fetches of a healthy server in [`Mode::Interval`]; jittered by a tenth.
    pub refresh_interval: Duration,
    /// The same in [`Mode::Watch`].
    pub resync: Duration,
    /// Between two fetches at least, whatever asks for them.
    pub min_interval: Duration,
    /// The first wait after a failure; it doubles up to `refresh_interval`.
    pub first_backoff: Duration,
    /// No unaggregated list that only storage version hashes are wanted of gets older, while the server is healthy.
    pub list_max_age: Duration,
}

/// Asks a server's refresh task for a fetch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Refresh {
    ask: mpsc::Sender<Trigger>,
    /// [`Trigger::Write`], which does not wait its turn.
    urgent: Arc<Notify>,
    events: mpsc::Sender<Trigger>,
    /// Counts fetches that ended, well or not.
    ended: watch::Receiver<u64>,
}

struct Task {
    server: Arc<Server>,
    books: Books,
    fetcher: Fetcher,
    schedule: Schedule,
    metrics: Metrics,
    asked: mpsc::Receiver<Trigger>,
    urgent: Arc<Notify>,
    events: mpsc::Receiver<Trigger>,
    coalesce: Coalesce,
    restless: Restless,
    mode: watch::Receiver<Mode>,
    ended: watch::Sender<u64>,
    backoff: Duration,
    /// That fetches fail was said; it is not said again before one went well.
    complained: bool,
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

// === impl Refresh ===

impl Refresh {
    /// Starts the task of one server, which ends when `tasks` is dropped.
    pub fn spawn(
        tasks: &mut JoinSet<()>,
        server: Arc<Server>,
        books: Books,
        fetcher: Fetcher,
        schedule: Schedule,
        metrics: Metrics,
    ) -> Self {
        // One question under way and one waiting say all there is to say.
        let (ask, asked) = mpsc::channel(2);
        // Apart from questions, which a fetch that is under way may answer: an event wants one behind it.
        let (events_tx, events) = mpsc::channel(1);
        let (ended_tx, ended) = watch::channel(0);
        let urgent = Arc::new(Notify::new());
        let task = Task {
            mode: server.watched.mode_changes(),
            server,
            books,
            fetcher,
            backoff: schedule.first_backoff,
            ledger: Ledger::new(schedule.list_max_age),
            pass: JoinSet::new(),
            next_look: Instant::now(),
            schedule,
            metrics,
            asked,
            urgent: Arc::clone(&urgent),
            events,
            coalesce: Coalesce::default(),
            restless: Restless::default(),
            complained: false,
            ended: ended_tx,
            last_fetch: None,
            proven: false,
            next_fetch: (Instant::now(), Trigger::Start),
        };
        tasks.spawn(task.run());
        Self { ask, urgent, events: events_tx, ended }
    }

    /// Asks for a fetch and does not wait.
    pub fn ask(&self, trigger: Trigger) {
        if trigger == Trigger::Write {
            self.urgent.notify_one();
            return;
        }
        let queue = if trigger.is_event() { &self.events } else { &self.ask };
        // A full queue means that a fetch is coming anyway.
        let _ = queue.try_send(trigger);
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
            let event_due = due(self.coalesce.due());
            let trigger = tokio::select! {
                asked = self.asked.recv() => match asked {
                    Some(trigger) => trigger,
                    None => return,
                },
                () = self.urgent.notified() => Trigger::Write,
                Some(event) = self.events.recv() => {
                    self.coalesce.heard(event, Instant::now());
                    continue;
                }
                trigger = event_due => trigger,
                Ok(()) = self.mode.changed() => {
                    self.time_again();
                    continue;
                }
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
        let health = &self.server.health;
        if !self.pass.is_empty() || !health.is_connected() || !health.is_fetched() || !health.is_ready() {
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

    /// Waits until the next fetch may begin, and returns what that is to be called. What callers are owed has it sooner,
    /// also while something else waits.
    async fn pause(&mut self, mut trigger: Trigger) -> Trigger {
        let Some(last) = self.last_fetch else { return trigger };
        if let Some(later) = self.held_back_until(trigger) {
            self.metrics.discovery.held_back(&self.server.name);
            tokio::select! {
                () = time::sleep_until(later) => {}
                () = self.urgent.notified() => trigger = Trigger::Write,
                () = denied(&mut self.asked) => trigger = Trigger::RouteNotFound,
            }
        }
        if trigger != Trigger::Write {
            tokio::select! {
                () = time::sleep_until(last + self.schedule.min_interval) => return trigger,
                () = self.urgent.notified() => {}
            }
        }
        time::sleep_until(last + limits::WRITE_FETCH_INTERVAL.min(self.schedule.min_interval)).await;
        if trigger == Trigger::RouteNotFound { trigger } else { Trigger::Write }
    }

    /// Until when a server that is never twice the same has to wait.
    fn held_back_until(&self, trigger: Trigger) -> Option<Instant> {
        let is_owed = matches!(trigger, Trigger::Write | Trigger::RouteNotFound);
        let earliest = self.last_fetch? + self.schedule.min_interval;
        self.restless.not_before().filter(|later| !is_owed && *later > earliest)
    }

    /// Fetches once, not sooner than [`Self::pause`] says.
    async fn fetch(&mut self, trigger: Trigger) {
        let trigger = self.pause(trigger).await;
        if trigger == Trigger::RouteNotFound {
            self.write(Knowledge::doubt).await;
        }
        // Whoever asked until now is served by this one.
        while self.asked.try_recv().is_ok() {}
        let _ = self.urgent.notified().now_or_never();
        let now = Instant::now();
        while let Ok(event) = self.events.try_recv() {
            self.coalesce.heard(event, now);
        }
        self.coalesce.fetching(now);
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
        if let Some(book) = self.books.latest() {
            self.metrics.discovery.conflicts(book.catalog().conflicts().count());
        }
        self.metrics.servers.healthy(&self.server.name, self.server.health.is_healthy());
        self.ended.send_modify(|count| *count += 1);
    }

    async fn succeeded(&mut self, fetched: Fetched, losses: u64, trigger: Trigger) {
        let Fetched { document, ready } = fetched;
        self.server.health.contact();
        if !ready {
            self.server.health.heard(Word::NotReady, Instant::now());
            self.server.health.look();
        }
        self.server.health.fetched(Ok(()));
        self.said(document.is_some(), ready, trigger);
        // What was lost while we asked makes the answer an old one.
        let settled = ready && losses == self.server.health.losses();
        if settled {
            self.proven = true;
            self.backoff = self.schedule.first_backoff;
            let (wait, trigger) = self.timer();
            self.fetch_again_after(wait, trigger);
        } else {
            self.back_off();
        }
        self.write(move |known| known.fetched(document, settled)).await;
    }

    /// Tells of a fetch that went well, but not the same thing for ever.
    fn said(&mut self, changed: bool, ready: bool, trigger: Trigger) {
        let server = &self.server.name;
        if std::mem::take(&mut self.complained) {
            tracing::info!(%server, "discovery can be fetched again");
        }
        let was_known = self.restless.is_known();
        match self.restless.fetched(changed, Instant::now()) {
            Some(News::Restless) => {
                tracing::warn!(%server, "its discovery is another one at each fetch; it is fetched less often");
            }
            Some(News::Calm) => tracing::info!(%server, "its discovery has calmed down"),
            None => {}
        }
        if changed && !was_known {
            tracing::info!(%server, trigger = trigger.as_str(), ready, "discovery changed");
        }
    }

    async fn failed(&mut self, error: &FetchError, trigger: Trigger) {
        let error = error.to_string();
        let (server, at, trigger) = (&self.server.name, &self.server.authority, trigger.as_str());
        if std::mem::replace(&mut self.complained, true) {
            tracing::debug!(%server, %at, trigger, %error, "still cannot fetch discovery");
        } else {
            tracing::warn!(
                %server, %at, trigger, %error,
                "cannot fetch discovery; what was known before stays, and it is tried again",
            );
        }
        self.server.health.fetched(Err(&error));
        self.back_off();
        self.write(Knowledge::fetch_failed).await;
    }

    fn known(&self) -> Knowledge {
        self.books.knowledge(&self.server)
    }

    async fn write(&mut self, change: impl FnOnce(&mut Knowledge) + Send + 'static) {
        self.books.write(&self.server, change).await;
    }

    fn back_off(&mut self) {
        self.fetch_again_after(self.backoff, Trigger::Retry);
        self.backoff = (self.backoff * 2).min(self.schedule.refresh_interval);
    }

    /// The timer that counts while all is well.
    fn timer(&self) -> (Duration, Trigger) {
        match *self.mode.borrow() {
            Mode::Watch => (self.schedule.resync, Trigger::Resync),
            Mode::Interval => (self.schedule.refresh_interval, Trigger::Interval),
        }
    }

    /// The mode changed. A retry stays when it was.
    fn time_again(&mut self) {
        if matches!(self.next_fetch.1, Trigger::Interval | Trigger::Resync) {
            let (wait, trigger) = self.timer();
            self.fetch_again_after(wait, trigger);
        }
    }

    fn fetch_again_after(&mut self, wait: Duration, trigger: Trigger) {
        self.next_fetch = (Instant::now() + jitter(wait), trigger);
    }
}

/// Ends when somebody was denied a route. Other questions are answered by the fetch that is waited for.
async fn denied(asked: &mut mpsc::Receiver<Trigger>) {
    while let Some(trigger) = asked.recv().await {
        if trigger == Trigger::RouteNotFound {
            return;
        }
    }
    std::future::pending().await
}

/// Ends when a fetch is due, if ever.
async fn due(due: Option<(Instant, Trigger)>) -> Trigger {
    let Some((at, trigger)) = due else { return std::future::pending().await };
    time::sleep_until(at).await;
    trigger
}

/// Up to a tenth more or less, so that servers are not asked in step.
pub(super) fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.9..=1.1))
}
