//! Who the API servers are, beside those of the configuration: the source is looked at, and each look that changes the
//! roster is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    config::{Config, PeerSource},
    discovery::informer::{Informers, Seeing},
    limits,
    metrics::Metrics,
    servers::{
        Server,
        health::Health,
        source::{
            allowed::Allowed,
            dns::{Answer, Dns},
            endpoint_slices,
            leases::{Clock, Leases},
            registrar::Registrar,
            roster::{Change, Members, Settings},
            sighting::{Address, Reading, Sightings},
        },
    },
};

/// What the servers' informers see of leases and endpoint slices, by the servers' names.
#[derive(Clone, Default)]
pub(super) struct Witnesses {
    informers: Arc<Mutex<BTreeMap<Arc<str>, Witness>>>,
    /// One of them saw something new.
    news: Arc<Notify>,
}

struct Witness {
    trust_domain: Arc<str>,
    health: Arc<Health>,
    informers: Informers,
}

/// Looks at the source.
pub(super) struct Census {
    registrar: Registrar,
    source: Source,
    /// A question that DNS has not answered yet. It stays when whoever waits for it turns to something else.
    asking: JoinSet<Answer>,
    witnesses: Witnesses,
    next_look: Instant,
    /// When it was looked last.
    looked: Instant,
    /// The source has said once who there is.
    has_said: bool,
    /// The same, and whoever it named is among the servers.
    complete: watch::Sender<bool>,
}

/// Where to look, and what is remembered for it.
enum Source {
    Static,
    Leases(Leases),
    EndpointSlices,
    Dns(Arc<Dns>),
}

// === impl Witnesses ===

impl Witnesses {
    pub(super) fn add(&self, server: &Server, informers: Informers) {
        let health = Arc::clone(&server.health);
        let trust_domain = Arc::clone(&server.trust_domain);
        self.lock().insert(Arc::clone(&server.name), Witness { trust_domain, health, informers });
    }

    pub(super) fn remove(&self, server: &Arc<str>) {
        self.lock().remove(server);
    }

    /// Somebody may have come, gone or moved.
    pub(super) fn heard(&self) {
        self.news.notify_one();
    }

    /// Tells when what an informer saw begins to count, and when it counts no longer: that it changed it says itself.
    pub(super) async fn follow<K>(self, mut seeing: Seeing<K>) {
        let mut live = false;
        while seeing.changed().await.is_ok() {
            let now = seeing.borrow_and_update().live;
            if live != now {
                live = now;
                self.heard();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Witness>> {
        self.informers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody reads out of the first informers of a trust domain, in the order of names, that are up to date;
    /// without any nothing is known. Those of servers that are not ready come last: one that is cut off from its etcd keeps watches open,
    /// and nothing new is in them.
    fn read(&self, trust_domain: &str, mut read: impl FnMut(&Informers) -> Option<Reading>) -> Reading {
        let witnesses = self.lock();
        let of_domain = witnesses.values().filter(|witness| &*witness.trust_domain == trust_domain);
        let (ready, others): (Vec<_>, Vec<_>) = of_domain.partition(|witness| witness.health.is_ready());
        let mut all = ready.into_iter().chain(others);
        all.find_map(|witness| read(&witness.informers)).unwrap_or_else(Reading::unknown)
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
                let nameserver = config.peers.as_ref().and_then(|peers| peers.nameserver);
                let dns = match nameserver {
                    Some(nameserver) => Dns::of(question.clone(), nameserver),
                    None => Dns::new(question.clone()),
                };
                Source::Dns(Arc::new(dns.context("--peer-source=dns")?))
            }
        };
        let is_static = matches!(source, Source::Static);
        let name = config.peers.as_ref().map_or("static", |peers| peers.source.as_str());
        let registrar = Registrar::new(fixed(config), settings(config), name, metrics.sources.clone());
        let now = Instant::now();
        Ok(Self {
            registrar,
            source,
            asking: JoinSet::new(),
            witnesses,
            next_look: now,
            looked: now,
            has_said: is_static,
            complete: watch::Sender::new(is_static),
        })
    }

    /// Whether the source has said once who there is, and they are among the servers.
    pub(super) fn complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    /// The roster as another configuration will make it.
    pub(super) fn members_with(&self, config: &Config) -> Arc<Members> {
        let now = std::time::Instant::now();
        self.registrar.preview(fixed(config), settings(config), &allowed(config), now)
    }

    /// Another configuration, with the same source. What it allows now counts from now on.
    pub(super) fn configure(&mut self, config: &Config) -> Option<Change> {
        if let Source::Leases(leases) = &mut self.source {
            leases.forget_after(config.discovery.forget_after);
        }
        // Its answer would be read by what was allowed before.
        self.asking = JoinSet::new();
        self.look_now();
        let now = std::time::Instant::now();
        self.registrar.configure(fixed(config), settings(config), &allowed(config), now)
    }

    /// Looks again without waiting until it is time.
    pub(super) fn look_now(&mut self) {
        self.next_look = Instant::now();
    }

    /// Ends with the next change, which whoever called has taken over when he calls again. Nothing is lost if it is
    /// dropped before.
    pub(super) async fn change(&mut self, config: &Config) -> Change {
        loop {
            if self.has_said {
                self.complete.send_if_modified(|complete| !std::mem::replace(complete, true));
            }
            let due = self.registrar.due().map(Instant::from_std);
            let reading = tokio::select! {
                () = sleep_until(self.next_look), if self.asking.is_empty() => match self.look(config) {
                    Some(reading) => reading,
                    None => continue,
                },
                Some(answer) = self.asking.join_next() => {
                    // One that panicked is asked again when it is time to.
                    let Ok(answer) = answer else { continue };
                    self.next_look = Instant::now() + answer.again_after;
                    answer.reading
                }
                () = self.witnesses.news.notified() => {
                    self.next_look = self.next_look.min(self.looked + limits::SOURCE_LOOK_INTERVAL);
                    continue;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some(change) = self.registrar.tick(std::time::Instant::now()) {
                        return change;
                    }
                    continue;
                }
            };
            self.has_said |= reading.sightings != Sightings::Unknown;
            if let Some(change) = self.registrar.take(reading, std::time::Instant::now()) {
                return change;
            }
        }
    }

    /// What the source says, unless it is yet to be asked.
    fn look(&mut self, config: &Config) -> Option<Reading> {
        self.looked = Instant::now();
        self.next_look = self.looked + limits::SOURCE_REREAD;
        let allowed = allowed(config);
        // Who is named by another cluster is no server of home's.
        let domain = config.home_domain();
        Some(match &mut self.source {
            Source::Static => Reading::unknown(),
            Source::Leases(leases) => self.witnesses.read(domain, |informers| {
                let seen = informers.leases.borrow().clone();
                // In an old list every lease expires.
                seen.live.then(|| leases.read(seen.objects.values().map(Arc::as_ref), &allowed, Clock::now()))
            }),
            Source::EndpointSlices => self.witnesses.read(domain, |informers| {
                let seen = informers.endpoint_slices.borrow().clone();
                seen.live.then(|| endpoint_slices::read(seen.objects.values().map(Arc::as_ref), &allowed))
            }),
            Source::Dns(dns) => {
                let dns = Arc::clone(dns);
                self.asking.spawn(async move { dns.ask(&allowed).await });
                return None;
            }
        })
    }
}

fn allowed(config: &Config) -> Allowed {
    config.peers.as_ref().map(|peers| peers.allowed()).unwrap_or_default()
}

fn fixed(config: &Config) -> impl Iterator<Item = (Arc<str>, Address)> {
    config.servers.iter().map(|server| (Arc::clone(&server.name), server.address()))
}

fn settings(config: &Config) -> Settings {
    Settings { forget_after: config.discovery.forget_after, ..Settings::default() }
}
