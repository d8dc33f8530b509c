//! What the connections of a server share, and what the requests of a connection do.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::sync::watch;

use super::auth::Authenticator;
use super::discovery::Discovery;
use super::faults::Faults;
use super::forms::Spoken;
use super::log::RequestLog;
use super::presence::Presence;
use super::store::Store;
use crate::api::user::UserInfo;

/// May this user do this? Gets the user, the path and Kubernetes' verb (the method in lower case for a path that
/// is about no resource).
pub(super) type Authorizer = dyn Fn(&UserInfo, &str, &str) -> bool + Send + Sync;

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) id: String,
    pub(super) tls: Arc<rustls::ServerConfig>,
    pub(super) store: Arc<Store>,
    pub(super) discovery: Discovery,
    pub(super) faults: Faults,
    pub(super) log: RequestLog,
    pub(super) authenticator: Authenticator,
    pub(super) authorizer: Box<Authorizer>,
    pub(super) version: Value,
    pub(super) forms: Spoken,
    /// Whether `v2beta1` is served beside v2.
    pub(super) beta_discovery: bool,
    pub(super) test_endpoints: bool,
    pub(super) max_streams: u32,
    pub(super) bookmark_interval: Duration,
    /// Whether `sendInitialEvents` is granted.
    pub(super) watch_list: bool,
    pub(super) presence: Presence,
    /// Set by the first bind; a restart binds the same.
    pub(super) address: OnceLock<SocketAddr>,
    pub(super) connections: Connections,
}

/// Counts and ends connections.
pub(super) struct Connections {
    pub(super) accepted: AtomicU64,
    pub(super) open: watch::Sender<usize>,
    pub(super) cut: watch::Sender<u64>,
    pub(super) goaway: watch::Sender<u64>,
}

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) number: u64,
    pub(super) remote: SocketAddr,
    pub(super) server_name: Option<String>,
    /// Leaf first; empty without one.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn address(&self) -> SocketAddr {
        let bound = self.address.get().copied();
        bound.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

// === impl Connections ===

impl Default for Connections {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            open: watch::Sender::new(0),
            cut: watch::Sender::new(0),
            goaway: watch::Sender::new(0),
        }
    }
}
