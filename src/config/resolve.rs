//! From settings to a configuration. A fault does not end it: all of them are found at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::document::{self, Table};
use super::domains;
use super::duration::{DAY, MINUTE, SHORT};
use super::material::{Certificates, Files};
use super::peers::{self, Kind};
use super::read::{Findings, KeyPairAt};
use super::servers::{self, Servers};
use super::settings::{Settings, file_key, file_keys, variable};
use super::{
    Callers, Config, Connections, Discovery, FrontProxy, Health, Home, HomePreference, Invalid, Listen,
    LogFormat, Material, Operating, Reroute, ServeArgs, Shutdown, duration, listening, values,
};
use crate::{limits, servers::watched::Mode};

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A configuration without a fault.
pub(super) struct Resolved {
    pub(super) config: Config,
    pub(super) material: Material,
    pub(super) warnings: Vec<String>,
}

/// See [`Config::load_with`]. The files are those that were read, whatever was found.
pub(super) fn resolve(args: &ServeArgs, env: Env<'_>) -> (Result<Resolved, Invalid>, Files) {
    let mut found = Findings::default();
    let built = attempt(args, env, &mut found);
    let result = match built {
        Some((config, material)) if found.faults.is_empty() => {
            Ok(Resolved { config, material, warnings: found.warnings })
        }
        _ => Err(Invalid { faults: found.faults }),
    };
    (result, found.files)
}

/// Checks a configuration as if a file said it, and reads its files.
pub(super) fn again(config: &Config) -> Result<Resolved, Invalid> {
    let (mut found, args) = (Findings::default(), ServeArgs::default());
    let table = document::parse(&config.to_yaml(), &file_keys(), file_key).unwrap_or_else(|message| {
        found.fault("--config", message);
        Table::default()
    });
    let built = build(&mut Settings::new(&args, &|_| None, table, None), &mut found);
    match built {
        Some((config, material)) if found.faults.is_empty() => {
            Ok(Resolved { config, material, warnings: found.warnings })
        }
        _ => Err(Invalid { faults: found.faults }),
    }
}

fn attempt(args: &ServeArgs, env: Env<'_>, found: &mut Findings) -> Option<(Config, Material)> {
    let (file, path) = read_file(args, env, found);
    if !found.faults.is_empty() {
        // Whatever else is missing may well be in the file that couldn't be read.
        return None;
    }
    let mut settings = Settings::new(args, env, file, path.as_deref());
    settings.unknown_keys(&mut found.faults);
    build(&mut settings, found)
}

/// The configuration file as a table, and where it is; an empty table if there is none.
fn read_file(args: &ServeArgs, env: Env<'_>, found: &mut Findings) -> (Table, Option<PathBuf>) {
    let variable = variable("config");
    let (key, path) = match &args.config {
        Some(path) => ("--config", path.clone()),
        None => match env(&variable).filter(|text| !text.is_empty()) {
            Some(path) => (variable.as_str(), path.into()),
            None => return (Table::default(), None),
        },
    };
    let read = found.files.bytes(&path).and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is no UTF-8", path.display()))?;
        document::parse(text, &file_keys(), file_key).map_err(|error| format!("{}: {error}", path.display()))
    });
    let table = read.unwrap_or_else(|message| {
        found.fault(key, message);
        Table::default()
    });
    (table, Some(path))
}

/// Everything; none if something is missing without which there is no configuration, and a fault says so.
fn build(s: &mut Settings<'_>, found: &mut Findings) -> Option<(Config, Material)> {
    let bind = bind(s, found);
    let serving = listening::serving(s, found);
    let (min_version, cipher_suites) = listening::tls(s, found);
    let (sni, sni_pairs) = listening::sni(s, found).into_iter().unzip();
    let clients = listening::clients(s, found);
    let (callers, client_ca, front_proxy_ca) = callers(s, found);
    let kind = peers::kind(s, found);
    let servers = servers::servers(s, kind != Kind::Dns, found);
    let trust_domain = domains::callers(s, &servers, found);
    let home = home(s, &servers, kind, found);
    let home_domain = domains::home(s, &servers, &home, &trust_domain, found);
    let peers = peers::peers(s, kind, home_domain, found);
    let identity_map = domains::identity_map(s, &servers, &trust_domain, found);
    let allow_shared_identity = s.on_off(found, "allow-shared-identity", false);
    let others = peers.as_ref().map(|(peers, material)| (&peers.like, material));
    servers::check_trust(&servers, others, allow_shared_identity, s, found);
    check_loops(s, &bind, &servers, found);
    let proxy_user = s.value(found, "proxy-user", "system:kube-peer-proxy".to_owned(), values::user);
    let health = health(s, found);
    let discovery = discovery(s, &health, found);
    let discovery_cache_dir = s.given("discovery-cache-dir").and_then(|given| found.directory(&given));
    let connections = connections(s, found);
    let reroute = [("on", Reroute::On), ("dry-run", Reroute::DryRun), ("off", Reroute::Off)];
    let reroute = s.choice(found, "reroute", &reroute);
    let request_timeout = s.duration(found, "request-timeout", limits::REQUEST_TIMEOUT, SHORT..=DAY);
    let most = Some(limits::MAX_REQUESTS_INFLIGHT);
    let max_requests_inflight = s.limit(found, "max-requests-inflight", most, 1..=1_000_000);
    let upgrade_idle_timeout =
        s.value(found, "upgrade-idle-timeout", Some(limits::UPGRADE_IDLE_TIMEOUT), |text| {
            values::patience_in(text, &(SHORT..=30 * DAY))
        });
    let shutdown = shutdown(s, found);
    let operating = operating(s, &bind, found);

    let KeyPairAt { cert_file, key_file, pair: serving } = serving?;
    let (servers, server_material) = servers.list.into_iter().unzip();
    let (peers, peer_material) = peers.unzip();
    let config = Config {
        listen: Listen { bind, cert_file, key_file, min_version, cipher_suites, sni },
        clients,
        callers,
        trust_domain,
        identity_map,
        servers,
        home,
        allow_shared_identity,
        proxy_user,
        peers,
        discovery,
        discovery_cache_dir,
        health,
        connections,
        reroute,
        request_timeout,
        max_requests_inflight,
        upgrade_idle_timeout,
        shutdown,
        operating,
    };
    let material = Material {
        serving,
        sni: sni_pairs,
        client_ca,
        front_proxy_ca,
        servers: server_material,
        peers: peer_material,
    };
    Some((config, material))
}

fn bind(s: &Settings<'_>, found: &mut Findings) -> Vec<SocketAddr> {
    let port = s.value(found, "secure-port", 6443, values::port);
    let any = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let addresses = s.list(found, "bind-address", any, values::ip);
    let bind: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    for (index, address) in bind.iter().enumerate() {
        if let Some(other) = bind[..index].iter().find(|other| overlap(*address, **other)) {
            let message = format!("{} and {} can't both be listened on", other.ip(), address.ip());
            found.fault(s.key("bind-address"), format!("{message}: one of them is all addresses"));
        }
    }
    bind
}

type CallersAndCas = (Callers, Option<Arc<Certificates>>, Option<Arc<Certificates>>);

fn callers(s: &Settings<'_>, found: &mut Findings) -> CallersAndCas {
    let client_ca = s.given("client-ca-file").and_then(|given| found.certificates(&given));
    if s.given("client-ca-file").is_none() {
        found.warning(&s.key("client-ca-file"), "is not set: callers with client certificates are not known");
    }
    let front_proxy_ca = s.given("requestheader-client-ca-file").and_then(|given| found.certificates(&given));
    let allowed_names =
        s.list(found, "requestheader-allowed-names", Vec::new(), |text| Ok::<_, String>(text.to_owned()));
    let headers = s.headers(found);
    if let (Some((_, clients)), Some((_, proxies))) = (&client_ca, &front_proxy_ca)
        && allowed_names.is_empty()
        && clients.der.iter().any(|certificate| proxies.der.contains(certificate))
    {
        let message = "is needed where --client-ca-file and --requestheader-client-ca-file share a certificate: \
            every client could claim to be anybody";
        found.fault(s.key("requestheader-allowed-names"), message);
    }
    let trusted_proxy_cidrs = s.list(found, "trusted-proxy-cidrs", Vec::new(), values::network);
    let (client_ca_file, client_ca) = client_ca.unzip();
    let (front_proxy, front_proxy_ca) = front_proxy_ca
        .map(|(client_ca_file, ca)| (FrontProxy { client_ca_file, allowed_names, headers }, ca))
        .unzip();
    (Callers { client_ca_file, front_proxy, trusted_proxy_cidrs }, client_ca, front_proxy_ca)
}

fn home(s: &Settings<'_>, servers: &Servers, kind: Kind, found: &mut Findings) -> Home {
    let choices = [
        ("any", HomePreference::Any),
        ("oldest", HomePreference::Oldest),
        ("newest", HomePreference::Newest),
    ];
    let preference = s.choice(found, "home-preference", &choices);
    let Some(home) = s.optional(found, "home", values::name) else { return Home::Chosen(preference) };
    if !servers.names.contains(&home) {
        let names: Vec<_> = servers.names.iter().map(String::as_str).collect();
        let names = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
        let more = match kind {
            Kind::Static => "",
            // Whoever can write there could become everybody's home, or leave us without one.
            _ => "; home can be no server that only --peer-source names, so --api-server has to name it",
        };
        found.fault(s.key("home"), format!("{home} is not among the API servers ({names}){more}"));
    }
    if s.given("home-preference").is_some() {
        found.fault(s.key("home-preference"), format!("means nothing beside {}", s.key("home")));
    }
    Home::Named(home.into())
}

/// Whether a server's address is our own, which would make us call ourselves.
fn check_loops(s: &Settings<'_>, bind: &[SocketAddr], servers: &Servers, found: &mut Findings) {
    for (server, _) in &servers.list {
        let Ok(address) = server.host().parse::<IpAddr>() else { continue };
        let ours = |bind: &&SocketAddr| {
            bind.port() == server.port()
                && (bind.ip() == address || (bind.ip().is_unspecified() && address.is_loopback()))
        };
        if let Some(bind) = bind.iter().find(ours) {
            let message = format!("listening on {bind} would take the address of API server {}", server.name);
            found.fault(s.key("bind-address"), message);
        }
    }
}

fn health(s: &Settings<'_>, found: &mut Findings) -> Health {
    let default = Health::default();
    Health {
        probe_interval: s.duration(
            found,
            "health-probe-interval",
            default.probe_interval,
            SHORT..=10 * MINUTE,
        ),
        probe_timeout: s.duration(found, "health-probe-timeout", default.probe_timeout, SHORT..=MINUTE),
    }
}

fn discovery(s: &Settings<'_>, health: &Health, found: &mut Findings) -> Discovery {
    let default = Discovery::default();
    let refresh = [("watch", Mode::Watch), ("interval", Mode::Interval)];
    let discovery = Discovery {
        refresh: s.choice(found, "discovery-refresh", &refresh),
        resync: s.duration(found, "discovery-resync", default.resync, SHORT..=DAY),
        merge: s.on_off(found, "merge", default.merge),
        sources_header: s.on_off(found, "discovery-sources-header", default.sources_header),
        refresh_interval: s.duration(
            found,
            "discovery-refresh-interval",
            default.refresh_interval,
            SHORT..=DAY,
        ),
        stale_after: s.duration(found, "stale-after", default.stale_after, SHORT..=DAY),
        forget_after: s.duration(found, "forget-after", default.forget_after, Duration::ZERO..=365 * DAY),
        authorization_ttl: s.duration(
            found,
            "discovery-authorization-ttl",
            default.authorization_ttl,
            Duration::ZERO..=5 * MINUTE,
        ),
        fetch_timeout: s.duration(
            found,
            "discovery-fetch-timeout",
            default.fetch_timeout,
            SHORT..=5 * MINUTE,
        ),
        max_bytes: s.value(found, "discovery-max-bytes", default.max_bytes, |text| {
            values::bytes_in(text, &(1 << 10..=1 << 30))
        }),
        openapi: default.openapi,
    };
    if discovery.stale_after <= health.probe_interval {
        let message = format!(
            "{} is not longer than the time between two health probes ({}): every server would be stale in between",
            duration::format(discovery.stale_after),
            duration::format(health.probe_interval)
        );
        found.fault(s.key("stale-after"), message);
    }
    if discovery.forget_after < discovery.stale_after {
        let message = format!(
            "{} is shorter than the time after which a server is stale ({}, {}); it can be that to {}",
            duration::format(discovery.forget_after),
            s.key("stale-after"),
            duration::format(discovery.stale_after),
            duration::format(365 * DAY)
        );
        found.fault(s.key("forget-after"), message);
    }
    discovery
}

fn connections(s: &Settings<'_>, found: &mut Findings) -> Connections {
    let default = Connections::default();
    Connections {
        connect_timeout: s.duration(found, "connect-timeout", default.connect_timeout, SHORT..=MINUTE),
        dead_after: s.duration(found, "dead-after", default.dead_after, SHORT..=5 * MINUTE),
        idle_timeout: s.duration(found, "pool-idle-timeout", default.idle_timeout, SHORT..=DAY),
        max_identity: s.count(found, "max-identity-connections", default.max_identity, 1..=10_000),
        max_token: s.count(found, "max-token-connections", default.max_token, 1..=10_000),
        max_unproven: s.count(found, "max-unproven-connections", default.max_unproven, 1..=10_000),
        max_upgrade: s.count(found, "max-upgrade-connections", default.max_upgrade, 1..=10_000),
    }
}

fn shutdown(s: &Settings<'_>, found: &mut Findings) -> Shutdown {
    let default = Shutdown::default();
    let delay = s.duration(found, "shutdown-delay-duration", default.delay, Duration::ZERO..=60 * MINUTE);
    let timeout = s.duration(found, "shutdown-timeout", default.timeout, Duration::ZERO..=DAY);
    if timeout < delay {
        let message = format!(
            "{} is shorter than {} ({}): watches would end while clients are still accepted",
            duration::format(timeout),
            s.key("shutdown-delay-duration"),
            duration::format(delay)
        );
        found.fault(s.key("shutdown-timeout"), message);
    }
    Shutdown { delay, timeout }
}

fn operating(s: &Settings<'_>, bind: &[SocketAddr], found: &mut Findings) -> Operating {
    let default = Operating::default();
    let operating = Operating {
        admin_bind: s.socket(found, "admin-bind-address").unwrap_or(default.admin_bind),
        metrics_bind: s.socket(found, "metrics-bind-address"),
        log_filter: s.value(found, "log-level", default.log_filter, values::log_filter),
        log_format: s.choice(found, "log-format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        access_log: s.on_off(found, "access-log", default.access_log),
        reload_check_interval: s.duration(
            found,
            "reload-check-interval",
            default.reload_check_interval,
            SHORT..=60 * MINUTE,
        ),
    };
    if !operating.admin_bind.ip().is_loopback() {
        let message = format!(
            "{} is no loopback address; what is there is for people on this machine (for scrapers there is \
             --metrics-bind-address)",
            operating.admin_bind
        );
        found.fault(s.key("admin-bind-address"), message);
    }
    let mut taken = bind.to_vec();
    for (name, address) in
        [("admin-bind-address", Some(operating.admin_bind)), ("metrics-bind-address", operating.metrics_bind)]
    {
        let Some(address) = address else { continue };
        if let Some(other) = taken.iter().find(|other| overlap(address, **other)) {
            found.fault(s.key(name), format!("{address} is taken by {other} already"));
        }
        taken.push(address);
    }
    operating
}

/// Whether both can't be listened on at the same time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| a == b || (a.is_unspecified() && (a.is_ipv6() || b.is_ipv4()));
    a.port() == b.port() && a.port() != 0 && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}
