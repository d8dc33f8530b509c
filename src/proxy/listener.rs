//! Accepting clients: TCP, the PROXY protocol where a balancer speaks it, TLS, then HTTP/1.1 or HTTP/2.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::Abortable;
use http::{Request, Response};
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::util::BoxCloneSyncService;

use crate::{
    body::Body,
    descriptors,
    drain::{self, Phase},
    limits,
    metrics::ClientMetrics,
};

mod connection;
mod gate;
mod head_clock;
mod impatient;
mod proxy_protocol;
mod serve;
mod unread;

pub use connection::{Connection, Turn};
pub use gate::{Gate, Refusal};
pub use unread::MayPause;

/// What answers requests.
pub type Handler = BoxCloneSyncService<Request<Body>, Response<Body>, std::convert::Infallible>;

/// What clients may cost us, and which of them speak for others.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `--max-connections`
    pub max_connections: usize,
    /// `--max-connections-per-source`
    pub max_connections_per_source: Option<usize>,
    /// TLS handshakes in progress.
    pub max_handshakes: usize,
    /// From the first byte of a connection to the end of its handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head (HTTP/1.1) to its last.
    pub header_read_timeout: Duration,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// `--http2-max-streams-per-connection`
    pub max_streams: u32,
    /// `--proxy-protocol-from`: balancers that begin each connection with a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// `--goaway-chance`: how probably a request on HTTP/2 makes its client open another connection.
    pub goaway_chance: f64,
}

/// Accepts clients on one address.
pub struct Listener {
    /// Bound by whoever builds the app, so that tests take what port is free.
    pub socket: TcpListener,
    /// See [`crate::tls::server`]; each handshake takes the one of its moment.
    pub tls: Arc<ArcSwap<ServerConfig>>,
    /// What answers.
    pub handler: Handler,
    /// What is allowed.
    pub limits: Arc<Limits>,
    /// Counts the connections of every listener.
    pub gate: Arc<Gate>,
    /// What is counted.
    pub metrics: ClientMetrics,
}

/// Why a connection did not come to its first request.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error("{}: there are too many connections", .0.as_str())]
    Refused(Refusal),
    #[error("{0}")]
    ProxyProtocol(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("no end of the handshake within {0:?}")]
    Late(Duration),
    #[error("others waited, and this handshake had taken longest")]
    GivenUp,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: limits::MAX_CLIENT_CONNECTIONS,
            max_connections_per_source: None,
            max_handshakes: limits::MAX_HANDSHAKES,
            handshake_timeout: limits::TLS_HANDSHAKE_TIMEOUT,
            header_read_timeout: limits::HEADER_READ_TIMEOUT,
            max_header_bytes: limits::MAX_HEADER_BYTES,
            max_streams: limits::MAX_CLIENT_STREAMS,
            proxy_protocol_from: Vec::new(),
            goaway_chance: 0.0,
        }
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
                Ok((tcp, _)) if descriptors::is_kept_back(&tcp, limits::RESERVED_DESCRIPTORS) => {
                    self.metrics.refused("descriptors");
                    drop(tcp);
                    self.back_off(&"nearly all file descriptors are in use").await;
                }
                Ok((tcp, remote)) => self.accept(tcp, remote, &drain, &mut connections),
                Err(error) => self.back_off(&error).await,
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    async fn back_off(&self, reason: &(dyn std::fmt::Display + Sync)) {
        tracing::warn!(%reason, "cannot accept a connection; trying again");
        time::sleep(limits::ACCEPT_BACKOFF).await;
    }

    fn accept(
        &self,
        tcp: TcpStream,
        remote: SocketAddr,
        drain: &drain::Signal,
        connections: &mut JoinSet<()>,
    ) {
        let mut place = match self.gate.enter() {
            Ok(place) => place,
            Err(refusal) => return self.metrics.refused(refusal.as_str()),
        };
        let acceptor = TlsAcceptor::from(self.tls.load_full());
        let (limits, gate) = (Arc::clone(&self.limits), Arc::clone(&self.gate));
        let (handler, metrics, drain) = (self.handler.clone(), self.metrics.clone(), drain.clone());
        connections.spawn(async move {
            let open = metrics.opened();
            let (handshaking, registration) = gate.handshake(remote.ip());
            let begin =
                time::timeout(limits.handshake_timeout, begin(tcp, remote, acceptor, &limits, &mut place));
            let begun = match Abortable::new(begin, registration).await {
                Ok(Ok(begun)) => begun,
                Ok(Err(_)) => Err(NotServed::Late(limits.handshake_timeout)),
                Err(_) => Err(NotServed::GivenUp),
            };
            drop(handshaking);
            match begun {
                Ok((tls, remote)) => {
                    metrics.handshake("ok");
                    let (_, session) = tls.get_ref();
                    let is_h2 = session.alpn_protocol() == Some(b"h2");
                    let connection =
                        Connection::new(remote, session.peer_certificates(), Some((open, place)));
                    if let Err(error) = serve::serve(tls, is_h2, connection, handler, &limits, drain).await {
                        tracing::debug!(client = %remote, %error, "connection ended badly");
                    }
                }
                Err(error) => {
                    match &error {
                        NotServed::Refused(refusal) => metrics.refused(refusal.as_str()),
                        NotServed::ProxyProtocol(_) => metrics.refused("proxy-protocol"),
                        NotServed::Late(_) => metrics.handshake("timeout"),
                        NotServed::GivenUp => metrics.handshake("given-up"),
                        NotServed::Tls(_) => metrics.handshake("failed"),
                    }
                    tracing::debug!(client = %remote, %error, "a connection was not served");
                }
            }
        });
    }
}

/// From TCP to TLS, and to who is at the other end.
async fn begin(
    mut tcp: TcpStream,
    remote: SocketAddr,
    acceptor: TlsAcceptor,
    limits: &Limits,
    place: &mut gate::Place,
) -> Result<(TlsStream<TcpStream>, SocketAddr), NotServed> {
    let mut remote = remote;
    if speaks_proxy_protocol(limits, remote.ip())
        && let Some(told) = proxy_protocol::read(&mut tcp).await.map_err(NotServed::ProxyProtocol)?
    {
        remote = told;
    }
    place.from(remote.ip()).map_err(NotServed::Refused)?;
    tcp.set_nodelay(true).map_err(NotServed::Tls)?;
    let tls = acceptor.accept(tcp).await.map_err(NotServed::Tls)?;
    Ok((tls, remote))
}

fn speaks_proxy_protocol(limits: &Limits, balancer: IpAddr) -> bool {
    let balancer = balancer.to_canonical();
    limits.proxy_protocol_from.iter().any(|network| network.contains(&balancer))
}
