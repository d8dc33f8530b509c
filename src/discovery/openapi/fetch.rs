//! Asking one server for one OpenAPI document, with our own identity.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use sha2::{Digest, Sha512};
use tokio::sync::Semaphore;

use super::{
    index::Index,
    plan::upper_hex,
    unite::{Encoding, Generation},
};
use crate::{
    body::{self, Body},
    discovery::fetch::Fetcher,
    limits,
    servers::Server,
};

/// How fetches and their waits are bounded. The default is that of [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of an index, in bytes.
    pub max_index: usize,
    /// Of an index.
    pub max_entries: usize,
    /// Of any other document, in bytes.
    pub max_document: usize,
    /// Of documents that are kept, in bytes.
    pub cache: u64,
    /// For documents that nobody asks for.
    pub idle: Duration,
    /// For a fetch.
    pub timeout: Duration,
    /// For peers, after home's first document is there.
    pub grace: Duration,
    /// For all, when discovery changed.
    pub revalidate: Duration,
    /// Of an index before it is asked for again.
    pub index_age: Duration,
    /// Of any other document before it is asked for again.
    pub document_age: Duration,
    /// After a failed fetch.
    pub retry: Duration,
    /// After one of a document that is too large.
    pub retry_too_large: Duration,
    /// Of documents that are on their way from one server, indexes apart.
    pub fetches: usize,
}

/// A document of a server.
#[derive(Debug)]
pub(super) struct Good {
    /// As the server wrote it, to ask for changes with.
    pub(super) etag: Option<HeaderValue>,
    /// Stands for the content: the ETag without its quotes, or a hash.
    pub(super) tag: Arc<str>,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Index(Index),
    Document(Bytes),
    /// The server does not have it.
    Absent,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Index,
    V2(Encoding),
    /// By its key in the index.
    V3(Arc<str>, Encoding),
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error("answered {0}; a redirect is never followed")]
    Redirect(StatusCode),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error("{0}")]
    Rubbish(String),
    #[error("it changed, and the server says that it is not ready")]
    NotReady,
}

// === impl Bounds ===

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_index: limits::MAX_OPENAPI_INDEX_BYTES,
            max_entries: limits::MAX_OPENAPI_ENTRIES,
            max_document: limits::MAX_OPENAPI_DOCUMENT_BYTES,
            cache: limits::OPENAPI_CACHE_BYTES,
            idle: limits::OPENAPI_IDLE,
            timeout: limits::OPENAPI_FETCH_TIMEOUT,
            grace: limits::OPENAPI_PEER_GRACE,
            revalidate: limits::OPENAPI_REVALIDATE_WAIT,
            index_age: limits::OPENAPI_INDEX_AGE,
            document_age: limits::OPENAPI_DOCUMENT_AGE,
            retry: limits::OPENAPI_RETRY,
            retry_too_large: limits::OPENAPI_RETRY_TOO_LARGE,
            fetches: limits::MAX_OPENAPI_FETCHES,
        }
    }
}

// === impl Good ===

impl Good {
    pub(super) fn index(&self) -> Option<&Index> {
        match &self.content {
            Content::Index(index) => Some(index),
            _ => None,
        }
    }

    pub(super) fn document(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Document(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.document().map_or(0, Bytes::len)
    }
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn path(&self) -> String {
        match self {
            Self::Index => super::index::ROOT.to_owned(),
            Self::V2(_) => "/openapi/v2".to_owned(),
            Self::V3(key, _) => format!("{}/{key}", super::index::ROOT),
        }
    }

    fn accept(&self) -> &'static str {
        match self {
            Self::Index => "application/json",
            Self::V2(encoding) => encoding.accept(Generation::V2),
            Self::V3(_, encoding) => encoding.accept(Generation::V3),
        }
    }

    /// As in metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Index => "v3-index",
            Self::V2(Encoding::Json) => "v2-json",
            Self::V2(Encoding::Protobuf) => "v2-protobuf",
            Self::V3(_, Encoding::Json) => "v3-json",
            Self::V3(_, Encoding::Protobuf) => "v3-protobuf",
        }
    }

    /// Whether a server may do without it.
    fn may_be_absent(&self) -> bool {
        !matches!(self, Self::V3(..))
    }

    fn read(&self, bytes: Bytes, bounds: &Bounds) -> Result<Content, FetchError> {
        let checked = |generation: Generation, encoding, bytes: Bytes| {
            let verdict = generation.check(encoding, &bytes);
            verdict.map(|()| Content::Document(bytes)).map_err(|error| FetchError::Rubbish(error.to_string()))
        };
        match self {
            Self::Index => Index::parse(&bytes, bounds.max_entries)
                .map(Content::Index)
                .map_err(|error| FetchError::Rubbish(error.to_string())),
            Self::V2(encoding) => checked(Generation::V2, *encoding, bytes),
            Self::V3(_, encoding) => checked(Generation::V3, *encoding, bytes),
        }
    }
}

/// Fetches a document; `None` says that `known` is still right. `gate` says how many documents of the server may be
/// on their way at once.
///
/// One that changed is not believed of a server that says that it is not ready: a starting kube-apiserver answers without
/// its custom resources for a while (I7).
pub(super) async fn fetch(
    fetcher: &Fetcher,
    bounds: &Bounds,
    server: &Arc<Server>,
    gate: &Semaphore,
    wanted: &Wanted,
    known: Option<&Good>,
) -> Result<Option<Good>, FetchError> {
    let fetched = async {
        // An index is small, and everything waits for it.
        let _entered = if *wanted == Wanted::Index { None } else { gate.acquire().await.ok() };
        let Some(good) = fetch_unchecked(fetcher, bounds, server, wanted, known).await? else {
            return Ok(None);
        };
        if known.is_some() {
            // Who may read OpenAPI and not this will have to do without.
            let ready = fetcher.probe(server).await.is_ok_and(|status| !status.is_server_error());
            if !ready {
                return Err(FetchError::NotReady);
            }
        }
        Ok(Some(good))
    };
    tokio::time::timeout(bounds.timeout, fetched).await.unwrap_or(Err(FetchError::Timeout(bounds.timeout)))
}

async fn fetch_unchecked(
    fetcher: &Fetcher,
    bounds: &Bounds,
    server: &Arc<Server>,
    wanted: &Wanted,
    known: Option<&Good>,
) -> Result<Option<Good>, FetchError> {
    let mut request = Request::new(body::empty());
    let path = wanted.path();
    *request.uri_mut() = Uri::try_from(&path).map_err(|error| FetchError::Rubbish(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static(wanted.accept()));
    let etag = known.and_then(|known| known.etag.clone());
    if let Some(etag) = &etag {
        headers.insert(header::IF_NONE_MATCH, etag.clone());
    }
    let response = server.send_as(&fetcher.user, request).await;
    let (parts, body) = response.map_err(|error| FetchError::NoAnswer(error.to_string()))?.into_parts();
    match parts.status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(None),
        // Older than OpenAPI v3, or made without it.
        StatusCode::NOT_FOUND if wanted.may_be_absent() => {
            return Ok(Some(Good { etag: None, tag: Arc::from(""), content: Content::Absent }));
        }
        status if status.is_redirection() => return Err(FetchError::Redirect(status)),
        status => return Err(FetchError::Status(status)),
    }
    let max = if *wanted == Wanted::Index { bounds.max_index } else { bounds.max_document };
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let bytes = collect(body, announced, max).await?;
    let etag = parts.headers.get(header::ETAG).cloned();
    let (wanted, bounds, tag) = (wanted.clone(), *bounds, etag.as_ref().and_then(content_hash));
    let last = known.map(|known| Arc::clone(&known.tag));
    // Tens of milliseconds.
    let read = tokio::task::spawn_blocking(move || {
        let tag = tag.unwrap_or_else(|| tag_of(&bytes));
        // kube-apiserver's index has no ETag, and comes whole each time.
        if last.is_some_and(|last| last == tag) {
            return Ok(None);
        }
        let content = wanted.read(bytes, &bounds)?;
        Ok(Some(Good { etag, tag, content }))
    });
    read.await.map_err(|error| FetchError::Broken(error.to_string()))?
}

/// What stands between the quotes of an ETag, if that can be a hash of the content. Other tags mean something only to
/// the server that made them: two servers may have the same one for different documents.
fn content_hash(etag: &HeaderValue) -> Option<Arc<str>> {
    let text = etag.to_str().ok()?;
    let inner = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
    let is_hash = (32..=256).contains(&inner.len()) && inner.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| Arc::from(inner))
}

async fn collect(mut body: Body, announced: Option<usize>, limit: usize) -> Result<Bytes, FetchError> {
    // Nothing of what would be thrown away is taken.
    if announced.is_some_and(|announced| announced > limit) {
        return Err(FetchError::TooLarge(limit));
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(FetchError::TooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    // Kept for long: without what a growing buffer has too much.
    Ok(bytes.into_boxed_slice().into())
}

/// What stands for these bytes where a server names nothing.
pub(super) fn tag_of(bytes: &[u8]) -> Arc<str> {
    upper_hex(&Sha512::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_hash_stands_for_a_content() {
        let hash = "0123456789abcdefABCDEF0123456789";
        for etag in [format!("\"{hash}\""), format!("W/\"{hash}\"")] {
            assert_eq!(content_hash(&HeaderValue::try_from(etag).unwrap()).as_deref(), Some(hash));
        }
        for etag in ["\"1\"", hash, &format!("\"{hash}-gzip\""), &format!("\"{}\"", hash.repeat(9)), "\"", ""]
        {
            assert_eq!(content_hash(&HeaderValue::from_str(etag).unwrap()), None, "{etag}");
        }
        assert_eq!(content_hash(&HeaderValue::from_bytes(b"\"\xff\"").unwrap()), None);
    }
}
