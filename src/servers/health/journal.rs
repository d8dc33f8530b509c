//! Changes of a server's health, for operators: each is counted, few are told.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

use super::{Standing, State};
use crate::{
    limits::HEALTH_LOG_INTERVAL,
    metrics::{ServerMetrics, ServerName},
};

/// Tells of one server.
#[derive(Default)]
pub(super) struct Journal {
    name: ServerName,
    metrics: ServerMetrics,
    lines: Mutex<Lines>,
}

/// One line each [`HEALTH_LOG_INTERVAL`].
#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    suppressed: u64,
}

// === impl Journal ===

impl Journal {
    pub(super) fn new(name: ServerName, metrics: ServerMetrics) -> Self {
        Self { name, metrics, lines: Mutex::default() }
    }

    /// The server stands elsewhere now.
    pub(super) fn changed(&self, before: &Standing, standing: &Standing, now: Instant) {
        if before.state != State::Ejected
            && let (State::Ejected, Some(reason)) = (standing.state, standing.reason)
        {
            self.metrics.ejected(&self.name, reason.as_str());
        }
        let told = self.lines().change(now);
        if let Some(suppressed) = told {
            self.tell(standing, suppressed, now);
        }
    }

    /// Nothing happened: time to tell of what was not told.
    pub(super) fn quiet(&self, standing: impl FnOnce() -> Standing, now: Instant) {
        let told = self.lines().late(now);
        if let Some(suppressed) = told {
            self.tell(&standing(), suppressed, now);
        }
    }

    fn tell(&self, standing: &Standing, suppressed: u64, now: Instant) {
        let server = &*self.name;
        let state = standing.state.as_str();
        match (standing.reason, standing.until) {
            (Some(reason), Some(until)) => {
                let seconds = until.saturating_duration_since(now).as_secs_f64();
                let reason = reason.as_str();
                tracing::warn!(server, state, reason, seconds, suppressed, "health changed");
            }
            (Some(reason), None) => {
                tracing::warn!(server, state, reason = reason.as_str(), suppressed, "health changed");
            }
            (None, _) => tracing::info!(server, state, suppressed, "health changed"),
        }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal of {:?}", self.name)
    }
}

// === impl Lines ===

impl Lines {
    /// Whether this change is told, and how many were not since the last one that was.
    fn change(&mut self, now: Instant) -> Option<u64> {
        if self.is_too_soon(now) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Whether changes that were not told may be told now.
    fn late(&mut self, now: Instant) -> Option<u64> {
        if self.suppressed == 0 || self.is_too_soon(now) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    fn is_too_soon(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.duration_since(last) < HEALTH_LOG_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flapping_server_gets_one_line_each_ten_seconds_which_counts_what_was_not_told() {
        let mut lines = Lines::default();
        let began = Instant::now();
        let changes = (0..600).map(|number| lines.change(began + Duration::from_millis(100) * number));
        let told: Vec<u64> = changes.flatten().collect();
        assert_eq!(told, [0, 99, 99, 99, 99, 99]);
    }

    #[test]
    fn the_last_state_is_told_in_the_end() {
        let mut lines = Lines::default();
        let now = Instant::now();
        assert_eq!(lines.change(now), Some(0));
        assert_eq!(lines.late(now + HEALTH_LOG_INTERVAL), None, "there is no news");
        assert_eq!(lines.change(now), None);
        assert_eq!(lines.late(now), None);
        assert_eq!(lines.late(now + HEALTH_LOG_INTERVAL), Some(1));
        assert_eq!(lines.late(now + HEALTH_LOG_INTERVAL * 2), None);
    }
}
