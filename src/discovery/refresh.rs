//! One task per API server that keeps the catalog right: it probes, fetches, and says how far to trust.
//!
//! Contact that is lost makes a server stale; contact that comes back makes it unknown until one fetch
//! succeeded, because another process may answer now. Fetches come on a timer, after a reconnect, and when
//! something says that the document changed. There is one fetch at a time per server, and a server that hangs
//! delays nobody but itself.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};

use super::{
    catalog::{Book, Freshness},
    fetch::Fetcher,
};
use crate::{metrics::Metrics, servers::Server};

/// When a refresh task does what.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Between two fetches of a healthy server; jittered by a tenth.
    pub refresh_interval: Duration,
    /// Between two probes.
    pub probe_interval: Duration,
    /// Without an answer for so long, contact counts as lost.
    pub dead_after: Duration,
    /// Without an answer for so long, a server is not fresh.
    pub stale_after: Duration,
    /// Between two fetches at least, whatever asks for them.
    pub min_interval: Duration,
    /// The first wait after a failure; it doubles up to `refresh_interval`.
    pub first_backoff: Duration,
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
    number: usize,
    server: Arc<Server>,
    book: Arc<Book>,
    fetcher: Fetcher,
    schedule: Schedule,
    metrics: Metrics,
    asked: mpsc::Receiver<Trigger>,
    ended: watch::Sender<u64>,
    /// Losses of contact that were seen.
    losses: u64,
    /// The next success of a probe is a reconnect.
    lost: bool,
    backoff: Duration,
    last_fetch: Option<Instant>,
    /// When to fetch if nothing happens before, and what to call it.
    next_fetch: (Instant, Trigger),
}

// === impl Trigger ===

impl Trigger {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Reconnect => "reconnect",
            Self::RouteNotFound => "route-not-found",
            Self::Changed => "changed",
            Self::Retry => "retry",
        }
    }
}

// === impl Refresh ===

impl Refresh {
    /// Starts the task of one server. It ends when the runtime does.
    pub fn spawn(
        number: usize,
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
            number,
            losses: server.health.losses(),
            server,
            book,
            fetcher,
            backoff: schedule.first_backoff,
            schedule,
            metrics,
            asked,
            ended: ended_tx,
            lost: false,
            last_fetch: None,
            next_fetch: (Instant::now(), Trigger::Start),
        };
        tokio::spawn(task.run());
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
        let mut next_probe = Instant::now() + self.schedule.probe_interval;
        loop {
            let (next_fetch, trigger) = self.next_fetch;
            let trigger = tokio::select! {
                biased;
                () = self.server.health.changed() => {
                    self.probe().await;
                    next_probe = self.after_probe();
                    continue;
                }
                asked = self.asked.recv() => match asked {
                    Some(trigger) => trigger,
                    None => return,
                },
                () = time::sleep_until(next_probe) => {
                    self.probe().await;
                    next_probe = self.after_probe();
                    continue;
                }
                () = time::sleep_until(next_fetch) => trigger,
            };
            if trigger == Trigger::RouteNotFound {
                self.set(Freshness::Unknown).await;
            }
            self.fetch(trigger).await;
        }
    }

    fn after_probe(&self) -> Instant {
        let wait = if self.lost { self.schedule.probe_interval / 5 } else { self.schedule.probe_interval };
        Instant::now() + jitter(wait)
    }

    /// Asks the server whether it is there, and draws the conclusions.
    async fn probe(&mut self) {
        let losses = self.server.health.losses();
        if losses != self.losses {
            self.losses = losses;
            self.lost = true;
        }
        match self.fetcher.probe(&self.server).await {
            Ok(status) => {
                self.metrics.servers.probed(&self.server.name, "ok");
                self.server.health.contact();
                self.server.health.ready(!status.is_server_error());
                if std::mem::take(&mut self.lost) {
                    self.set(Freshness::Unknown).await;
                    self.fetch(Trigger::Reconnect).await;
                }
            }
            Err(error) => {
                self.metrics.servers.probed(&self.server.name, "failed");
                let silent = self.server.health.last_contact().map(|last| last.elapsed());
                if silent.is_none_or(|silent| silent >= self.schedule.dead_after) {
                    self.server.declare_dead(&error.to_string());
                }
                if !self.server.health.is_connected() {
                    self.losses = self.server.health.losses();
                    self.lost = true;
                    self.set_stale().await;
                } else if silent.is_none_or(|silent| silent >= self.schedule.stale_after) {
                    self.set_stale().await;
                }
            }
        }
    }

    /// Fetches once, not sooner than `min_interval` after the last time.
    async fn fetch(&mut self, trigger: Trigger) {
        if let Some(last) = self.last_fetch {
            time::sleep_until(last + self.schedule.min_interval).await;
        }
        // Whoever asked until now is served by this one.
        while self.asked.try_recv().is_ok() {}
        self.ended.send_modify(|count| *count += 1);
        let known = self.book.catalog().servers[self.number].document.clone();
        let losses = self.server.health.losses();
        let result = self.fetcher.fetch(&self.server, known.as_ref()).await;
        self.last_fetch = Some(Instant::now());
        let outcome = match &result {
            Ok(Some(_)) => "changed",
            Ok(None) => "unchanged",
            Err(_) => "failed",
        };
        self.metrics.discovery.synced(&self.server.name, trigger.as_str(), outcome);
        match result {
            Ok(document) => {
                self.backoff = self.schedule.first_backoff;
                self.fetch_again_after(self.schedule.refresh_interval, Trigger::Interval);
                self.server.health.contact();
                self.server.health.fetched(Ok(()));
                // What was lost while we asked makes the answer an old one.
                let freshness =
                    if losses == self.server.health.losses() { Freshness::Fresh } else { Freshness::Unknown };
                if document.is_some() {
                    tracing::info!(server = %self.server.name, trigger = trigger.as_str(), "discovery changed");
                }
                self.update(move |known| {
                    known.freshness = freshness;
                    if document.is_some() {
                        known.document = document;
                    }
                })
                .await;
            }
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(
                    server = %self.server.name, at = %self.server.authority, trigger = trigger.as_str(), %error,
                    "cannot fetch discovery; what was known before stays",
                );
                self.server.health.fetched(Err(&error));
                self.fetch_again_after(self.backoff, Trigger::Retry);
                self.backoff = (self.backoff * 2).min(self.schedule.refresh_interval);
                self.set_stale().await;
            }
        }
        self.ended.send_modify(|count| *count += 1);
    }

    fn fetch_again_after(&mut self, wait: Duration, trigger: Trigger) {
        self.next_fetch = (Instant::now() + jitter(wait), trigger);
    }

    /// Stale, unless we do not even know what is stale.
    async fn set_stale(&self) {
        self.update(|known| {
            if known.freshness == Freshness::Fresh {
                known.freshness = Freshness::Stale;
            }
        })
        .await;
    }

    async fn set(&self, freshness: Freshness) {
        self.update(move |known| known.freshness = freshness).await;
    }

    /// Merging may take tens of milliseconds: it happens on a blocking thread.
    async fn update(&self, change: impl FnOnce(&mut super::catalog::Knowledge) + Send + 'static) {
        let (book, number) = (Arc::clone(&self.book), self.number);
        if tokio::task::spawn_blocking(move || book.update(number, change)).await.is_err() {
            tracing::error!(server = %self.server.name, "merging its discovery failed; the last catalog stays");
        }
        let freshness = self.book.catalog().servers[self.number].freshness;
        self.metrics.discovery.freshness(&self.server.name, freshness.as_str());
        self.metrics.servers.healthy(&self.server.name, self.server.health.is_healthy());
    }
}

/// Up to a tenth more or less, so that servers are not asked in step.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.9..=1.1))
}
