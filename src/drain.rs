//! How the process leaves: one value goes through its phases, and whoever serves something follows it.
//!
//! ```text
//! Serving ──signal──▶ Leaving ──delay──▶ Closing ──timeout──▶ Over
//!                     GOAWAY, still      nothing new          what is left ends
//!                     accepting          is accepted          as if it were complete
//! ```
//!
//! Work that must be waited for holds a [`Busy`]; when nobody does any more the rest of the way is cut short.

use std::sync::Arc;

use tokio::sync::watch;

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It isn't.
    Serving,
    /// Clients are told to go elsewhere, and served until they do; new ones are accepted, for balancers take a
    /// while to notice.
    Leaving,
    /// No connection is accepted; requests under way finish.
    Closing,
    /// What has no end of its own (watches, tunnels) ends now, cleanly.
    Over,
}

/// Leads the way; held by whoever decides to leave.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    busy: Arc<watch::Sender<()>>,
}

/// Follows the way; cloning is cheap.
#[derive(Clone, Debug)]
pub struct Signal {
    phase: watch::Receiver<Phase>,
    busy: Arc<watch::Sender<()>>,
}

/// Something under way; leaving waits until it is dropped.
#[derive(Debug)]
pub struct Busy(#[expect(dead_code, reason = "counts by living")] watch::Receiver<()>);

// === impl Drain ===

impl Default for Drain {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), busy: Arc::new(watch::Sender::new(())) }
    }
}

impl Drain {
    /// For those who follow.
    pub fn signal(&self) -> Signal {
        Signal { phase: self.phase.subscribe(), busy: Arc::clone(&self.busy) }
    }

    /// Goes on to a phase; there is no way back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        self.busy.closed().await;
    }

    /// How much is under way.
    pub fn busy(&self) -> usize {
        self.busy.receiver_count()
    }
}

// === impl Signal ===

impl Signal {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until that phase has begun. Cancel safe. If whoever led the way is gone, it is over.
    pub async fn reached(&mut self, phase: Phase) {
        // An error says that the other end is gone, and then nothing is left to wait for.
        let _ = self.phase.wait_for(|now| *now >= phase).await;
    }

    /// Makes the process wait for the holder before it ends.
    #[must_use]
    pub fn busy(&self) -> Busy {
        Busy(self.busy.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward_and_late_followers_see_them() {
        let drain = Drain::default();
        let mut signal = drain.signal();
        assert_eq!(signal.phase(), Phase::Serving);
        drain.enter(Phase::Closing);
        drain.enter(Phase::Leaving);
        assert_eq!(signal.phase(), Phase::Closing);
        signal.reached(Phase::Leaving).await;
        drain.signal().reached(Phase::Closing).await;
    }

    #[tokio::test]
    async fn it_is_idle_when_the_last_one_is_done() {
        let drain = Drain::default();
        drain.idle().await;
        let signal = drain.signal();
        let (one, other) = (signal.busy(), signal.busy());
        drop(one);
        assert_eq!(drain.busy(), 1);
        assert!(futures_util::FutureExt::now_or_never(drain.idle()).is_none());
        drop(other);
        drain.idle().await;
    }

    #[tokio::test]
    async fn followers_of_nobody_are_told_that_it_is_over() {
        let mut signal = Drain::default().signal();
        signal.reached(Phase::Over).await;
    }
}
