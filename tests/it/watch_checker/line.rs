//! A connection that a client keeps as long as it lives and makes again when it doesn't.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::pki::Credential;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Until the answer begins. Longer than a hung server is given.
const PATIENCE: Duration = Duration::from_secs(30);
const HOST: &str = "kubernetes.default.svc";

/// Where a client goes, and as whom.
#[derive(Clone)]
pub struct Entrance {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    http1: bool,
    token: Option<String>,
}

/// Shared by those who use one connection.
pub struct Line {
    entrance: Entrance,
    current: Mutex<Option<Arc<Connection>>>,
    /// How often it was made.
    dials: AtomicU64,
}

enum Connection {
    Http1(Mutex<http1::SendRequest<Body>>),
    Http2(http2::SendRequest<Body>),
}

// === impl Entrance ===

impl Entrance {
    pub fn new(address: SocketAddr, ca: &CertificateDer<'static>, certificate: Option<&Credential>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots);
        let mut tls = match certificate {
            Some(one) => config.with_client_auth_cert(vec![one.cert.clone()], one.key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { address, tls: Arc::new(tls), http1: false, token: None }
    }

    pub fn token(self, token: &str) -> Self {
        Self { token: Some(format!("Bearer {token}")), ..self }
    }

    /// HTTP/1.1: one request at a time.
    pub fn http1(mut self) -> Self {
        Arc::make_mut(&mut self.tls).alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { http1: true, ..self }
    }

    pub fn is_http1(&self) -> bool {
        self.http1
    }

    async fn dial(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let io = TokioIo::new(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?);
        if self.http1 {
            let (sender, driver) = http1::handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(async { drop(driver.await) });
            return Ok(Connection::Http1(Mutex::new(sender)));
        }
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
        tokio::spawn(async { drop(driver.await) });
        Ok(Connection::Http2(sender))
    }
}

// === impl Line ===

impl Line {
    pub fn new(entrance: Entrance) -> Arc<Self> {
        Arc::new(Self { entrance, current: Mutex::default(), dials: AtomicU64::new(0) })
    }

    pub fn dials(&self) -> u64 {
        self.dials.load(Relaxed)
    }

    /// Sends, and waits for the head of the answer. A connection that fails is made anew by the next one.
    pub async fn open(
        &self,
        method: Method,
        target: &str,
        json: Option<(&str, String)>,
    ) -> io::Result<Response<Incoming>> {
        let connection = timeout(PATIENCE, self.connection()).await??;
        let origin = if self.entrance.http1 { String::new() } else { format!("https://{HOST}") };
        let mut request = Request::builder().method(method).uri(format!("{origin}{target}"));
        if self.entrance.http1 {
            request = request.header("host", HOST);
        }
        if let Some(token) = &self.entrance.token {
            request = request.header("authorization", token);
        }
        let request = match json {
            Some((media, text)) => request.header("content-type", media).body(body::full(text)),
            None => request.body(body::empty()),
        };
        let answer = timeout(PATIENCE, connection.send(request.map_err(io::Error::other)?)).await;
        let answer = answer.map_err(io::Error::from).and_then(|sent| sent.map_err(io::Error::other));
        if answer.is_err() {
            let mut current = self.current.lock().await;
            if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, &connection)) {
                *current = None;
            }
        }
        answer
    }

    async fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.entrance.dial().await?);
        self.dials.fetch_add(1, Relaxed);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

// === impl Connection ===

impl Connection {
    async fn send(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}
