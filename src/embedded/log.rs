//! What a server was asked: a bounded log that tests read.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Version};
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;

use crate::api::user::UserInfo;

/// What a server saw of an upgraded connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggedTunnel {
    /// Bytes read.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
    /// Whether the client has ended, and whether it said so.
    pub ended: Option<Farewell>,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// With TLS' `close_notify`.
    Clean,
    /// Without.
    Broken,
}

/// How many requests are remembered unless the builder says otherwise.
pub const REMEMBERED: usize = 10_000;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// Counts from 0 over the life of the server, restarts included.
    pub number: u64,
    /// Which connection it came on; counts from 1.
    pub connection: u64,
    /// The other end of that connection.
    pub remote: SocketAddr,
    /// The name that the client asked for in TLS (SNI).
    pub server_name: Option<String>,
    /// Whether the client showed a certificate, verifiable or not.
    pub certificate: bool,
    /// That certificate.
    pub leaf: Option<CertificateDer<'static>>,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// `Host`, or `:authority` on HTTP/2.
    pub host: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Who was authenticated; `None` for a 401 or before that was decided.
    pub user: Option<UserInfo>,
    /// Who the request acted as: differs from `user` by impersonation only.
    pub acting: Option<UserInfo>,
    /// The status of the answer once its head was made.
    pub status: Option<StatusCode>,
    /// What came after a 101.
    pub tunnel: Option<LoggedTunnel>,
}

/// A handle on a server's log. Cloning gives another handle on the same log.
#[derive(Clone, Debug)]
pub struct RequestLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: Mutex<Entries>,
    changed: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Entries {
    ring: VecDeque<LoggedRequest>,
    next: u64,
}

// === impl RequestLog ===

impl RequestLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner { entries: Mutex::default(), changed: Notify::new(), capacity }))
    }

    /// The requests that are still remembered, oldest first.
    pub fn all(&self) -> Vec<LoggedRequest> {
        self.lock().ring.iter().cloned().collect()
    }

    /// Those that `wanted` picks.
    pub fn matching(&self, wanted: impl Fn(&LoggedRequest) -> bool) -> Vec<LoggedRequest> {
        self.lock().ring.iter().filter(|request| wanted(request)).cloned().collect()
    }

    /// How many came since the server was made, forgotten ones included.
    pub fn count(&self) -> u64 {
        self.lock().next
    }

    /// Forgets all requests; [`count`](Self::count) goes on.
    pub fn clear(&self) {
        self.lock().ring.clear();
    }

    /// The first remembered request that `wanted` picks, as soon as it is there; `None` after `within`.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&LoggedRequest) -> bool,
    ) -> Option<LoggedRequest> {
        let search = async {
            loop {
                let changed = self.0.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                let found = self.lock().ring.iter().find(|request| wanted(request)).cloned();
                match found {
                    Some(found) => return found,
                    None => changed.await,
                }
            }
        };
        tokio::time::timeout(within, search).await.ok()
    }

    pub(super) fn push(&self, mut request: LoggedRequest) -> u64 {
        let mut entries = self.lock();
        let number = entries.next;
        request.number = number;
        entries.next += 1;
        entries.ring.push_back(request);
        while entries.ring.len() > self.0.capacity {
            entries.ring.pop_front();
        }
        drop(entries);
        self.0.changed.notify_waiters();
        number
    }

    /// Adds what became known later, unless the request was forgotten meanwhile.
    pub(super) fn amend(&self, number: u64, amend: impl FnOnce(&mut LoggedRequest)) {
        let mut entries = self.lock();
        let first = entries.ring.front().map_or(0, |request| request.number);
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| entries.ring.get_mut(at)) {
            amend(request);
        }
        drop(entries);
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
