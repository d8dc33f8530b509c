//! One task per API server that asks whether it is there and ready, beside [`super::refresh`].
//!
//! It has connections of its own ([`crate::servers::Class::Own`]), so that clients who fill theirs say nothing of
//! the server. A server that answers slowly is not ready, but its watches are well; and so they may be if it refuses
//! new connections, as one does that finishes what it has before it leaves. Only of one from which nothing at all has
//! come for as long as a hung connection is given are connections closed ([`Server::close_if_silent`]).

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    catalog::{Books, Knowledge},
    fetch::{FetchError, Fetcher},
    refresh::{Refresh, Trigger, jitter},
};
use crate::{
    limits,
    metrics::Metrics,
    servers::{Server, health::Word},
};

/// When the probe task does what.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Between two probes of a server that is there.
    pub interval: Duration,
    /// A server that does not answer within this is not ready.
    pub slow_after: Duration,
    /// Contact with a server that does not answer within this is lost.
    pub dead_after: Duration,
    /// Without an answer for so long, what is known of a server is stale.
    pub stale_after: Duration,
}

/// What `/readyz` said so far.
#[derive(Default)]
struct Said {
    /// It was 200 once, so our user may read it.
    may_read: bool,
    /// What the last answer meant.
    ready: Option<bool>,
}

/// An answer of `/readyz`.
struct Answer {
    status: StatusCode,
    /// Before it was called slow.
    in_time: bool,
}

/// Watches one server.
pub struct Probe {
    /// The server.
    pub server: Arc<Server>,
    /// Where losses are written down.
    pub books: Books,
    /// Who asks.
    pub fetcher: Fetcher,
    /// See [`Schedule`].
    pub schedule: Schedule,
    /// Asked for a fetch after a loss, and when the server says another thing of its readiness.
    pub refresh: Refresh,
    /// What is counted.
    pub metrics: Metrics,
}

impl Probe {
    /// Starts the task, which ends when `tasks` is dropped.
    pub fn spawn(self, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.run());
    }

    async fn run(self) {
        // The first fetch is the first contact.
        self.refresh.asked_once().await;
        let mut seen = self.server.health.losses();
        let mut lost = !self.server.health.is_connected();
        let mut said = Said::default();
        let mut stood = self.server.health.standing().state;
        let mut next = Instant::now();
        loop {
            let earliest = Instant::now() + limits::MIN_PROBE_INTERVAL;
            tokio::select! {
                () = time::sleep_until(next) => {}
                () = self.server.health.changed() => time::sleep_until(earliest.min(next)).await,
            }
            let there = self.ask_or_go_stale(&mut said, &mut lost).await;
            let losses = self.server.health.losses();
            lost |= losses != seen || !there;
            seen = losses;
            if !there {
                self.write(Knowledge::contact_lost).await;
            } else if std::mem::take(&mut lost) {
                self.write(Knowledge::contact_back).await;
                self.refresh.ask(Trigger::Reconnect);
            } else if self.server.health.standing().state != stood {
                self.refresh.ask(Trigger::Health);
            }
            stood = self.server.health.standing().state;
            self.metrics.servers.healthy(&self.server.name, self.server.health.is_healthy());
            // Whoever is expected back is looked for more often.
            let health = &self.server.health;
            let well = there && health.is_ready();
            let wait = if well { self.schedule.interval } else { self.schedule.interval / 5 };
            // ... and what one answer leaves open, the next one decides soon.
            let soon = if health.wants_follow_up() { wait.min(limits::FOLLOW_UP_PROBE) } else { wait };
            next = Instant::now() + jitter(soon);
            next = health.half_open_at().map_or(next, |at| next.min(at));
        }
    }

    /// Asks, and writes down that contact is lost as soon as there was none for too long.
    async fn ask_or_go_stale(&self, said: &mut Said, lost: &mut bool) -> bool {
        let began = Instant::now();
        let stale_at = || self.server.health.last_contact().unwrap_or(began) + self.schedule.stale_after;
        let mut ask = std::pin::pin!(self.ask(said));
        // Watches may be contact while the answer is waited for.
        while let until = stale_at()
            && until > Instant::now()
        {
            if let Ok(there) = time::timeout_at(until, ask.as_mut()).await {
                return there;
            }
        }
        *lost = true;
        self.write(Knowledge::contact_lost).await;
        ask.await
    }

    /// Whether the server is there.
    async fn ask(&self, said: &mut Said) -> bool {
        let health = &self.server.health;
        let asked = Instant::now();
        let mut answered = self.answer().await;
        if answered.is_err() && health.is_connected() {
            // A connection that ends under a question says less than one that cannot be had.
            answered = self.answer().await;
        }
        match answered {
            Ok(Answer { status, in_time }) => {
                health.contact();
                said.may_read |= status == StatusCode::OK;
                let ready = says_ready(status, said.may_read);
                // That it was slow was said before.
                if in_time {
                    health.heard(if ready { Word::Ready } else { Word::NotReady }, asked);
                }
                if said.ready.replace(ready).is_some_and(|before| before != ready) {
                    // Behind a proxy this is all that is heard when a server goes or comes back.
                    self.refresh.ask(Trigger::Health);
                }
                self.metrics.servers.probed(&self.server.name, "ok");
                true
            }
            // A server whose HTTP/2 connection answers PINGs is alive, and its watches may be well; but what it
            // serves is not confirmed for ever.
            Err(FetchError::Timeout(_)) if health.speaks_http2() => {
                health.last_contact().is_some_and(|last| last.elapsed() < self.schedule.stale_after)
            }
            Err(error) => {
                self.metrics.servers.probed(&self.server.name, "failed");
                health.lost(error.to_string());
                if error.is_silence() {
                    self.server.close_if_silent(self.schedule.dead_after);
                } else if matches!(error, FetchError::NoAnswer { .. }) {
                    self.server.let_go();
                }
                false
            }
        }
    }

    /// What `/readyz` says, within the time in which the PING of the connection would have found out that the
    /// server hangs. If nothing came for a while, it is asked once more beside that: one request may be stuck, and
    /// the server well.
    async fn answer(&self) -> Result<Answer, FetchError> {
        let Schedule { slow_after, dead_after, .. } = self.schedule;
        let answer = |status, in_time| Answer { status, in_time };
        let mut first = std::pin::pin!(self.fetcher.probe(&self.server));
        if let Ok(answered) = time::timeout(slow_after, first.as_mut()).await {
            return answered.map(|status| answer(status, true));
        }
        self.slow();
        let rest = dead_after.saturating_sub(slow_after) + slow_after / 2;
        let second = async {
            time::sleep(jitter(limits::FOLLOW_UP_PROBE)).await;
            if let Ok(Ok(status)) = time::timeout(slow_after, self.fetcher.probe(&self.server)).await {
                return status;
            }
            self.slow();
            std::future::pending().await
        };
        tokio::select! {
            answered = first => answered.map(|status| answer(status, false)),
            status = second => Ok(answer(status, true)),
            () = time::sleep(rest) => Err(FetchError::Timeout(dead_after)),
        }
    }

    fn slow(&self) {
        self.server.health.heard(Word::Slow, Instant::now());
        self.metrics.servers.probed(&self.server.name, "slow");
        self.metrics.servers.healthy(&self.server.name, self.server.health.is_healthy());
    }

    async fn write(&self, change: fn(&mut Knowledge)) {
        self.books.write(&self.server, change).await;
        let freshness = self.books.knowledge(&self.server).freshness();
        self.metrics.discovery.freshness(&self.server.name, freshness.as_str());
    }
}

/// What an answer of `/readyz` means.
///
/// A kube-apiserver that has not read its roles yet refuses even this, with 403. But where our user may never
/// read it, anything but a 5xx has to do.
fn says_ready(status: StatusCode, may_read: bool) -> bool {
    status == StatusCode::OK || !(may_read || status.is_server_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_by_a_tenth_at_most_so_that_servers_are_not_asked_in_step() {
        let wait = Duration::from_secs(10);
        let waits: Vec<_> = (0..1000).map(|_| jitter(wait)).collect();
        assert!(waits.iter().all(|found| found.abs_diff(wait) <= wait / 10));
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*most - *least > wait / 10, "{least:?} to {most:?}");
    }

    #[test]
    fn a_403_of_readyz_is_believed_from_a_server_that_allowed_it_before() {
        for may_read in [false, true] {
            assert!(says_ready(StatusCode::OK, may_read));
            assert!(!says_ready(StatusCode::INTERNAL_SERVER_ERROR, may_read));
            assert_eq!(says_ready(StatusCode::FORBIDDEN, may_read), !may_read);
        }
    }
}
