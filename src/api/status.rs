//! `metav1.Status`: what every error of ours looks like, and how a server's is recognised.
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1/types.go` and, for the protobuf form, `generated.proto`
//! beside it (field numbers) and `runtime/serializer/protobuf` (the `k8s\0` envelope).

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Deserialize;

use super::media_type::{self, Media};
use crate::body::{self, Body};

mod protobuf;

/// The media type of protobuf documents of the API.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What kube-apiserver says of a path that it has no handler for, inside a group-version that it serves.
const ROUTE_NOT_FOUND: &str = "the server could not find the requested resource";
/// What it says of a path outside of every group-version that it serves (Go's `http.NotFound`).
const PATH_NOT_FOUND: &[u8] = b"404 page not found";

/// A failure, to be answered to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status.
    pub code: StatusCode,
    /// A `metav1.StatusReason`, such as `ServiceUnavailable`.
    pub reason: &'static str,
    /// What happened and what an operator should look at.
    pub message: String,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// Nothing else is read on the connection, which must be one of HTTP/1.1.
    pub close: bool,
}

/// The encodings in which an error of ours is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    #[default]
    Json,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

// === impl Status ===

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), retry_after: None, close: false }
    }

    /// 400: the request cannot be read, or could be read in two ways.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401: the credentials do not count.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// 403: the caller is known, or need not be, and this is not for him.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 405: a method that this proxy never forwards.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 406: none of what we could send is what the client reads.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", offered.join(", "));
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 429: more requests are under way than may be.
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    /// 500: a fault of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 501: something that no proxy of ours does.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// 502: the server's answer must not be passed on.
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "InternalError", message)
    }

    /// 503 without `Retry-After`: sending again could do a thing twice, so the client must decide.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 504: the time for a request was over.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    /// The same, with the seconds after which a client should try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, as the last answer on its HTTP/1.1 connection.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The answer.
    pub fn into_response(self, encoding: Encoding) -> Response<Body> {
        let (content_type, bytes) = match encoding {
            Encoding::Protobuf => (PROTOBUF, protobuf::encode(&self)),
            Encoding::Json => ("application/json", self.to_json()),
        };
        let mut response = Response::new(body::full(bytes));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn to_json(&self) -> Vec<u8> {
        let details = match self.retry_after {
            Some(seconds) => serde_json::json!({ "retryAfterSeconds": seconds }),
            None => serde_json::json!({}),
        };
        let document = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": details,
            "code": self.code.as_u16(),
        });
        let mut bytes = document.to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}

impl Encoding {
    /// The one that a request's `Accept` prefers; JSON if nothing suits.
    pub fn preferred(request: &HeaderMap) -> Self {
        let accept = request.get(header::ACCEPT).map(HeaderValue::as_bytes);
        // Asked for every request, and nearly none says it.
        let is_named = |accept: &[u8]| accept.windows(8).any(|word| word.eq_ignore_ascii_case(b"protobuf"));
        if !accept.is_some_and(is_named) {
            return Self::Json;
        }
        match media_type::negotiate(accept) {
            Some(Media::Protobuf) => Self::Protobuf,
            _ => Self::Json,
        }
    }
}

/// Whether a 404 answer says that the server has no such *route*, not that there is no such object (I8).
///
/// `body` is the whole body. Recognised are Go's plain text and the `Status` with empty details, in JSON, YAML and
/// protobuf.
pub fn is_route_not_found(content_type: Option<&HeaderValue>, body: &[u8]) -> bool {
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "text/plain" => body.trim_ascii_end() == PATH_NOT_FOUND,
        "application/json" => serde_json::from_slice::<Seen>(body).is_ok_and(|seen| seen.is_route()),
        "application/yaml" => {
            let text = String::from_utf8_lossy(body);
            let has = |line: &str| text.lines().any(|found| found == line);
            has("kind: Status") && has("details: {}") && has(&format!("message: {ROUTE_NOT_FOUND}"))
        }
        PROTOBUF => protobuf::decode(body)
            .is_some_and(|seen| seen.message == ROUTE_NOT_FOUND && !seen.names_an_object),
        _ => false,
    }
}

/// As much of a server's `Status` as tells a missing route from a missing object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Seen {
    kind: String,
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    name: String,
    kind: String,
}

impl Seen {
    fn is_route(&self) -> bool {
        self.kind == "Status"
            && self.message == ROUTE_NOT_FOUND
            && self.details.as_ref().is_none_or(|details| details.name.is_empty() && details.kind.is_empty())
    }
}

#[cfg(test)]
mod tests;
