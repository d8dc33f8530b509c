//! Small TLS servers for the pool's tests: hyper where a good server is wanted, frames by hand
//! where a bad one is.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube_peer_proxy::body::Body;
use kube_peer_proxy::servers::pool::{Pool, Settings, Target};
use kube_peer_proxy::tls::client::{self, Alpn, Pem};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) type Tls = TlsStream<TcpStream>;
pub(super) const NAME: &str = "kubernetes.default.svc";

/// A number of things that exist, each as long as its guard.
#[derive(Clone, Default)]
pub(super) struct Count(Arc<AtomicUsize>);

pub(super) struct Counted(Count);

impl Count {
    pub(super) fn get(&self) -> usize {
        self.0.load(SeqCst)
    }

    pub(super) fn add(&self, n: usize) -> usize {
        self.0.fetch_add(n, SeqCst) + n
    }

    pub(super) fn guard(&self) -> Counted {
        self.add(1);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

/// A listener whose every TLS connection is handed to a function, with its number from 0.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) ca: String,
    /// Connections ever, and now.
    pub(super) accepted: Count,
    pub(super) open: Count,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start<F, R>(alpn: &[&str], handler: F) -> Self
    where
        F: Fn(Tls, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (ca, acceptor) = tls(alpn);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, open) = (Count::default(), Count::default());
        let (seen, alive) = (accepted.clone(), open.clone());
        let handler = Arc::new(handler);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (handler, acceptor, guard) = (Arc::clone(&handler), acceptor.clone(), alive.guard());
                let number = seen.add(1) - 1;
                connections.spawn(async move {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        handler(tls, number).await;
                    }
                    drop(guard);
                });
            }
        });
        Self { address, ca, accepted, open, task }
    }

    /// A well-behaved server; `service` gets each request with its connection's number.
    pub(super) async fn hyper<F, R>(alpn: &[&str], max_streams: u32, service: F) -> Self
    where
        F: Fn(Request<Incoming>, usize) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = Arc::new(service);
        Self::start(alpn, move |tls, number| {
            let service = Arc::clone(&service);
            async move {
                let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.http2().max_concurrent_streams(max_streams).timer(TokioTimer::new());
                builder.http2().max_header_list_size(1 << 20);
                let service = service_fn(move |request| {
                    let response = service(request, number);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let _ended = builder.serve_connection(TokioIo::new(tls), service).await;
            }
        })
        .await
    }

    pub(super) fn target(&self) -> Target {
        Target {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            server_name: NAME.try_into().unwrap(),
        }
    }

    pub(super) fn pool(&self, settings: Settings) -> Arc<Pool> {
        self.pool_of(Alpn::H2OrHttp11, settings)
    }

    /// With patience for a busy machine where a test says nothing of connecting.
    pub(super) fn pool_of(&self, alpn: Alpn, mut settings: Settings) -> Arc<Pool> {
        if settings.connect_timeout == Settings::default().connect_timeout {
            settings.connect_timeout = Duration::from_secs(20);
        }
        let roots = client::roots_from_pem(Pem { name: "ca.crt", pem: self.ca.as_bytes() }).unwrap();
        let config = client::config(roots, None, alpn).unwrap();
        Pool::new(self.target(), config, settings, Arc::new(|_| ())).unwrap()
    }
}

fn tls(alpn: &[&str]) -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// HTTP/2 by hand (RFC 9113, section 4.1), for what no good server would do.
pub(super) struct Raw(Tls);

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;
/// `:status: 200` in HPACK.
pub(super) const OK: &[u8] = &[0x88];
pub(super) const REFUSED: u32 = 7;

pub(super) struct RawFrame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Raw {
    /// Takes the client's preface and sends SETTINGS without a value.
    pub(super) async fn start(mut tls: Tls) -> Self {
        let mut preface = [0; 24];
        tls.read_exact(&mut preface).await.unwrap();
        let mut raw = Self(tls);
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The client may be gone already, if the test wants it so.
        let _ = self.0.write_all(&frame).await;
        let _ = self.0.flush().await;
    }

    pub(super) async fn go_away(&mut self, last_stream: u32) {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend(0_u32.to_be_bytes());
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// The next frame, `None` at the end; SETTINGS are acknowledged on the way.
    pub(super) async fn next(&mut self) -> Option<RawFrame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if kind == SETTINGS && flags & ACK == 0 {
                self.send(SETTINGS, ACK, 0, &[]).await;
            } else {
                return Some(RawFrame { kind, flags, stream, payload });
            }
        }
    }

    /// The next frame of a kind.
    pub(super) async fn expect(&mut self, kind: u8) -> Option<RawFrame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads on until the client closes.
    pub(super) async fn rest(mut self) {
        while self.next().await.is_some() {}
    }
}

/// Waits until a condition holds; fails the test if it doesn't soon.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
