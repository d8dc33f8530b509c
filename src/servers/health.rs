//! How an API server is doing, as we last saw it.
//!
//! *Healthy* means: our last connect worked, our last discovery fetch worked, and the server is not *ejected*. It is
//! ejected when contact is lost, when `/readyz` says twice in a row that it is not ready, or says it too slowly
//! (`hysteresis`), and when callers' exchanges with it break off although probes find nothing (`passive`).
//! Health decides who is asked first, never who may be asked at all; and what a server serves, and how fresh our
//! knowledge of that is, is another matter.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use tokio::{sync::Notify, time::Instant};

mod exchange;
mod hysteresis;
mod journal;
mod passive;
mod standing;

pub use exchange::Exchange;
use hysteresis::Hysteresis;
pub use hysteresis::Word;
use journal::Journal;
use passive::{Advice, Passive};
pub use standing::{Rank, Reason, Standing, State};

use crate::metrics::{ServerMetrics, ServerName};

/// Shared by everything that talks to one API server.
#[derive(Debug, Default)]
pub struct Health {
    /// The last connect worked, and nothing was heard of a loss since.
    connected: AtomicBool,
    /// The last discovery fetch worked.
    fetched: AtomicBool,
    /// The last word of `/readyz` was that it is not ready, or contact was lost since.
    unready: AtomicBool,
    /// Our own connection is HTTP/2, whose PING tells a slow server from a dead one.
    http2: AtomicBool,
    /// Counts losses of contact, so that a watcher cannot miss a short one.
    losses: AtomicU64,
    /// What the judge said last, as a [`Place`], so that requests need no lock.
    place: AtomicU8,
    /// A half-open server has its one exchange.
    trial: AtomicBool,
    /// Exchanges of callers that were answered.
    answered: AtomicU64,
    judge: Mutex<Judge>,
    last_contact: Mutex<Option<Instant>>,
    last_error: Mutex<Option<String>>,
    /// Something changed that the refresh task should look at now.
    changed: Notify,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Judge {
    probes: Hysteresis,
    callers: Passive,
}

/// What requests have to know of the [`Judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Place {
    In,
    HalfOpen,
    /// Ejected for what may be our own trouble, or everybody's.
    Spared,
    /// Ejected because contact was lost.
    Out,
}

// === impl Health ===

impl Health {
    /// Of a server of which nothing is known yet.
    pub fn new(name: ServerName, metrics: ServerMetrics) -> Self {
        Self { journal: Journal::new(name, metrics), ..Self::default() }
    }

    /// See the module's documentation.
    pub fn is_healthy(&self) -> bool {
        self.is_connected() && self.is_fetched() && self.place() == Place::In
    }

    /// See [`Rank`].
    pub fn rank(&self) -> Rank {
        if !self.is_connected() {
            return Rank::Away;
        }
        match self.place() {
            _ if !self.is_fetched() => Rank::There,
            Place::Out => Rank::There,
            Place::In => Rank::Well,
            Place::HalfOpen if !self.trial.load(Ordering::Relaxed) => Rank::Well,
            Place::HalfOpen | Place::Spared => Rank::Spared,
        }
    }

    /// How it stands, for people.
    pub fn standing(&self) -> Standing {
        self.judge().standing(Instant::now())
    }

    /// Whether the last connect worked and the connection was not lost since.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether the last discovery fetch worked.
    pub fn is_fetched(&self) -> bool {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Whether `/readyz` said so, the last time and since contact was lost.
    pub fn is_ready(&self) -> bool {
        !self.unready.load(Ordering::Relaxed)
    }

    /// Whether one more probe, soon, may change the server's standing.
    pub fn wants_follow_up(&self) -> bool {
        self.judge().probes.wants_follow_up()
    }

    /// When a probe may make the server half-open, if that is still to come.
    pub fn half_open_at(&self) -> Option<Instant> {
        match self.judge().callers.state() {
            passive::State::Ejected(until) if until > Instant::now() => Some(until),
            _ => None,
        }
    }

    /// How often contact was lost so far.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// When an answer last came.
    pub fn last_contact(&self) -> Option<Instant> {
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong last, for people.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection of our own was opened.
    pub fn connected(&self, http2: bool) {
        self.http2.store(http2, Ordering::Relaxed);
        self.contact();
    }

    /// Whether a PING can tell a slow server from a dead one.
    pub fn speaks_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// The server answered, whatever it said.
    pub fn contact(&self) {
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.connected.store(true, Ordering::Relaxed);
    }

    /// A connect failed, or the server was declared dead.
    ///
    /// It is not ready either until it says so: a kube-apiserver that starts accepts connections before it has
    /// read its roles, and answers 403 to whom it does not know yet.
    pub fn lost(&self, error: impl Into<String>) {
        self.unready.store(true, Ordering::Relaxed);
        self.rejudge(|judge, now| {
            judge.probes.lost(now);
            judge.callers.lost(now);
        });
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.into());
        if self.connected.swap(false, Ordering::Relaxed) {
            self.losses.fetch_add(1, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// A connection that we relied on went away; the next one may lead to another process.
    pub fn disconnected(&self) {
        self.losses.fetch_add(1, Ordering::Release);
        self.changed.notify_one();
    }

    /// Somebody should look how the server is doing.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// A discovery fetch ended.
    pub fn fetched(&self, result: Result<(), &str>) {
        self.fetched.store(result.is_ok(), Ordering::Relaxed);
        if let Err(error) = result {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
        }
    }

    /// What a probe that began at `asked` found out about a server that is there.
    ///
    /// A first bad word is a reason to look again soon.
    pub fn heard(&self, word: Word, asked: Instant) {
        self.unready.store(word != Word::Ready, Ordering::Relaxed);
        self.rejudge(|judge, now| {
            judge.probes.heard(word, now);
            if word == Word::Ready {
                judge.callers.probed(asked, now);
            }
        });
        self.journal.quiet(|| self.standing(), Instant::now());
    }

    /// A caller's exchange is about to begin. Costs no lock, and its outcome none while all goes well.
    pub fn begin(&self) -> Exchange<'_> {
        Exchange::begin(self)
    }

    /// A caller's exchange broke off after it had been answered.
    pub fn broke_off(&self) {
        self.failed();
    }

    /// A caller's exchange failed that was no trial.
    fn failed(&self) {
        if matches!(self.place(), Place::Out | Place::Spared) {
            return;
        }
        let answered = self.answered.load(Ordering::Relaxed);
        let advice = self.rejudge(|judge, now| judge.callers.failed(now, answered));
        if advice != Advice::Wait {
            self.look();
        }
    }

    /// Ends when contact was lost or broken, or somebody should look; at once if that happened since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn place(&self) -> Place {
        match self.place.load(Ordering::Relaxed) {
            place if place == Place::In as u8 => Place::In,
            place if place == Place::HalfOpen as u8 => Place::HalfOpen,
            place if place == Place::Spared as u8 => Place::Spared,
            _ => Place::Out,
        }
    }

    fn judge(&self) -> std::sync::MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was learned that may change where the server stands.
    fn rejudge<T>(&self, learn: impl FnOnce(&mut Judge, Instant) -> T) -> T {
        let now = Instant::now();
        let mut judge = self.judge();
        let before = judge.standing(now);
        let learned = learn(&mut judge, now);
        let after = judge.standing(now);
        self.place.store(judge.place() as u8, Ordering::Relaxed);
        // Under the lock, so that changes are told in their order.
        if (before.state, before.reason) != (after.state, after.reason) {
            self.journal.changed(&before, &after, now);
        }
        learned
    }
}

// === impl Judge ===

impl Judge {
    fn place(&self) -> Place {
        match (self.probes.ejected(), self.callers.state()) {
            (Some(Reason::Connect), _) => Place::Out,
            (Some(_), _) | (None, passive::State::Ejected(_)) => Place::Spared,
            (None, passive::State::HalfOpen(_)) => Place::HalfOpen,
            (None, passive::State::Closed) => Place::In,
        }
    }

    fn standing(&self, now: Instant) -> Standing {
        let (state, reason, until) = match (self.probes.ejected(), self.callers.state()) {
            (reason @ Some(_), _) => (State::Ejected, reason, None),
            (None, passive::State::Ejected(until)) => (State::Ejected, Some(Reason::Passive), Some(until)),
            (None, passive::State::HalfOpen(_)) => (State::HalfOpen, Some(Reason::Passive), None),
            (None, passive::State::Closed) => (State::Healthy, None, None),
        };
        let probes_wanted = self.probes.ejected().map(|_| self.probes.wanted(now));
        Standing { state, reason, until, probes_wanted }
    }
}

#[cfg(test)]
mod tests;
