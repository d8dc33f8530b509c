//! The proxy, configured and wired as `serve` does it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kube_peer_proxy::app::{App, Listeners};
use kube_peer_proxy::config::{Config, ServeArgs};
use kube_peer_proxy::discovery::catalog::{Freshness, Knowledge};
use kube_peer_proxy::servers::{Class, Server, pool::Stats};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::client::{As, Client, Protocol, Reply};
use super::raw::Raw;
use super::{DEADLINE, PKI, eventually};

/// As whom the proxy asks for itself.
pub const PROXY_USER: &str = "system:kube-peer-proxy";

/// Describes a proxy. Unless told otherwise it probes every 100 ms, watches as the product does, and fetches discovery
/// only when something happens.
pub struct ProxyBuilder {
    args: ServeArgs,
    servers: BTreeMap<String, SocketAddr>,
    /// What only the configuration file has.
    file: BTreeMap<&'static str, String>,
    wait: bool,
    listen: SocketAddr,
    front_proxies: bool,
    listed: bool,
    configure: Vec<Change>,
}

type Change = Box<dyn FnOnce(&mut Config)>;

/// A proxy that runs until this is dropped.
pub struct Proxy {
    pub app: App,
    /// Where scrapers find it, if they do.
    pub metrics: Option<SocketAddr>,
    /// Where the files of its configuration are.
    folder: TempDir,
}

// === impl ProxyBuilder ===

impl ProxyBuilder {
    pub fn new() -> Self {
        let file = [
            ("healthProbeInterval", "100ms"),
            // A busy machine is no dead server.
            ("healthProbeTimeout", "10s"),
            ("discoveryFetchTimeout", "20s"),
            ("deadAfter", "20s"),
            ("connectTimeout", "10s"),
        ];
        let builder = Self {
            args: ServeArgs::default(),
            servers: BTreeMap::new(),
            file: file.map(|(key, value)| (key, value.to_owned())).into(),
            wait: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            front_proxies: false,
            listed: false,
            configure: Vec::new(),
        };
        builder.flags(|args| {
            args.discovery_refresh_interval = Some("1h".into());
            args.stale_after = Some("20s".into());
            args.shutdown_delay_duration = Some("0".into());
        })
    }

    /// One more server, or another address for one: that of a [`Wire`](super::Wire), say.
    pub fn server(mut self, name: &str, address: SocketAddr) -> Self {
        self.servers.insert(name.to_owned(), address);
        self
    }

    /// Stands beside this server; without it, in front of all.
    pub fn home(self, name: &str) -> Self {
        self.flags(|args| args.home = Some(name.to_owned()))
    }

    /// Fetches discovery this often where nobody tells of events.
    pub fn refresh(self, interval: &str) -> Self {
        self.flags(|args| args.discovery_refresh_interval = Some(interval.to_owned()))
    }

    /// Fetches discovery this often and watches nothing: for tests of fetches, which come by themselves then.
    pub fn interval(self, interval: &str) -> Self {
        self.refresh(interval).flags(|args| args.discovery_refresh = Some("interval".into()))
    }

    /// Fetches discovery when an event says that it may have changed. So it is without a word, too.
    pub fn watching(self) -> Self {
        self.flags(|args| args.discovery_refresh = Some("watch".into()))
    }

    /// Whatever `serve` can be told.
    pub fn flags(mut self, set: impl FnOnce(&mut ServeArgs)) -> Self {
        set(&mut self.args);
        self
    }

    /// A setting of the configuration file.
    pub fn file(mut self, key: &'static str, value: &str) -> Self {
        self.file.insert(key, value.to_owned());
        self
    }

    /// Whatever results from all that.
    pub fn configure(mut self, change: impl FnOnce(&mut Config) + 'static) -> Self {
        self.configure.push(Box::new(change));
        self
    }

    /// Finds out quickly who is dead: for tests of that, and only for them.
    pub fn hasty(self) -> Self {
        let keys = ["healthProbeTimeout", "deadAfter", "connectTimeout"];
        let hasty = keys.into_iter().fold(self, |proxy, key| proxy.file(key, "1s"));
        hasty.file("discoveryFetchTimeout", "2s").flags(|args| args.stale_after = Some("2s".into()))
    }

    /// Trusts front proxies of the PKI's front-proxy CA that have the usual name.
    pub fn trusts_front_proxies(mut self) -> Self {
        self.front_proxies = true;
        self
    }

    /// The servers stand in the configuration file, where they can change.
    pub fn listed(mut self) -> Self {
        self.listed = true;
        self
    }

    /// Comes back before the proxy is ready.
    pub fn unready(mut self) -> Self {
        self.wait = false;
        self
    }

    /// Listens for clients there instead of on a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    pub async fn start(mut self) -> Proxy {
        let folder = tempfile::tempdir().unwrap();
        PKI.write(folder.path(), false).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        if self.listed {
            let servers =
                self.servers.iter().map(|(name, at)| json!({ "name": name, "url": format!("https://{at}") }));
            self.file.insert("apiServers", Value::from_iter(servers).to_string());
        }
        let text = self.file.iter().fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}: {value}").unwrap();
            text
        });
        std::fs::write(path("proxy.yaml"), text).unwrap();
        let args = &mut self.args;
        args.config = Some(path("proxy.yaml").into());
        args.tls_cert_file = Some(path("proxy.crt"));
        args.tls_private_key_file = Some(path("proxy.key"));
        // A file of its own, so that who may call can change and who is called does not.
        std::fs::copy(path("ca.crt"), path("clients.crt")).unwrap();
        args.client_ca_file = Some(path("clients.crt"));
        if !self.file.contains_key("peerCaFile") {
            args.peer_ca_file = Some(path("ca.crt"));
        }
        args.proxy_client_cert_file = Some(path("front-proxy-client.crt"));
        args.proxy_client_key_file = Some(path("front-proxy-client.key"));
        if !self.listed {
            args.api_server = self.servers.iter().map(|(name, at)| format!("{name}=https://{at}")).collect();
        }
        if self.front_proxies {
            args.requestheader_client_ca_file = Some(path("front-proxy-ca.crt"));
            args.requestheader_allowed_names = vec!["front-proxy-client".into()];
        }
        let mut loaded = Config::load_with(args, &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"));
        self.configure.into_iter().for_each(|change| change(&mut loaded.config));
        let bind = async |address: SocketAddr| TcpListener::bind(address).await.unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let metrics = Some(bind(loopback).await).filter(|_| loaded.config.operating.metrics_bind.is_some());
        let scraped = metrics.as_ref().map(|listener| listener.local_addr().unwrap());
        let listeners =
            Listeners { clients: vec![bind(self.listen).await], admin: bind(loopback).await, metrics };
        let app = App::build(&loaded, listeners).unwrap();
        if self.wait {
            tokio::time::timeout(DEADLINE, app.readiness.ready()).await.expect("the proxy gets ready");
        }
        Proxy { app, metrics: scraped, folder }
    }
}

// === impl Proxy ===

impl Proxy {
    pub fn address(&self) -> SocketAddr {
        self.app.addresses[0]
    }

    /// A file of its configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn h2(&self, who: As<'_>) -> Client {
        Client::connect(self.address(), who, Protocol::H2).await
    }

    pub async fn h1(&self, who: As<'_>) -> Client {
        Client::connect(self.address(), who, Protocol::H1).await
    }

    /// A connection for bytes as they are, without a certificate.
    pub async fn raw(&self) -> Raw {
        Raw::connect(self.address(), None).await
    }

    /// A page of the admin listener.
    pub async fn page(&self, target: &str) -> Reply {
        Client::plain(self.app.admin).await.get(target).await
    }

    /// The JSON of a page below `/debug`.
    pub async fn debug(&self, target: &str) -> Value {
        self.page(&format!("/debug/{target}")).await.json()
    }

    /// The sum of a metric over the series whose text has all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.page("/metrics").await;
        let series = page.text().lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub fn freshness(&self, name: &str) -> Freshness {
        self.app.proxy.load().book.catalog().servers[self.position(name)].freshness()
    }

    pub async fn until_it_is(&self, name: &str, wanted: Freshness) {
        eventually(&format!("{name} is {wanted:?}"), || self.freshness(name) == wanted).await;
    }

    pub fn target(&self, name: &str) -> Arc<Server> {
        Arc::clone(self.app.proxy.load().fleet.get(self.position(name)))
    }

    /// What is only in the unaggregated lists of every server has been read and published: for who counts catalogs.
    pub async fn until_lists_are_read(&self) {
        let proxy = self.app.proxy.load_full();
        let book = &proxy.book;
        let read = |known: &Knowledge| {
            known.document.as_ref().is_some_and(|document| !document.lists.addresses.is_empty())
        };
        eventually("the lists are read", || book.catalog().servers.iter().all(read)).await;
    }

    pub async fn until_healthy(&self, name: &str, healthy: bool) {
        let health = Arc::clone(&self.target(name).health);
        eventually(&format!("{name} healthy: {healthy}"), || health.is_healthy() == healthy).await;
    }

    /// The connections of a class to a server.
    pub fn connections(&self, name: &str, class: Class) -> Stats {
        self.target(name).connections(class)
    }

    fn position(&self, name: &str) -> usize {
        self.app.proxy.load().fleet.position(name).unwrap()
    }
}
