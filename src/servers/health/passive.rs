//! What becomes of callers' exchanges, for servers whose probes say that all is well.
//!
//! Only the connection counts: refused, broken off, silent. What an API server answers, a 503 too, may speak of an
//! extension server or of one object, and callers could make it say so.
//!
//! Failures first make us probe. If exchanges go on failing beside good probes, the server is ejected for a while.
//! Then it is *half-open*: after a good probe one exchange at a time is tried there, and the first outcome decides.
//!
//! Pure: time is passed in.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::limits::{
    EJECTION_BACKOFF, FLAP_MEMORY, HALF_OPEN_QUIET, MAX_EJECTION_BACKOFF, PASSIVE_EJECT, PASSIVE_LOOK,
    PASSIVE_PATIENCE, PASSIVE_WINDOW,
};

/// Whether a server is ejected for what becomes of callers' exchanges.
#[derive(Debug, Default)]
pub(super) struct Passive {
    state: State,
    failures: Window,
    /// Since when there were enough failures to look, and how many came after a probe that found nothing.
    looked: Option<(Instant, Option<u32>)>,
    /// Ejections, as far as they are remembered, and when the last one was over.
    ejections: u32,
    closed: Option<Instant>,
}

/// As circuit breakers have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Exchanges go there.
    #[default]
    Closed,
    /// Others are asked first, until then and until a good probe after it.
    Ejected(Instant),
    /// One exchange at a time is tried, since then.
    HalfOpen(Instant),
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing yet.
    Wait,
    /// Ask how the server is doing.
    Look,
    /// It was ejected.
    Ejected,
}

/// Failures of the last [`PASSIVE_WINDOW`]. Bounded: it counts by slots of time.
#[derive(Debug, Default)]
struct Window(VecDeque<Slot>);

#[derive(Debug)]
struct Slot {
    began: Instant,
    failures: u32,
    /// All answers there ever were when it began.
    answered: u64,
}

const SLOT: Duration = PASSIVE_WINDOW.checked_div(20).expect("20 is not 0");

// === impl Passive ===

impl Passive {
    /// Where it stands.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// An exchange failed that was no trial. `answered` counts all exchanges ever that were answered.
    pub(super) fn failed(&mut self, now: Instant, answered: u64) -> Advice {
        if self.state != State::Closed {
            return Advice::Wait;
        }
        self.failures.add(now, answered);
        let (failed, tried) = self.failures.counts(answered);
        if failed < PASSIVE_LOOK {
            self.looked = None;
            return Advice::Wait;
        }
        let (since, unseen) = self.looked.get_or_insert((now, None));
        if let Some(unseen) = unseen {
            *unseen += 1;
            if *unseen >= PASSIVE_EJECT - PASSIVE_LOOK
                && now.duration_since(*since) >= PASSIVE_PATIENCE
                && failed >= PASSIVE_EJECT
                && u64::from(failed) * 2 >= tried
            {
                self.eject(now);
                return Advice::Ejected;
            }
        }
        Advice::Look
    }

    /// A probe that began at `asked` was good.
    pub(super) fn probed(&mut self, asked: Instant, now: Instant) {
        match self.state {
            State::Closed => {
                self.failures.forget(now);
                if self.failures.total() < PASSIVE_LOOK {
                    self.looked = None;
                } else if let Some((since, unseen @ None)) = &mut self.looked
                    && *since <= asked
                {
                    *unseen = Some(0);
                }
            }
            State::Ejected(until) if until <= now => self.state = State::HalfOpen(now),
            State::HalfOpen(since) if now.duration_since(since) >= HALF_OPEN_QUIET => self.close(now),
            State::Ejected(_) | State::HalfOpen(_) => {}
        }
    }

    /// An exchange that began half-open ended.
    pub(super) fn tried(&mut self, answered: bool, now: Instant) {
        match self.state {
            State::HalfOpen(_) if answered => self.close(now),
            State::HalfOpen(_) => self.eject(now),
            State::Closed | State::Ejected(_) => {}
        }
    }

    /// Contact was lost: what failed until now is explained, and whoever comes back may be another process.
    pub(super) fn lost(&mut self, now: Instant) {
        self.forget();
        if let State::Ejected(until) = &mut self.state {
            *until = now.min(*until);
        }
    }

    fn eject(&mut self, now: Instant) {
        self.forget();
        let doublings = self.remembered(now);
        let backoff = EJECTION_BACKOFF.saturating_mul(1 << doublings.min(8)).min(MAX_EJECTION_BACKOFF);
        self.ejections = if backoff < MAX_EJECTION_BACKOFF { doublings + 1 } else { doublings };
        self.closed = None;
        self.state = State::Ejected(now + backoff);
    }

    fn close(&mut self, now: Instant) {
        self.forget();
        self.closed = Some(now);
        self.state = State::Closed;
    }

    fn forget(&mut self) {
        self.failures.0.clear();
        self.looked = None;
    }

    fn remembered(&self, now: Instant) -> u32 {
        let since = self.closed.map_or(0, |at| now.duration_since(at).as_secs() / FLAP_MEMORY.as_secs());
        self.ejections.saturating_sub(u32::try_from(since).unwrap_or(u32::MAX))
    }
}

// === impl Window ===

impl Window {
    fn add(&mut self, now: Instant, answered: u64) {
        self.forget(now);
        match self.0.back_mut() {
            Some(slot) if now.duration_since(slot.began) < SLOT => {
                slot.failures = slot.failures.saturating_add(1);
            }
            _ => self.0.push_back(Slot { began: now, failures: 1, answered }),
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|slot| now.duration_since(slot.began) >= PASSIVE_WINDOW) {
            self.0.pop_front();
        }
    }

    fn total(&self) -> u32 {
        self.0.iter().fold(0, |total, slot| total.saturating_add(slot.failures))
    }

    /// How many failed, and how many were tried since the first of them.
    fn counts(&self, answered: u64) -> (u32, u64) {
        let failed = self.total();
        let before = self.0.front().map_or(answered, |first| first.answered);
        (failed, answered.saturating_sub(before) + u64::from(failed))
    }
}

#[cfg(test)]
mod tests;
