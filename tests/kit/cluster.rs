//! API servers in memory that share one store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use kube_peer_proxy::embedded::{Builder, LoggedRequest, Recorded, RunningServer, Server, Store, user};
use kube_peer_proxy::pki::{Credential, Pki};

use super::proxy::{PROXY_USER, ProxyBuilder};

/// One PKI for all tests: making keys is what takes time.
pub static PKI: LazyLock<Pki> = LazyLock::new(|| Pki::generate(&[]).unwrap());

/// Tokens that every server accepts, for the users `bob` and `eve`.
pub const BOB: &str = "b0b-s3cr3t";
pub const EVE: &str = "eve-s3cr3t";

/// API servers by name, one store behind them.
pub struct Cluster {
    servers: BTreeMap<String, RunningServer>,
}

/// A client certificate of the cluster's CA.
pub fn certificate(user: &str, groups: &[&str]) -> Credential {
    PKI.client(user, groups).unwrap()
}

// === impl Cluster ===

impl Cluster {
    /// One server for each version, named `v132` and so on.
    pub async fn start(versions: &[Recorded]) -> Self {
        let named = versions.iter().map(|version| (format!("v1{}", version.minor()), *version));
        Self::with(named, |builder| builder).await
    }

    /// Servers with these names, each described further by `describe`.
    pub async fn with<N: Into<String>>(
        named: impl IntoIterator<Item = (N, Recorded)>,
        describe: impl Fn(Builder) -> Builder,
    ) -> Self {
        let store = Store::new();
        let mut servers = BTreeMap::new();
        for (name, version) in named {
            let name = name.into();
            let builder = Server::builder(&name)
                .version(version)
                .pki(&PKI)
                .store(Arc::clone(&store))
                .token(BOB, user("bob", &["dev"]))
                .token(EVE, user("eve", &["ops"]))
                .test_endpoints(true);
            let server = describe(builder).start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            servers.insert(name, server);
        }
        Self { servers }
    }

    pub fn server(&self, name: &str) -> &RunningServer {
        &self.servers[name]
    }

    pub fn servers(&self) -> impl Iterator<Item = &RunningServer> {
        self.servers.values()
    }

    /// A proxy in front of all of them; a sidecar as soon as it gets a home.
    pub fn proxy(&self) -> ProxyBuilder {
        self.servers().fold(ProxyBuilder::new(), |proxy, server| proxy.server(server.id(), server.addr()))
    }

    /// What a server was asked by clients, not by the proxy for itself.
    pub fn asked(&self, name: &str, wanted: impl Fn(&LoggedRequest) -> bool) -> Vec<LoggedRequest> {
        self.server(name).log().matching(|request| !is_our_own(request) && wanted(request))
    }

    /// What a server was asked by clients for a path and query.
    pub fn asked_for(&self, name: &str, target: &str) -> Vec<LoggedRequest> {
        self.asked(name, |request| request.target == target)
    }

    /// How often the proxy fetched a document for itself.
    pub fn fetches(&self, name: &str, path: &str) -> usize {
        self.server(name).log().matching(|request| is_our_own(request) && request.target == path).len()
    }
}

fn is_our_own(request: &LoggedRequest) -> bool {
    request.user.as_ref().is_some_and(|user| user.name == PROXY_USER)
}
