//! The parts of a configuration. Whatever is of these types has been validated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::CipherSuite;
use rustls_pki_types::ServerName;
use url::Url;

pub use crate::{
    api::user::UserHeaders,
    ops::telemetry::LogFormat,
    proxy::{
        Reroute,
        domains::{Name as MappedName, Rule as IdentityRule},
        home::Preference as HomePreference,
        listener::Limits as ClientLimits,
    },
    tls::suites::MinVersion,
};
use crate::{
    discovery::openapi::Bounds,
    limits,
    servers::{
        source::{allowed::Allowed, dns::Question, sighting::Address},
        watched::Mode,
    },
};

/// What the proxy is to do. Paths are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients come in.
    pub listen: Listen,
    /// What a client may ask of us.
    pub clients: ClientLimits,
    /// How they are known.
    pub callers: Callers,
    /// The trust domain of those whom certificates and front proxies name (I13).
    pub trust_domain: Arc<str>,
    /// Who they are in other trust domains; the first rule that matches counts.
    pub identity_map: Vec<IdentityRule>,
    /// The API servers of the configuration, in its order; names and addresses are unique. At least one, unless there
    /// are others by DNS.
    pub servers: Vec<ServerConfig>,
    /// Where a request goes first.
    pub home: Home,
    /// Servers of one trust domain may differ in their CAs: the operator knows what it means (I13).
    pub allow_shared_identity: bool,
    /// The user that our own requests are made as.
    pub proxy_user: String,
    /// Where further servers come from; none: from nowhere.
    pub peers: Option<Peers>,
    /// Discovery of the servers, and ours.
    pub discovery: Discovery,
    /// Where the servers' last good discovery outlives us; none: nowhere.
    pub discovery_cache_dir: Option<PathBuf>,
    /// Health probes.
    pub health: Health,
    /// Connections to the servers.
    pub connections: Connections,
    /// What becomes of requests that home can't serve.
    pub reroute: Reroute,
    /// Limit for requests that are not long-running.
    pub request_timeout: Duration,
    /// Requests under way that are not long-running; none: no limit.
    pub max_requests_inflight: Option<usize>,
    /// An upgraded connection that is silent for this long is ended; none: never.
    pub upgrade_idle_timeout: Option<Duration>,
    /// How we leave.
    pub shutdown: Shutdown,
    /// Admin pages, metrics, logs.
    pub operating: Operating,
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// At least one; all with the same port.
    pub bind: Vec<SocketAddr>,
    /// Serving certificate and its chain.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Clients' TLS is at least this.
    pub min_version: MinVersion,
    /// Cipher suites of TLS 1.2, and maybe some of TLS 1.3, all of which are always offered; empty: all.
    pub cipher_suites: Vec<CipherSuite>,
    /// Certificates for clients that ask for certain names; the first counts most.
    pub sni: Vec<SniCertificate>,
}

/// A certificate for clients that ask for certain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniCertificate {
    /// Certificate and its chain.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// DNS names in lower case, maybe with `*` for the first label; empty: those of the certificate.
    pub names: Vec<String>,
}

/// How we leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long clients are still accepted.
    pub delay: Duration,
    /// When watches and upgraded connections are ended; counted from the same moment as the delay, and not before it.
    pub timeout: Duration,
}

/// How clients are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// CAs of client certificates; none: no certificate names a caller, and whoever shows one needs a token beside it.
    pub client_ca_file: Option<PathBuf>,
    /// Trusted front proxies before us; none: `X-Remote-*` of clients is dropped.
    pub front_proxy: Option<FrontProxy>,
    /// Networks of load balancers whose `X-Forwarded-For` is believed.
    pub trusted_proxy_cidrs: Vec<IpNet>,
}

/// Front proxies that may say who is calling, as kube-apiserver's `--requestheader-*` flags describe them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// CAs of their certificates.
    pub client_ca_file: PathBuf,
    /// Common names that their certificates may have; empty: any.
    pub allowed_names: Vec<String>,
    /// The headers that they use.
    pub headers: UserHeaders,
}

/// One API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Letters, digits, `-`, `_` and `.`; stands in logs, metrics and the order of merging.
    pub name: Arc<str>,
    /// `https`, with a host, without path, query or user.
    pub url: Url,
    /// CAs of its serving certificate.
    pub ca_file: PathBuf,
    /// The name that its serving certificate is checked for.
    pub server_name: ServerName<'static>,
    /// The client certificate that it takes for a front proxy's.
    pub proxy_client_cert_file: PathBuf,
    /// Its key.
    pub proxy_client_key_file: PathBuf,
    /// The headers in which it takes an identity; the first of each is the one to write.
    pub headers: UserHeaders,
    /// Servers of one trust domain accept the same callers.
    pub trust_domain: Arc<str>,
}

/// Where a request goes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Sidecar: to the server of this name, which is one of [`Config::servers`].
    Named(Arc<str>),
    /// Front: to one chosen for each client connection.
    Chosen(HomePreference),
}

/// Where API servers come from that the configuration does not name, and what is the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Who names them.
    pub source: PeerSource,
    /// The networks in which they may be; at least one.
    pub allowed_cidrs: Vec<IpNet>,
    /// The DNS server that is asked instead of this machine's; for whoever embeds us, there is no setting for it.
    pub nameserver: Option<SocketAddr>,
    /// Name and address are those of nobody: see [`Peers::server`].
    pub(super) like: ServerConfig,
}

/// Who names API servers that the configuration does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// Their identity leases, as home or the other configured servers have them.
    Leases,
    /// The endpoint slices of the service `kubernetes`.
    EndpointSlices,
    /// DNS.
    Dns(Question),
}

/// Discovery of the servers, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Whether discovery is answered with a merged document.
    pub merge: bool,
    /// Whether merged answers name the servers whose documents went into them.
    pub sources_header: bool,
    /// What makes us ask a server again, where it can be had.
    pub refresh: Mode,
    /// In [`Mode::Watch`] a server is asked again after this long even if nothing happens.
    pub resync: Duration,
    /// In [`Mode::Interval`] a server is asked again after this long.
    pub refresh_interval: Duration,
    /// A server not heard from for this long is stale; longer than [`Health::probe_interval`].
    pub stale_after: Duration,
    /// A server that its source no longer names is forgotten after this long.
    pub forget_after: Duration,
    /// How long home's permission to read discovery is remembered; zero: not at all.
    pub authorization_ttl: Duration,
    /// Limit for one fetch.
    pub fetch_timeout: Duration,
    /// Limit for one document, decompressed.
    pub max_bytes: usize,
    /// Limits for OpenAPI.
    pub openapi: Bounds,
}

/// Health probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// From one probe to the next.
    pub probe_interval: Duration,
    /// A probe without an answer by then has failed.
    pub probe_timeout: Duration,
}

/// Connections to the servers; the caps are per server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Limit for TCP and TLS together.
    pub connect_timeout: Duration,
    /// An unanswered PING makes a connection dead after this long.
    pub dead_after: Duration,
    /// A connection without a request for this long is closed.
    pub idle_timeout: Duration,
    /// Live connections of class *identity*.
    pub max_identity: usize,
    /// Live connections of class *token*.
    pub max_token: usize,
    /// Live connections of class *unproven*.
    pub max_unproven: usize,
    /// Upgraded connections.
    pub max_upgrade: usize,
}

/// Admin pages, metrics, logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operating {
    /// Admin pages; a loopback address.
    pub admin_bind: SocketAddr,
    /// For scrapers and probes; none: off.
    pub metrics_bind: Option<SocketAddr>,
    /// A level, or directives as in `RUST_LOG`.
    pub log_filter: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Whether each request is logged.
    pub access_log: bool,
    /// From one look at the files to the next.
    pub reload_check_interval: Duration,
}

// === impl Config ===

impl Config {
    /// The trust domain of home: of the named one, or of all that a front chooses among. Those are the servers of the
    /// callers' domain, or if there is none, all; then they are of one domain.
    #[must_use]
    pub fn home_domain(&self) -> &str {
        let first_of = |is: &dyn Fn(&&ServerConfig) -> bool| {
            self.servers.iter().find(is).map(|server| &*server.trust_domain)
        };
        let home = match &self.home {
            Home::Named(name) => first_of(&|server| server.name == *name),
            Home::Chosen(_) => first_of(&|server| server.trust_domain == self.trust_domain),
        };
        home.or_else(|| first_of(&|_| true)).unwrap_or(&self.trust_domain)
    }
}

// === impl Home ===

impl Home {
    /// The server that this proxy stands beside, if it is a sidecar.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Named(name) => Some(name),
            Self::Chosen(_) => None,
        }
    }
}

// === impl Peers ===

impl Peers {
    /// The configuration of a server that the source names.
    ///
    /// # Errors
    /// If the address can't be a URL's, which no address of a [`crate::servers::source::roster::Member`] is.
    pub fn server(&self, name: Arc<str>, address: &Address) -> Result<ServerConfig, url::ParseError> {
        Ok(ServerConfig { name, url: Url::parse(&format!("https://{address}"))?, ..self.like.clone() })
    }

    /// The networks in which they may be.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        Allowed::new(&self.allowed_cidrs)
    }
}

// === impl PeerSource ===

impl PeerSource {
    /// As in the configuration, and in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::EndpointSlices => "endpointslices",
            Self::Dns(_) => "dns",
        }
    }
}

// === impl ServerConfig ===

impl ServerConfig {
    /// Host of the URL: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match self.url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        }
    }

    /// Host and port, as rosters have them.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::new(&self.host(), self.port())
    }

    /// Whether both are reached in the same way, and take an identity in the same way.
    #[must_use]
    pub fn is_at_the_place_of(&self, other: &Self) -> bool {
        (self.host(), self.port()) == (other.host(), other.port())
            && self.server_name == other.server_name
            && self.headers == other.headers
            && self.trust_domain == other.trust_domain
    }

    /// Port of the URL.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }
}

// === impl Shutdown ===

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: limits::SHUTDOWN_DELAY, timeout: limits::SHUTDOWN_TIMEOUT }
    }
}

// === impl Discovery ===

impl Default for Discovery {
    fn default() -> Self {
        Self {
            merge: true,
            sources_header: false,
            refresh: Mode::default(),
            resync: limits::DISCOVERY_RESYNC,
            refresh_interval: limits::DISCOVERY_REFRESH_INTERVAL,
            stale_after: limits::STALE_AFTER,
            forget_after: limits::FORGET_AFTER,
            authorization_ttl: limits::DISCOVERY_AUTHORIZATION_TTL,
            fetch_timeout: limits::DISCOVERY_FETCH_TIMEOUT,
            max_bytes: limits::MAX_DISCOVERY_BYTES,
            openapi: Bounds::default(),
        }
    }
}

// === impl Health ===

impl Default for Health {
    fn default() -> Self {
        Self { probe_interval: limits::HEALTH_PROBE_INTERVAL, probe_timeout: limits::HEALTH_PROBE_TIMEOUT }
    }
}

// === impl Connections ===

impl Default for Connections {
    fn default() -> Self {
        Self {
            connect_timeout: limits::CONNECT_TIMEOUT,
            dead_after: limits::DEAD_AFTER,
            idle_timeout: limits::POOL_IDLE_TIMEOUT,
            max_identity: limits::MAX_IDENTITY_CONNECTIONS,
            max_token: limits::MAX_TOKEN_CONNECTIONS,
            max_unproven: limits::MAX_UNPROVEN_CONNECTIONS,
            max_upgrade: limits::MAX_UPGRADE_CONNECTIONS,
        }
    }
}

// === impl Operating ===

impl Default for Operating {
    fn default() -> Self {
        Self {
            admin_bind: SocketAddr::from(([127, 0, 0, 1], 8090)),
            metrics_bind: None,
            log_filter: "info".to_owned(),
            log_format: LogFormat::default(),
            access_log: true,
            reload_check_interval: limits::RELOAD_CHECK_INTERVAL,
        }
    }
}
