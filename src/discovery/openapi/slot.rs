//! One document of one server: the last good one, and how the last fetch went.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use super::fetch::{Bounds, FetchError, Good};
use crate::limits;

/// Fetches are single-flight, and go on when nobody waits for them any more.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    good: Option<Arc<Good>>,
    /// When the good one became another.
    changed: Option<Instant>,
    /// When the good one was last known to be right.
    confirmed: Option<Instant>,
    error: Option<String>,
    /// Which it will be the next time too.
    too_large: bool,
    tried: Option<Tried>,
    flight: Option<Flight>,
}

/// Ends when the fetch does.
pub(super) type Flight = watch::Receiver<()>;

/// The last fetch.
#[derive(Clone, Copy, Debug)]
struct Tried {
    began: Instant,
    /// The catalog's, when it began.
    generation: u64,
    /// Nobody waits again for a server that let us wait in vain.
    slow: bool,
    failed: bool,
}

/// What a slot needs before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: what is there is right.
    Nothing,
    /// A fetch that nobody waits for.
    Background,
    /// A fetch that is waited for, but not long: there is something to go on with.
    Again,
    /// A fetch that is waited for: there is nothing yet.
    First,
}

/// How a slot is doing, for people.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) good: Option<Arc<Good>>,
    pub(super) confirmed: Option<Duration>,
    pub(super) error: Option<String>,
    pub(super) asked: bool,
}

// === impl Slot ===

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn good(&self) -> Option<Arc<Good>> {
        self.state().good.clone()
    }

    pub(super) fn shown(&self) -> Shown {
        let state = self.state();
        Shown {
            good: state.good.clone(),
            confirmed: state.confirmed.map(|at| at.elapsed()),
            error: state.error.clone(),
            asked: state.tried.is_some(),
        }
    }

    /// When the good one became another.
    pub(super) fn changed(&self) -> Option<Instant> {
        self.state().changed
    }

    /// Whether the good one, if there is one, may be another by now for all that could be found out.
    pub(super) fn is_unsure(&self, bounds: &Bounds) -> bool {
        let state = self.state();
        let waiting = state.flight.is_some()
            && state.tried.is_some_and(|tried| tried.began.elapsed() > bounds.revalidate);
        state.good.is_none() || state.error.is_some() || waiting
    }

    /// What is needed for a request that comes now, under this generation of the catalog.
    pub(super) fn need(&self, generation: u64, age: Duration, bounds: &Bounds) -> Need {
        let state = self.state();
        let Some(tried) = state.tried else { return Need::First };
        let wait = if state.good.is_some() { Need::Again } else { Need::First };
        if state.flight.is_some() {
            let known_to_be_slow = tried.slow || tried.began.elapsed() > patience(&state, bounds);
            return if known_to_be_slow { Need::Background } else { wait };
        }
        if state.too_large {
            // Nobody waits for that again.
            return if tried.began.elapsed() > bounds.retry_too_large {
                Need::Background
            } else {
                Need::Nothing
            };
        }
        if tried.generation != generation {
            return if tried.slow { Need::Background } else { wait };
        }
        let age = if tried.failed { bounds.retry } else { age };
        match tried.began.elapsed() > age {
            false => Need::Nothing,
            true if tried.failed || tried.slow => Need::Background,
            // However long ago somebody asked: what came meanwhile is there.
            true => wait,
        }
    }

    /// The same as [`Self::doubt`], unless it was fetched after this.
    pub(super) fn doubt_before(&self, then: Option<Instant>) {
        if let Some(tried) = &mut self.state().tried
            && then.is_some_and(|then| tried.began < then)
        {
            tried.generation = u64::MAX;
        }
    }

    /// Something said that the document may be another one now. Clients can bring that about, so it does not count
    /// right after a fetch.
    pub(super) fn doubt(&self) {
        if let Some(tried) = &mut self.state().tried
            && tried.began.elapsed() > limits::ROUTE_404_REFETCH_INTERVAL
        {
            tried.generation = u64::MAX;
        }
    }

    /// Starts a fetch unless one is under way. `fetch` gets the last good document, and tells whether there is
    /// another.
    pub(super) fn start<F>(
        self: &Arc<Self>,
        generation: u64,
        bounds: &Bounds,
        fetch: impl FnOnce(Option<Arc<Good>>) -> F,
    ) -> Flight
    where
        F: Future<Output = Result<Option<Good>, FetchError>> + Send + 'static,
    {
        let mut state = self.state();
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (ended, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let slow = state.tried.is_some_and(|tried| tried.slow);
        state.tried = Some(Tried { began: Instant::now(), generation, slow, failed: false });
        let fetch = fetch(state.good.clone());
        let (slot, patience) = (Arc::clone(self), patience(&state, bounds));
        tokio::spawn(async move {
            // Whatever becomes of the fetch, the slot is free again.
            let landing = Landing(&slot);
            let result = fetch.await;
            slot.landed(result, patience);
            drop(landing);
            drop(ended);
        });
        flight
    }

    fn landed(&self, result: Result<Option<Good>, FetchError>, patience: Duration) {
        let mut state = self.state();
        let failed = result.is_err();
        state.too_large = matches!(result, Err(FetchError::TooLarge(_)));
        match result {
            Ok(changed) => {
                if let Some(good) = changed {
                    state.good = Some(Arc::new(good));
                    state.changed = Some(Instant::now());
                }
                state.error = None;
                state.confirmed = Some(Instant::now());
            }
            Err(error) => state.error = Some(error.to_string()),
        }
        if let Some(tried) = &mut state.tried {
            tried.failed = failed;
            tried.slow = tried.began.elapsed() > patience;
        }
    }
}

/// How long a fetch may be waited for: not long if there is something to go on with.
fn patience(state: &State, bounds: &Bounds) -> Duration {
    if state.good.is_some() { bounds.revalidate } else { bounds.grace }
}

struct Landing<'a>(&'a Slot);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.state().flight = None;
    }
}

/// Waits for the end of a fetch, but not beyond `until`.
pub(super) async fn landed(mut flight: Flight, until: Option<Instant>) {
    // Nothing is ever sent: an error is the end.
    let ended = async { while flight.changed().await.is_ok() {} };
    match until {
        Some(until) => drop(tokio::time::timeout_at(until, ended).await),
        None => ended.await,
    }
}

#[cfg(test)]
mod tests;
