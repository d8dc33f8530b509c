//! One client connection: who is at its other end, and what is under way on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::{sync::Notify, time::Instant};

use super::gate::Place;
use crate::{
    discovery::catalog::Catalog,
    metrics::GaugeGuard,
    proxy::{caller::Credentials, home::Home, policy::Policy},
    servers::{Server, source::Fleet},
};

/// One client connection; every request on it finds it in its extensions.
pub struct Connection {
    /// The other end: as TCP has it, or as a balancer told by the PROXY protocol.
    pub remote: SocketAddr,
    /// The client's certificate chain, leaf first, of which TLS checked only the possession of the key.
    chain: Option<Vec<CertificateDer<'static>>>,
    /// What the chain is worth, and under which generation of the policy that was found out.
    judged: ArcSwapOption<(u64, Credentials)>,
    /// A front's choice, as long as it is a good one. It keeps no server that was forgotten.
    home: ArcSwapOption<Weak<Server>>,
    /// Requests that were begun.
    begun: AtomicU64,
    /// Those of them that are not finished.
    turns: AtomicUsize,
    last_turn: Mutex<Instant>,
    /// The client is to open another connection for whatever comes next.
    pub(super) goodbye: Notify,
    /// What it takes up as long as anybody uses it, as a tunnel too.
    _counted: Option<Counted>,
}

/// One connection among all.
pub(super) type Counted = (GaugeGuard, Place);

/// One request's turn on its connection, from its head until this is dropped; stands in its extensions, for
/// whoever knows when the answer is through.
pub struct Turn(Arc<Connection>);

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        remote: SocketAddr,
        chain: Option<&[CertificateDer<'_>]>,
        counted: Option<Counted>,
    ) -> Arc<Self> {
        let owned = |chain: &[CertificateDer<'_>]| {
            chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>()
        };
        Arc::new(Self {
            remote,
            chain: chain.map(owned).filter(|chain| !chain.is_empty()),
            judged: ArcSwapOption::empty(),
            home: ArcSwapOption::empty(),
            begun: AtomicU64::new(0),
            turns: AtomicUsize::new(0),
            last_turn: Mutex::new(Instant::now()),
            goodbye: Notify::new(),
            _counted: counted,
        })
    }

    /// What the certificate is worth; judged once under each policy, so that no connection outlives its CA.
    pub fn credentials(&self, policy: &Policy, now: UnixTime) -> Arc<(u64, Credentials)> {
        if let Some(judged) = self.judged.load_full().filter(|judged| judged.0 == policy.generation) {
            return judged;
        }
        let credentials = policy.authenticator.connection(self.chain.as_deref(), now);
        let judged = Arc::new((policy.generation, credentials));
        self.judged.store(Some(Arc::clone(&judged)));
        judged
    }

    /// The home of the next request.
    pub fn home(&self, home: Home, fleet: &Fleet, catalog: &Catalog) -> usize {
        let last = self.home.load();
        let last = last.as_ref().and_then(|server| fleet.number(&server.upgrade()?));
        let chosen = home.choose(last, fleet, catalog);
        if last != Some(chosen) {
            self.home.store(Some(Arc::new(Arc::downgrade(fleet.get(chosen)))));
        }
        chosen
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.load(Ordering::Acquire) == 0
    }

    /// How many requests there were.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// When the last request ended, or the connection began.
    pub(super) fn idle_since(&self) -> Instant {
        *self.last_turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::AcqRel);
        Turn(Arc::clone(self))
    }
}

// === impl Turn ===

impl Clone for Turn {
    fn clone(&self) -> Self {
        self.0.turn()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.last_turn.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.turns.fetch_sub(1, Ordering::AcqRel);
    }
}
