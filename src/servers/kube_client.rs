//! The `kube` crate over our own connections and with our own identity.
//!
//! A second HTTP stack would have connections of its own, that no PING tells dead from silent, and would have to
//! learn again what [`super::pool`] knows. So a client of `kube` gets a service that sends through
//! [`Server::send_as`]. What that crate leaves open is bounded here: how long an answer may take to begin, and how
//! many of its bytes have to be held at once.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body as KubeBody};
use tower::service_fn;

use super::Server;
use crate::{
    api::user::UserInfo,
    body::{self, Body, BoxError},
    limits,
};

/// A client that asks `server` as `user`, in our own class of connections.
///
/// Requests fail with [`kube::Error::Service`] if there is no answer, if it has not begun after
/// [`limits::KUBE_ANSWER_TIMEOUT`], or if one piece of it (an event of a watch, any other answer whole) is longer than
/// [`limits::MAX_KUBE_EVENT_BYTES`] or [`limits::MAX_KUBE_ANSWER_BYTES`].
///
/// # Panics
/// Outside of a Tokio runtime, which runs the client's queue.
pub fn kube_client(server: Arc<Server>, user: Arc<UserInfo>) -> Client {
    let service = service_fn(move |request| exchange(Arc::clone(&server), Arc::clone(&user), request));
    Client::new(service, "default")
}

async fn exchange(
    server: Arc<Server>,
    user: Arc<UserInfo>,
    request: Request<KubeBody>,
) -> Result<Response<Bounded>, BoxError> {
    let watches = request.uri().query().is_some_and(is_watch);
    let request = request.map(|body| match body.size_hint().exact() {
        Some(0) => body::empty(),
        _ => body.map_err(BoxError::from).boxed_unsync(),
    });
    let limit = limits::KUBE_ANSWER_TIMEOUT;
    let answer = tokio::time::timeout(limit, server.send_as(&user, request));
    let answer = answer.await.map_err(|_| format!("no answer within {} s", limit.as_secs()))?;
    // The error holds the request, which need not go from thread to thread.
    let answer = answer.map_err(|error| error.to_string())?;
    let watches = watches && answer.status().is_success();
    Ok(answer.map(|body| Bounded::new(body, watches)))
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// An answer of which nobody has to hold more than so many bytes at once.
struct Bounded {
    body: Body,
    /// Each line may have so many bytes, or else the whole.
    by_line: bool,
    limit: usize,
    held: usize,
}

// === impl Bounded ===

impl Bounded {
    fn new(body: Body, by_line: bool) -> Self {
        let limit = if by_line { limits::MAX_KUBE_EVENT_BYTES } else { limits::MAX_KUBE_ANSWER_BYTES };
        Self { body, by_line, limit, held: 0 }
    }

    /// Whether these bytes may pass.
    fn count(&mut self, data: &[u8]) -> bool {
        if self.by_line {
            data.split_inclusive(|byte| *byte == b'\n').all(|piece| {
                self.held += piece.len();
                let fits = self.held <= self.limit;
                if piece.ends_with(b"\n") {
                    self.held = 0;
                }
                fits
            })
        } else {
            self.held += data.len();
            self.held <= self.limit
        }
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !self.count(data)
        {
            let what = if self.by_line { "an event" } else { "an answer" };
            return Poll::Ready(Some(Err(format!("{what} of more than {} bytes", self.limit).into())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_may_last_for_ever_but_no_event_of_it() {
        let mut watch = Bounded::new(body::empty(), true);
        let line = [vec![b'x'; limits::MAX_KUBE_EVENT_BYTES / 2], vec![b'\n']].concat();
        for _ in 0..5 {
            assert!(watch.count(&line));
        }
        let half = vec![b'x'; limits::MAX_KUBE_EVENT_BYTES / 2];
        assert!(watch.count(&half) && watch.count(&half));
        assert!(!watch.count(b"x"));
    }

    #[test]
    fn no_other_answer_is_longer_than_its_limit() {
        let mut list = Bounded::new(body::empty(), false);
        let half = vec![b'\n'; limits::MAX_KUBE_ANSWER_BYTES / 2];
        assert!(list.count(&half) && list.count(&half));
        assert!(!list.count(b"x"));
    }

    #[test]
    fn a_watch_is_known_by_its_query() {
        assert!(is_watch("labelSelector=a%3Db&watch=true&resourceVersion=5"));
        assert!(!is_watch("labelSelector=watch%3Dtrue&limit=5"));
    }
}
