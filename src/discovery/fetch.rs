//! Asking one API server what it serves, with our own identity.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time;

use super::catalog::{Document, Part};
use crate::{
    api::{
        discovery::{GroupDiscoveryList, ParseError, Tree},
        media_type,
        user::UserInfo,
    },
    body::{self, Body},
    limits,
    servers::{OwnRequestError, Server, pool::SendErrorKind},
};

/// How a fetch is bounded.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// For everything together.
    pub timeout: Duration,
    /// For each document, in bytes.
    pub max_document: usize,
    /// For one question to `/readyz`.
    pub probe_timeout: Duration,
}

/// Who asks, and within which bounds.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Our own identity.
    pub user: Arc<UserInfo>,
    /// See [`Bounds`].
    pub bounds: Bounds,
}

/// What a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// `None` says that what was known is still right.
    pub document: Option<Arc<Document>>,
    /// The server said that it is ready, or had no reason to be asked.
    pub ready: bool,
}

/// Why a fetch failed; what was known before stays.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum FetchError {
    #[error("{path}: no answer: {error}")]
    NoAnswer { path: &'static str, error: String },
    #[error(
        "{path}: somebody is there, but TLS comes to nothing (see --peer-ca-file, --peer-server-name): {error}"
    )]
    Untrusted { path: &'static str, error: String },
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error(
        "{path}: answered {status}; may our user read it there? \
         (see --proxy-client-cert-file, --proxy-user and the server's --requestheader-* flags)"
    )]
    Refused { path: &'static str, status: StatusCode },
    #[error("{path}: answered {status}; a redirect is never followed")]
    Redirect { path: &'static str, status: StatusCode },
    #[error("{path}: answered {status}")]
    Status { path: &'static str, status: StatusCode },
    #[error("{path}: the answer's type is {content_type:?}, not aggregated discovery v2")]
    MediaType { path: &'static str, content_type: String },
    #[error("{path}: the document is larger than {limit} bytes")]
    TooLarge { path: &'static str, limit: usize },
    #[error("{path}: the answer broke off: {error}")]
    Broken { path: &'static str, error: String },
    #[error("{path}: {error}")]
    Rubbish { path: &'static str, error: ParseError },
    #[error("the document lacks {dropped}, which it had, and the server says that it is not ready")]
    NotReady { dropped: String },
}

// === impl Fetcher ===

impl Fetcher {
    /// Fetches both documents.
    ///
    /// A document that drops anything is only believed between two answers of 200 from `/readyz` (I7), and a
    /// first one only with one: a starting kube-apiserver answers `/apis` without its CRDs for a while.
    ///
    /// # Errors
    /// Why nothing new is known.
    pub async fn fetch(
        &self,
        server: &Arc<Server>,
        known: Option<&Arc<Document>>,
    ) -> Result<Fetched, FetchError> {
        let limit = self.bounds.timeout;
        time::timeout(limit, self.fetch_unbounded(server, known))
            .await
            .unwrap_or(Err(FetchError::Timeout(limit)))
    }

    async fn fetch_unbounded(
        &self,
        server: &Arc<Server>,
        known: Option<&Arc<Document>>,
    ) -> Result<Fetched, FetchError> {
        let Some(fetched) = self.documents(server, known.map(|known| &**known)).await? else {
            return Ok(Fetched { document: None, ready: true });
        };
        let Some(known) = known else {
            // Who may read discovery and not this will have to do without.
            let ready = self.readyz(server).await.is_some_and(|status| !status.is_server_error());
            return Ok(Fetched { document: Some(Arc::new(fetched)), ready });
        };
        let Some(dropped) = known.dropped_by(&fetched) else {
            return Ok(Fetched { document: Some(Arc::new(fetched)), ready: true });
        };
        if !self.is_ready(server).await {
            return Err(FetchError::NotReady { dropped });
        }
        let confirmed = self.documents(server, Some(&fetched)).await?.unwrap_or(fetched);
        if !self.is_ready(server).await {
            return Err(FetchError::NotReady { dropped });
        }
        Ok(Fetched { document: Some(Arc::new(confirmed)), ready: true })
    }

    /// Both documents and the version, or `None` if neither document changed.
    async fn documents(
        &self,
        server: &Arc<Server>,
        known: Option<&Document>,
    ) -> Result<Option<Document>, FetchError> {
        let part = |path| self.part(server, path, known.map(|known| known.part(path)));
        let (api, apis) = tokio::try_join!(part(Tree::Api), part(Tree::Apis))?;
        if let (None, None, Some(_)) = (&api, &apis, known) {
            return Ok(None);
        }
        let old = known.cloned().unwrap_or_default();
        let version = self.version(server).await.or(old.version);
        Ok(Some(Document {
            api: api.unwrap_or(old.api),
            apis: apis.unwrap_or(old.apis),
            version,
            cbor: old.cbor,
            lists: old.lists,
        }))
    }

    async fn part(
        &self,
        server: &Arc<Server>,
        path: Tree,
        known: Option<&Part>,
    ) -> Result<Option<Part>, FetchError> {
        let path = path.as_str();
        let mut request = self.request(path);
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(media_type::ACCEPT_NOPEER));
        let etag = known.and_then(|known| known.etag.as_deref());
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        let (parts, body) = self.send(server, path, request).await?.into_parts();
        match parts.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(None),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(FetchError::Refused { path, status });
            }
            status if status.is_redirection() => return Err(FetchError::Redirect { path, status }),
            status => return Err(FetchError::Status { path, status }),
        }
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
        if !media_type::is_aggregated_v2_json(content_type) {
            return Err(FetchError::MediaType { path, content_type: content_type.to_owned() });
        }
        let etag = text(header::ETAG).map(str::to_owned);
        let bytes = collect(path, body, self.bounds.max_document).await?;
        // Tens of milliseconds with thousands of CRDs.
        let list = tokio::task::spawn_blocking(move || GroupDiscoveryList::parse(&bytes))
            .await
            .map_err(|error| FetchError::Broken { path, error: error.to_string() })?
            .map_err(|error| FetchError::Rubbish { path, error })?;
        Ok(Some(Part { list, etag }))
    }

    /// `major.minor`; not knowing it is no failure, only `--home-preference` reads it.
    async fn version(&self, server: &Arc<Server>) -> Option<(u32, u32)> {
        const PATH: &str = "/version";
        let response = self.send(server, PATH, self.request(PATH)).await.ok()?;
        let bytes = collect(PATH, response.into_body(), limits::MAX_VERSION_BYTES).await.ok()?;
        let version: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        // Some vendors write "32+".
        let number = |key: &str| version[key].as_str()?.trim_end_matches('+').parse().ok();
        Some((number("major")?, number("minor")?))
    }

    /// Asks `/readyz`. Whatever comes back shows that the server is there.
    ///
    /// # Errors
    /// If nothing came back.
    pub async fn probe(&self, server: &Arc<Server>) -> Result<StatusCode, FetchError> {
        const PATH: &str = "/readyz";
        let response = self.send(server, PATH, self.request(PATH)).await?;
        let status = response.status();
        // Read to its end, for an HTTP/1.1 connection is good for another request only then.
        collect(PATH, response.into_body(), limits::MAX_READYZ_BYTES).await?;
        Ok(status)
    }

    async fn is_ready(&self, server: &Arc<Server>) -> bool {
        self.readyz(server).await == Some(StatusCode::OK)
    }

    async fn readyz(&self, server: &Arc<Server>) -> Option<StatusCode> {
        time::timeout(self.bounds.probe_timeout, self.probe(server)).await.ok()?.ok()
    }

    fn request(&self, path: &'static str) -> Request<Body> {
        let mut request = Request::new(body::empty());
        *request.uri_mut() = http::Uri::from_static(path);
        request
    }

    async fn send(
        &self,
        server: &Arc<Server>,
        path: &'static str,
        request: Request<Body>,
    ) -> Result<Response<Body>, FetchError> {
        server.send_as(&self.user, request).await.map_err(|error| {
            let text = error.to_string();
            match error {
                OwnRequestError::Send(error) if error.kind == SendErrorKind::Tls => {
                    FetchError::Untrusted { path, error: text }
                }
                _ => FetchError::NoAnswer { path, error: text },
            }
        })
    }
}

/// Reads a body up to a limit.
async fn collect(path: &'static str, mut body: Body, limit: usize) -> Result<Bytes, FetchError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Broken { path, error: error.to_string() })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(FetchError::TooLarge { path, limit });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
