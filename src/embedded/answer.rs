//! Answers in the shapes that kube-apiserver gives them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{self, Body};

/// An answer with a body of any kind.
pub(super) type Answer = Response<Body>;

/// A request that is not granted, as the `metav1.Status` that says so.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
}

/// JSON with a newline at its end, as Go's encoder writes it.
pub(super) fn json(code: StatusCode, value: &Value) -> Answer {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    with_type(code, "application/json", bytes)
}

/// Plain text without `charset`, as health checks answer.
pub(super) fn text(code: StatusCode, text: &str) -> Answer {
    with_type(code, "text/plain; charset=utf-8", text.to_owned())
}

/// Any known bytes under a content type.
pub(super) fn with_type(code: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    streaming(code, content_type, body::full(bytes))
}

/// A body that is still being made.
pub(super) fn streaming(code: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The route-level 404 for a group that is not known at all.
pub(super) fn page_not_found() -> Answer {
    let mut answer = text(StatusCode::NOT_FOUND, "404 page not found\n");
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    pub(super) fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// The route-level 404 inside a known group.
    pub(super) fn no_such_resource() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message).details(Value::Null)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized").details(Value::Null)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message).details(Value::Null)
    }

    /// The object-level 404.
    pub(super) fn no_such_object(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(group, resource));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).details(object(group, resource, name))
    }

    pub(super) fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(group, resource));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).details(object(group, resource, name))
    }

    pub(super) fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
        Self::new(StatusCode::CONFLICT, "Conflict", message).details(object(group, resource, name))
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if !self.details.is_null() {
            status["details"] = self.details;
        }
        status["code"] = json!(self.code.as_u16());
        json(self.code, &status)
    }
}

/// How upstream writes a resource with its group (`schema.GroupResource.String`).
pub(super) fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// `details` of an answer about one object. Upstream writes the resource into `kind`.
pub(super) fn object(group: &str, resource: &str, name: &str) -> Value {
    let mut details = json!({ "name": name });
    if !group.is_empty() {
        details["group"] = json!(group);
    }
    details["kind"] = json!(resource);
    details
}
