//! A rendered document as an HTTP response, with the headers that kube-apiserver sends.
//!
//! Upstream: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated/etag.go` and
//! `.../handlers/responsewriters/writers.go`.

#[cfg(test)]
mod tests;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::render::Rendered;
use crate::body::{self, Body};

/// Content type of the JSON document. The profile is not in it: upstream doesn't tell merged from own.
const JSON_V2: HeaderValue =
    HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");

/// Answers a request with a document.
///
/// Of the request's headers, `If-None-Match` and `Accept-Encoding` are read, each only in its first line and as
/// upstream reads them: `If-None-Match` must equal the quoted ETag byte for byte (no list, no `W/`, no `*`);
/// `Accept-Encoding` must name exactly `gzip`, without parameters. `pretty` asks for indented JSON, see
/// [`crate::api::media_type::wants_pretty`]. Any method is answered like GET; HEAD without the body.
pub fn respond(rendered: &Rendered, method: &Method, headers: &HeaderMap, pretty: bool) -> Response<Body> {
    let etag =
        HeaderValue::try_from(format!("\"{}\"", rendered.etag())).expect("hex digits are valid in a header");
    let not_modified = headers.get(IF_NONE_MATCH) == Some(&etag);

    let mut response = Response::new(body::empty());
    let sent = response.headers_mut();
    sent.insert(ETAG, etag);
    sent.insert(VARY, HeaderValue::from_static("Accept"));
    sent.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }

    sent.insert(CONTENT_TYPE, JSON_V2);
    let encoded = if pretty { rendered.pretty() } else { rendered.json() };
    let compressed = if accepts_gzip(headers) { encoded.gzip() } else { None };
    if compressed.is_some() {
        sent.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        sent.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let bytes = compressed.unwrap_or_else(|| encoded.body());
    sent.insert(CONTENT_LENGTH, bytes.len().into());
    if method != Method::HEAD {
        *response.body_mut() = body::full(bytes.clone());
    }
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT_ENCODING).is_some_and(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|coding| coding.trim_ascii() == b"gzip")
    })
}
