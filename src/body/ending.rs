//! Ending an answer that has no end of its own.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Sleep, sleep};

use super::{Body, BoxError};
use crate::{drain, limits};

/// The same answer, ended when the drain is over: at a pause of the sender, and a watch between two events, as
/// if it were complete, for whoever reads a watch knows that it may end there.
///
/// A watch that is in the midst of an event then has [`limits::LAST_WORDS`] to finish that; if it doesn't, it is
/// seen to break. Of other answers nobody knows where they may end.
pub fn until_over(response: Response<Body>, drain: drain::Signal) -> Response<Body> {
    let pieces = Pieces::of(response.headers());
    let over = Box::pin(over(drain));
    response.map(|body| Ending { body, pieces, over, last_words: None }.boxed_unsync())
}

async fn over(mut drain: drain::Signal) {
    drain.reached(drain::Phase::Over).await;
}

struct Ending {
    body: Body,
    pieces: Pieces,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Set when it is over.
    last_words: Option<Pin<Box<Sleep>>>,
}

/// What of a stream has a meaning as a whole (`k8s.io/apimachinery/pkg/runtime/serializer`, framers).
enum Pieces {
    /// Anything, or nothing that we know of.
    Unknown,
    /// JSON: events are lines. Whether one has begun.
    Lines { begun: bool },
    /// Protobuf: events have their length before them, in four bytes with the highest first.
    Lengths { prefix: u32, prefix_bytes: u8, left: u32 },
}

// === impl Pieces ===

impl Pieces {
    fn of(headers: &HeaderMap) -> Self {
        // What is compressed nobody here can read.
        let content_type =
            headers.get(header::CONTENT_TYPE).filter(|_| !headers.contains_key(header::CONTENT_ENCODING));
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (media, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        match media.trim() {
            "application/json" => Self::Lines { begun: false },
            "application/vnd.kubernetes.protobuf" if parameters.contains("stream=watch") => {
                Self::Lengths { prefix: 0, prefix_bytes: 0, left: 0 }
            }
            _ => Self::Unknown,
        }
    }

    /// Whether the stream may end here.
    fn is_whole(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Lines { begun } => !begun,
            Self::Lengths { prefix_bytes, left, .. } => *prefix_bytes == 0 && *left == 0,
        }
    }

    /// Goes on by some bytes; gives behind how many of them the last piece ended, if one did.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Unknown => Some(bytes.len()),
            Self::Lines { begun } => {
                *begun = bytes.last().map_or(*begun, |last| *last != b'\n');
                bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1)
            }
            Self::Lengths { prefix, prefix_bytes, left } => {
                let (mut rest, mut whole) = (bytes, None);
                while !rest.is_empty() {
                    if *left == 0 {
                        *prefix = *prefix << 8 | u32::from(rest.get_u8());
                        *prefix_bytes += 1;
                        if *prefix_bytes < 4 {
                            continue;
                        }
                        (*left, *prefix, *prefix_bytes) = (*prefix, 0, 0);
                    } else {
                        let now = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                        rest.advance(now);
                        *left -= u32::try_from(now).unwrap_or(*left);
                    }
                    if *left == 0 {
                        whole = Some(bytes.len() - rest.len());
                    }
                }
                whole
            }
        }
    }
}

// === impl Ending ===

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.last_words.is_none() && this.over.as_mut().poll(cx).is_ready() {
            this.last_words = Some(Box::pin(sleep(limits::LAST_WORDS)));
        }
        let Some(last_words) = &mut this.last_words else {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                this.pieces.pass(data);
            }
            return Poll::Ready(frame);
        };
        let late = last_words.as_mut().poll(cx).is_ready();
        if late && this.pieces.is_whole() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending if this.pieces.is_whole() => Poll::Ready(None),
            Poll::Pending if late => {
                Poll::Ready(Some(Err("we are leaving, in the midst of an event".into())))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(mut data) => match this.pieces.pass(&data) {
                    Some(whole) if late => {
                        data.truncate(whole);
                        // What was cut off is no part of it any more.
                        this.pieces = Pieces::Unknown;
                        Poll::Ready(Some(Ok(Frame::data(data))))
                    }
                    _ => Poll::Ready(Some(Ok(Frame::data(data)))),
                },
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
