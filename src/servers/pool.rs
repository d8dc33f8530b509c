//! Connections of one class to one API server.
//!
//! A common HTTP client keeps one HTTP/2 connection to a server and queues behind the server's
//! stream limit (kube-apiserver: 100), so a hundred watches would freeze everything else. A pool
//! opens as many connections as it takes, over HTTP/1.1 where the server offers nothing better,
//! and tells exactly what may be sent to another server after a failure.
//!
//! The following invariants apply to this pool:
//! - A request gets a stream, a connection being opened, or an error: it never waits for somebody
//!   else's stream to end while another connection may be opened.
//! - A connection never has more streams than its server's SETTINGS allow. A stream counts until
//!   request and response are through; a cancelled one until the server has answered a PING sent
//!   after its RST_STREAM, so that hasty clients never look like a rapid reset attack
//!   (CVE-2023-44487), for which servers end a connection and everybody's streams on it.
//! - A connection that got GOAWAY finishes its streams, gets no new ones and doesn't count against
//!   [`Settings::max_connections`].
//! - No request is sent twice unless the server provably did not process the first
//!   ([`SendErrorKind::is_unprocessed`]); a request comes back in [`SendError::request`] only then,
//!   and only whole.
//! - After [`Pool::rekey`] no request begins on a connection that was opened before it; those under way go on.
//! - A connection is declared dead when it stays silent for [`Settings::ping_interval`] and
//!   [`Settings::ping_timeout`] while requests are outstanding; all of them fail at that moment.
//! - A reader that stops reading stops the server's sending on its own stream, and on no other.
//! - Whatever the caller drops, at any await, leaves nothing behind: the stream is reset, the
//!   HTTP/1.1 connection closed, the place in the pool free.

mod connection;
mod dial;
mod error;
mod event;
mod h1;
mod h2;
mod liveness;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod upgrade;
mod upload;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use futures_util::future::AbortHandle;
use http::uri::{Authority, InvalidUri};
use http::{Request, Response};
use hyper::client::conn::http1;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

pub use self::error::{SendError, SendErrorKind, is_of_connection};
pub use self::event::{Event, Observer};
use self::liveness::LastRead;
pub use self::settings::{Settings, Target};
pub use self::state::Stats;
use self::state::{Load, State, TakenSender};
pub use self::upgrade::{
    Answered, Lease as UpgradeLease, Refusal, RefusalError, Switched, UpgradeTls, Upgrades,
};
use crate::{body::Body, limits};

/// Connections of one class to one server. See the [module](self) for what it promises.
///
/// When the last handle is dropped, exchanges under way still come to their end.
pub struct Pool {
    config: Arc<Config>,
    state: Mutex<State>,
    /// Something changed that a waiting request may like: a connection, a stream, a failure.
    changed: Notify,
    waiting: AtomicUsize,
}

/// What a pool goes by; shared with its connections. Only the certificates ever change.
struct Config {
    target: Target,
    authority: Authority,
    tls: ArcSwap<ClientConfig>,
    settings: Settings,
    observer: Observer,
    /// When any of the connections was last heard.
    heard: LastRead,
}

impl Pool {
    /// A pool without a connection; the first request opens one. The HTTP versions are those that
    /// `tls` offers by ALPN.
    ///
    /// # Errors
    /// If `host:port` of the target is no valid authority of a URI.
    pub fn new(
        target: Target,
        tls: Arc<ClientConfig>,
        settings: Settings,
        observer: Observer,
    ) -> Result<Arc<Self>, InvalidUri> {
        let authority = target.authority().parse()?;
        let multiplexed = tls.alpn_protocols.iter().any(|protocol| protocol == b"h2");
        let state = Mutex::new(State::new(if multiplexed { settings.expected_streams } else { 1 }));
        let tls = ArcSwap::new(tls);
        let config = Arc::new(Config { target, authority, tls, settings, observer, heard: LastRead::now() });
        Ok(Arc::new(Self { config, state, changed: Notify::new(), waiting: AtomicUsize::new(0) }))
    }

    /// Sends a request and returns when its response begins.
    ///
    /// Path and query go out as they are. `Host` is what the URI's authority says, else the `Host`
    /// field, else the target. Hop-by-hop fields are the caller's to remove.
    ///
    /// # Errors
    /// See [`SendErrorKind`]. There is no timeout for the response: that is the caller's, too.
    pub async fn send(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let mut request = request;
        let mut resends = 0;
        loop {
            let (lease, sender) = match self.lease().await {
                Ok(taken) => taken,
                Err(e) => return Err(e.with_request(Some(request))),
            };
            let outcome = match sender {
                TakenSender::H2(sender) => h2::exchange(&self.config, lease, sender, request).await,
                TakenSender::H1(sender) => h1::exchange(&self.config, lease, sender, request).await,
            };
            match outcome {
                Err(SendError { again: true, request: Some(unsent), .. })
                    if resends < limits::MAX_RESENDS =>
                {
                    resends += 1;
                    request = *unsent;
                }
                outcome => return outcome,
            }
        }
    }

    /// Ends every exchange now, each with an error. The pool stays usable, and opens a new connection for the next
    /// request.
    pub fn close_all(&self) {
        let members = self.state().clear();
        members.iter().for_each(AbortHandle::abort);
    }

    /// The server is thought to be dead: ends what no PING looks after, that is HTTP/1.1 connections and those without
    /// a request. What is under way over HTTP/2 finds out by itself.
    pub fn close_unwatched(&self) {
        let members = self.state().clear_unwatched();
        members.iter().for_each(AbortHandle::abort);
    }

    /// When the server was last heard on any of the connections, or else when the pool was made.
    pub fn heard(&self) -> Instant {
        self.config.heard.get()
    }

    /// From now on connections are opened with `tls`, which must offer the HTTP versions that the last one did. Those
    /// that there are take no more requests, and close when those that they have are through: a watch survives.
    pub fn rekey(&self, tls: Arc<ClientConfig>) {
        // In this order: a dial that counts as begun after this can't have the old certificates.
        self.config.tls.store(tls);
        self.retire();
    }

    /// Connections take no more requests, and close when those that they have are through.
    pub fn retire(&self) {
        let retired = self.state().retire_all();
        for load in retired {
            load.retire();
        }
        self.changed.notify_waiters();
    }

    /// The pool as it is now.
    pub fn stats(&self) -> Stats {
        Stats { waiting: self.waiting.load(Ordering::SeqCst), ..self.state().stats() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on a connection, if need be on one that is opened for it.
    async fn lease(self: &Arc<Self>) -> Result<(Lease, TakenSender), SendError> {
        let settings = &self.config.settings;
        let failures_before = match self.take() {
            Ok(taken) => return Ok(taken),
            Err(failures) => failures,
        };
        let started = Instant::now();
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Ok(taken) = self.take() {
                return Ok(taken);
            }
            let patient = started.elapsed() < settings.connect_timeout;
            if self.open_for_waiting(failures_before, patient)? > 0 {
                changed.await;
            } else if timeout_at(started + settings.queue_timeout, changed).await.is_err() {
                let full = format!("{}: {} connections", self.config.authority, settings.max_connections);
                return Err(SendError::new(SendErrorKind::Exhausted, full));
            }
        }
    }

    /// A place on an open connection; or else the number of failed dials until now.
    fn take(self: &Arc<Self>) -> Result<(Lease, TakenSender), u64> {
        let mut state = self.state();
        let taken = state.take(&self.config.settings).ok_or(state.failures)?;
        if taken.open_ahead {
            self.open(state, 1);
        }
        let cancels = AtomicBool::new(matches!(taken.sender, TakenSender::H2(_)));
        Ok((Lease { pool: Arc::clone(self), id: taken.id, load: taken.load, cancels }, taken.sender))
    }

    /// So many places on a connection are free again.
    fn free(&self, load: &Load, places: usize) {
        // Pairs with a waiting request, which first counts itself and then looks for a place.
        load.in_use.fetch_sub(places, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            (0..places).for_each(|_| self.changed.notify_one());
        }
    }

    /// Begins to open what the waiting requests need, and returns how many connections are being
    /// opened by now. Fails if a dial has failed since there were `failures_before` and nothing
    /// better is to come; the patient go on hoping while others are being opened.
    fn open_for_waiting(self: &Arc<Self>, failures_before: u64, patient: bool) -> Result<usize, SendError> {
        let state = self.state();
        let hope = patient && state.opening() > 0;
        if let Some((_, e)) = &state.last_failure
            && state.failures > failures_before
            && !hope
        {
            return Err(SendError::new(e.kind, &*e.message));
        }
        let missing = state.missing(self.waiting.load(Ordering::SeqCst), &self.config.settings);
        Ok(self.open(state, missing))
    }

    /// Begins to open so many connections; returns how many are being opened by now.
    fn open(self: &Arc<Self>, mut state: MutexGuard<'_, State>, count: usize) -> usize {
        let enter = |_| {
            let (abort, registration) = AbortHandle::new_pair();
            (state.enter(abort), registration)
        };
        let entered: Vec<_> = (0..count).map(enter).collect();
        let opening = state.opening();
        drop(state);
        for (id, registration) in entered {
            connection::spawn(self, id, registration);
        }
        opening
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Every exchange holds a handle, so none is under way.
        self.close_all();
    }
}

/// A request that waits for a connection, counted so that enough are opened.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One exchange's place on a connection, free again when dropped.
struct Lease {
    pool: Arc<Pool>,
    id: u64,
    load: Arc<Load>,
    /// To be dropped is to cancel a stream, of which the server has yet to hear.
    cancels: AtomicBool,
}

impl Lease {
    /// The server, too, knows that the exchange is over.
    fn settle(&self) {
        self.cancels.store(false, Ordering::Relaxed);
    }

    /// The connection turned out to be closing.
    fn retire(&self) {
        self.pool.state().retire(self.id);
    }

    /// The connection is good for nothing any more, and ends now.
    fn abort(&self) {
        if let Some(member) = self.pool.state().remove(self.id) {
            member.abort();
        }
    }

    /// The HTTP/1.1 connection is good for another request.
    fn give_back(self, sender: http1::SendRequest<Body>) {
        self.pool.state().give_back(self.id, sender);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if *self.cancels.get_mut() {
            self.load.cancelled.fetch_add(1, Ordering::SeqCst);
            self.load.on_change.wake();
        } else {
            self.pool.free(&self.load, 1);
        }
    }
}
