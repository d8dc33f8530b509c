//! The task of one connection, from its opening to its end.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::{AbortRegistration, Abortable};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use tokio::time::{Instant, sleep_until};

use super::dial::{self, H2, Opened};
use super::error::DialError;
use super::liveness::{Liveness, Verdict};
use super::state::{Load, Sender};
use super::{Config, Event, Pool, Settings};
use crate::batched::Batched;
use crate::body::Body;

/// Starts the task of a connection that the pool's state has entered as `id`.
pub(super) fn spawn(pool: &Arc<Pool>, id: u64, abort: AbortRegistration) {
    let member = Member {
        pool: Arc::downgrade(pool),
        config: Arc::clone(&pool.config),
        id,
        stage: Stage::Opening(DialError::connect("the connection was given up while it was opened")),
    };
    tokio::spawn(Abortable::new(run(member), abort));
}

async fn run(mut member: Member) {
    let started = Instant::now();
    let opened = match dial::open(&member.config).await {
        Ok(opened) => opened,
        Err(e) => {
            member.stage = Stage::Opening(e);
            return;
        }
    };
    let http2 = matches!(opened, Opened::H2(_));
    member.tell(Event::Connected { http2, took: started.elapsed() });
    let end = match opened {
        Opened::H1(sender, io) => drive_h1(&mut member, sender, io).await,
        Opened::H2(h2) => drive_h2(&mut member, *h2).await,
    };
    member.stage = Stage::Open { error: end.err() };
}

/// Carries the bytes of an HTTP/2 connection, and watches the server meanwhile.
async fn drive_h2(member: &mut Member, h2: H2) -> Result<(), String> {
    let H2 { sender, mut io, ping, last_read } = h2;
    let settings = member.config.settings.clone();
    let mut offered = io.max_concurrent_send_streams();
    let mut limit = offered.min(settings.max_streams);
    io.set_target_window_size(connection_window(&settings, limit));
    let load = member.admit(Sender::H2(sender.clone()), limit);

    let mut pings = Pings { ping, confirms: None, confirmed: 0 };
    // Tells of a GOAWAY. Given up when the connection is to end with its last stream.
    let mut probe = Some(sender);
    let mut liveness = Liveness::new(&settings);
    let mut timer = pin!(sleep_until(Instant::now() + settings.ping_interval));
    Batched::new(poll_fn(|cx| {
        // In this order: cancels counted now have their RST_STREAM written now, and the PING after.
        load.on_change.register(cx.waker());
        let cancelled = load.cancelled.load(Ordering::SeqCst);
        if let Poll::Ready(end) = io.poll_unpin(cx) {
            // Neither we nor a GOAWAY announced it: whoever answers next may be another process.
            let announced = probe.is_none();
            let end = end.map_err(|e| e.to_string());
            return Poll::Ready(if announced { end } else { end.and_then(|()| Err(UNANNOUNCED.to_owned())) });
        }
        member.free(&load, pings.confirm(cx, cancelled));
        if load.retired.load(Ordering::SeqCst) {
            probe = None;
        }
        if let Some(sender) = &mut probe
            && let Poll::Ready(Err(_)) = sender.poll_ready(cx)
        {
            probe = None;
            member.retire();
            member.tell(Event::Draining);
        }
        if io.max_concurrent_send_streams() != offered {
            offered = io.max_concurrent_send_streams();
            limit = offered.min(settings.max_streams);
            io.set_target_window_size(connection_window(&settings, limit));
            member.set_limit(limit);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let (in_use, taken) = load.counts();
            let next = match liveness.check(Instant::now(), last_read.get(), in_use, taken) {
                Verdict::Wait(next) => next,
                Verdict::Ping(next) => {
                    pings.send(pings.confirmed);
                    next
                }
                Verdict::Dead => return Poll::Ready(Err(hung(&settings))),
                Verdict::Idle => {
                    if probe.is_some() && member.retire_unused() {
                        probe = None;
                    }
                    Instant::now() + settings.ping_interval
                }
            };
            timer.as_mut().reset(next);
        }
    }))
    .await
}

/// Why a connection counts as lost that ended in good order.
const UNANNOUNCED: &str = "the server closed the connection without GOAWAY";

/// One PING at a time, for a sign of life or to be sure that the server knows of cancels.
struct Pings {
    ping: h2::PingPong,
    /// The number of cancels of which the server knows once it has answered the PING under way.
    confirms: Option<usize>,
    /// ... and that of which it is known to know.
    confirmed: usize,
}

impl Pings {
    fn send(&mut self, confirms: usize) {
        if self.confirms.is_none() && self.ping.send_ping(h2::Ping::opaque()).is_ok() {
            self.confirms = Some(confirms);
        }
    }

    /// How many more cancels the server knows of; asks if that leaves some. To be called after the
    /// connection was polled, which is what brings the answer.
    fn confirm(&mut self, cx: &mut Context<'_>, cancelled: usize) -> usize {
        let mut news = 0;
        if let Some(confirms) = self.confirms
            && self.ping.poll_pong(cx).is_ready()
        {
            news = confirms - self.confirmed;
            self.confirmed = confirms;
            self.confirms = None;
        }
        if cancelled > self.confirmed {
            self.send(cancelled);
        }
        news
    }
}

/// The connection's own window: room for every stream's, so that no reader holds up another.
fn connection_window(settings: &Settings, streams: usize) -> u32 {
    const MAX: u32 = (1 << 31) - 1;
    let streams = u32::try_from(streams).unwrap_or(MAX);
    settings.stream_window.saturating_mul(streams.max(1)).min(MAX)
}

fn hung(settings: &Settings) -> String {
    format!("no sign of life from the server for {:?} after a PING", settings.ping_timeout)
}

/// Carries the bytes of an HTTP/1.1 connection, until it ends or nobody uses it.
async fn drive_h1<T: Read + Write + Unpin>(
    member: &mut Member,
    sender: http1::SendRequest<Body>,
    mut io: Box<http1::Connection<T, Body>>,
) -> Result<(), String> {
    let settings = member.config.settings.clone();
    let load = member.admit(Sender::H1(Some(sender)), 1);
    let mut liveness = Liveness::new(&settings);
    let mut timer = pin!(sleep_until(Instant::now() + settings.ping_interval));
    poll_fn(|cx| {
        if let Poll::Ready(end) = io.poll_unpin(cx) {
            return Poll::Ready(end.map_err(|e| e.to_string()));
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            let (in_use, taken) = load.counts();
            // HTTP/1.1 has no PING: while a request is outstanding, all is taken to be well.
            let next = match liveness.check(now, now, in_use, taken) {
                Verdict::Wait(next) => next,
                _ => {
                    member.retire_unused();
                    now + settings.ping_interval
                }
            };
            timer.as_mut().reset(next);
        }
    })
    .await
}

enum Stage {
    /// The error, should it end so.
    Opening(DialError),
    Open {
        error: Option<String>,
    },
}

/// A connection's place in its pool, given up when its task ends, however it ends.
struct Member {
    pool: Weak<Pool>,
    config: Arc<Config>,
    id: u64,
    stage: Stage,
}

impl Member {
    fn tell(&self, event: Event<'_>) {
        (self.config.observer)(event);
    }

    /// From now on the connection takes requests. Without a pool it has none to wait for.
    fn admit(&mut self, sender: Sender, limit: usize) -> Arc<Load> {
        self.stage = Stage::Open { error: None };
        let Some(pool) = self.pool.upgrade() else { return Arc::default() };
        let load = pool.state().admit(self.id, sender, limit);
        pool.changed.notify_waiters();
        load
    }

    fn set_limit(&self, limit: usize) {
        if let Some(pool) = self.pool.upgrade() {
            pool.state().set_limit(self.id, limit);
            pool.changed.notify_waiters();
        }
    }

    fn free(&self, load: &Load, places: usize) {
        if places > 0
            && let Some(pool) = self.pool.upgrade()
        {
            pool.free(load, places);
        }
    }

    fn retire(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.state().retire(self.id);
        }
    }

    /// Whether nobody used the connection and nobody can any more.
    fn retire_unused(&self) -> bool {
        self.pool.upgrade().is_none_or(|pool| pool.state().retire_unused(self.id))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let stage = mem::replace(&mut self.stage, Stage::Open { error: None });
        match &stage {
            Stage::Opening(e) => self.tell(Event::ConnectFailed { kind: e.kind, error: &e.message }),
            Stage::Open { error } => self.tell(Event::Closed { error: error.as_deref() }),
        }
        let Some(pool) = self.pool.upgrade() else { return };
        match stage {
            Stage::Opening(e) => pool.state().fail(self.id, e),
            Stage::Open { .. } => pool.state().leave(self.id),
        }
        pool.changed.notify_waiters();
    }
}

impl Load {
    /// No request is to begin on the connection any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.on_change.wake();
    }

    /// Requests outstanding, and requests ever.
    fn counts(&self) -> (usize, u64) {
        (self.in_use.load(Ordering::SeqCst), self.taken.load(Ordering::Relaxed))
    }
}
