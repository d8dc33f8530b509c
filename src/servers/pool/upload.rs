//! The body of a request on its way into an HTTP/2 stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{Body, BoxError};

/// A body that is being sent. It is read only while the stream has room, so the server's window
/// holds back whoever produces the body.
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: Recorded,
    done: bool,
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: Body, replay_limit: usize) -> Self {
        Self { stream, body: Recorded::new(body, replay_limit), done: false }
    }

    /// Ready when nothing is left to send, or nobody wants it any more; an error is the body's own.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while !self.done {
            // The server may answer early and call the rest off; the response tells what it means.
            if self.stream.poll_reset(cx).is_ready() {
                break;
            }
            if self.stream.capacity() == 0 {
                self.stream.reserve_capacity(1);
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(0)) => continue,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                }
            }
            let sent = match ready!(self.body.poll_frame(cx)) {
                None => self.stream.send_data(Bytes::new(), true).map(|()| true),
                Some(Ok(frame)) => match frame.into_data().map_err(Frame::into_trailers) {
                    Ok(data) => {
                        let last = self.body.is_end_stream();
                        self.stream.send_data(data, last).map(|()| last)
                    }
                    Err(Ok(trailers)) => self.stream.send_trailers(trailers).map(|()| true),
                    Err(Err(_unknown)) => continue,
                },
                Some(Err(e)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    self.done = true;
                    return Poll::Ready(Err(e));
                }
            };
            match sent {
                Ok(last) => self.done = last,
                Err(_gone) => break,
            }
        }
        self.done = true;
        Poll::Ready(Ok(()))
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The response has begun: nobody will want the body back.
    pub(super) fn forget(&mut self) {
        self.body.forget();
    }

    /// The body as it was before the first byte was sent, if it can still be had.
    pub(super) fn into_body(self) -> Option<Body> {
        self.body.rewind()
    }
}

/// A body that remembers its first bytes.
struct Recorded {
    rest: Body,
    seen: VecDeque<Bytes>,
    /// Bytes that may still be remembered; `None` once something was lost.
    budget: Option<usize>,
}

impl Recorded {
    fn new(body: Body, limit: usize) -> Self {
        Self { rest: body, seen: VecDeque::new(), budget: Some(limit) }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_end_stream()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = ready!(Pin::new(&mut self.rest).poll_frame(cx));
        match (&polled, self.budget) {
            (Some(Ok(frame)), Some(budget)) => {
                let data = frame.data_ref().filter(|data| data.len() <= budget);
                match data {
                    Some(data) => {
                        self.budget = Some(budget - data.len());
                        self.seen.push_back(data.clone());
                    }
                    None => self.forget(),
                }
            }
            (Some(Err(_)), _) => self.forget(),
            (Some(Ok(_)) | None, _) => {}
        }
        Poll::Ready(polled)
    }

    fn forget(&mut self) {
        self.budget = None;
        self.seen = VecDeque::new();
    }

    fn rewind(self) -> Option<Body> {
        self.budget?;
        if self.seen.is_empty() {
            return Some(self.rest);
        }
        Some(Rewound { seen: self.seen, rest: self.rest }.boxed_unsync())
    }
}

/// What was seen of a body, then the rest of it.
struct Rewound {
    seen: VecDeque<Bytes>,
    rest: Body,
}

impl http_body::Body for Rewound {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(data) = self.seen.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.rest.is_end_stream() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.seen.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let seen = self.seen.iter().map(|data| data.remaining() as u64).sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + seen);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + seen);
        }
        hint
    }
}
