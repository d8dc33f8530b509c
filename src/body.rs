//! The one type of a message body, so that layers need no type parameter for it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

mod ending;

pub use ending::until_over;

/// Any error of a body or a service.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any kind: from a client, from a server, or our own bytes.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body without a byte.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is known whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Bytes that were read ahead, and the rest of the body behind them.
pub fn after(head: Vec<u8>, rest: Body) -> Body {
    After { head: Some(head.into()), rest }.boxed_unsync()
}

/// The same body, telling `watcher` what passes; the watcher is dropped with the body.
pub fn watched<W: Watcher>(body: Body, mut watcher: W) -> Body {
    if body.is_end_stream() {
        watcher.ended();
    }
    Watched { body, watcher }.boxed_unsync()
}

/// Sees what of a body passes. Its end is its drop.
pub trait Watcher: Send + Unpin + 'static {
    /// The next piece is wanted.
    fn asked(&mut self) {}
    /// So many bytes passed.
    fn data(&mut self, _bytes: usize) {}
    /// These trailers are about to pass.
    fn trailers(&mut self, _trailers: &mut HeaderMap) {}
    /// The body ended as it should.
    fn ended(&mut self) {}
    /// The body broke off.
    fn failed(&mut self, _error: &BoxError) {}
}

struct Watched<W> {
    body: Body,
    watcher: W,
}

struct After {
    head: Option<Bytes>,
    rest: Body,
}

// === impl After ===

impl HttpBody for After {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.head.take() {
            Some(head) => Poll::Ready(Some(Ok(Frame::data(head)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}

// === impl Watched ===

impl<W: Watcher> HttpBody for Watched<W> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.watcher.asked();
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &mut polled {
            match frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        self.watcher.trailers(trailers);
                    }
                    self.watcher.data(frame.data_ref().map_or(0, Bytes::len));
                    // Whoever knows the length stops asking here.
                    if self.body.is_end_stream() {
                        self.watcher.ended();
                    }
                }
                Some(Err(error)) => self.watcher.failed(error),
                None => self.watcher.ended(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
