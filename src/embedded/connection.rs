//! One connection: handshake, HTTP, and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::routes;
use super::shared::{Peer, Shared};
use super::upgrade::Start;

/// As `goAwayTimeout` of `golang.org/x/net/http2`.
const LINGER: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow control windows as kube-apiserver sets them (`k8s.io/apiserver/pkg/server/secure_serving.go`).
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
const MAX_HEADERS: u32 = 1024 * 1024;

/// What can happen to a connection from outside.
pub(super) struct Signals {
    /// Any change drops it at once.
    pub(super) cut: watch::Receiver<u64>,
    /// Any change sends GOAWAY (HTTP/1.1: ends after the running request).
    pub(super) goaway: watch::Receiver<u64>,
    /// While true nothing is read or written.
    pub(super) frozen: watch::Receiver<bool>,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    server: Arc<Shared>,
    tcp: TcpStream,
    remote: SocketAddr,
    number: u64,
    mut signals: Signals,
) {
    let mut cut = signals.cut.clone();
    let Ok((tcp, held)) = second_handle(tcp) else { return };
    let handshake =
        tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(Arc::clone(&server.tls)).accept(tcp));
    let tls = tokio::select! {
        _ = cut.changed() => return,
        tls = handshake => tls,
    };
    let Ok(Ok(tls)) = tls else {
        tracing::debug!(server = %server.id, %remote, "the TLS handshake failed");
        return;
    };
    let peer = Arc::new(peer_of(&tls, remote, number));
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let ending = Arc::new(Notify::new());
    let upgraded = Arc::new(OnceLock::<Start>::new());
    let service = service_fn(|request| {
        let (server, peer, ending) = (Arc::clone(&server), Arc::clone(&peer), Arc::clone(&ending));
        let upgraded = Arc::clone(&upgraded);
        async move {
            let mut handled = routes::handle(&server, &peer, request).await;
            if let Some(start) = handled.answer.extensions_mut().remove() {
                // One connection is upgraded once.
                let _ = upgraded.set(start);
            }
            if handled.goaway {
                ending.notify_one();
            }
            Ok::<_, Infallible>(handled.answer)
        }
    });
    let builder = builder(http2, server.max_streams);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(tls), service));
    loop {
        if *signals.frozen.borrow_and_update() {
            tokio::select! {
                _ = cut.changed() => return,
                _ = signals.frozen.changed() => continue,
            }
        }
        tokio::select! {
            biased;
            _ = cut.changed() => return,
            _ = signals.frozen.changed() => {}
            Ok(()) = signals.goaway.changed() => connection.as_mut().graceful_shutdown(),
            () = ending.notified() => connection.as_mut().graceful_shutdown(),
            result = connection.as_mut() => {
                if let Some(start) = upgraded.get() {
                    drop(held);
                    return tunnel(start.clone().run(Arc::clone(&server)), signals).await;
                }
                linger(held);
                if let Err(error) = result {
                    tracing::debug!(server = %server.id, %remote, %error, "a connection ended early");
                }
                return;
            }
        }
    }
}

/// Lets an upgraded connection go on to its end, or to that of the server.
async fn tunnel(run: impl Future<Output = ()>, mut signals: Signals) {
    let mut run = pin!(run);
    loop {
        let frozen = *signals.frozen.borrow_and_update();
        tokio::select! {
            biased;
            _ = signals.cut.changed() => return,
            _ = signals.frozen.changed() => {}
            () = run.as_mut(), if !frozen => return,
        }
    }
}

/// The socket, and another handle that keeps it open.
fn second_handle(tcp: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let tcp = tcp.into_std()?;
    let held = tcp.try_clone()?;
    Ok((TcpStream::from_std(tcp)?, held))
}

/// Keeps a socket open for a while after its last byte, as Go's `net/http` does: closed at once with requests
/// unread in it, it would be reset, and the client would not get to read the GOAWAY that says which were left.
fn linger(held: std::net::TcpStream) {
    tokio::spawn(async move {
        tokio::time::sleep(LINGER).await;
        drop(held);
    });
}

fn builder(http2: bool, max_streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADERS);
    builder
}

fn peer_of(tls: &TlsStream<TcpStream>, remote: SocketAddr, number: u64) -> Peer {
    let session = tls.get_ref().1;
    let certificates = session.peer_certificates().unwrap_or_default();
    Peer {
        number,
        remote,
        server_name: session.server_name().map(str::to_owned),
        certificates: certificates.iter().map(|one| one.clone().into_owned()).collect(),
    }
}
