//! A document of the catalog as an HTTP response, with the headers that kube-apiserver sends.
//!
//! Upstream: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated/etag.go` and
//! `.../handlers/responsewriters/writers.go`.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::catalog::{Answers, Key};
use super::render::{Encoded, Encoding, Etag};
use crate::api::media_type::{AggregatedVersion, Media};
use crate::body::{self, Body};
use crate::limits;

/// Whose documents went into an answer, if `--discovery-sources-header` is on: `a, b;stale`.
pub const SOURCES: HeaderName = HeaderName::from_static("x-kube-peer-proxy-discovery-sources");

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// GET, or HEAD, which is the same without the body.
    pub method: &'a Method,
    /// Of these `If-None-Match` and `Accept-Encoding` are read; the latter in its first line and as upstream reads
    /// it: exactly `gzip`, without parameters.
    pub headers: &'a HeaderMap,
    /// The document.
    pub key: Key,
    /// How it is to be written.
    pub encoding: Encoding,
    /// Whether [`SOURCES`] are named.
    pub sources: bool,
}

/// Answers a request. What was written before costs a look-up; what is big is written on another thread.
pub async fn respond(answers: &Arc<Answers>, request: Request<'_>) -> Response<Body> {
    let Request { key, encoding, headers, .. } = request;
    let mut response = Response::new(body::empty());
    let sent = response.headers_mut();
    if request.sources {
        sent.insert(SOURCES, answers.sources(key).clone());
    }
    if let Some(etag) = answers.etag(key) {
        sent.insert(ETAG, etag.header().clone());
        sent.insert(VARY, HeaderValue::from_static("Accept"));
        sent.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        if is_known(headers, etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
    } else {
        sent.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }

    let gzip = accepts_gzip(headers);
    write(answers, key, encoding, gzip).await;
    let encoded = answers.write(key, encoding);
    let sent = response.headers_mut();
    sent.insert(CONTENT_TYPE, content_type(key, encoding.media()));
    let compressed = if gzip { encoded.gzip() } else { None };
    if compressed.is_some() {
        sent.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        sent.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let bytes = compressed.unwrap_or_else(|| encoded.body());
    sent.insert(CONTENT_LENGTH, bytes.len().into());
    if request.method != Method::HEAD {
        *response.body_mut() = body::full(bytes.clone());
    }
    response
}

/// Has a big document written where that keeps nobody waiting but those who want it.
async fn write(answers: &Arc<Answers>, key: Key, encoding: Encoding, gzip: bool) {
    let is_ready = |written: &Encoded| !gzip || written.is_compressed();
    let ready = || answers.written(key, encoding).is_some_and(is_ready);
    if ready() || answers.size(key) <= limits::MAX_RENDERED_INLINE {
        return;
    }
    let _turn = answers.turn.lock().await;
    if ready() {
        return;
    }
    let answers = Arc::clone(answers);
    let written = tokio::task::spawn_blocking(move || {
        let encoded = answers.write(key, encoding);
        if gzip {
            encoded.gzip();
        }
    });
    // If it failed it fails again, where somebody sees it.
    let _ = written.await;
}

/// The profile is not in it: upstream doesn't tell merged from own.
fn content_type(key: Key, media: Media) -> HeaderValue {
    macro_rules! aggregated {
        ($media:literal, $version:literal) => {
            concat!($media, ";g=apidiscovery.k8s.io;v=", $version, ";as=APIGroupDiscoveryList")
        };
    }
    use AggregatedVersion::{V2, V2Beta1};
    let Key::Aggregated(_, version) = key else { return HeaderValue::from_static(media.as_str()) };
    HeaderValue::from_static(match (media, version) {
        (Media::Json, V2) => aggregated!("application/json", "v2"),
        (Media::Json, V2Beta1) => aggregated!("application/json", "v2beta1"),
        (Media::Yaml, V2) => aggregated!("application/yaml", "v2"),
        (Media::Yaml, V2Beta1) => aggregated!("application/yaml", "v2beta1"),
        (Media::Protobuf, V2) => aggregated!("application/vnd.kubernetes.protobuf", "v2"),
        (Media::Protobuf, V2Beta1) => aggregated!("application/vnd.kubernetes.protobuf", "v2beta1"),
        (Media::Cbor, V2) => aggregated!("application/cbor", "v2"),
        (Media::Cbor, V2Beta1) => aggregated!("application/cbor", "v2beta1"),
    })
}

/// Whether the client has it already (RFC 9110, 13.1.2): `*`, or a list of tags, weak ones too, in any number of lines.
/// Upstream reads only the one tag that it sent.
fn is_known(headers: &HeaderMap, etag: &Etag) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|line| names(line.as_bytes(), etag.digits().as_bytes()))
}

fn names(line: &[u8], tag: &[u8]) -> bool {
    let mut rest = line.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        // Empty elements are none (5.6.1).
        while let Some(more) = rest.strip_prefix(b",") {
            rest = more.trim_ascii_start();
        }
        let quoted = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"");
        let Some(opaque) = quoted else { return false };
        // Commas may stand in a tag, quotes not.
        let Some(end) = opaque.iter().position(|byte| *byte == b'"') else { return false };
        if &opaque[..end] == tag {
            return true;
        }
        rest = opaque[end + 1..].trim_ascii_start();
        if !rest.starts_with(b",") {
            return false;
        }
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT_ENCODING).is_some_and(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|coding| coding.trim_ascii() == b"gzip")
    })
}
