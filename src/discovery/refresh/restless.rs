//! A server that never says the same twice costs no more than one that changes now and then.
//!
//! Each change of a server's document makes another catalog, and everybody renders and reads another merged document. So
//! changes are rationed per server: there is an allowance, which comes back slowly. Without it the server is fetched no
//! sooner than there is some again. What callers are owed (a write's window, a route that was denied) is fetched in any
//! case.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{CHANGE_INTERVAL, CHANGES_AT_ONCE};

/// The allowance of one server. The clock is handed in.
#[derive(Debug, Default)]
pub(super) struct Restless {
    /// When it is whole again; later by [`CHANGE_INTERVAL`] with each change.
    whole_at: Option<Instant>,
    /// It was used up, and is not whole yet.
    is_known: bool,
}

/// What is to be said of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Its allowance is used up.
    Restless,
    /// Its allowance is whole again.
    Calm,
}

// === impl Restless ===

impl Restless {
    /// A fetch ended, and brought another document or not.
    pub(super) fn fetched(&mut self, changed: bool, now: Instant) -> Option<News> {
        let owed = self.whole_at.filter(|at| *at > now);
        self.whole_at = owed;
        if changed {
            // What callers are owed is fetched without an allowance, too, and must not be paid for long after.
            let most = now + CHANGE_INTERVAL * CHANGES_AT_ONCE;
            self.whole_at = Some((owed.unwrap_or(now) + CHANGE_INTERVAL).min(most));
        }
        if self.is_used_up(now) && !self.is_known {
            self.is_known = true;
            return Some(News::Restless);
        }
        if self.is_known && owed.is_none() {
            self.is_known = false;
            return Some(News::Calm);
        }
        None
    }

    /// Not sooner is it to be fetched.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.whole_at?.checked_sub(allowance())
    }

    /// Whether it has been told that the server is restless.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    fn is_used_up(&self, now: Instant) -> bool {
        self.not_before().is_some_and(|at| at > now)
    }
}

/// The debt with which nothing more is allowed.
fn allowance() -> Duration {
    CHANGE_INTERVAL * (CHANGES_AT_ONCE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn whoever_changes_now_and_then_is_never_held_back() {
        let mut restless = Restless::default();
        let start = Instant::now();
        for number in 0..1000 {
            let now = start + CHANGE_INTERVAL * number;
            assert!(restless.not_before().is_none_or(|at| at <= now));
            assert_eq!(restless.fetched(true, now), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_what_goes_on_is_held_back_and_told_once() {
        let mut restless = Restless::default();
        let start = Instant::now();
        let (mut now, mut changes, mut news) = (start, 0_u32, Vec::new());
        while now < start + SECOND * 3600 {
            changes += 1;
            news.extend(restless.fetched(true, now));
            now = restless.not_before().map_or(now + SECOND, |at| at.max(now + SECOND));
        }
        assert_eq!(news, [News::Restless]);
        let most = CHANGES_AT_ONCE + 3600 / u32::try_from(CHANGE_INTERVAL.as_secs()).unwrap() + 1;
        assert!((most - 3..=most).contains(&changes), "{changes} of {most}");
        // Nothing changes any more.
        now += CHANGE_INTERVAL * CHANGES_AT_ONCE;
        assert_eq!(restless.fetched(false, now), Some(News::Calm));
        assert_eq!(restless.fetched(true, now), None);
        assert!(restless.not_before().is_none_or(|at| at <= now));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_fetched_without_an_allowance_is_not_paid_for_long_after() {
        let mut restless = Restless::default();
        let now = Instant::now();
        for _ in 0..10_000 {
            restless.fetched(true, now);
        }
        assert!(restless.not_before().is_none_or(|at| at <= now + CHANGE_INTERVAL));
    }
}
