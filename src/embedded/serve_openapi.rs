//! `/openapi/v2` and `/openapi/v3` as kube-apiserver 1.36 answers them.
//!
//! Heads and redirects are upstream's (`k8s.io/kube-openapi/pkg/handler` and `handler3`, the index:
//! `k8s.io/kube-aggregator/pkg/controllers/openapiv3`). `Range` and dates in conditions are not understood.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use time::{Duration, OffsetDateTime};

use super::accept;
use super::answer::{self, Answer, Refusal};
use super::openapi::{Spec, Specs, relative_url};
use super::shared::Shared;
use super::spoil::spoil;
use super::target::Query;
use crate::body;

const JSON: &str = "application/json";
const V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];

/// Answers everything below `/openapi/`.
pub(super) async fn answer(server: &Shared, parts: &Parts) -> Result<Answer, Refusal> {
    let path = parts.uri.path();
    let mut headers = parts.headers.clone();
    let fault = server.faults.of_openapi(path);
    if fault.is_some() {
        // Who has the right document is to get the wrong one, too.
        headers.remove(header::IF_NONE_MATCH);
    }
    let specs = server.discovery.specs();
    let good = match path.strip_prefix("/openapi/") {
        Some("v2") => swagger(&specs, &headers),
        Some("v3") => {
            // Upstream takes it for a file: of no known type, and without an ETag.
            let mut answer =
                answer::with_type(StatusCode::OK, "text/plain; charset=utf-8", specs.index.clone());
            set(&mut answer, header::LAST_MODIFIED, &http_date(OffsetDateTime::now_utc(), "GMT"));
            answer
        }
        Some(below) => match below.strip_prefix("v3/").and_then(|key| Some((key, specs.v3.get(key)?))) {
            Some((key, spec)) => {
                let hash = Query::parse(parts.uri.query()).filled("hash").map(str::to_owned);
                group_version(&specs, key, spec, hash.as_deref(), &headers)
            }
            None if below.starts_with("v3/") => empty(StatusCode::NOT_FOUND),
            None => answer::page_not_found(),
        },
        None => answer::page_not_found(),
    };
    match fault {
        None => Ok(good),
        Some(fault) => spoil(fault, good).await,
    }
}

/// `/openapi/v2`
fn swagger(specs: &Specs, headers: &HeaderMap) -> Answer {
    let mut answer = match accept::first_of(headers, &[JSON, V2[0], V2[1]]) {
        None => empty(StatusCode::NOT_ACCEPTABLE),
        Some(_) if matches_etag(headers, &specs.v2.hash) => not_modified(&specs.v2.hash),
        Some(chosen) => {
            let binary = chosen > 0;
            let zipped = headers
                .get_all(header::ACCEPT_ENCODING)
                .iter()
                .any(|value| value.to_str().is_ok_and(|value| value.contains("gzip")));
            let bytes = match (zipped, binary) {
                (true, _) => specs.v2.gzipped(binary),
                (false, true) => specs.v2.protobuf(),
                (false, false) => &specs.v2.json,
            };
            let mut answer = document(specs, &specs.v2, bytes, if binary { V2[0] } else { JSON });
            if zipped {
                set(&mut answer, header::CONTENT_ENCODING, "gzip");
            }
            answer
        }
    };
    for varying in ["Accept-Encoding", "Accept"] {
        answer.headers_mut().append(header::VARY, HeaderValue::from_static(varying));
    }
    answer
}

/// `/openapi/v3/<key>`
fn group_version(specs: &Specs, key: &str, spec: &Spec, hash: Option<&str>, headers: &HeaderMap) -> Answer {
    let mut answer = match accept::first_of(headers, &[JSON, V3[0], V3[1]]) {
        None => empty(StatusCode::NOT_ACCEPTABLE),
        Some(chosen) => {
            let media_type = if chosen > 0 { V3[0] } else { JSON };
            if hash.is_some_and(|hash| hash != spec.hash) {
                let mut answer = answer::with_type(StatusCode::MOVED_PERMANENTLY, media_type, Bytes::new());
                set(&mut answer, header::ETAG, &quoted(&spec.hash));
                set(&mut answer, header::LOCATION, &relative_url(key, &spec.hash));
                answer
            } else {
                let mut answer = if matches_etag(headers, &spec.hash) {
                    not_modified(&spec.hash)
                } else {
                    let bytes = if chosen > 0 { spec.protobuf() } else { &spec.json };
                    document(specs, spec, bytes, media_type)
                };
                if hash.is_some() {
                    set(&mut answer, header::CACHE_CONTROL, "public, immutable");
                    let year = OffsetDateTime::now_utc() + Duration::days(365);
                    set(&mut answer, header::EXPIRES, &http_date(year, "UTC"));
                }
                answer
            }
        }
    };
    set(&mut answer, header::VARY, "Accept");
    answer
}

fn document(specs: &Specs, spec: &Spec, bytes: &Bytes, media_type: &'static str) -> Answer {
    let mut answer = answer::with_type(StatusCode::OK, media_type, bytes.clone());
    set(&mut answer, header::ETAG, &quoted(&spec.hash));
    set(&mut answer, header::LAST_MODIFIED, &http_date(specs.made, "GMT"));
    answer
}

fn not_modified(hash: &str) -> Answer {
    let mut answer = empty(StatusCode::NOT_MODIFIED);
    set(&mut answer, header::ETAG, &quoted(hash));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::new(body::empty());
    *answer.status_mut() = status;
    answer
}

fn quoted(hash: &str) -> String {
    format!("\"{hash}\"")
}

/// As Go's `http.ServeContent` compares: a list, weak tags as strong ones, `*`.
fn matches_etag(headers: &HeaderMap, hash: &str) -> bool {
    let line = headers.get(header::IF_NONE_MATCH).and_then(|line| line.to_str().ok()).unwrap_or_default();
    line.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag == quoted(hash)
    })
}

/// RFC 9110's date; upstream writes UTC where that wants GMT.
fn http_date(time: OffsetDateTime, zone: &str) -> String {
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} {zone}",
        &weekday[..3],
        time.day(),
        &month[..3],
        time.year(),
        time.hour(),
        time.minute(),
        time.second(),
    )
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_has_them() {
        let time = OffsetDateTime::from_unix_timestamp(784_111_777).unwrap();
        assert_eq!(http_date(time, "GMT"), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
