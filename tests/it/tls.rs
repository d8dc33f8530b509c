//! TLS as clients meet it: versions, cipher suites, certificates by name, and identities that end.

mod identity;
mod names;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use kube_peer_proxy::config::ServeArgs;
use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::pki::Credential;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::kit::client::Protocol;
use crate::kit::{Client, Cluster, DEADLINE, PKI, Proxy};

pub(crate) const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A client that can be told everything about TLS, and remembers sessions.
pub(crate) struct Speaker {
    config: Arc<ClientConfig>,
}

impl Speaker {
    pub(crate) fn new(
        versions: &[&'static SupportedProtocolVersion],
        certificate: Option<&Credential>,
        suites: &[CipherSuite],
    ) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suites.is_empty() || suites.contains(&suite.suite()));
        let mut roots = RootCertStore::empty();
        roots.add(PKI.cluster_ca.cert().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            Some(one) => config.with_client_auth_cert(vec![one.cert.clone()], one.key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config) }
    }

    /// Shakes hands, asking for this name, or for none if it is an address.
    pub(crate) async fn connect(&self, proxy: &Proxy, name: &str) -> io::Result<TlsStream<TcpStream>> {
        self.connect_to(proxy.address(), name).await
    }

    async fn connect_to(&self, address: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.config));
        tokio::time::timeout(DEADLINE, connector.connect(name, tcp)).await.expect("a handshake in time")
    }

    /// The certificate that is shown to whoever asks for this name.
    pub(crate) async fn shown(&self, proxy: &Proxy, name: &str) -> CertificateDer<'static> {
        self.shown_by(proxy.address(), name).await
    }

    pub(crate) async fn shown_by(&self, address: SocketAddr, name: &str) -> CertificateDer<'static> {
        let tls = self.connect_to(address, name).await.unwrap();
        tls.get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    /// A client on a new connection, and whether that resumed a session.
    pub(crate) async fn client(&self, proxy: &Proxy) -> (Client, bool) {
        let tls = self.connect(proxy, "localhost").await.unwrap();
        let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        (Client::over(tls, Protocol::H2).await, resumed)
    }
}

async fn proxied(set: impl FnOnce(&mut ServeArgs)) -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").flags(set).start().await;
    (cluster, proxy)
}

// === Versions and suites ===

#[tokio::test]
async fn both_versions_are_spoken_unless_the_older_one_is_refused() {
    let (_cluster, proxy) = proxied(|_| ()).await;
    for version in [&TLS12, &TLS13] {
        let tls = Speaker::new(&[version], None, &[]).connect(&proxy, "localhost").await.unwrap();
        assert_eq!(tls.get_ref().1.protocol_version(), Some(version.version));
    }
    let (_cluster, proxy) = proxied(|args| args.tls_min_version = Some("VersionTLS13".into())).await;
    let error = Speaker::new(&[&TLS12], None, &[]).connect(&proxy, "localhost").await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    assert!(Speaker::new(BOTH, None, &[]).connect(&proxy, "localhost").await.is_ok());
}

#[tokio::test]
async fn only_suites_that_were_named_are_agreed_on_and_those_of_tls_1_3() {
    let named = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let other = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let newer = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let set = |args: &mut ServeArgs| {
        args.tls_cipher_suites =
            vec!["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".into(), "TLS_AES_128_GCM_SHA256".into()];
    };
    let (_cluster, proxy) = proxied(set).await;
    for (versions, suites, agreed) in [
        (&[&TLS12], vec![other, named], Some(named)),
        (&[&TLS12], vec![other], None),
        (&[&TLS13], vec![newer], Some(newer)),
    ] {
        let tls = Speaker::new(versions, None, &suites).connect(&proxy, "localhost").await;
        let got = tls.map(|tls| tls.get_ref().1.negotiated_cipher_suite().unwrap().suite());
        assert_eq!(got.as_ref().ok(), agreed.as_ref(), "{got:?}");
    }
}

#[tokio::test]
async fn naming_only_suites_of_tls_1_3_leaves_nothing_for_tls_1_2() {
    let set = |args: &mut ServeArgs| args.tls_cipher_suites = vec!["TLS_AES_128_GCM_SHA256".into()];
    let (_cluster, proxy) = proxied(set).await;
    assert!(Speaker::new(&[&TLS12], None, &[]).connect(&proxy, "localhost").await.is_err());
    assert!(Speaker::new(&[&TLS13], None, &[]).connect(&proxy, "localhost").await.is_ok());
}
