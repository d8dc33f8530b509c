//! Many events, few fetches.
//!
//! A hundred custom resource definitions that are installed within a second are one change of discovery to whoever
//! looks a moment later. And since what kube-apiserver's discovery says lags behind its objects (a definition is
//! established and an extension server asked some time after the event), it is looked again after the last one.

use std::time::Duration;

use tokio::time::Instant;

use super::Trigger;
use crate::limits;

/// Which fetches events ask for. The clock is handed in.
#[derive(Debug, Default)]
pub(super) struct Coalesce {
    /// The first and the last event that no fetch has answered.
    burst: Option<(Instant, Instant)>,
    /// The last event of all, and what is still to be looked at behind it.
    last: Option<(Instant, Trigger)>,
    follow_ups: &'static [Duration],
}

// === impl Coalesce ===

impl Coalesce {
    /// An event came.
    pub(super) fn heard(&mut self, trigger: Trigger, now: Instant) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
        self.last = Some((now, trigger));
        self.follow_ups = &limits::EVENTS_FOLLOW_UPS;
    }

    /// When to fetch because of what came, and what to call it.
    pub(super) fn due(&self) -> Option<(Instant, Trigger)> {
        let (last_event, trigger) = self.last?;
        let burst = self
            .burst
            .map(|(first, last)| (last + limits::EVENTS_QUIET).min(first + limits::EVENTS_PATIENCE));
        let follow_up = self.follow_ups.first().map(|after| last_event + *after);
        let due = burst.into_iter().chain(follow_up).min()?;
        Some((due, trigger))
    }

    /// A fetch begins, for whatever reason. It answers all that was heard and everything that was due.
    pub(super) fn fetching(&mut self, now: Instant) {
        self.burst = None;
        if let Some((last, _)) = self.last {
            while let [first, rest @ ..] = self.follow_ups
                && last + *first <= now
            {
                self.follow_ups = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fetches as the refresh task does, at most one in `apart`; returns when.
    fn fetches(events: &[u64], apart: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut coalesce = Coalesce::default();
        let mut events = events.iter().map(|millis| start + Duration::from_millis(*millis)).peekable();
        let mut fetched: Vec<Instant> = Vec::new();
        loop {
            let due = coalesce.due().map(|(due, _)| match fetched.last() {
                Some(last) => due.max(*last + apart),
                None => due,
            });
            match (due, events.peek()) {
                (Some(due), event) if event.is_none_or(|event| due <= *event) => {
                    coalesce.fetching(due);
                    fetched.push(due);
                }
                (_, Some(event)) => {
                    coalesce.heard(Trigger::Crd, *event);
                    events.next();
                }
                (_, None) => return fetched.iter().map(|at| *at - start).collect(),
            }
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_event_is_fetched_for_after_a_moment_and_twice_more() {
        let seconds: Vec<f64> = fetches(&[0], SECOND).iter().map(Duration::as_secs_f64).collect();
        assert_eq!(seconds, [0.1, 1.1, 5.0]);
    }

    #[test]
    fn a_hundred_events_in_a_second_make_a_handful_of_fetches() {
        let events: Vec<u64> = (0..100).map(|n| n * 10).collect();
        let fetched = fetches(&events, SECOND);
        assert!(fetched.len() <= 4, "{fetched:?}");
        assert!(fetched[0] <= SECOND, "{fetched:?}");
        assert!(*fetched.last().unwrap() >= Duration::from_millis(990) + 5 * SECOND, "{fetched:?}");
    }

    #[test]
    fn events_without_an_end_put_off_a_fetch_for_a_second_and_no_longer() {
        let events: Vec<u64> = (0..600).map(|n| n * 50).collect();
        let fetched = fetches(&events, SECOND);
        assert!(fetched.windows(2).take(20).all(|pair| pair[1] - pair[0] <= 2 * SECOND), "{fetched:?}");
        assert!((15..=34).contains(&fetched.len()), "{fetched:?}");
    }

    #[test]
    fn any_fetch_answers_the_events_before_it_but_not_their_follow_ups() {
        let now = Instant::now();
        let mut coalesce = Coalesce::default();
        assert!(coalesce.due().is_none());
        coalesce.heard(Trigger::ApiService, now);
        coalesce.fetching(now);
        assert_eq!(coalesce.due(), Some((now + SECOND, Trigger::ApiService)));
        coalesce.fetching(now + 2 * SECOND);
        assert_eq!(coalesce.due(), Some((now + 5 * SECOND, Trigger::ApiService)));
        coalesce.fetching(now + 9 * SECOND);
        assert!(coalesce.due().is_none());
    }
}
