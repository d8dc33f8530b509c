//! The one place where everything is wired. `main` and the tests call the same [`App::build`].

use std::{net::SocketAddr, path::PathBuf, pin::pin, sync::Arc};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{self, Instant},
};

use crate::{
    config::{Config, Fault, Invalid, Loaded, Shutdown},
    discovery::{
        cache::{self, Cache, Flush},
        fetch::Fetcher,
    },
    drain::{Drain, Phase},
    limits,
    metrics::Metrics,
    ops::{
        access,
        admin::{Admin, Pages},
        metrics::Exposition,
        readiness::{Condition, Readiness},
    },
    proxy::{
        InUse, Proxy, Servers,
        authorize::Authorizations,
        listener::{Gate, Listener},
        seats::Seats,
        writes::Writes,
    },
    servers::{Server, TokenHasher},
};

mod census;
mod fleet;
mod policy;
mod reload;
mod trust;

pub use reload::Reloader;

use census::{Census, Witnesses};
use fleet::Keeper;
use reload::Reload;

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
    /// What it is made of now.
    pub proxy: InUse,
    /// Whether it can be sent clients.
    pub readiness: Readiness,
    /// Where clients reach it.
    pub addresses: Vec<SocketAddr>,
    /// Where its admin pages are.
    pub admin: SocketAddr,
    /// Looks for changes of the configuration's files.
    pub reloader: Reloader,
    drain: Drain,
    leaving: Shutdown,
    staying: Condition,
    /// Brings the discovery cache to the disk, if there is one.
    flush: Option<Flush>,
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
        let config = &loaded.config;
        let (metrics, exposition) = Exposition::new();
        let policy = policy::policy(loaded, &[], 0)?;
        let tls = Arc::new(ArcSwap::new(policy::serving(loaded, &policy)?));

        let cache = cache(config, &metrics)?;
        let witnesses = Witnesses::default();
        let mut keeper = Keeper::new(config, cache.clone(), witnesses.clone(), &metrics);
        let census = Census::new(config, witnesses, &metrics)?;
        let Servers { home, fleet, book, library, refresh } =
            keeper.begin(keeper.prepare(loaded, None)?, None);
        let readiness = Readiness::default();
        let mut background = JoinSet::new();
        let complete = census.complete();
        let heard = readiness.latch("discovery");

        let flush = cache.map(|cache| {
            let (keeper, flush) = cache::Keeper::new(cache, Arc::clone(&book));
            background.spawn(keeper.run());
            flush
        });

        let drain = Drain::default();
        let staying = readiness.condition("not-shutting-down", true);
        let proxy = Arc::new(ArcSwap::from_pointee(Proxy {
            policy: Arc::new(ArcSwap::from_pointee(policy)),
            home,
            fleet,
            book,
            library,
            refresh,
            hasher: TokenHasher::default(),
            authorizations: Authorizations::new(config.discovery.authorization_ttl),
            writes: Arc::new(Writes::default()),
            served_generation: u64::MAX.into(),
            metrics: metrics.clone(),
            seats: Seats::default(),
            drain: drain.signal(),
            complete: complete.clone(),
        }));
        let asked = Arc::clone(&proxy);
        background.spawn(async move {
            if time::timeout(limits::READINESS_BOUND, everybody_asked(&asked, complete)).await.is_err() {
                tracing::warn!("not every API server has answered yet; ready without them");
            }
            heard.done();
        });
        let idle = Arc::clone(&proxy);
        background.spawn(async move {
            loop {
                time::sleep(limits::OPENAPI_IDLE_CHECK).await;
                idle.load_full().library.sweep();
            }
        });

        let handler = access::handler(Arc::clone(&proxy), config.operating.access_log);
        let limits = Arc::new(config.clients.clone());
        let gate =
            Gate::new(limits.max_connections, limits.max_connections_per_source, limits.max_handshakes);
        let mut running = JoinSet::new();
        let mut addresses = Vec::new();
        for socket in listeners.clients {
            addresses.push(socket.local_addr()?);
            let (tls, handler) = (Arc::clone(&tls), handler.clone());
            let (limits, gate) = (Arc::clone(&limits), Arc::clone(&gate));
            let listener = Listener { socket, tls, handler, limits, gate, metrics: metrics.clients.clone() };
            running.spawn(listener.run(drain.signal()));
        }
        let reload = Reload::new(loaded, Arc::clone(&proxy), tls, keeper, census);
        let reloader = reload.reloader();
        background.spawn(reload.run());
        let pages = Admin::new(Arc::clone(&proxy), readiness.clone(), exposition);
        let admin = listeners.admin.local_addr()?;
        background.spawn(pages.clone().run(listeners.admin, Pages::All));
        if let Some(socket) = listeners.metrics {
            background.spawn(pages.run(socket, Pages::ForScrapers));
        }
        Ok(Self {
            proxy,
            readiness,
            addresses,
            admin,
            reloader,
            drain,
            leaving: config.shutdown,
            staying,
            flush,
            listeners: running,
            background,
        })
    }

    /// Leaves as [`crate::drain`] has it, and comes back when nothing is left: clients are told at once, accepted
    /// for `delay` still, and `timeout` after the beginning whatever has no end of its own is ended.
    pub async fn shutdown(mut self) {
        let Shutdown { delay, timeout } = self.leaving;
        let end = Instant::now() + timeout;
        self.staying.set(false);
        self.drain.enter(Phase::Leaving);
        time::sleep(delay).await;
        self.drain.enter(Phase::Closing);
        {
            let mut gone = pin!(async {
                while self.listeners.join_next().await.is_some() {}
                self.drain.idle().await;
            });
            if time::timeout_at(end, gone.as_mut()).await.is_err() {
                self.drain.enter(Phase::Over);
                if time::timeout(limits::SHUTDOWN_CUT, gone).await.is_err() {
                    tracing::warn!("clients that did not leave in time were cut off");
                }
            }
        }
        self.listeners.shutdown().await;
        if let Some(flush) = self.flush.take() {
            flush.now().await;
        }
        self.background.shutdown().await;
    }
}

/// Ends when every server was asked once, those included that the source names first.
async fn everybody_asked(proxy: &ArcSwap<Proxy>, mut complete: watch::Receiver<bool>) {
    // An error says that nobody looks for servers any more.
    let _ = complete.wait_for(|complete| *complete).await;
    while proxy.load().fleet.is_empty() {
        time::sleep(limits::NOBODY_LOOK_INTERVAL).await;
    }
    let asked = proxy.load().refresh.clone();
    for server in &asked {
        server.asked_once().await;
    }
}

/// Looks at what a configuration can't know before it is used, and no socket is needed for.
///
/// # Errors
/// Faults of the configuration.
pub fn check(config: &Config) -> Result<(), Invalid> {
    cache(config, &Metrics::default()).map(drop)
}

/// The API servers that a configuration names, and who asks them: for whoever wants to look at them as the proxy would.
///
/// # Errors
/// If certificates or keys cannot be used.
pub fn servers(loaded: &Loaded) -> anyhow::Result<(Fetcher, Vec<Arc<Server>>)> {
    fleet::to_look_at(loaded)
}

/// The discovery cache, if there is one.
fn cache(config: &Config, metrics: &Metrics) -> Result<Option<Cache>, Invalid> {
    let open = |directory: &PathBuf| {
        Cache::open(directory, metrics.cache.clone()).map_err(|message| {
            let key = "--discovery-cache-dir".to_owned();
            Invalid { faults: vec![Fault { key, message }] }
        })
    };
    config.discovery_cache_dir.as_ref().map(open).transpose()
}
