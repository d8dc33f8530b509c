//! The one place where everything is wired. `main` and the tests call the same [`App::build`].

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use rustls::ClientConfig;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time};

use crate::{
    api::user::{ALL_AUTHENTICATED, UserInfo},
    config::{self, Config, Loaded},
    discovery::{
        catalog::Book,
        fetch::{Bounds, Fetcher},
        probe::{self, Probe},
        refresh::{self, Refresh},
    },
    drain::{Drain, Phase},
    limits,
    metrics::Metrics,
    ops::{
        access,
        admin::{Admin, Pages},
        metrics::Exposition,
        readiness::Readiness,
    },
    proxy::{
        Proxy, Settings,
        authorize::Authorizations,
        caller::{Authenticator, FrontProxy},
        headers::IdentityFilter,
        home::Home,
        listener::Listener,
    },
    servers::{
        self, Class, Pools, Server, TokenHasher,
        health::Health,
        pool::{self, Event, Pool, Target, UpgradeTls, Upgrades},
        source::Fleet,
    },
    tls::{
        certificate::ClientCa,
        client::{self, Alpn, Identity, Pem},
        server::{self, ServingCertificate},
    },
};

/// Sockets that are bound already, so that whoever builds the app knows the ports.
pub struct Listeners {
    /// For clients.
    pub clients: Vec<TcpListener>,
    /// For the admin pages.
    pub admin: TcpListener,
    /// For scrapers.
    pub metrics: Option<TcpListener>,
}

/// A proxy that runs.
pub struct App {
    /// What it is made of.
    pub proxy: Arc<Proxy>,
    /// Whether it can be sent clients.
    pub readiness: Readiness,
    /// Where clients reach it.
    pub addresses: Vec<SocketAddr>,
    /// Where its admin pages are.
    pub admin: SocketAddr,
    drain: Drain,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    /// End with the app.
    background: JoinSet<()>,
}

// === impl Listeners ===

impl Listeners {
    /// Binds every address of a configuration.
    ///
    /// # Errors
    /// Names the address that cannot be had, and its key.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |key: &'static str, address: SocketAddr| {
            TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
        };
        let mut clients = Vec::new();
        for address in &config.listen.bind {
            clients.push(bind("--bind-address, --secure-port", *address).await?);
        }
        let admin = bind("--admin-bind-address", config.operating.admin_bind).await?;
        let metrics = match config.operating.metrics_bind {
            Some(address) => Some(bind("--metrics-bind-address", address).await?),
            None => None,
        };
        Ok(Self { clients, admin, metrics })
    }
}

// === impl App ===

impl App {
    /// Wires everything and begins to listen. Must be called inside of a runtime.
    ///
    /// # Errors
    /// If certificates or keys cannot be used; the configuration's check finds nearly all of that before.
    pub fn build(loaded: &Loaded, listeners: Listeners) -> anyhow::Result<Self> {
        let Loaded { config, material, .. } = loaded;
        let (metrics, exposition) = Exposition::new();
        let authenticator = authenticator(loaded)?;
        let names = authenticator
            .client_ca
            .iter()
            .chain(authenticator.front_proxy.iter().map(|trusted| &trusted.ca))
            .flat_map(|ca| ca.names().to_vec())
            .collect();
        let serving =
            ServingCertificate { certificate: &material.serving.chain.pem, key: &material.serving.key_pem };
        let tls = server::config(serving, names).context("--tls-cert-file, --tls-private-key-file")?;

        let fleet = fleet(loaded, &metrics)?;
        let book = Arc::new(Book::new(fleet.clone()));
        let refresh = keep_known(config, &fleet, &book, &metrics);
        let readiness = Readiness::default();
        let mut background = JoinSet::new();
        let heard = readiness.latch("discovery");
        let asked = refresh.clone();
        background.spawn(async move {
            let everybody = async {
                for server in &asked {
                    server.asked_once().await;
                }
            };
            if time::timeout(limits::READINESS_BOUND, everybody).await.is_err() {
                tracing::warn!("not every API server has answered yet; ready without them");
            }
            heard.done();
        });

        let user_headers = config.servers.iter().map(|server| &server.headers);
        let front_proxy = authenticator.front_proxy.as_ref().map(|trusted| &trusted.headers);
        let drain = Drain::default();
        let proxy = Arc::new(Proxy {
            settings: settings(config, &fleet),
            identity_filter: Arc::new(IdentityFilter::new(user_headers.chain(front_proxy))),
            fleet,
            book,
            refresh,
            authenticator,
            hasher: TokenHasher::default(),
            authorizations: Authorizations::new(config.discovery.authorization_ttl),
            served_generation: u64::MAX.into(),
            metrics: metrics.clone(),
            drain: drain.signal(),
        });

        let handler = access::handler(Arc::clone(&proxy), config.operating.access_log);
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        let mut addresses = Vec::new();
        for socket in listeners.clients {
            addresses.push(socket.local_addr()?);
            let (tls, handler) = (Arc::clone(&tls), handler.clone());
            let listener = Listener { socket, tls, handler, metrics: metrics.clients.clone() };
            running.spawn(listener.run(stopped.clone(), limits::SHUTDOWN_GRACE));
        }
        let pages = Admin { proxy: Arc::clone(&proxy), readiness: readiness.clone(), exposition };
        let admin = listeners.admin.local_addr()?;
        background.spawn(pages.clone().run(listeners.admin, Pages::All));
        if let Some(socket) = listeners.metrics {
            background.spawn(pages.run(socket, Pages::ForScrapers));
        }
        Ok(Self { proxy, readiness, addresses, admin, drain, stop, listeners: running, background })
    }

    /// Stops accepting, lets requests under way finish for [`limits::SHUTDOWN_GRACE`] at most, and ends.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
        self.drain.enter(Phase::Over);
        self.drain.idle().await;
        self.background.shutdown().await;
    }
}

fn settings(config: &Config, fleet: &Fleet) -> Settings {
    let home = match &config.home {
        // The configuration's check saw to it that the name is one of the servers'.
        config::Home::Named(name) => Home::Sidecar(fleet.position(name).unwrap_or_default()),
        config::Home::Chosen(preference) => Home::Front(*preference),
    };
    Settings {
        home,
        reroute: config.reroute,
        merge: config.discovery.merge,
        request_timeout: config.request_timeout,
        trusted_proxies: config.callers.trusted_proxy_cidrs.clone(),
        recheck_timeout: limits::RECHECK_TIMEOUT,
        upgrade_idle_timeout: config.upgrade_idle_timeout,
    }
}

fn authenticator(loaded: &Loaded) -> anyhow::Result<Authenticator> {
    let Loaded { config, material, .. } = loaded;
    let ca = |bundle: &config::Certificates, key| ClientCa::from_pem(&bundle.pem).context(key);
    let client_ca = material.client_ca.as_ref().map(|bundle| ca(bundle, "--client-ca-file")).transpose()?;
    let front_proxy = match (&config.callers.front_proxy, &material.front_proxy_ca) {
        (Some(trusted), Some(bundle)) => Some(FrontProxy {
            ca: ca(bundle, "--requestheader-client-ca-file")?,
            allowed_names: trusted.allowed_names.clone(),
            headers: trusted.headers.clone(),
        }),
        _ => None,
    };
    Ok(Authenticator { client_ca, front_proxy })
}

fn fleet(loaded: &Loaded, metrics: &Metrics) -> anyhow::Result<Fleet> {
    let Loaded { config, material, .. } = loaded;
    let servers = config.servers.iter().zip(&material.servers).map(|(server, files)| {
        let context = || format!("API server {:?}", server.name);
        let target =
            Target { host: server.host(), port: server.port(), server_name: server.server_name.clone() };
        let health = Arc::new(Health::default());
        let tls = |identity: bool, alpn: Alpn| -> anyhow::Result<Arc<ClientConfig>> {
            let roots = client::roots_from_pem(Pem { name: "its CA bundle", pem: &files.ca.pem })?;
            let identity = identity.then(|| {
                Identity::from_pem(
                    Pem { name: "--proxy-client-cert-file", pem: &files.proxy_client.chain.pem },
                    Pem { name: "--proxy-client-key-file", pem: &files.proxy_client.key_pem },
                )
            });
            Ok(client::config(roots, identity.transpose()?, alpn)?)
        };
        let watched =
            |class: Class| observer(Arc::clone(&server.name), class, Arc::clone(&health), metrics.clone());
        let pool = |class: Class| -> anyhow::Result<Arc<Pool>> {
            let identity = matches!(class, Class::Identity | Class::Own);
            let alpn = if class == Class::Unproven { Alpn::Http11 } else { Alpn::H2OrHttp11 };
            Ok(Pool::new(target.clone(), tls(identity, alpn)?, pool_settings(config, class), watched(class))?)
        };
        let upgrades = || -> anyhow::Result<Upgrades> {
            let tls = UpgradeTls { identity: tls(true, Alpn::Http11)?, plain: tls(false, Alpn::Http11)? };
            let settings = pool_settings(config, Class::Upgrade);
            Ok(Upgrades::new(&target, tls, &settings, &watched(Class::Upgrade))?)
        };
        let pools = Pools {
            identity: pool(Class::Identity).with_context(context)?,
            token: pool(Class::Token).with_context(context)?,
            unproven: pool(Class::Unproven).with_context(context)?,
            own: pool(Class::Own).with_context(context)?,
            upgrades: upgrades().with_context(context)?,
        };
        let (name, headers) = (Arc::clone(&server.name), server.headers.clone());
        Ok(Arc::new(Server::new(name, target.authority(), headers, health, pools)))
    });
    Ok(Fleet::new(servers.collect::<anyhow::Result<_>>()?))
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

/// Starts the two tasks of each server.
fn keep_known(config: &Config, fleet: &Fleet, book: &Arc<Book>, metrics: &Metrics) -> Vec<Refresh> {
    let user = UserInfo {
        name: config.proxy_user.clone(),
        groups: vec![ALL_AUTHENTICATED.to_owned()],
        ..UserInfo::default()
    };
    let fetcher = Fetcher {
        user: Arc::new(user),
        bounds: Bounds {
            timeout: config.discovery.fetch_timeout,
            max_document: config.discovery.max_bytes,
            probe_timeout: config.health.probe_timeout,
        },
    };
    let refreshes = refresh::Schedule {
        refresh_interval: config.discovery.refresh_interval,
        min_interval: limits::ROUTE_404_REFETCH_INTERVAL,
        first_backoff: limits::FETCH_BACKOFF,
    };
    let probes = probe::Schedule {
        interval: config.health.probe_interval,
        slow_after: config.health.probe_timeout,
        dead_after: config.connections.dead_after,
        stale_after: config.discovery.stale_after,
    };
    let start = |(number, server): (usize, &Arc<Server>)| {
        let (server, book) = (Arc::clone(server), Arc::clone(book));
        let (fetcher, metrics, schedule) = (fetcher.clone(), metrics.clone(), probes.clone());
        let refresh = Refresh::spawn(
            number,
            Arc::clone(&server),
            Arc::clone(&book),
            fetcher.clone(),
            refreshes.clone(),
            metrics.clone(),
        );
        Probe { number, server, book, fetcher, schedule, refresh: refresh.clone(), metrics }.spawn();
        refresh
    };
    fleet.iter().enumerate().map(start).collect()
}
