//! One client connection, from the end of its handshake to its own end.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::{Instant, sleep_until},
};
use tower::{Service as _, ServiceExt as _};

use super::{Handler, Limits, gate::Place, head_clock::HeadClock, impatient::Impatient};
use crate::{
    batched::Batched,
    body::{Body, BoxError},
    discovery::catalog::Catalog,
    drain::{self, Phase},
    limits,
    metrics::GaugeGuard,
    proxy::{caller::Credentials, home::Home, policy::Policy},
    servers::source::Fleet,
};

/// One client connection; every request on it finds it in its extensions.
pub struct Connection {
    /// The other end: as TCP has it, or as a balancer told by the PROXY protocol.
    pub remote: SocketAddr,
    /// The client's certificate chain, leaf first, of which TLS checked only the possession of the key.
    chain: Option<Vec<CertificateDer<'static>>>,
    /// What the chain is worth, and under which generation of the policy that was found out.
    judged: ArcSwapOption<(u64, Credentials)>,
    /// The number of the home plus one; 0 while there is none.
    home: AtomicUsize,
    /// Requests that were begun.
    begun: AtomicU64,
    /// Those of them that are not finished.
    turns: AtomicUsize,
    last_turn: Mutex<Instant>,
    /// The client is to open another connection for whatever comes next.
    goodbye: Notify,
    /// What it takes up as long as anybody uses it, as a tunnel too.
    _counted: Option<Counted>,
}

/// One connection among all.
pub(super) type Counted = (GaugeGuard, Place);

/// One request's turn on its connection, from its head until this is dropped; stands in its extensions, for
/// whoever knows when the answer is through.
pub struct Turn(Arc<Connection>);

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        remote: SocketAddr,
        chain: Option<&[CertificateDer<'_>]>,
        counted: Option<Counted>,
    ) -> Arc<Self> {
        let owned = |chain: &[CertificateDer<'_>]| {
            chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>()
        };
        Arc::new(Self {
            remote,
            chain: chain.map(owned).filter(|chain| !chain.is_empty()),
            judged: ArcSwapOption::empty(),
            home: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            turns: AtomicUsize::new(0),
            last_turn: Mutex::new(Instant::now()),
            goodbye: Notify::new(),
            _counted: counted,
        })
    }

    /// What the certificate is worth; judged once under each policy, so that no connection outlives its CA.
    pub fn credentials(&self, policy: &Policy, now: UnixTime) -> Arc<(u64, Credentials)> {
        if let Some(judged) = self.judged.load_full().filter(|judged| judged.0 == policy.generation) {
            return judged;
        }
        let credentials = policy.authenticator.connection(self.chain.as_deref(), now);
        let judged = Arc::new((policy.generation, credentials));
        self.judged.store(Some(Arc::clone(&judged)));
        judged
    }

    /// The home of the next request.
    pub fn home(&self, home: Home, fleet: &Fleet, catalog: &Catalog) -> usize {
        let last = self.home.load(Ordering::Relaxed).checked_sub(1);
        let chosen = home.choose(last, fleet, catalog);
        self.home.store(chosen + 1, Ordering::Relaxed);
        chosen
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.load(Ordering::Acquire) == 0
    }

    /// How many requests there were.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// When the last request ended, or the connection began.
    fn idle_since(&self) -> Instant {
        *self.last_turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: &Arc<Self>) -> Turn {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::AcqRel);
        Turn(Arc::clone(self))
    }
}

// === impl Turn ===

impl Clone for Turn {
    fn clone(&self) -> Self {
        self.0.turn()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.last_turn.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.turns.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves requests until the connection ends: by the client, by being idle for too long, or by the drain.
pub(super) async fn serve<IO>(
    io: IO,
    is_h2: bool,
    connection: Arc<Connection>,
    handler: Handler,
    limits: &Limits,
    mut drain: drain::Signal,
) -> Result<(), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (own, phase, chance) = (Arc::clone(&connection), drain.clone(), limits.goaway_chance);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut handler, connection, phase) = (handler.clone(), Arc::clone(&connection), phase.clone());
        async move {
            let turn = connection.turn();
            let leaving = phase.phase() >= Phase::Leaving;
            if is_h2 && (leaving || (chance > 0.0 && rand::random_bool(chance))) {
                connection.goodbye.notify_one();
            }
            let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
            request.extensions_mut().insert(connection);
            request.extensions_mut().insert(turn);
            let mut response: Response<Body> = handler.ready().await?.call(request).await?;
            if !is_h2 && leaving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // Asks the client to leave, once; it may finish what it began.
    macro_rules! to_its_end {
        ($serving:expr, $turn:expr) => {{
            let mut serving = pin!($serving);
            let (mut seen_leaving, mut asked) = (false, false);
            let mut idle = pin!(sleep_until(own.idle_since() + limits::CLIENT_IDLE_TIMEOUT));
            loop {
                let next = if seen_leaving { Phase::Closing } else { Phase::Leaving };
                let ask = tokio::select! {
                    biased;
                    ended = $turn(serving.as_mut()) => return ended,
                    () = own.goodbye.notified(), if !asked => true,
                    () = drain.reached(next), if !asked => {
                        // One that was not used yet gets its first request answered: a client that finds every
                        // new connection closing would give up.
                        let used = is_h2 && own.begun() > 0;
                        std::mem::replace(&mut seen_leaving, true) || used
                    }
                    () = idle.as_mut(), if !asked => {
                        let since = if own.is_idle() { own.idle_since() } else { Instant::now() };
                        idle.as_mut().reset(since + limits::CLIENT_IDLE_TIMEOUT);
                        let idle = own.is_idle() && since.elapsed() >= limits::CLIENT_IDLE_TIMEOUT;
                        if idle && own.begun() == 0 {
                            // hyper would wait for the beginning of HTTP/2 before it says goodbye, forever.
                            return Ok(());
                        }
                        idle
                    }
                };
                if ask && !asked {
                    asked = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }};
    }
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_send_buf_size(limits::SEND_BUFFER)
            .max_pending_accept_reset_streams(limits::MAX_PENDING_RESETS)
            .max_local_error_reset_streams(limits::MAX_LOCAL_RESETS)
            .keep_alive_interval(limits::CLIENT_PING_INTERVAL)
            .keep_alive_timeout(limits::CLIENT_PING_TIMEOUT);
        let io = Impatient::new(io, limits::CLIENT_STALL_TIMEOUT);
        // Answers that are ready together are written together.
        to_its_end!(builder.serve_connection(TokioIo::new(io), service), Batched::new)
    } else {
        let io = HeadClock::new(io, Arc::clone(&own), limits.header_read_timeout);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // From the end of the last request; how long a head may take from its first byte, the clock says.
            .header_read_timeout(limits::CLIENT_IDLE_TIMEOUT.max(limits.header_read_timeout))
            .max_headers(limits::MAX_HEADERS)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes)
            .half_close(false);
        to_its_end!(
            builder.serve_connection(TokioIo::new(io), service).with_upgrades(),
            std::convert::identity
        )
    }
}

#[cfg(test)]
mod tests;
