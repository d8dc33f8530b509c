//! Why a request could not be answered, and whether another server may be asked.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::Request;

use crate::body::{Body, BoxError};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// No connection: DNS or TCP, or somebody was there and would not have it.
    Connect,
    /// No connection: nobody answered in time, or no way leads there.
    Unanswered,
    /// No connection: certificate or protocol trouble in the TLS handshake.
    Tls,
    /// Every permitted connection is full.
    Exhausted,
    /// The server (or a closed connection) provably left the request alone: REFUSED_STREAM, a
    /// GOAWAY below the stream, a connection that was closed before the request was dispatched.
    Unprocessed,
    /// The body of the request broke off: the client's fault or choice, not the server's.
    RequestBody,
    /// The exchange broke off and nobody knows whether the server acted on the request.
    Lost,
}

impl SendErrorKind {
    /// Whether the server provably did nothing with the request.
    pub fn is_unprocessed(self) -> bool {
        matches!(self, Self::Connect | Self::Unanswered | Self::Tls | Self::Exhausted | Self::Unprocessed)
    }
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect | Self::Unanswered => "cannot connect",
            Self::Tls => "TLS handshake failed",
            Self::Exhausted => "all connections are full",
            Self::Unprocessed => "the server did not process the request",
            Self::RequestBody => "the request body broke off",
            Self::Lost => "the exchange broke off",
        })
    }
}

/// A request without a response.
#[derive(Debug)]
pub struct SendError {
    /// What went wrong.
    pub kind: SendErrorKind,
    /// The request as it was given, body and all, to be sent to another server: only if it was
    /// provably not processed and its body can still be had whole.
    pub request: Option<Box<Request<Body>>>,
    pub(super) source: BoxError,
    /// Another connection to the same server is worth a try.
    pub(super) again: bool,
}

impl SendError {
    /// Whether the connection failed, not the one request: it could not be had, or it broke off. A stream that the
    /// server resets may be one handler's trouble.
    pub fn is_of_connection(&self) -> bool {
        match self.kind {
            SendErrorKind::Connect | SendErrorKind::Unanswered | SendErrorKind::Tls => true,
            SendErrorKind::Lost => is_of_connection(&self.source),
            SendErrorKind::Exhausted | SendErrorKind::Unprocessed | SendErrorKind::RequestBody => false,
        }
    }

    pub(in crate::servers) fn new(kind: SendErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, request: None, source: source.into(), again: false }
    }

    pub(super) fn with_request(mut self, request: Option<Request<Body>>) -> Self {
        self.request = request.filter(|_| self.kind.is_unprocessed()).map(Box::new);
        self
    }

    pub(super) fn again(mut self) -> Self {
        self.again = true;
        self
    }
}

/// Whether an answer ended with its connection, as opposed to alone.
pub fn is_of_connection(error: &BoxError) -> bool {
    error.downcast_ref::<h2::Error>().is_none_or(|error| !error.is_reset())
}

/// Kind and cause. Causes deeper down are for those who walk [`Error::source`].
impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.source)
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Why a connection could not be opened; shared by all requests that waited for it.
#[derive(Clone, Debug)]
pub(super) struct DialError {
    pub(super) kind: SendErrorKind,
    pub(super) message: Arc<str>,
}

impl DialError {
    pub(super) fn connect(message: impl fmt::Display) -> Self {
        Self { kind: SendErrorKind::Connect, message: message.to_string().into() }
    }

    pub(super) fn unanswered(message: impl fmt::Display) -> Self {
        Self { kind: SendErrorKind::Unanswered, ..Self::connect(message) }
    }

    pub(super) fn tls(message: impl fmt::Display) -> Self {
        Self { kind: SendErrorKind::Tls, message: message.to_string().into() }
    }
}
