//! Accepting clients: TCP, TLS, HTTP/1.1 or HTTP/2.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

mod impatient;

use impatient::Impatient;

use super::{
    caller::{Authenticator, Credentials},
    home::Home,
};
use crate::{
    body::{Body, BoxError},
    discovery::catalog::Catalog,
    limits,
    metrics::ClientMetrics,
    servers::source::Fleet,
};

/// What answers requests.
pub type Handler = BoxCloneSyncService<Request<Body>, Response<Body>, std::convert::Infallible>;

/// One client connection; every request on it finds it in its extensions.
pub struct Connection {
    /// The other end, as TCP has it.
    pub remote: SocketAddr,
    /// The client's certificate chain, leaf first, of which TLS checked only the possession of the key.
    chain: Option<Vec<CertificateDer<'static>>>,
    credentials: OnceLock<Credentials>,
    /// The number of the home plus one; 0 while there is none.
    home: AtomicUsize,
}

/// Accepts clients on one address.
pub struct Listener {
    /// Bound by whoever builds the app, so that tests take what port is free.
    pub socket: TcpListener,
    /// See [`crate::tls::server`].
    pub tls: Arc<ServerConfig>,
    /// What answers.
    pub handler: Handler,
    /// What is counted.
    pub metrics: ClientMetrics,
}

// === impl Connection ===

impl Connection {
    /// What the certificate is worth; judged once.
    pub fn credentials(&self, authenticator: &Authenticator, now: UnixTime) -> &Credentials {
        self.credentials.get_or_init(|| authenticator.connection(self.chain.as_deref(), now))
    }

    /// The home of the next request.
    pub fn home(&self, home: &Home, fleet: &Fleet, catalog: &Catalog) -> usize {
        let last = self.home.load(Ordering::Relaxed).checked_sub(1);
        let chosen = home.choose(last, fleet, catalog);
        self.home.store(chosen + 1, Ordering::Relaxed);
        chosen
    }
}

// === impl Listener ===

impl Listener {
    /// Accepts until `stop` says so; then lets requests under way finish for `grace` at most.
    pub async fn run(self, mut stop: watch::Receiver<bool>, grace: Duration) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((tcp, remote)) => {
                    let (acceptor, handler) = (acceptor.clone(), self.handler.clone());
                    let (metrics, stop) = (self.metrics.clone(), stop.clone());
                    connections.spawn(async move {
                        let open = metrics.opened();
                        match handshake(acceptor, tcp).await {
                            Ok(tls) => {
                                metrics.handshake("ok");
                                if let Err(error) = serve(tls, remote, handler, stop).await {
                                    tracing::debug!(client = %remote, %error, "connection ended badly");
                                }
                            }
                            Err(error) => {
                                metrics.handshake("failed");
                                tracing::debug!(client = %remote, %error, "TLS handshake failed");
                            }
                        }
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    time::sleep(limits::ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(self.socket);
        let finish = async { while connections.join_next().await.is_some() {} };
        if time::timeout(grace, finish).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections were cut after the grace period");
        }
    }
}

/// Ends when we are told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that whoever could tell is gone, which means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream) -> Result<TlsStream<TcpStream>, BoxError> {
    tcp.set_nodelay(true)?;
    Ok(time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await??)
}

/// Serves one connection until it ends.
async fn serve(
    tls: TlsStream<TcpStream>,
    remote: SocketAddr,
    handler: Handler,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let (_, session) = tls.get_ref();
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let chain = session
        .peer_certificates()
        .map(|chain| chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>());
    let connection = Arc::new(Connection {
        remote,
        chain: chain.filter(|chain| !chain.is_empty()),
        credentials: OnceLock::new(),
        home: AtomicUsize::new(0),
    });
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, connection) = (handler.clone(), Arc::clone(&connection));
        async move {
            let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
            request.extensions_mut().insert(connection);
            let mut handler = handler;
            handler.ready().await?.call(request).await
        }
    });
    macro_rules! until_stopped {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }};
    }
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits::MAX_CLIENT_STREAMS)
            .max_header_list_size(u32::try_from(limits::MAX_HEADER_BYTES).unwrap_or(u32::MAX))
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_send_buf_size(limits::SEND_BUFFER)
            .max_pending_accept_reset_streams(limits::MAX_PENDING_RESETS)
            .max_local_error_reset_streams(limits::MAX_LOCAL_RESETS)
            .keep_alive_interval(limits::CLIENT_PING_INTERVAL)
            .keep_alive_timeout(limits::CLIENT_PING_TIMEOUT);
        let io = TokioIo::new(Impatient::new(tls, limits::CLIENT_STALL_TIMEOUT));
        until_stopped!(builder.serve_connection(io, service))
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_READ_TIMEOUT)
            .max_header_size(limits::MAX_HEADER_BYTES)
            .max_buf_size(limits::MAX_HEADER_BYTES)
            .half_close(false);
        until_stopped!(builder.serve_connection(TokioIo::new(tls), service))
    }
}
