//! Who the API servers are, beside those of the configuration: the source is looked at, and each look that changes the
//! roster is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    config::{Config, PeerSource},
    discovery::informer::Informers,
    limits,
    metrics::Metrics,
    servers::source::{
        dns::Dns,
        endpoint_slices,
        leases::{Clock, Leases},
        registrar::Registrar,
        roster::{Change, Members, Settings},
        sighting::{Address, Reading},
    },
};

/// What the configured servers' informers see of leases and endpoint slices, by the servers' names.
#[derive(Clone, Default)]
pub(super) struct Witnesses {
    informers: Arc<Mutex<BTreeMap<Arc<str>, Informers>>>,
    /// One of them saw something new.
    news: Arc<Notify>,
}

/// Looks at the source.
pub(super) struct Census {
    registrar: Registrar,
    source: Source,
    witnesses: Witnesses,
    next_look: Instant,
}

/// Where to look, and what is remembered for it.
enum Source {
    Static,
    Leases(Leases),
    EndpointSlices,
    Dns(Box<Dns>),
}

// === impl Witnesses ===

impl Witnesses {
    pub(super) fn add(&self, server: &Arc<str>, informers: Informers) {
        self.lock().insert(Arc::clone(server), informers);
    }

    pub(super) fn remove(&self, server: &Arc<str>) {
        self.lock().remove(server);
    }

    /// Somebody may have come, gone or moved.
    pub(super) fn heard(&self) {
        self.news.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Informers>> {
        self.informers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody reads out of the first informers, in the order of names, that are up to date; without any nothing
    /// is known.
    fn read(&self, read: impl FnMut(&Informers) -> Option<Reading>) -> Reading {
        self.lock().values().find_map(read).unwrap_or_else(Reading::unknown)
    }
}

// === impl Census ===

impl Census {
    /// Knows the configuration's servers.
    ///
    /// # Errors
    /// If this machine can't ask DNS.
    pub(super) fn new(config: &Config, witnesses: Witnesses, metrics: &Metrics) -> anyhow::Result<Self> {
        let source = match config.peers.as_ref().map(|peers| &peers.source) {
            None => Source::Static,
            Some(PeerSource::Leases) => Source::Leases(Leases::new(config.discovery.forget_after)),
            Some(PeerSource::EndpointSlices) => Source::EndpointSlices,
            Some(PeerSource::Dns(question)) => {
                Source::Dns(Box::new(Dns::new(question.clone()).context("--peer-source=dns")?))
            }
        };
        let name = config.peers.as_ref().map_or("static", |peers| peers.source.as_str());
        let registrar = Registrar::new(fixed(config), settings(config), name, metrics.sources.clone());
        Ok(Self { registrar, source, witnesses, next_look: Instant::now() })
    }

    /// The roster as it is.
    pub(super) fn members(&self) -> &Arc<Members> {
        self.registrar.members()
    }

    /// Another configuration, with the same source.
    pub(super) fn configure(&mut self, config: &Config) -> Option<Change> {
        let allowed = config.peers.as_ref().map(|peers| peers.allowed()).unwrap_or_default();
        let now = std::time::Instant::now();
        self.registrar.configure(fixed(config), settings(config), &allowed, now)
    }

    /// Ends with the next change. Nothing is lost if it is dropped before.
    pub(super) async fn change(&mut self, config: &Config) -> Change {
        loop {
            let due = self.registrar.due().map(Instant::from_std);
            tokio::select! {
                () = sleep_until(self.next_look) => {}
                () = self.witnesses.news.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some(change) = self.registrar.tick(std::time::Instant::now()) {
                        return change;
                    }
                    continue;
                }
            }
            let (reading, again_after) = self.look(config).await;
            self.next_look = Instant::now() + again_after;
            if let Some(change) = self.registrar.take(reading, std::time::Instant::now()) {
                return change;
            }
        }
    }

    async fn look(&mut self, config: &Config) -> (Reading, Duration) {
        let Some(peers) = &config.peers else { return (Reading::unknown(), limits::SOURCE_REREAD) };
        let allowed = peers.allowed();
        let reading = match &mut self.source {
            Source::Static => Reading::unknown(),
            Source::Leases(leases) => self.witnesses.read(|informers| {
                let seen = informers.leases.borrow().clone();
                // In an old list every lease expires.
                seen.live.then(|| leases.read(seen.objects.values().map(Arc::as_ref), &allowed, Clock::now()))
            }),
            Source::EndpointSlices => self.witnesses.read(|informers| {
                let seen = informers.endpoint_slices.borrow().clone();
                seen.live.then(|| endpoint_slices::read(seen.objects.values().map(Arc::as_ref), &allowed))
            }),
            Source::Dns(dns) => {
                let answer = dns.ask(&allowed).await;
                return (answer.reading, answer.again_after);
            }
        };
        (reading, limits::SOURCE_REREAD)
    }
}

fn fixed(config: &Config) -> impl Iterator<Item = (Arc<str>, Address)> {
    config.servers.iter().map(|server| (Arc::clone(&server.name), server.address()))
}

fn settings(config: &Config) -> Settings {
    Settings { forget_after: config.discovery.forget_after, ..Settings::default() }
}
