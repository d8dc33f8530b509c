//! One question, and its answer within bounds.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;

use super::{FetchError, Fetcher, Origin};
use crate::{
    body::{self, Body},
    limits,
};

/// What is longer is parsed on a blocking thread: tens of milliseconds with thousands of CRDs.
const LONG: usize = 64 * 1024;

impl Fetcher {
    /// `GET` of a path.
    pub(super) async fn ask(
        &self,
        server: &impl Origin,
        path: &str,
        accept: Option<&'static str>,
        etag: Option<&HeaderValue>,
    ) -> Result<Response<Body>, FetchError> {
        let no_answer = |error: String| FetchError::NoAnswer { path: path.to_owned(), error };
        let mut request = Request::new(body::empty());
        *request.uri_mut() = Uri::try_from(path).map_err(|error| no_answer(error.to_string()))?;
        let headers = request.headers_mut();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(etag) = etag {
            headers.insert(header::IF_NONE_MATCH, etag.clone());
        }
        server.send(&self.user, request).await
    }

    /// The JSON of one unaggregated list below a tree.
    pub(super) async fn list(
        &self,
        server: &impl Origin,
        path: &str,
        budget: &Budget,
    ) -> Result<Bytes, FetchError> {
        let limit = limits::LIST_TIMEOUT.min(self.bounds.timeout / 4);
        let read = async {
            let response = self.ask(server, path, Some("application/json"), None).await?;
            good(path, response.status())?;
            let bytes = collect(path, response.into_body(), budget.left().min(limits::MAX_LIST_BYTES)).await;
            match bytes {
                Err(FetchError::TooLarge { limit, .. }) if limit < limits::MAX_LIST_BYTES => {
                    Err(budget.exceeded(path))
                }
                Ok(bytes) => budget.spend(path, bytes.len()).map(|()| bytes),
                failed => failed,
            }
        };
        tokio::time::timeout(limit, read).await.unwrap_or(Err(FetchError::Timeout(limit)))
    }
}

/// Bytes that several answers may have together.
pub(super) struct Budget {
    whole: usize,
    spent: AtomicUsize,
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(whole: usize) -> Self {
        Self { whole, spent: AtomicUsize::new(0) }
    }

    fn left(&self) -> usize {
        self.whole.saturating_sub(self.spent.load(Ordering::Relaxed))
    }

    fn spend(&self, path: &str, bytes: usize) -> Result<(), FetchError> {
        let before = self.spent.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.whole { Err(self.exceeded(path)) } else { Ok(()) }
    }

    fn exceeded(&self, path: &str) -> FetchError {
        FetchError::TooMuch { path: path.to_owned(), limit: self.whole }
    }
}

/// Nothing but 200 is good.
pub(super) fn good(path: &str, status: StatusCode) -> Result<(), FetchError> {
    let path = || path.to_owned();
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FetchError::Refused { path: path(), status }),
        status if status.is_redirection() => Err(FetchError::Redirect { path: path(), status }),
        status => Err(FetchError::Status { path: path(), status }),
    }
}

/// Reads a body up to a limit.
pub(super) async fn collect(path: &str, mut body: Body, limit: usize) -> Result<Bytes, FetchError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| FetchError::Broken { path: path.to_owned(), error: error.to_string() })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(FetchError::TooLarge { path: path.to_owned(), limit });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Makes something of bytes, on a blocking thread if they are many.
pub(super) async fn digest<T: Send + 'static>(
    path: &str,
    bytes: Bytes,
    make: impl FnOnce(&[u8]) -> T + Send + 'static,
) -> Result<T, FetchError> {
    if bytes.len() <= LONG {
        return Ok(make(&bytes));
    }
    tokio::task::spawn_blocking(move || make(&bytes))
        .await
        .map_err(|error| FetchError::Broken { path: path.to_owned(), error: error.to_string() })
}
