//! An OpenAPI document that we answer with, and the answer.
//!
//! Headers and conditions as upstream's handlers have them (`k8s.io/kube-openapi/pkg/handler` and `pkg/handler3`,
//! both of which end in Go's `http.ServeContent`), but for ranges: the whole document is always a right answer to those
//! (RFC 9110, section 14.2).

use std::{
    io::Write as _,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPIRES,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, VARY,
    },
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem};
use tokio::sync::Mutex;

use crate::body::{self, Body};

/// Upstream's handler of version 2 leaves smaller ones as they are, in bytes (`DefaultMinSize` in
/// `github.com/NYTimes/gziphandler`).
const GZIP_THRESHOLD: usize = 1400;

/// A document, written once and shared by every answer.
#[derive(Debug)]
pub struct Document {
    /// Without quotes. The same in every encoding.
    tag: Arc<str>,
    media_type: &'static str,
    body: Bytes,
    /// Made when first asked for.
    gzip: OnceLock<Bytes>,
    /// Held by who makes it. Whoever else wants it waits for this, and holds no thread.
    zipping: Arc<Mutex<()>>,
    /// When it was made, to the second.
    modified: OffsetDateTime,
}

/// How a document is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// The encoding depends on `Accept`.
    pub negotiated: bool,
    /// May be compressed.
    pub gzip: bool,
    /// Its address names its hash, so it may be kept for a year.
    pub immutable: bool,
}

// === impl Document ===

impl Document {
    /// A document that is new now.
    pub fn new(tag: Arc<str>, media_type: &'static str, body: Bytes) -> Self {
        let now = OffsetDateTime::now_utc();
        let modified = now.replace_nanosecond(0).unwrap_or(now);
        Self { tag, media_type, body, gzip: OnceLock::new(), zipping: Arc::default(), modified }
    }

    /// Its ETag without quotes, which is its hash too.
    pub fn tag(&self) -> &Arc<str> {
        &self.tag
    }

    /// The bytes, uncompressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.body.len() + self.gzip.get().map_or(0, Bytes::len)
    }

    /// Answers a request.
    pub async fn respond(
        self: &Arc<Self>,
        manner: Manner,
        method: &Method,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let mut response = Response::new(body::empty());
        let sent = response.headers_mut();
        self.describe(manner, sent);
        if self.is_known(headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let text = |time| HeaderValue::try_from(http_date(time)).ok();
        sent.extend(text(self.modified).map(|value| (LAST_MODIFIED, value)));
        sent.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        let compress = manner.gzip
            && *method != Method::HEAD
            && self.body.len() > GZIP_THRESHOLD
            && accepts_gzip(headers);
        let compressed = if compress { self.compressed().await } else { None };
        if compressed.is_some() {
            sent.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let bytes = compressed.unwrap_or_else(|| self.body.clone());
        sent.insert(CONTENT_LENGTH, bytes.len().into());
        if *method != Method::HEAD {
            *response.body_mut() = body::full(bytes);
        }
        response
    }

    /// 301 to where the document is under its right hash.
    pub fn redirect(&self, to: &str) -> Response<Body> {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let sent = response.headers_mut();
        self.describe(Manner { negotiated: true, ..Manner::default() }, sent);
        sent.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        sent.extend(HeaderValue::try_from(to).map(|to| (LOCATION, to)));
        sent.insert(CONTENT_LENGTH, 0.into());
        response
    }

    fn describe(&self, manner: Manner, sent: &mut HeaderMap) {
        let quoted = HeaderValue::try_from(format!("\"{}\"", self.tag));
        sent.extend(quoted.map(|etag| (ETAG, etag)));
        if manner.gzip {
            sent.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if manner.negotiated {
            sent.append(VARY, HeaderValue::from_static("Accept"));
        }
        if manner.immutable {
            let in_a_year = OffsetDateTime::now_utc() + time::Duration::days(365);
            sent.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            sent.extend(HeaderValue::try_from(http_date(in_a_year)).map(|value| (EXPIRES, value)));
        } else {
            sent.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        }
    }

    /// Whether the client has it (RFC 9110, sections 13.1.2 and 13.1.3).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(IF_NONE_MATCH) {
            return lists(headers, &IF_NONE_MATCH).any(|known| {
                let known = known.strip_prefix("W/").unwrap_or(known);
                known == "*"
                    || known.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&*self.tag)
            });
        }
        let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok()).and_then(parse_date);
        since.is_some_and(|since| self.modified <= since)
    }

    async fn compressed(self: &Arc<Self>) -> Option<Bytes> {
        if let Some(bytes) = self.gzip.get() {
            return Some(bytes.clone());
        }
        let turn = Arc::clone(&self.zipping).lock_owned().await;
        // Some 40 ms for each 2 MiB; it goes on when nobody waits for it any more.
        let document = Arc::clone(self);
        let compressed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            document
                .gzip
                .get_or_init(|| {
                    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                    encoder
                        .write_all(&document.body)
                        .and_then(|()| encoder.finish())
                        .expect("writing to memory can't fail")
                        .into()
                })
                .clone()
        });
        compressed.await.ok()
    }
}

/// 406, as upstream says it.
pub fn not_acceptable(manner: Manner) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
    let sent = response.headers_mut();
    if manner.gzip {
        sent.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    sent.append(VARY, HeaderValue::from_static("Accept"));
    sent.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    sent.insert(CONTENT_LENGTH, 0.into());
    response
}

/// The elements of a header that is a list. Commas in quotes do not occur in our tags.
fn lists<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether gzip is welcome (RFC 9110, section 12.5.3); `*` is not taken for it, as upstream has it.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    lists(headers, &ACCEPT_ENCODING).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
        name.trim().eq_ignore_ascii_case("gzip")
            && quality.is_none_or(|quality| quality.trim().parse().is_ok_and(|quality: f32| quality > 0.0))
    })
}

fn date_format() -> Option<Vec<BorrowedFormatItem<'static>>> {
    const FORMAT: &str = "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT";
    time::format_description::parse_borrowed::<2>(FORMAT).ok()
}

fn http_date(time: OffsetDateTime) -> String {
    date_format().and_then(|format| time.format(&format).ok()).unwrap_or_default()
}

fn parse_date(text: &str) -> Option<OffsetDateTime> {
    time::PrimitiveDateTime::parse(text, &date_format()?).ok().map(time::PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests;
