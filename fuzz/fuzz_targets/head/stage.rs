//! Two API servers and a proxy beside the older one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use kube_peer_proxy::app::{App, Listeners};
use kube_peer_proxy::config::{Config, ServeArgs};
use kube_peer_proxy::embedded::{LoggedRequest, Recorded, RunningServer, Server, Store, user};
use kube_peer_proxy::pki::{Credential, Pki};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::checks;
use super::client::{self, Mode};

/// As whom the proxy asks for itself.
const PROXY_USER: &str = "system:kube-peer-proxy";
/// What both servers take for bob's.
const TOKEN: &str = "b0b-s3cr3t";
/// Nothing shall happen by itself while an input is looked at.
const CALM: &str = "\
healthProbeInterval: 10m
healthProbeTimeout: 1m
discoveryFetchTimeout: 1m
discoveryRefreshInterval: 24h
discoveryAuthorizationTtl: 0s
staleAfter: 24h
deadAfter: 5m
connectTimeout: 1m
";

pub(super) struct Stage {
    pub(super) home: RunningServer,
    pub(super) peer: RunningServer,
    pub(super) app: App,
    /// For each [`Mode`]: HTTP/1.1 and HTTP/2, without a certificate and with jane's.
    tls: [[Arc<ClientConfig>; 2]; 2],
    /// What a server is told of jane.
    pub(super) jane: HeaderMap,
    _folder: TempDir,
}

// === impl Stage ===

impl Stage {
    pub(super) async fn set() -> Self {
        // Lines are written, but nobody reads them.
        tracing_subscriber::fmt()
            .with_env_filter("kube_peer_proxy=debug,access=info")
            .with_writer(std::io::sink)
            .init();
        // Without Rust's own `main` nobody has seen to it that a socket which is gone is an error and no signal.
        drop(signal(SignalKind::pipe()).expect("a handler"));
        let pki = Pki::generate(&[]).expect("certificates");
        let folder = tempfile::tempdir().expect("a folder");
        pki.write(folder.path(), false).expect("files");
        let store = Store::new();
        let start = async |name: &str, version| {
            let server = Server::builder(name).version(version).pki(&pki).store(Arc::clone(&store));
            let server = server.token(TOKEN, user("bob", &["dev"])).test_endpoints(true);
            server.start(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a server")
        };
        let (home, peer) = (start("home", Recorded::V1_32).await, start("peer", Recorded::V1_36).await);

        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("proxy.yaml"), CALM).expect("a file");
        let args = ServeArgs {
            config: Some(path("proxy.yaml").into()),
            tls_cert_file: Some(path("proxy.crt")),
            tls_private_key_file: Some(path("proxy.key")),
            client_ca_file: Some(path("ca.crt")),
            peer_ca_file: Some(path("ca.crt")),
            proxy_client_cert_file: Some(path("front-proxy-client.crt")),
            proxy_client_key_file: Some(path("front-proxy-client.key")),
            api_server: [&home, &peer].map(|server| format!("{}={}", server.id(), server.url())).to_vec(),
            home: Some("home".to_owned()),
            ..ServeArgs::default()
        };
        let loaded = Config::load_with(&args, &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"));
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listeners = Listeners { clients: vec![bind().await], admin: bind().await, metrics: None };
        let app = App::build(&loaded, listeners).expect("a proxy");
        timeout(Duration::from_secs(20), app.readiness.ready()).await.expect("the proxy gets ready");

        let jane = pki.client("jane", &["dev", "ops"]).expect("a certificate");
        let tls = [false, true].map(|h2| [None, Some(&jane)].map(|who| Arc::new(tls(&pki, who, h2))));
        let mut stage = Self { home, peer, app, tls, jane: HeaderMap::new(), _folder: folder };
        let mode = Mode { h2: false, framed: false, certificate: true };
        client::exchange(&stage, mode, b"GET /version HTTP/1.1\r\nhost: k8s\r\n\r\n").await;
        stage.jane = checks::identity(&asked(&stage.home).last().expect("her request arrives").headers);
        assert_eq!(stage.jane["x-remote-user"], "jane");
        stage.forget();
        stage
    }

    pub(super) fn tls(&self, mode: Mode) -> Arc<ClientConfig> {
        Arc::clone(&self.tls[usize::from(mode.h2)][usize::from(mode.certificate)])
    }

    pub(super) fn forget(&self) {
        self.home.log().clear();
        self.peer.log().clear();
    }
}

/// What a server was asked by clients, not by the proxy for itself.
pub(super) fn asked(server: &RunningServer) -> Vec<LoggedRequest> {
    server.log().matching(|request| request.user.as_ref().is_none_or(|user| user.name != PROXY_USER))
}

fn tls(pki: &Pki, who: Option<&Credential>, h2: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pki.cluster_ca.cert().clone()).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots);
    let mut config = match who {
        Some(one) => {
            config.with_client_auth_cert(vec![one.cert.clone()], one.key.clone_key()).expect("a key")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}
