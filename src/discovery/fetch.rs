//! Asking one API server what it serves, with our own identity.
//!
//! A server answers in the best form that it has: aggregated `v2`, `v2beta1` (1.26 to 1.29), or the unaggregated
//! lists that every server has (`plain`). One [`Document`] comes of it either way, and nobody else needs to know.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time;

use super::catalog::{Document, Forms, Lists};
use crate::{
    api::{
        discovery::{ParseError, Tree},
        user::UserInfo,
    },
    limits,
};

mod ask;
mod hashes;
mod ledger;
mod origin;
mod plain;
mod share;
mod tree;

pub use hashes::{Found, Wanted};
pub use ledger::Ledger;
pub use origin::Origin;
use tree::Read;

/// How a fetch is bounded.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// For everything together.
    pub timeout: Duration,
    /// For each document, in bytes; and for all the lists that stand for one.
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
    NoAnswer { path: String, error: String },
    #[error("{path}: nobody is there: {error}")]
    Silence { path: String, error: String },
    #[error(
        "{path}: somebody is there, but TLS comes to nothing (see --peer-ca-file, --peer-server-name): {error}"
    )]
    Untrusted { path: String, error: String },
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error(
        "{path}: answered {status}; may our user read it there? \
         (see --proxy-client-cert-file, --proxy-user and the server's --requestheader-* flags)"
    )]
    Refused { path: String, status: StatusCode },
    #[error("{path}: answered {status}; a redirect is never followed")]
    Redirect { path: String, status: StatusCode },
    #[error("{path}: answered {status}")]
    Status { path: String, status: StatusCode },
    #[error("{path}: the answer's type is {content_type:?}, which is no form of discovery in JSON")]
    MediaType { path: String, content_type: String },
    #[error("{path}: the document is larger than {limit} bytes")]
    TooLarge { path: String, limit: usize },
    #[error("{path}: the lists of its group-versions are larger than {limit} bytes together")]
    TooMuch { path: String, limit: usize },
    #[error("{path}: lists {count} group-versions; the limit is {limit}")]
    TooMany { path: String, count: usize, limit: usize },
    #[error("{path}: the answer broke off: {error}")]
    Broken { path: String, error: String },
    #[error("{path}: {error}")]
    Rubbish { path: String, error: ParseError },
    #[error("the document lacks {dropped}, which it had, and the server says that it is not ready")]
    NotReady { dropped: String },
}

// === impl FetchError ===

impl FetchError {
    /// Whether nobody said a word. Who refuses a connection is there, or somebody in his stead.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Silence { .. } | Self::Timeout(_))
    }
}

// === impl Fetcher ===

impl Fetcher {
    /// Fetches both documents.
    ///
    /// A document that drops anything is only believed between two answers of 200 from `/readyz` (I7): a starting
    /// kube-apiserver answers `/apis` without its CRDs for a while. For the same reason nothing of a server that is
    /// not `proven` is believed but between two answers that do not say that it is not ready: of one, that is, of
    /// which nothing was ever believed.
    ///
    /// # Errors
    /// Why nothing new is known.
    pub async fn fetch(
        &self,
        server: &impl Origin,
        known: Option<&Arc<Document>>,
        proven: bool,
    ) -> Result<Fetched, FetchError> {
        let limit = self.bounds.timeout;
        time::timeout(limit, self.fetch_unbounded(server, known, proven))
            .await
            .unwrap_or(Err(FetchError::Timeout(limit)))
    }

    async fn fetch_unbounded(
        &self,
        server: &impl Origin,
        known: Option<&Arc<Document>>,
        proven: bool,
    ) -> Result<Fetched, FetchError> {
        let ready = proven || self.may_be_ready(server).await;
        let fetched = self.documents(server, known).await?;
        let dropped = known.zip(fetched.as_ref()).and_then(|(known, fetched)| known.dropped_by(fetched));
        let (fetched, dropped) = match (fetched, dropped) {
            (Some(fetched), Some(dropped)) => (fetched, dropped),
            (document, _) => {
                let ready = ready && (proven || self.may_be_ready(server).await);
                return Ok(Fetched { document, ready });
            }
        };
        if !self.is_ready(server).await {
            return Err(FetchError::NotReady { dropped });
        }
        let confirmed = self.documents(server, Some(&fetched)).await?.unwrap_or(fetched);
        if !self.is_ready(server).await {
            return Err(FetchError::NotReady { dropped });
        }
        Ok(Fetched { document: Some(confirmed), ready: true })
    }

    /// Both documents and what else is to be known, or `None` if neither document changed.
    async fn documents(
        &self,
        server: &impl Origin,
        known: Option<&Arc<Document>>,
    ) -> Result<Option<Arc<Document>>, FetchError> {
        let root = |tree| self.root(server, tree, known);
        let (api, apis) = tokio::try_join!(root(Tree::Api), root(Tree::Apis))?;
        // One after the other, so that together they ask for no more at once than one may.
        let api = self.whole(server, Tree::Api, api, known).await?;
        let apis = self.whole(server, Tree::Apis, apis, known).await?;
        if let (None, None, Some(_)) = (&api, &apis, known) {
            return Ok(None);
        }
        let old = known.map(|known| Document::clone(known)).unwrap_or_default();
        let mut lists = Lists::clone(&old.lists);
        for read in api.iter().chain(&apis) {
            read.add_to(&mut lists);
        }
        let lists = if lists == *old.lists { old.lists } else { Arc::new(lists) };
        let (api, api_form) = api.map_or((old.api, old.forms.api), Read::into_part);
        let (apis, apis_form) = apis.map_or((old.apis, old.forms.apis), Read::into_part);
        let forms = Forms { api: api_form, apis: apis_form };
        let (version, cbor) = tokio::join!(self.version(server), self.offers_cbor(server, forms));
        let (version, cbor) = (version.or(old.version), cbor.unwrap_or(old.cbor));
        Ok(Some(Arc::new(Document { api, apis, version, lists, forms, cbor })))
    }

    /// `major.minor`; not knowing it is no failure, only `--home-preference` reads it.
    async fn version(&self, server: &impl Origin) -> Option<(u32, u32)> {
        let version = self.version_info(server).await?;
        // Some vendors write "32+".
        let number = |key: &str| version[key].as_str()?.trim_end_matches('+').parse().ok();
        Some((number("major")?, number("minor")?))
    }

    /// The version as the server calls itself, such as `v1.36.3`; `None` if it did not say.
    pub async fn git_version(&self, server: &impl Origin) -> Option<String> {
        let version = self.version_info(server).await?;
        Some(version["gitVersion"].as_str()?.to_owned())
    }

    async fn version_info(&self, server: &impl Origin) -> Option<serde_json::Value> {
        const PATH: &str = "/version";
        let response = self.ask(server, PATH, None, None).await.ok()?;
        ask::good(PATH, response.status()).ok()?;
        let bytes = ask::collect(PATH, response.into_body(), limits::MAX_VERSION_BYTES).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Asks `/readyz`. Whatever comes back shows that the server is there.
    ///
    /// # Errors
    /// If nothing came back.
    pub async fn probe(&self, server: &impl Origin) -> Result<StatusCode, FetchError> {
        const PATH: &str = "/readyz";
        let response = self.ask(server, PATH, None, None).await?;
        let status = response.status();
        // Read to its end, for an HTTP/1.1 connection is good for another request only then.
        ask::collect(PATH, response.into_body(), limits::MAX_READYZ_BYTES).await?;
        Ok(status)
    }

    /// Who may read discovery and not this will have to do without.
    async fn may_be_ready(&self, server: &impl Origin) -> bool {
        self.readyz(server).await.is_some_and(|status| !status.is_server_error())
    }

    async fn is_ready(&self, server: &impl Origin) -> bool {
        self.readyz(server).await == Some(StatusCode::OK)
    }

    async fn readyz(&self, server: &impl Origin) -> Option<StatusCode> {
        time::timeout(self.bounds.probe_timeout, self.probe(server)).await.ok()?.ok()
    }
}
