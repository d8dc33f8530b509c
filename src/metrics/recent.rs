//! What was decided lately about requests that did not simply stay at home: for people who look now.
//!
//! Two short lists, one of requests that a peer answered and one of those that we refused ourselves, so that a flood of
//! one hides nothing of the other; and how many were rerouted in each of the last seconds. Requests that home answered
//! never come here. Alike ones share an entry, so that a client that asks without end fills no list.
//!
//! An entry says what was asked for by verb, group, version and resource: no name, no namespace, no query and no user
//! (I12). Of a request that was refused for what the client did (4xx) not even that is kept: whoever it is wrote it, and
//! most often nobody knows him.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{ServerName, requests::known_verb};
use crate::limits;

/// What was decided lately; cloning gives another handle on the same.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

/// How one request went.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// Kubernetes' verb.
    pub verb: &'a str,
    /// Empty where no resource was asked for.
    pub group: &'a str,
    /// See `group`.
    pub version: &'a str,
    /// With its subresource; see `group`.
    pub resource: &'a str,
    /// The server that it would have gone to; `None` if it did not get so far.
    pub home: Option<&'a ServerName>,
    /// The server that it went to, if to any.
    pub server: Option<&'a ServerName>,
    /// The router's word; empty if it did not get so far.
    pub reason: &'static str,
    /// The status code that the client got.
    pub status: u16,
}

/// Requests that went alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A verb that we know, or `other`.
    pub verb: &'static str,
    /// See [`Decided::group`].
    pub group: String,
    /// See [`Decided::group`].
    pub version: String,
    /// See [`Decided::group`].
    pub resource: String,
    /// See [`Decided::home`].
    pub home: Option<ServerName>,
    /// See [`Decided::server`].
    pub server: Option<ServerName>,
    /// See [`Decided::reason`].
    pub reason: &'static str,
    /// See [`Decided::status`].
    pub status: u16,
    /// How many there were since the entry is in the list.
    pub times: u64,
    /// When the last one was answered.
    pub at: Instant,
    /// From its head until its answer began.
    pub took: Duration,
}

/// Both lists, and the rate, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What peers answered, the latest first.
    pub rerouted: Vec<Entry>,
    /// What we refused, the latest first.
    pub refused: Vec<Entry>,
    /// Rerouted requests in each of the last [`limits::RATE_HISTORY`] whole seconds, the latest last.
    pub seconds: Vec<u32>,
}

#[derive(Debug, Default)]
struct Kept {
    rerouted: VecDeque<Entry>,
    refused: VecDeque<Entry>,
    seconds: Seconds,
}

/// Counts by second: the one that runs, and those before it.
#[derive(Debug)]
struct Seconds {
    began: Instant,
    /// The second that runs, since `began`.
    now: usize,
    /// By second, modulo its length.
    counts: [u32; limits::RATE_HISTORY + 1],
}

// === impl Recent ===

impl Recent {
    /// A peer answered a request.
    pub fn rerouted(&self, decided: Decided<'_>, took: Duration) {
        let now = Instant::now();
        let mut kept = self.lock();
        kept.seconds.add(now);
        note(&mut kept.rerouted, decided, now, took);
    }

    /// We refused a request ourselves.
    pub fn refused(&self, mut decided: Decided<'_>, took: Duration) {
        if decided.status < 500 {
            decided = Decided { group: "", version: "", resource: "", ..decided };
        }
        note(&mut self.lock().refused, decided, Instant::now(), took);
    }

    /// How it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let mut kept = self.lock();
        let seconds = kept.seconds.whole(Instant::now());
        let listed = |list: &VecDeque<Entry>| list.iter().cloned().collect();
        Snapshot { rerouted: listed(&kept.rerouted), refused: listed(&kept.refused), seconds }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts it first, and lets go of the last one if they are too many.
fn note(list: &mut VecDeque<Entry>, decided: Decided<'_>, at: Instant, took: Duration) {
    let known = list.iter().position(|entry| entry.is_as(&decided));
    let mut entry = match known.and_then(|known| list.remove(known)) {
        Some(entry) => entry,
        None => Entry::of(&decided, at),
    };
    entry.times += 1;
    (entry.at, entry.took) = (at, took);
    list.truncate(limits::MAX_RECENT_DECISIONS - 1);
    list.push_front(entry);
}

// === impl Entry ===

impl Entry {
    fn of(decided: &Decided<'_>, at: Instant) -> Self {
        Self {
            verb: known_verb(decided.verb),
            group: cut(decided.group).to_owned(),
            version: cut(decided.version).to_owned(),
            resource: cut(decided.resource).to_owned(),
            home: decided.home.cloned(),
            server: decided.server.cloned(),
            reason: decided.reason,
            status: decided.status,
            times: 0,
            at,
            took: Duration::ZERO,
        }
    }

    fn is_as(&self, decided: &Decided<'_>) -> bool {
        self.status == decided.status
            && self.reason == decided.reason
            && self.resource == cut(decided.resource)
            && self.verb == known_verb(decided.verb)
            && self.version == cut(decided.version)
            && self.group == cut(decided.group)
            && self.server.as_ref() == decided.server
            && self.home.as_ref() == decided.home
    }
}

/// What a client wrote is as long as it likes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::MAX_DECIDED_NAME)]
}

// === impl Snapshot ===

impl Snapshot {
    /// Rerouted requests per second, over the last [`limits::RATE_SECONDS`] whole seconds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let latest = self.seconds.iter().rev().take(limits::RATE_SECONDS);
        latest.map(|count| f64::from(*count)).sum::<f64>() / limits::RATE_SECONDS as f64
    }
}

// === impl Seconds ===

impl Default for Seconds {
    fn default() -> Self {
        Self { began: Instant::now(), now: 0, counts: [0; limits::RATE_HISTORY + 1] }
    }
}

impl Seconds {
    fn add(&mut self, at: Instant) {
        self.go_on(at);
        let slot = self.now % self.counts.len();
        self.counts[slot] = self.counts[slot].saturating_add(1);
    }

    /// All but the one that runs, the latest last.
    fn whole(&mut self, at: Instant) -> Vec<u32> {
        self.go_on(at);
        let length = self.counts.len();
        (1..length).map(|later| self.counts[(self.now + later) % length]).collect()
    }

    /// Begins the seconds that began since.
    fn go_on(&mut self, at: Instant) {
        let second = at.saturating_duration_since(self.began).as_secs() as usize;
        for skipped in 1..=second.saturating_sub(self.now).min(self.counts.len()) {
            let slot = (self.now + skipped) % self.counts.len();
            self.counts[slot] = 0;
        }
        self.now = self.now.max(second);
    }
}

#[cfg(test)]
mod tests;
