//! One exchange of a caller, and what it says of the server.

use std::sync::atomic::Ordering;

use super::{Health, Place, Reason};

/// An exchange of a caller with a server, from before it is sent. What became of it should be said.
#[derive(Debug)]
pub struct Exchange<'a> {
    health: &'a Health,
    kind: Kind,
}

/// What an exchange is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One of many.
    Usual,
    /// The one exchange that a half-open server gets.
    Trial,
    /// Another one beside that: for who has nobody else to ask.
    Spare,
}

// === impl Exchange ===

impl<'a> Exchange<'a> {
    /// Whoever comes first to a half-open server has the trial, and nobody else until that has ended.
    pub(super) fn begin(health: &'a Health) -> Self {
        let kind = if health.place() != Place::HalfOpen {
            Kind::Usual
        } else if health.trial.swap(true, Ordering::Relaxed) {
            Kind::Spare
        } else {
            Kind::Trial
        };
        Self { health, kind }
    }

    /// Whether the server is being tried by another exchange, so that this one should go elsewhere if it can.
    pub fn is_spare(&self) -> bool {
        self.kind == Kind::Spare
    }

    /// The server answered, whatever it said.
    pub fn answered(self) {
        self.health.answered.fetch_add(1, Ordering::Relaxed);
        if self.kind != Kind::Usual {
            self.health.rejudge(|judge, now| judge.callers.tried(true, now));
        }
    }

    /// The connection broke off, or could not be had.
    pub fn failed(self) {
        if self.kind != Kind::Usual {
            self.health.rejudge(|judge, now| {
                // Whoever cannot be reached at all has failed no trial.
                if judge.probes.ejected() != Some(Reason::Connect) {
                    judge.callers.tried(false, now);
                }
            });
        } else {
            self.health.failed();
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.kind == Kind::Trial {
            self.health.trial.store(false, Ordering::Relaxed);
        }
    }
}
