//! Is anybody still there? The rule for PINGs and for closing what nobody uses.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Settings;

/// When a connection, or any of several, was last heard.
#[derive(Clone, Debug)]
pub(super) struct LastRead {
    opened: Instant,
    /// Microseconds after `opened`.
    at: Arc<AtomicU64>,
}

impl LastRead {
    pub(super) fn now() -> Self {
        Self { opened: Instant::now(), at: Arc::default() }
    }

    fn touch(&self) {
        let micros = self.opened.elapsed().as_micros();
        self.at.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Instant {
        self.opened + Duration::from_micros(self.at.load(Ordering::Relaxed))
    }
}

/// A stream that notes when it was last heard. Any byte counts as a sign of life, not the PONG
/// alone, which may be queued behind megabytes of a response on a slow line.
#[derive(Debug)]
pub(super) struct Listening<S> {
    inner: S,
    last_read: LastRead,
    /// The same of all connections of the pool.
    of_pool: LastRead,
}

impl<S> Listening<S> {
    pub(super) fn new(inner: S, of_pool: LastRead) -> (Self, LastRead) {
        let last_read = LastRead::now();
        (Self { inner, last_read: last_read.clone(), of_pool }, last_read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        // An end is no sign of life: the kernel may have given up.
        if buf.filled().len() > before {
            self.last_read.touch();
            self.of_pool.touch();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// What a connection's task has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing until then.
    Wait(Instant),
    /// Ask the server for a sign of life, and come back then.
    Ping(Instant),
    /// Nothing was heard since the PING.
    Dead,
    /// Nobody used the connection for the idle timeout.
    Idle,
}

/// The state behind the rule; the clock and the facts are handed in.
#[derive(Debug)]
pub(super) struct Liveness {
    ping_interval: Duration,
    ping_timeout: Duration,
    idle_timeout: Duration,
    pinged: Option<Instant>,
    /// Since when no request was outstanding, and how many there had been by then.
    idle: Option<(Instant, u64)>,
}

impl Liveness {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            ping_interval: settings.ping_interval,
            ping_timeout: settings.ping_timeout,
            idle_timeout: settings.idle_timeout,
            pinged: None,
            idle: None,
        }
    }

    /// `outstanding` requests now, `taken` in all, last byte heard at `heard`.
    pub(super) fn check(&mut self, now: Instant, heard: Instant, outstanding: usize, taken: u64) -> Verdict {
        // An unanswered PING counts even if those who waited have given up meanwhile.
        if let Some(pinged) = self.pinged.filter(|&pinged| heard < pinged) {
            let end = pinged + self.ping_timeout;
            return if now >= end { Verdict::Dead } else { Verdict::Wait(end) };
        }
        self.pinged = None;
        if outstanding == 0 {
            let since = match self.idle {
                Some((since, then)) if then == taken => since,
                _ => now,
            };
            self.idle = Some((since, taken));
            let end = since + self.idle_timeout;
            // A request may come at any time: look again no later than it would need a PING.
            return if now >= end { Verdict::Idle } else { Verdict::Wait(end.min(now + self.ping_interval)) };
        }
        self.idle = None;
        let due = heard + self.ping_interval;
        if now < due {
            return Verdict::Wait(due);
        }
        self.pinged = Some(now);
        Verdict::Ping(now + self.ping_timeout)
    }
}
