//! Two connections that have become one: bytes, whatever they mean.
//!
//! - What one side said last arrives at the other: its end is passed on (TLS `close_notify`, then FIN) behind its
//!   last byte, while the other direction goes on.
//! - A side is read no faster than the other takes it; two fixed buffers are all that a tunnel has in memory beside
//!   its sockets' and TLS' own.
//! - It ends when both sides have ended, when one broke off, when nothing goes over it any more, when the server is
//!   known to be dead, or when the process leaves. Then nothing more is read, what was read still goes out, and both
//!   sides are told.

use std::{
    future::Future,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Notify, watch},
    time::{self, Instant},
};

use crate::{
    drain::{Busy, Phase, Signal},
    limits,
    metrics::TunnelMetrics,
    proxy::listener::Connection,
    servers::{pool::Switched, source::InFlight},
};

/// A client and a server that have agreed on another protocol.
pub struct Tunnel {
    /// The client's bytes, as soon as it was sent the 101.
    pub(super) client: OnUpgrade,
    /// Counts as open as long as the tunnel is.
    pub(super) connection: Arc<Connection>,
    pub(super) server: Switched,
    pub(super) in_flight: InFlight,
    pub(super) idle: Option<Duration>,
    pub(super) drain: Signal,
    pub(super) busy: Busy,
    pub(super) metrics: TunnelMetrics,
}

/// What went through a tunnel, and why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Bytes from client to server.
    pub up: u64,
    /// Bytes from server to client.
    pub down: u64,
    /// What ended it, or began to.
    pub end: End,
}

/// What ends a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed first.
    ClientClosed,
    /// The server closed first.
    ServerClosed,
    /// The client was gone without a word.
    ClientBrokeOff,
    /// The server was.
    ServerBrokeOff,
    /// Nothing went through for too long.
    Idle,
    /// Nothing comes from the server any more, as other connections to it tell.
    ServerLost,
    /// We leave.
    Drained,
}

/// The two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// What both directions of a tunnel tell.
struct Meter {
    metrics: TunnelMetrics,
    started: Instant,
    up: AtomicU64,
    down: AtomicU64,
    /// Milliseconds after `started` at which something went through.
    last: AtomicU64,
    half_closed: AtomicBool,
    half_closes: Notify,
    first: OnceLock<End>,
    /// Nothing more is to be read.
    stop: watch::Sender<bool>,
}

// === impl Tunnel ===

impl Tunnel {
    /// Carries bytes until it is over.
    pub async fn run(self) -> Ended {
        let Self { client, connection, server, in_flight, idle, mut drain, busy, metrics } = self;
        let Switched { io: server, mut lease } = server;
        let meter = Meter::new(metrics);
        let taken = time::timeout(limits::TUNNEL_GRACE, client).await;
        let end = match taken {
            Ok(Ok(client)) => {
                let over = async {
                    tokio::select! {
                        () = drain.reached(Phase::Over) => End::Drained,
                        () = lease.lost() => End::ServerLost,
                    }
                };
                carry(stream(client), stream(server), idle, &meter, over).await
            }
            // The client left before it had the 101; not a byte of its went through.
            Ok(Err(_)) | Err(_) => End::ClientBrokeOff,
        };
        if end == End::ServerBrokeOff {
            lease.broke();
        }
        meter.metrics.ended(end.as_str());
        drop((connection, in_flight, busy, lease));
        meter.ended(end)
    }
}

fn stream(upgraded: Upgraded) -> TokioIo<Upgraded> {
    TokioIo::new(upgraded)
}

/// Carries bytes both ways until it is over, and closes both sides.
async fn carry<C, S>(
    client: C,
    server: S,
    idle: Option<Duration>,
    meter: &Meter,
    over: impl Future<Output = End>,
) -> End
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let ends = {
        let both = async {
            tokio::join!(
                pass(&mut from_client, &mut to_server, Side::Client, meter),
                pass(&mut from_server, &mut to_client, Side::Server, meter),
            )
        };
        let mut both = std::pin::pin!(both);
        let mut stopped = meter.stop.subscribe();
        let ended = tokio::select! {
            ended = &mut both => Some(ended),
            end = over => { meter.ends(end); None }
            () = meter.silent(idle) => { meter.ends(End::Idle); None }
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        match ended {
            Some(ended) => ended,
            None => {
                meter.stop.send_replace(true);
                // Who does not take it by then does not get it.
                time::timeout(limits::TUNNEL_GRACE, both).await.unwrap_or((false, false))
            }
        }
    };
    // Closed with bytes unread in it a socket is reset, and what it was still to send is lost: a side that was
    // told the end is read until it has closed, too.
    let (client_ended, server_ended) = ends;
    let rest = async {
        tokio::join!(
            async {
                if !client_ended {
                    forget(&mut from_client).await
                }
            },
            async {
                if !server_ended {
                    forget(&mut from_server).await
                }
            },
        )
    };
    let _ = time::timeout(limits::TUNNEL_GRACE, rest).await;
    // Both passes have ended, so one of them said why.
    meter.first.get().copied().unwrap_or(End::Drained)
}

/// Carries one direction to its end, and passes that on. Whether the source has nothing more to say.
async fn pass<R, W>(from: &mut R, to: &mut W, side: Side, meter: &Meter) -> bool
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; limits::TUNNEL_BUFFER];
    let mut stop = meter.stop.subscribe();
    let source_ended = loop {
        let read = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break false,
            read = from.read(&mut buffer) => read,
        };
        match read {
            Ok(0) => {
                meter.first(side.closed());
                break true;
            }
            Ok(read) => {
                if send(to, &buffer[..read]).await.is_err() {
                    // It takes no more, but may still have something to say.
                    meter.first(side.other().closed());
                    break false;
                }
                meter.passed(side, read);
            }
            Err(_) => {
                meter.ends(side.broke_off());
                break true;
            }
        }
    };
    drop(buffer);
    // Whether the other side hears it or not, it gets no more.
    let _ = to.shutdown().await;
    meter.half_close();
    source_ended
}

/// All the way into the socket, so that nothing waits in here.
async fn send<W: AsyncWrite + Unpin>(to: &mut W, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Reads what nobody wants.
async fn forget<R: AsyncRead + Unpin>(from: &mut R) {
    // An error is an end, too.
    let _ = tokio::io::copy(from, &mut tokio::io::sink()).await;
}

// === impl Meter ===

impl Meter {
    fn new(metrics: TunnelMetrics) -> Self {
        Self {
            metrics,
            started: Instant::now(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            last: AtomicU64::new(0),
            half_closed: AtomicBool::new(false),
            half_closes: Notify::new(),
            first: OnceLock::new(),
            stop: watch::Sender::new(false),
        }
    }

    fn passed(&self, from: Side, bytes: usize) {
        let bytes = bytes as u64;
        let (count, up) = match from {
            Side::Client => (&self.up, true),
            Side::Server => (&self.down, false),
        };
        count.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.passed(up, bytes);
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// The first reason counts.
    fn first(&self, end: End) {
        let _ = self.first.set(end);
    }

    /// It ends now, whatever was under way.
    fn ends(&self, end: End) {
        self.first(end);
        self.stop.send_replace(true);
    }

    fn half_close(&self) {
        self.half_closed.store(true, Ordering::Relaxed);
        self.half_closes.notify_one();
    }

    /// Comes back when nothing went through for as long as is allowed.
    async fn silent(&self, idle: Option<Duration>) {
        loop {
            let half = self.half_closed.load(Ordering::Relaxed).then_some(limits::TUNNEL_HALF_CLOSED);
            let Some(bound) = idle.into_iter().chain(half).min() else {
                self.half_closes.notified().await;
                continue;
            };
            let last = self.started + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let until = last + bound;
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = time::sleep_until(until) => {}
                () = self.half_closes.notified() => {}
            }
        }
    }

    fn ended(&self, end: End) -> Ended {
        Ended { up: self.up.load(Ordering::Relaxed), down: self.down.load(Ordering::Relaxed), end }
    }
}

// === impl Side ===

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    fn closed(self) -> End {
        match self {
            Self::Client => End::ClientClosed,
            Self::Server => End::ServerClosed,
        }
    }

    fn broke_off(self) -> End {
        match self {
            Self::Client => End::ClientBrokeOff,
            Self::Server => End::ServerBrokeOff,
        }
    }
}

// === impl End ===

impl End {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client closed",
            Self::ServerClosed => "server closed",
            Self::ClientBrokeOff => "client broke off",
            Self::ServerBrokeOff => "server broke off",
            Self::Idle => "idle",
            Self::ServerLost => "server lost",
            Self::Drained => "drained",
        }
    }
}

#[cfg(test)]
mod tests;
