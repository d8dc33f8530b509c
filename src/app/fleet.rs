//! The API servers of a configuration: their pools, and the tasks that keep us informed about them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use anyhow::Context as _;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::census::Witnesses;
use crate::{
    api::user::{ALL_AUTHENTICATED, UserHeaders, UserInfo},
    config::{self, Config, Loaded, PeerSource, ServerConfig, ServerMaterial},
    discovery::{
        cache::Cache,
        catalog::{self, Book, Books},
        fetch::{Bounds, Fetcher},
        informer::{Informers, Wanted},
        openapi::{self, Library},
        probe::{self, Probe},
        refresh::{self, Refresh, Trigger},
    },
    limits,
    metrics::Metrics,
    proxy::{Proxy, Servers, home::Home},
    servers::{
        self, Class, Pools, Server, ServerTls,
        health::Health,
        kube_client::kube_client,
        pool::{self, Event, Pool, Target, UpgradeTls, Upgrades},
        source::Fleet,
        watched::Mode,
    },
    tls::client::{self, Alpn, Identity, Pem},
};

/// Keeps the API servers: who is one of them, and the tasks that know how each is doing.
pub(super) struct Keeper {
    kept: BTreeMap<Arc<str>, Kept>,
    /// No longer among them, and still in use until the others are.
    parting: Vec<Kept>,
    /// Those of them with which an exchange may still be under way.
    leaving: Vec<Leaving>,
    cache: Option<Cache>,
    fetcher: Fetcher,
    refreshes: refresh::Schedule,
    probes: probe::Schedule,
    openapi: openapi::Bounds,
    mode: Mode,
    /// Whether the configured servers are asked who else there is.
    source: Option<PeerSource>,
    witnesses: Witnesses,
    metrics: Metrics,
}

/// A server, and what is done for it as long as it is kept.
struct Kept {
    server: Arc<Server>,
    refresh: Refresh,
    _tasks: JoinSet<()>,
}

/// A server that is none of ours any more.
struct Leaving {
    name: Arc<str>,
    server: Weak<Server>,
    /// The last time that we looked nothing was left of it.
    gone: bool,
}

/// Servers of which some may have begun nothing yet.
pub(super) struct Prepared {
    fleet: Fleet,
    home: Home,
}

// === impl Prepared ===

impl Prepared {
    /// Whether this very server is one of them.
    pub(super) fn has(&self, server: &Arc<Server>) -> bool {
        self.fleet.number(server).is_some()
    }

    /// Whether it is this fleet.
    pub(super) fn is_of(&self, fleet: &Fleet) -> bool {
        self.fleet.is_same(fleet)
    }
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(
        config: &Config,
        cache: Option<Cache>,
        witnesses: Witnesses,
        metrics: &Metrics,
    ) -> Self {
        let discovery = &config.discovery;
        let mut openapi = discovery.openapi;
        openapi.document_age = openapi.document_age.min(discovery.refresh_interval);
        Self {
            kept: BTreeMap::new(),
            parting: Vec::new(),
            leaving: Vec::new(),
            cache,
            fetcher: fetcher(config),
            refreshes: refresh::Schedule {
                refresh_interval: discovery.refresh_interval,
                resync: discovery.resync,
                min_interval: limits::ROUTE_404_REFETCH_INTERVAL,
                first_backoff: limits::FETCH_BACKOFF,
                list_max_age: limits::LIST_MAX_AGE,
            },
            probes: probe::Schedule {
                interval: config.health.probe_interval,
                slow_after: config.health.probe_timeout,
                dead_after: config.connections.dead_after,
                stale_after: discovery.stale_after,
            },
            openapi,
            mode: discovery.refresh,
            source: config.peers.as_ref().map(|peers| peers.source.clone()),
            witnesses,
            metrics: metrics.clone(),
        }
    }

    /// As whom we ask.
    pub(super) fn user(&self) -> Arc<UserInfo> {
        Arc::clone(&self.fetcher.user)
    }

    /// The servers of a configuration: those that `before` has in the same place, and new ones for the others.
    ///
    /// # Errors
    /// If certificates or keys cannot be used.
    pub(super) fn prepare(&self, loaded: &Loaded, before: Option<&Config>) -> anyhow::Result<Prepared> {
        let Loaded { config, material, .. } = loaded;
        let kept = |server: &ServerConfig| {
            let before = before?.servers.iter().find(|before| before.name == server.name)?;
            let kept = self.kept.get(&server.name).filter(|_| server.is_at_the_place_of(before))?;
            Some(Arc::clone(&kept.server))
        };
        let servers = config.servers.iter().zip(&material.servers).map(|(server, files)| {
            kept(server).map_or_else(|| made(config, server, files, &self.metrics).map(Arc::new), Ok)
        });
        let fleet = Fleet::new(servers.collect::<anyhow::Result<_>>()?);
        let home = match &config.home {
            config::Home::Named(name) => {
                Home::Sidecar(fleet.position(name).with_context(|| format!("home: there is no {name}"))?)
            }
            config::Home::Chosen(preference) => {
                Home::Front(*preference, fleet.in_domain(config.home_domain()))
            }
        };
        Ok(Prepared { fleet, home })
    }

    /// Begins with servers that are new. Those that are no longer among them are let go when the others are in use,
    /// by [`Self::let_go`]. What `last` knows of the others stays known.
    pub(super) fn begin(&mut self, Prepared { fleet, home }: Prepared, last: Option<&Proxy>) -> Servers {
        if let Some(last) = last.filter(|last| last.fleet.is_same(&fleet)) {
            let (book, library) = (Arc::clone(&last.book), Arc::clone(&last.library));
            return Servers { home, fleet, book, library, refresh: last.refresh.clone() };
        }
        let book = match last {
            None => Book::new(fleet.clone()),
            Some(last) => last.book.succeed(fleet.clone()),
        };
        let books = book.books();
        let mut before = std::mem::take(&mut self.kept);
        for server in fleet.iter() {
            let kept = match before.remove(&server.name) {
                Some(kept) if Arc::ptr_eq(&kept.server, server) => kept,
                other => {
                    self.parting.extend(other);
                    self.recall(server, &books);
                    self.start(server, &books)
                }
            };
            self.kept.insert(Arc::clone(&server.name), kept);
        }
        self.parting.extend(before.into_values());
        let refresh = self.kept.values().map(|kept| kept.refresh.clone()).collect();
        let library = match last {
            None => {
                let (fetcher, metrics) = (self.fetcher.clone(), self.metrics.clone());
                Library::new(fleet.clone(), Arc::clone(&book), fetcher, self.openapi, metrics)
            }
            Some(last) => last.library.succeed(fleet.clone(), Arc::clone(&book)),
        };
        Servers { home, fleet, book, library: Arc::new(library), refresh }
    }

    /// Nobody begins anything with the servers any more that were replaced: their tasks end now, and their connections
    /// with what is under way on them.
    pub(super) fn let_go(&mut self) {
        for Kept { server, .. } in self.parting.drain(..) {
            let name = Arc::clone(&server.name);
            server.retire();
            // Whoever made the list says why, and not every time.
            if self.kept.contains_key(&name) {
                tracing::debug!(server = %name, at = %server.authority, "no longer there, but elsewhere");
            } else {
                tracing::debug!(server = %name, at = %server.authority, "forgotten");
                self.witnesses.remove(&name);
                self.metrics.forget(&name);
            }
            self.leaving.push(Leaving { name, server: Arc::downgrade(&server), gone: false });
        }
    }

    /// Whether somebody is leaving, so that [`Self::sweep`] has work.
    pub(super) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Where those take a user's identity from to whom requests may still be on their way.
    pub(super) fn headers_of_leaving(&self) -> Vec<UserHeaders> {
        let leaving = self.leaving.iter().filter_map(|leaving| leaving.server.upgrade());
        leaving.map(|server| server.user_headers.clone()).collect()
    }

    /// Takes away what exchanges that ended late told of servers that are no more.
    pub(super) fn sweep(&mut self) {
        let Self { kept, leaving, metrics, .. } = self;
        leaving.retain_mut(|Leaving { name, server, gone }| {
            if server.strong_count() > 0 {
                return true;
            }
            if !kept.contains_key(name) {
                metrics.forget(name);
            }
            // Once more, for a request is counted after it let go of its server.
            !std::mem::replace(gone, true)
        });
    }

    /// What was known of a server in the last run is what was known, unless more is.
    fn recall(&self, server: &Arc<Server>, books: &Books) {
        let Some(cache) = &self.cache else { return };
        if books.knowledge(server).document.is_none()
            && let Some((document, remembered)) = cache.load(&server.name, &server.authority)
        {
            books.recall(server, document, remembered);
        }
    }

    /// Starts the tasks of a server.
    fn start(&self, server: &Arc<Server>, books: &Books) -> Kept {
        let mut tasks = JoinSet::new();
        let (fetcher, metrics) = (self.fetcher.clone(), self.metrics.clone());
        let refresh = Refresh::spawn(
            &mut tasks,
            Arc::clone(server),
            books.clone(),
            fetcher.clone(),
            self.refreshes.clone(),
            metrics.clone(),
        );
        let custom = self.mode == Mode::Watch;
        let wanted = Wanted {
            custom,
            leases: custom || self.source == Some(PeerSource::Leases),
            endpoint_slices: custom || self.source == Some(PeerSource::EndpointSlices),
        };
        if wanted != Wanted::NONE {
            if custom {
                tasks.spawn(catalog::attend(Arc::clone(server), books.clone()));
            }
            let client = kube_client(Arc::clone(server), Arc::clone(&fetcher.user));
            let (asking, witnesses) = (refresh.clone(), self.witnesses.clone());
            let source = match self.source {
                Some(PeerSource::Leases) => Some(Trigger::Lease),
                Some(PeerSource::EndpointSlices) => Some(Trigger::EndpointSlice),
                Some(PeerSource::Dns(_)) | None => None,
            };
            let ask = move |trigger| {
                if source == Some(trigger) {
                    witnesses.heard();
                }
                if custom {
                    asking.ask(trigger);
                }
            };
            let informers = Informers::spawn(&mut tasks, server, &client, &metrics, wanted, ask);
            match source {
                Some(Trigger::Lease) => {
                    tasks.spawn(self.witnesses.clone().follow(informers.leases.clone()));
                }
                Some(_) => {
                    tasks.spawn(self.witnesses.clone().follow(informers.endpoint_slices.clone()));
                }
                None => {}
            }
            self.witnesses.add(server, informers);
        }
        Probe {
            server: Arc::clone(server),
            books: books.clone(),
            fetcher,
            schedule: self.probes.clone(),
            refresh: refresh.clone(),
            metrics,
        }
        .spawn(&mut tasks);
        Kept { server: Arc::clone(server), refresh, _tasks: tasks }
    }
}

/// The servers of a configuration, with no tasks, and who asks them.
pub(super) fn to_look_at(loaded: &Loaded) -> anyhow::Result<(Fetcher, Vec<Arc<Server>>)> {
    let (config, metrics) = (&loaded.config, Metrics::default());
    let servers = config.servers.iter().zip(&loaded.material.servers);
    let servers = servers.map(|(server, files)| made(config, server, files, &metrics).map(Arc::new));
    Ok((fetcher(config), servers.collect::<anyhow::Result<_>>()?))
}

/// A server with pools that have no connection yet.
fn made(
    config: &Config,
    server: &ServerConfig,
    files: &ServerMaterial,
    metrics: &Metrics,
) -> anyhow::Result<Server> {
    let context = || format!("API server {:?}", server.name);
    let target = Target { host: server.host(), port: server.port(), server_name: server.server_name.clone() };
    let health = Arc::new(Health::new(Arc::clone(&server.name), metrics.servers.clone()));
    let observed =
        |class: Class| observer(Arc::clone(&server.name), class, Arc::clone(&health), metrics.clone());
    let ServerTls { identity, token, unproven, upgrade } = tls(files).with_context(context)?;
    let pool = |class: Class, tls: &Arc<ClientConfig>| {
        let settings = pool_settings(config, class);
        Pool::new(target.clone(), Arc::clone(tls), settings, observed(class)).with_context(context)
    };
    let settings = pool_settings(config, Class::Upgrade);
    let pools = Pools {
        identity: pool(Class::Identity, &identity)?,
        token: pool(Class::Token, &token)?,
        unproven: pool(Class::Unproven, &unproven)?,
        own: pool(Class::Own, &identity)?,
        upgrades: Upgrades::new(&target, upgrade, &settings, &observed(Class::Upgrade))
            .with_context(context)?,
    };
    let (name, domain) = (Arc::clone(&server.name), Arc::clone(&server.trust_domain));
    Ok(Server::new(name, target.authority(), domain, server.headers.clone(), health, pools))
}

/// How connections to a server with these files begin.
pub(super) fn tls(files: &ServerMaterial) -> anyhow::Result<ServerTls> {
    let http11 = |identity| client_config(files, identity, Alpn::Http11);
    Ok(ServerTls {
        identity: client_config(files, true, Alpn::H2OrHttp11)?,
        token: client_config(files, false, Alpn::H2OrHttp11)?,
        unproven: http11(false)?,
        upgrade: UpgradeTls { identity: http11(true)?, plain: http11(false)? },
    })
}

fn client_config(files: &ServerMaterial, identity: bool, alpn: Alpn) -> anyhow::Result<Arc<ClientConfig>> {
    let roots = client::roots_from_pem(Pem { name: "its CA bundle", pem: &files.ca.pem })?;
    let identity = identity.then(|| {
        Identity::from_pem(
            Pem { name: "--proxy-client-cert-file", pem: &files.proxy_client.chain.pem },
            Pem { name: "--proxy-client-key-file", pem: &files.proxy_client.key_pem },
        )
    });
    Ok(client::config(roots, identity.transpose()?, alpn)?)
}

fn observer(name: Arc<str>, class: Class, health: Arc<Health>, metrics: Metrics) -> pool::Observer {
    Arc::new(move |event: Event<'_>| {
        servers::observe(&health, class, &event);
        match event {
            Event::Connected { .. } => metrics.servers.connected(&name, class.as_str(), "ok"),
            Event::ConnectFailed { kind, error } => {
                let result = if kind == pool::SendErrorKind::Tls { "tls" } else { "failed" };
                metrics.servers.connected(&name, class.as_str(), result);
                tracing::debug!(server = %name, class = class.as_str(), error, "cannot connect");
            }
            Event::Closed { error: Some(error) } => {
                tracing::debug!(server = %name, class = class.as_str(), error, "connection lost");
            }
            Event::Draining | Event::Closed { error: None } => {}
        }
    })
}

fn pool_settings(config: &Config, class: Class) -> pool::Settings {
    let connections = &config.connections;
    pool::Settings {
        connect_timeout: connections.connect_timeout,
        ping_interval: connections.dead_after / 2,
        ping_timeout: connections.dead_after / 2,
        idle_timeout: connections.idle_timeout,
        max_connections: match class {
            Class::Identity => connections.max_identity,
            Class::Token => connections.max_token,
            Class::Unproven => connections.max_unproven,
            Class::Own => limits::MAX_OWN_CONNECTIONS,
            Class::Upgrade => connections.max_upgrade,
        },
        ..pool::Settings::default()
    }
}

/// Asks servers with our own identity.
fn fetcher(config: &Config) -> Fetcher {
    let user = UserInfo {
        name: config.proxy_user.clone(),
        groups: vec![ALL_AUTHENTICATED.to_owned()],
        ..UserInfo::default()
    };
    Fetcher {
        user: Arc::new(user),
        bounds: Bounds {
            timeout: config.discovery.fetch_timeout,
            max_document: config.discovery.max_bytes,
            probe_timeout: config.health.probe_timeout,
        },
    }
}
