//! One request and its response on an HTTP/1.1 connection.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use thiserror::Error;
use tokio::time::timeout;

use super::error::{SendError, SendErrorKind};
use super::{Config, Lease};
use crate::body::{Body, BoxError};
use crate::limits;

/// Sends a request and returns when its response begins; the connection goes with the response's
/// body and back into the pool at its end.
pub(super) async fn exchange(
    config: &Config,
    lease: Lease,
    mut sender: SendRequest<Body>,
    mut request: Request<Body>,
) -> Result<Response<Body>, SendError> {
    let given = address(config, &mut request);

    if !request.body().is_end_stream() {
        request = request.map(|body| body.map_err(|e| BrokeOff(e).into()).boxed_unsync());
    }

    match sender.try_send_request(request).await {
        Ok(mut response) => {
            only_one_length(response.headers_mut());
            Ok(response.map(|body| {
                let mut body = Download { body, connection: Some((lease, sender)) };
                if body.body.is_end_stream() {
                    body.end();
                }
                body.boxed_unsync()
            }))
        }
        Err(mut e) => match e.take_message() {
            // Never left our hands.
            Some(request) => {
                lease.retire();
                let error = SendError::new(SendErrorKind::Unprocessed, e.into_error());
                Err(error.with_request(Some(given.restore(request))).again())
            }
            None => {
                let e = e.into_error();
                let by_body = e.source().is_some_and(|cause| cause.is::<BrokeOff>());
                let kind = if by_body { SendErrorKind::RequestBody } else { SendErrorKind::Lost };
                Err(SendError::new(kind, e))
            }
        },
    }
}

/// Beside a transfer coding the length of an answer did not count, and whoever is next must not go by it (RFC 9112,
/// 6.3).
pub(super) fn only_one_length(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
}

/// What [`address`] changed about a request.
pub(super) struct Given {
    uri: Uri,
    host: bool,
}

impl Given {
    /// The request as it was.
    pub(super) fn restore(self, mut request: Request<Body>) -> Request<Body> {
        *request.uri_mut() = self.uri;
        if !self.host {
            request.headers_mut().remove(HOST);
        }
        request
    }
}

/// Makes a request one of HTTP/1.1: path and query in its first line, its authority in `Host`.
pub(super) fn address(config: &Config, request: &mut Request<Body>) -> Given {
    let uri = request.uri().clone();
    let given = Given { host: request.headers().contains_key(HOST), uri };
    let path = given.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    if !given.host || given.uri.authority().is_some() {
        let host = given.uri.authority().unwrap_or(&config.authority).as_str();
        let host = HeaderValue::from_str(host).expect("an authority is visible ASCII");
        request.headers_mut().insert(HOST, host);
    }
    given
}

/// Marks an error as the request body's own among all those that hyper may give.
#[derive(Debug, Error)]
#[error(transparent)]
struct BrokeOff(BoxError);

/// The body of a response. Dropped before its end, it takes the connection with it.
struct Download {
    body: Incoming,
    connection: Option<(Lease, SendRequest<Body>)>,
}

impl Download {
    /// The connection is free as soon as the request, too, is through. Who sends it may let that take forever.
    fn end(&mut self) {
        let Some((lease, mut sender)) = self.connection.take() else { return };
        if sender.is_ready() {
            lease.give_back(sender);
        } else if !sender.is_closed() {
            tokio::spawn(async move {
                match timeout(limits::EARLY_ANSWER_LINGER, poll_fn(|cx| sender.poll_ready(cx))).await {
                    Ok(Ok(())) => lease.give_back(sender),
                    Ok(Err(_)) => {}
                    Err(_) => lease.abort(),
                }
            });
        }
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.end(),
            Some(Ok(_)) if self.body.is_end_stream() => self.end(),
            Some(_) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
