//! The API servers of a configuration: their pools, and the tasks that keep us informed about them.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::{
    api::user::{ALL_AUTHENTICATED, UserInfo},
    config::{Config, Loaded, ServerMaterial},
    discovery::{
        catalog::Book,
        fetch::{Bounds, Fetcher},
        informer::{Informers, Wanted},
        probe::{self, Probe},
        refresh::{self, Refresh},
    },
    limits,
    metrics::Metrics,
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

/// Every server, with pools that have no connection yet.
pub(super) fn fleet(loaded: &Loaded, metrics: &Metrics) -> anyhow::Result<Fleet> {
    let Loaded { config, material, .. } = loaded;
    let servers = config.servers.iter().zip(&material.servers).map(|(server, files)| {
        let context = || format!("API server {:?}", server.name);
        let target =
            Target { host: server.host(), port: server.port(), server_name: server.server_name.clone() };
        let health = Arc::new(Health::default());
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
        let (name, headers) = (Arc::clone(&server.name), server.headers.clone());
        Ok(Arc::new(Server::new(name, target.authority(), headers, health, pools)))
    });
    Ok(Fleet::new(servers.collect::<anyhow::Result<_>>()?))
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
pub(super) fn fetcher(config: &Config) -> Fetcher {
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

/// Starts the tasks of each server.
pub(super) fn keep_known(
    config: &Config,
    fleet: &Fleet,
    book: &Arc<Book>,
    fetcher: &Fetcher,
    metrics: &Metrics,
) -> Vec<Refresh> {
    let refreshes = refresh::Schedule {
        refresh_interval: config.discovery.refresh_interval,
        resync: config.discovery.resync,
        min_interval: limits::ROUTE_404_REFETCH_INTERVAL,
        first_backoff: limits::FETCH_BACKOFF,
        list_max_age: limits::LIST_MAX_AGE,
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
        if config.discovery.refresh == Mode::Watch {
            let client = kube_client(Arc::clone(&server), Arc::clone(&fetcher.user));
            let (mut tasks, asking) = (JoinSet::new(), refresh.clone());
            let ask = move |trigger| asking.ask(trigger);
            Informers::spawn(&mut tasks, &server, &client, &metrics, Wanted::ALL, ask);
            // They end when the runtime does.
            tasks.detach_all();
        }
        Probe { number, server, book, fetcher, schedule, refresh: refresh.clone(), metrics }.spawn();
        refresh
    };
    fleet.iter().enumerate().map(start).collect()
}
