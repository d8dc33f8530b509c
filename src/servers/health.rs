//! How an API server is doing, as we last saw it.
//!
//! *Healthy* means: our last connect worked, our last discovery fetch worked, and the server does not say of
//! itself that it is not ready. It decides who is asked first, never who may be asked at all.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{sync::Notify, time::Instant};

/// Shared by everything that talks to one API server.
#[derive(Debug)]
pub struct Health {
    /// The last connect worked, and nothing was heard of a loss since.
    connected: AtomicBool,
    /// The last discovery fetch worked.
    fetched: AtomicBool,
    /// `/readyz` said so, and contact was not lost since.
    ready: AtomicBool,
    /// Our own connection is HTTP/2, whose PING tells a slow server from a dead one.
    http2: AtomicBool,
    /// Counts losses of contact, so that a watcher cannot miss a short one.
    losses: AtomicU64,
    last_contact: Mutex<Option<Instant>>,
    last_error: Mutex<Option<String>>,
    /// Something changed that the refresh task should look at now.
    changed: Notify,
}

// === impl Health ===

impl Default for Health {
    fn default() -> Self {
        Self {
            connected: AtomicBool::new(false),
            fetched: AtomicBool::new(false),
            ready: AtomicBool::new(true),
            http2: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            last_contact: Mutex::new(None),
            last_error: Mutex::new(None),
            changed: Notify::new(),
        }
    }
}

impl Health {
    /// See the module's documentation.
    pub fn is_healthy(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
            && self.fetched.load(Ordering::Relaxed)
            && self.ready.load(Ordering::Relaxed)
    }

    /// Whether the last connect worked and the connection was not lost since.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether `/readyz` said so, the last time and since contact was lost.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// How often contact was lost so far.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// When an answer last came.
    pub fn last_contact(&self) -> Option<Instant> {
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong last, for people.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection of our own was opened.
    pub fn connected(&self, http2: bool) {
        self.http2.store(http2, Ordering::Relaxed);
        self.contact();
    }

    /// Whether a PING can tell a slow server from a dead one.
    pub fn speaks_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// The server answered, whatever it said.
    pub fn contact(&self) {
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.connected.store(true, Ordering::Relaxed);
    }

    /// A connect failed, or the server was declared dead.
    ///
    /// It is not ready either until it says so: a kube-apiserver that starts accepts connections before it has
    /// read its roles, and answers 403 to whom it does not know yet.
    pub fn lost(&self, error: impl Into<String>) {
        self.ready.store(false, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.into());
        if self.connected.swap(false, Ordering::Relaxed) {
            self.losses.fetch_add(1, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// A connection that we relied on went away; the next one may lead to another process.
    pub fn disconnected(&self) {
        self.losses.fetch_add(1, Ordering::Release);
        self.changed.notify_one();
    }

    /// Somebody should look how the server is doing.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// A discovery fetch ended.
    pub fn fetched(&self, result: Result<(), &str>) {
        self.fetched.store(result.is_ok(), Ordering::Relaxed);
        if let Err(error) = result {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
        }
    }

    /// What `/readyz` said.
    pub fn ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Ends when contact was lost or broken, or somebody should look; at once if that happened since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_was_lost_is_not_healthy_before_it_says_that_it_is_ready() {
        let health = Health::default();
        health.contact();
        health.fetched(Ok(()));
        assert!(health.is_healthy());
        health.lost("connection refused");
        assert!(!health.is_healthy());
        health.connected(true);
        assert!(!health.is_healthy());
        health.ready(true);
        assert!(health.is_healthy());
    }
}
