//! How long the head of an HTTP/1.1 request may take, from its first byte.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::connection::Connection;

/// Ends a connection whose client takes too long to say what it wants.
///
/// hyper's own limit begins with the end of the request before, and so ends an idle connection at the moment at
/// which a client may be about to use it. This one begins with the first byte.
pub(super) struct HeadClock<IO> {
    io: IO,
    connection: Arc<Connection>,
    limit: Duration,
    /// While a head is being read; with the number of requests before it.
    running: Option<(u64, Pin<Box<Sleep>>)>,
}

// === impl HeadClock ===

impl<IO> HeadClock<IO> {
    pub(super) fn new(io: IO, connection: Arc<Connection>, limit: Duration) -> Self {
        Self { io, connection, limit, running: None }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for HeadClock<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let begun = this.connection.begun();
        if this.running.as_ref().is_some_and(|(before, _)| *before != begun) {
            this.running = None;
        }
        if !this.connection.is_idle() {
            return polled;
        }
        if polled.is_ready() {
            if this.running.is_none() && buf.filled().len() > before {
                this.running = Some((begun, Box::pin(sleep_until(Instant::now() + this.limit))));
            }
            return polled;
        }
        let Some((_, clock)) = &mut this.running else { return Poll::Pending };
        ready!(clock.as_mut().poll(cx));
        let late = format!("no complete request head within {:?}", this.limit);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for HeadClock<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
