//! Accepting clients: TCP, TLS, HTTP/1.1 or HTTP/2.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
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
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

use super::{caller::Credentials, home::Home, policy::Policy};
use crate::{
    body::{Body, BoxError},
    discovery::catalog::Catalog,
    drain::{self, Phase},
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
    credentials: ArcSwapOption<(u64, Credentials)>,
    /// The number of the home plus one; 0 while there is none.
    home: AtomicUsize,
}

/// Accepts clients on one address.
pub struct Listener {
    /// Bound by whoever builds the app, so that tests take what port is free.
    pub socket: TcpListener,
    /// See [`crate::tls::server`].
    pub tls: Arc<ArcSwap<ServerConfig>>,
    /// What answers.
    pub handler: Handler,
    /// What is counted.
    pub metrics: ClientMetrics,
}

// === impl Connection ===

impl Connection {
    /// What the certificate is worth; judged once under each policy, so that no connection outlives its CA.
    pub fn credentials(&self, policy: &Policy, now: UnixTime) -> Arc<(u64, Credentials)> {
        if let Some(judged) = self.credentials.load_full().filter(|judged| judged.0 == policy.generation) {
            return judged;
        }
        let credentials = policy.authenticator.connection(self.chain.as_deref(), now);
        let judged = Arc::new((policy.generation, credentials));
        self.credentials.store(Some(Arc::clone(&judged)));
        judged
    }

    /// The home of the next request.
    pub fn home(&self, home: Home, fleet: &Fleet, catalog: &Catalog) -> usize {
        let last = self.home.load(Ordering::Relaxed).checked_sub(1);
        let chosen = home.choose(last, fleet, catalog);
        self.home.store(chosen + 1, Ordering::Relaxed);
        chosen
    }
}

// === impl Listener ===

impl Listener {
    /// Accepts until the drain says so, and ends with the last connection.
    pub async fn run(self, mut drain: drain::Signal) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = drain.reached(Phase::Closing) => break,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((tcp, remote)) => {
                    let acceptor = TlsAcceptor::from(self.tls.load_full());
                    let (handler, metrics, drain) =
                        (self.handler.clone(), self.metrics.clone(), drain.clone());
                    connections.spawn(async move {
                        let open = metrics.opened();
                        match handshake(acceptor, tcp).await {
                            Ok(tls) => {
                                metrics.handshake("ok");
                                if let Err(error) = serve(tls, remote, handler, drain).await {
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
        while connections.join_next().await.is_some() {}
    }
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
    mut drain: drain::Signal,
) -> Result<(), hyper::Error> {
    let (_, session) = tls.get_ref();
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let chain = session
        .peer_certificates()
        .map(|chain| chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>());
    let connection = Arc::new(Connection {
        remote,
        chain: chain.filter(|chain| !chain.is_empty()),
        credentials: ArcSwapOption::empty(),
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
    let io = TokioIo::new(tls);
    macro_rules! until_stopped {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = drain.reached(Phase::Leaving) => {
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
        until_stopped!(builder.serve_connection(io, service))
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_READ_TIMEOUT)
            .max_buf_size(limits::MAX_HEADER_BYTES)
            .half_close(false);
        until_stopped!(builder.serve_connection(io, service))
    }
}
