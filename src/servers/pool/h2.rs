//! One request and its response on an HTTP/2 connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, Request, Response, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::AbortHandle;

use super::error::{SendError, SendErrorKind};
use super::upload::Upload;
use super::{Config, Lease};
use crate::body::{Body, BoxError};

/// Fields that speak of one HTTP/1.1 connection (RFC 9113, section 8.2.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Sends a request and returns when its response begins; the lease goes with the response's body,
/// and with the request's if that is not through by then.
pub(super) async fn exchange(
    config: &Config,
    lease: Lease,
    mut sender: SendRequest<Bytes>,
    request: Request<Body>,
) -> Result<Response<Body>, SendError> {
    let (parts, body) = request.into_parts();
    let bodiless = body.is_end_stream();
    let (mut response, stream) = match sender.send_request(head(config, &parts, &body), bodiless) {
        Ok(sent) => sent,
        Err(e) => {
            // Nothing was sent. Unless the request is at fault, the connection is.
            let gone = e.is_go_away() || e.is_io() || e.is_reset();
            lease.settle();
            if gone {
                lease.retire();
            }
            let error = SendError::new(SendErrorKind::Unprocessed, e);
            let error = error.with_request(Some(Request::from_parts(parts, body)));
            return Err(if gone { error.again() } else { error });
        }
    };
    drop(sender);

    let mut unsent = None;
    let mut upload = None;
    if bodiless {
        unsent = Some(body);
    } else {
        upload = Some(Upload::new(stream, body, config.settings.replay_limit));
    }
    let outcome = poll_fn(|cx| {
        if let Some(upload) = &mut upload
            && let Poll::Ready(Err(e)) = upload.poll(cx)
        {
            return Poll::Ready(Err(SendError::new(SendErrorKind::RequestBody, e)));
        }
        response.poll_unpin(cx).map_err(|e| {
            lease.settle();
            classify(e)
        })
    })
    .await;
    let response = match outcome {
        Ok(response) => response,
        Err(error) => {
            let body = unsent.or_else(|| upload.and_then(Upload::into_body));
            return Err(error.with_request(body.map(|body| Request::from_parts(parts, body))));
        }
    };

    let lease = Arc::new(lease);
    let uploading = upload.filter(|upload| !upload.is_done()).map(|mut upload| {
        upload.forget();
        let rest = Uploading { upload, _lease: Arc::clone(&lease) };
        tokio::spawn(rest.finish()).abort_handle()
    });
    Ok(response.map(|recv| Download { recv, lease: Some(lease), uploading }.boxed_unsync()))
}

/// The same head in HTTP/2's form.
fn head(config: &Config, parts: &Parts, body: &Body) -> Request<()> {
    let mut headers = parts.headers.clone();
    let host = headers.remove(HOST);
    for name in CONNECTION_FIELDS {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
    if let Some(length) = body.size_hint().exact()
        && length > 0
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }

    let authority = parts.uri.authority().cloned();
    let authority = authority.or_else(|| Authority::from_maybe_shared(host?).ok());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(authority.unwrap_or_else(|| config.authority.clone()));
    uri.path_and_query =
        Some(parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));

    let mut head = Request::new(());
    *head.method_mut() = parts.method.clone();
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path are all there");
    *head.headers_mut() = headers;
    head
}

/// What the end of a stream without a response says about the request.
///
/// A GOAWAY reaches as an error only the streams above its last id; those at or below it that
/// break off with the connection see an I/O error. So do those above it, if the server closes so
/// hastily that the GOAWAY cannot be read any more (net/http waits a second).
fn classify(e: h2::Error) -> SendError {
    let above_go_away = e.is_go_away() && e.is_remote();
    let refused = e.is_reset() && e.is_remote() && e.reason() == Some(Reason::REFUSED_STREAM);
    if above_go_away {
        SendError::new(SendErrorKind::Unprocessed, e).again()
    } else if refused {
        SendError::new(SendErrorKind::Unprocessed, e)
    } else {
        SendError::new(SendErrorKind::Lost, e)
    }
}

/// The rest of a request whose response has begun. Fields in this order: the stream goes first.
struct Uploading {
    upload: Upload,
    _lease: Arc<Lease>,
}

impl Uploading {
    /// An error of the body has reset the stream, which the response's reader sees.
    async fn finish(mut self) {
        let _broke_off = poll_fn(|cx| self.upload.poll(cx)).await;
    }
}

/// The body of a response. The server's window grows only as it is read.
///
/// Fields in this order: when all is dropped, the stream is reset before the lease tells of it.
struct Download {
    recv: RecvStream,
    /// Given back at the end of the stream.
    lease: Option<Arc<Lease>>,
    /// The rest of the request, if the response began before its end.
    uploading: Option<AbortHandle>,
}

impl Download {
    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.settle();
        }
        self.uploading = None;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.is_end_stream() {
            return self.end();
        }
        // Nobody reads the response to its end: nobody cares for the rest of the request either,
        // and the stream is reset once both are gone.
        if let Some(uploading) = &self.uploading {
            uploading.abort();
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
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        if let Some(data) = ready!(self.recv.poll_data(cx)) {
            let data = data.and_then(|data| {
                self.recv.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            });
            return match data {
                Ok(frame) => {
                    if self.recv.is_end_stream() {
                        self.end();
                    }
                    Poll::Ready(Some(Ok(frame)))
                }
                // All was said before the request's end, which the server calls off so.
                Err(e) if e.reason() == Some(Reason::NO_ERROR) => {
                    self.end();
                    Poll::Ready(None)
                }
                Err(e) => {
                    if let Some(lease) = &self.lease {
                        lease.settle();
                    }
                    Poll::Ready(Some(Err(e.into())))
                }
            };
        }
        let trailers = ready!(self.recv.poll_trailers(cx));
        self.end();
        Poll::Ready(trailers.map(|t| t.map(Frame::trailers)).map_err(BoxError::from).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() || self.recv.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
