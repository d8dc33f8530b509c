//! How a server is described before it starts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde_json::Value;

use super::auth::{Authenticator, FrontProxy, Verifier};
use super::discovery::Discovery;
use super::faults::Faults;
use super::forms::{Forms, Spoken};
use super::log::{REMEMBERED, RequestLog};
use super::presence::{LEASE_RENEWAL, Presence};
use super::recorded::Recorded;
use super::server::{RunningServer, StartError};
use super::shared::{Authorizer, Connections, Shared};
use super::store::Store;
use super::tls;
use crate::api::user::{ANONYMOUS, UserInfo};
use crate::pki::{Credential, FRONT_PROXY_CLIENT, Pki};

/// Concurrent HTTP/2 streams of one connection that kube-apiserver allows.
pub const MAX_STREAMS: u32 = 100;
/// How often a watch that allows bookmarks gets one.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// Describes a server; see [`Server::builder`](super::Server::builder).
pub struct Builder {
    id: String,
    recorded: Recorded,
    documents: Option<(Value, Value)>,
    forms: Forms,
    store: Option<Arc<Store>>,
    serving: Option<Credential>,
    client_ca: Option<CertificateDer<'static>>,
    front_proxy: Option<(CertificateDer<'static>, Vec<String>)>,
    front_proxy_uid: Option<bool>,
    tokens: HashMap<String, UserInfo>,
    anonymous: bool,
    authorizer: Box<Authorizer>,
    test_endpoints: bool,
    http2: bool,
    max_streams: u32,
    bookmark_interval: Duration,
    remembered: usize,
    crds: bool,
    crd_lag: Duration,
    watch_list: bool,
    hostname: Option<String>,
    advertise: Option<bool>,
    lease_renewal: Duration,
    endpoint_slice: bool,
}

// === impl Builder ===

impl Builder {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            recorded: Recorded::V1_36,
            documents: None,
            forms: Forms::default(),
            store: None,
            serving: None,
            client_ca: None,
            front_proxy: None,
            front_proxy_uid: None,
            tokens: HashMap::new(),
            anonymous: true,
            authorizer: Box::new(default_authorizer),
            test_endpoints: false,
            http2: true,
            max_streams: MAX_STREAMS,
            bookmark_interval: BOOKMARK_INTERVAL,
            remembered: REMEMBERED,
            crds: true,
            crd_lag: Duration::ZERO,
            watch_list: true,
            hostname: None,
            advertise: None,
            lease_renewal: LEASE_RENEWAL,
            endpoint_slice: false,
        }
    }

    /// Which kube-apiserver it looks like (default 1.36).
    #[must_use]
    pub fn version(mut self, version: Recorded) -> Self {
        self.recorded = version;
        self
    }

    /// Serves these two v2 documents instead of the recorded ones.
    #[must_use]
    pub fn documents(mut self, api: Value, apis: Value) -> Self {
        self.documents = Some((api, apis));
        self
    }

    /// Which forms of discovery it speaks (default [`Forms::V2`]).
    #[must_use]
    pub fn forms(mut self, forms: Forms) -> Self {
        self.forms = forms;
        self
    }

    /// Keeps its objects there (default: a new store of its own).
    #[must_use]
    pub fn store(mut self, store: Arc<Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Serving certificate, client CA and front-proxy CA of a PKI; the front proxy must be
    /// [`FRONT_PROXY_CLIENT`].
    #[must_use]
    pub fn pki(self, pki: &Pki) -> Self {
        self.serving(&pki.apiserver)
            .client_ca(pki.cluster_ca.cert())
            .front_proxy_ca(pki.front_proxy_ca.cert(), &[FRONT_PROXY_CLIENT])
    }

    /// The certificate it shows.
    #[must_use]
    pub fn serving(mut self, serving: &Credential) -> Self {
        self.serving = Some(serving.clone());
        self
    }

    /// Who signs client certificates (`--client-ca-file`).
    #[must_use]
    pub fn client_ca(mut self, ca: &CertificateDer<'static>) -> Self {
        self.client_ca = Some(ca.clone());
        self
    }

    /// Who signs front proxies, and their common names; none allows all (`--requestheader-client-ca-file`,
    /// `--requestheader-allowed-names`).
    #[must_use]
    pub fn front_proxy_ca(mut self, ca: &CertificateDer<'static>, allowed_names: &[&str]) -> Self {
        let names = allowed_names.iter().map(|name| (*name).to_owned()).collect();
        self.front_proxy = Some((ca.clone(), names));
        self
    }

    /// Whether `X-Remote-Uid` is read (default: since 1.33).
    #[must_use]
    pub fn front_proxy_uid(mut self, read: bool) -> Self {
        self.front_proxy_uid = Some(read);
        self
    }

    /// Accepts a bearer token for a user; `system:authenticated` is added to his groups.
    #[must_use]
    pub fn token(mut self, token: &str, user: UserInfo) -> Self {
        self.tokens.insert(token.to_owned(), user);
        self
    }

    /// Whether a caller without credentials is `system:anonymous` (default) or gets a 401.
    #[must_use]
    pub fn anonymous(mut self, allowed: bool) -> Self {
        self.anonymous = allowed;
        self
    }

    /// Asks this before anything is done: user, path, verb (`get`, `list`, `watch`, `create`, ...; the method in
    /// lower case for a path that is about no resource). Default: anonymous callers may read `/healthz`,
    /// `/livez`, `/readyz` and `/version`, everybody else everything.
    #[must_use]
    pub fn authorizer(
        mut self,
        authorizer: impl Fn(&UserInfo, &str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.authorizer = Box::new(authorizer);
        self
    }

    /// Serves `/test/bytes`, `/test/sink` and `/test/echo`, and upgrades as
    /// [`Faults::upgrade`](super::Faults::upgrade) has it (default: no).
    #[must_use]
    pub fn test_endpoints(mut self, on: bool) -> Self {
        self.test_endpoints = on;
        self
    }

    /// Whether h2 is offered by ALPN (default: yes).
    #[must_use]
    pub fn http2(mut self, on: bool) -> Self {
        self.http2 = on;
        self
    }

    /// How many streams of one h2 connection it advertises (default [`MAX_STREAMS`]).
    #[must_use]
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.max_streams = streams;
        self
    }

    /// How often a watch gets a bookmark (default [`BOOKMARK_INTERVAL`]).
    #[must_use]
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.bookmark_interval = interval;
        self
    }

    /// How many requests its log remembers (default [`REMEMBERED`]).
    #[must_use]
    pub fn remember_requests(mut self, count: usize) -> Self {
        self.remembered = count;
        self
    }

    /// Whether it serves the custom resources that are defined in its store (default: yes).
    #[must_use]
    pub fn serve_crds(mut self, on: bool) -> Self {
        self.crds = on;
        self
    }

    /// How long it takes from a change of a CRD or an APIService to its effect on discovery (default: zero).
    #[must_use]
    pub fn crd_lag(mut self, lag: Duration) -> Self {
        self.crd_lag = lag;
        self
    }

    /// Whether a watch may ask for `sendInitialEvents`; servers without the feature refuse it (default: yes).
    #[must_use]
    pub fn watch_list(mut self, on: bool) -> Self {
        self.watch_list = on;
        self
    }

    /// Has an identity Lease in `kube-system` as the API server of this host (default: none). Its holder is another
    /// one after each start. [`RunningServer::shut_down`] deletes it, [`RunningServer::stop`] leaves it behind.
    #[must_use]
    pub fn identity_lease(mut self, hostname: &str) -> Self {
        self.hostname = Some(hostname.to_owned());
        self
    }

    /// Whether the identity Lease names the server's address (`kubernetes.io/peer-advertise-address`; default: since
    /// 1.36, where the mixed version proxy is on).
    #[must_use]
    pub fn advertise_address(mut self, on: bool) -> Self {
        self.advertise = Some(on);
        self
    }

    /// How often the identity Lease is renewed (default [`LEASE_RENEWAL`]).
    #[must_use]
    pub fn lease_renewal(mut self, interval: Duration) -> Self {
        self.lease_renewal = interval;
        self
    }

    /// Puts its address into the EndpointSlice `default/kubernetes` (default: no); servers with another port get a
    /// slice `kubernetes-<port>`. [`RunningServer::shut_down`] takes it out.
    #[must_use]
    pub fn endpoint_slice(mut self, on: bool) -> Self {
        self.endpoint_slice = on;
        self
    }

    /// Binds and serves. Port 0 lets the system choose.
    pub async fn start(self, address: SocketAddr) -> Result<RunningServer, StartError> {
        let shared = self.build()?;
        RunningServer::start(shared, address).await
    }

    fn build(self) -> Result<Shared, StartError> {
        let bad = |error| StartError::Tls(self.id.clone(), error);
        let Some(serving) = &self.serving else { return Err(StartError::NoServingCertificate(self.id)) };
        let provider = tls::provider();
        let verifier = |ca: &_| Verifier::new(ca, &provider).map_err(bad);
        let front_proxy = match &self.front_proxy {
            Some((ca, names)) => Some(FrontProxy {
                ca: verifier(ca)?,
                allowed_names: names.clone(),
                uid: self.front_proxy_uid.unwrap_or_else(|| self.recorded.minor() >= 33),
            }),
            None => None,
        };
        let authenticator = Authenticator {
            client_ca: self.client_ca.as_ref().map(verifier).transpose()?,
            front_proxy,
            tokens: self.tokens,
            anonymous: self.anonymous,
        };
        let (api, apis) = self.documents.unwrap_or_else(|| (self.recorded.api(), self.recorded.apis()));
        let store = self.store.unwrap_or_else(Store::new);
        let discovery = Discovery::new(api, apis, format!("1.{}", self.recorded.minor()), Arc::clone(&store));
        discovery.serve_crds(self.crds);
        discovery.set_crd_lag(self.crd_lag);
        let minor = self.recorded.minor();
        let presence = Presence {
            hostname: self.hostname,
            advertise: self.advertise.unwrap_or(minor >= 36),
            fresh: minor >= 35,
            renewal: self.lease_renewal,
            endpoint_slice: self.endpoint_slice,
        };
        Ok(Shared {
            tls: tls::server_config(serving, self.http2).map_err(bad)?,
            store,
            discovery,
            faults: Faults::default(),
            log: RequestLog::new(self.remembered),
            authenticator,
            authorizer: self.authorizer,
            version: self.recorded.version(),
            forms: Spoken::new(self.forms),
            beta_discovery: self.recorded.minor() < 35,
            test_endpoints: self.test_endpoints,
            max_streams: self.max_streams,
            bookmark_interval: self.bookmark_interval,
            watch_list: self.watch_list,
            presence,
            address: OnceLock::new(),
            connections: Connections::default(),
            id: self.id,
        })
    }
}

fn default_authorizer(user: &UserInfo, path: &str, verb: &str) -> bool {
    let public = matches!(path, "/healthz" | "/livez" | "/readyz" | "/version");
    user.name != ANONYMOUS || (public && matches!(verb, "get" | "head"))
}
