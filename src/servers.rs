//! The API servers: where they are, how healthy, and the connections to them.
//!
//! Upstream connections come in classes that are never mixed (I4). kube-apiserver answers any anonymous or 401
//! request on HTTP/2 with GOAWAY, and may drop the streams behind it; if everybody shared a connection, one
//! client without credentials could break everybody's requests.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use rustls::ClientConfig;

use crate::{
    api::{
        status::Status,
        user::{UserHeaders, UserInfo},
    },
    body::Body,
};

pub mod health;
pub mod kube_client;
#[cfg(test)]
pub(crate) mod nowhere;
pub mod pick;
pub mod pool;
pub mod source;
mod tokens;
pub mod watched;

use health::Health;
use pool::{Answered, Event, Pool, SendError, SendErrorKind, Stats, UpgradeTls, Upgrades};
use source::Load;
use tokens::ProvenTokens;
pub use tokens::{TokenHash, TokenHasher};
use watched::Watched;

/// `true` on a request says: sent on by a peer already, never send it on again (KEP-4020).
pub const PEER_PROXIED: HeaderName = HeaderName::from_static("x-kubernetes-peer-proxied");

/// The classes of upstream connections (I4).
///
/// Beside the classes for callers there is one for our own requests, so that callers who fill theirs neither
/// blind us nor look like a dead server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// HTTP/2 with the front-proxy certificate, for callers whose identity we stamp.
    Identity,
    /// HTTP/2 without a certificate, for tokens that this server lately accepted.
    Token,
    /// HTTP/1.1 keep-alive without a certificate, for everybody else.
    Unproven,
    /// As *identity*, for our own requests.
    Own,
    /// HTTP/1.1, a fresh connection for each upgrade that nobody uses before or after it, with the front-proxy
    /// certificate for callers whose identity we stamp and without it for all others.
    Upgrade,
}

/// One API server.
pub struct Server {
    /// Its name in the configuration; decides the order of merging.
    pub name: Arc<str>,
    /// `host:port`, for people.
    pub authority: String,
    /// Who is somebody to it is the same to the others of this domain, and to nobody else (I13).
    pub trust_domain: Arc<str>,
    /// Where it takes a user's identity from.
    pub user_headers: UserHeaders,
    /// How it is doing.
    pub health: Arc<Health>,
    /// What is under way to it.
    pub load: Load,
    /// What watches say of it.
    pub watched: Watched,
    pools: Pools,
    proven: ProvenTokens,
}

/// The connections of each [`Class`].
pub struct Pools {
    /// See [`Class::Identity`].
    pub identity: Arc<Pool>,
    /// See [`Class::Token`].
    pub token: Arc<Pool>,
    /// See [`Class::Unproven`].
    pub unproven: Arc<Pool>,
    /// See [`Class::Own`].
    pub own: Arc<Pool>,
    /// See [`Class::Upgrade`].
    pub upgrades: Upgrades,
}

/// How connections to one server begin, by what they show and what they speak.
pub struct ServerTls {
    /// With the front-proxy certificate: classes *identity* and *own*.
    pub identity: Arc<ClientConfig>,
    /// Without a certificate: class *token*.
    pub token: Arc<ClientConfig>,
    /// Without a certificate, HTTP/1.1 only: class *unproven*.
    pub unproven: Arc<ClientConfig>,
    /// HTTP/1.1 only: class *upgrade*.
    pub upgrade: UpgradeTls,
}

/// Why our own request was not answered.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum OwnRequestError {
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("our own identity (--proxy-user) cannot be stamped: {0}")]
    Identity(String),
}

// === impl Class ===

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Identity, Self::Token, Self::Unproven, Self::Own, Self::Upgrade];

    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Token => "token",
            Self::Unproven => "unproven",
            Self::Own => "own",
            Self::Upgrade => "upgrade",
        }
    }
}

// === impl Server ===

impl Server {
    /// A server of which nothing is known yet.
    pub fn new(
        name: Arc<str>,
        authority: String,
        trust_domain: Arc<str>,
        user_headers: UserHeaders,
        health: Arc<Health>,
        pools: Pools,
    ) -> Self {
        Self {
            name,
            authority,
            trust_domain,
            user_headers,
            health,
            load: Load::default(),
            watched: Watched::default(),
            pools,
            proven: ProvenTokens::default(),
        }
    }

    /// Connections that requests share; upgrades share none.
    fn pool(&self, class: Class) -> Option<&Arc<Pool>> {
        match class {
            Class::Identity => Some(&self.pools.identity),
            Class::Token => Some(&self.pools.token),
            Class::Unproven => Some(&self.pools.unproven),
            Class::Own => Some(&self.pools.own),
            Class::Upgrade => None,
        }
    }

    /// From now on connections begin so. Whatever is under way goes on. If the CAs are the `same_cas` as before,
    /// connections that show no certificate stay.
    pub fn rekey(&self, ServerTls { identity, token, unproven, upgrade }: ServerTls, same_cas: bool) {
        self.pools.identity.rekey(Arc::clone(&identity));
        self.pools.own.rekey(identity);
        self.pools.upgrades.rekey(upgrade);
        if !same_cas {
            self.pools.token.rekey(token);
            self.pools.unproven.rekey(unproven);
        }
    }

    /// Sends a request over a connection of this class; see [`Pool::send`]. What becomes of it is said of `turn`.
    ///
    /// # Errors
    /// If no answer came, and always in the class of upgrades, which has [`Server::upgrades`].
    pub async fn send(
        &self,
        class: Class,
        request: Request<Body>,
        turn: health::Exchange<'_>,
    ) -> Result<Response<Body>, SendError> {
        match self.pool(class) {
            Some(pool) => {
                let sent = pool.send(request).await;
                report(turn, sent.as_ref().err());
                sent
            }
            None => Err(SendError::new(SendErrorKind::Unprocessed, "an upgrade is no request like others")),
        }
    }

    /// Asks for an upgrade; see [`Upgrades::send`]. What becomes of it is said of `turn`.
    ///
    /// # Errors
    /// If no answer came.
    pub async fn upgrade(
        &self,
        request: Request<Body>,
        certificate: bool,
        turn: health::Exchange<'_>,
    ) -> Result<Answered, SendError> {
        let sent = self.pools.upgrades.send(request, certificate).await;
        report(turn, sent.as_ref().err());
        sent
    }

    /// The upgraded connections.
    pub fn upgrades(&self) -> &Upgrades {
        &self.pools.upgrades
    }

    /// The connections of one class, as they are now.
    pub fn connections(&self, class: Class) -> Stats {
        self.pool(class).map_or_else(|| self.pools.upgrades.stats(), |pool| pool.stats())
    }

    /// Whether this server accepted the token lately.
    pub fn has_proven(&self, token: &TokenHash) -> bool {
        self.proven.contains(token)
    }

    /// Draws the conclusion from an answer to a request that carried the token.
    ///
    /// Only what kube-apiserver says after it authenticated proves a token. Before that it may say 204 (CORS), 400
    /// (a `timeout` that is none), 429 and 5xx (starting, stopping, failing), whatever the token
    /// (`DefaultBuildHandlerChain` in `k8s.io/apiserver/pkg/server/config.go`).
    pub fn prove(&self, token: TokenHash, answer: StatusCode) {
        match answer {
            StatusCode::OK
            | StatusCode::CREATED
            | StatusCode::ACCEPTED
            | StatusCode::NOT_MODIFIED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT => self.proven.insert(token),
            StatusCode::UNAUTHORIZED => self.proven.remove(&token),
            _ => {}
        }
    }

    /// Sends a request of our own (discovery, health) as `user`, marked as one that no peer sends on (I3).
    ///
    /// # Errors
    /// If no answer came.
    pub async fn send_as(
        &self,
        user: &UserInfo,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, OwnRequestError> {
        let headers = request.headers_mut();
        user.stamp(headers, &self.user_headers)
            .map_err(|Status { message, .. }| OwnRequestError::Identity(message))?;
        headers.insert(PEER_PROXIED, HeaderValue::from_static("true"));
        Ok(self.pools.own.send(request).await?)
    }

    /// The server is none of ours any more: connections close as soon as what is under way on them has ended.
    pub fn retire(&self) {
        Class::ALL.into_iter().filter_map(|class| self.pool(class)).for_each(|pool| pool.retire());
    }

    /// It takes no connection of ours any more, though it, or somebody in its stead, is there. If it is leaving, it waits
    /// for what is under way, and nobody needs our own watches for that.
    pub fn let_go(&self) {
        self.pools.own.close_all();
    }

    /// Nobody answers there. If nothing came from the server for as long as a hung connection is given, exchanges whose
    /// connections cannot find that out by a PING end now, so that clients go elsewhere.
    ///
    /// As long as any connection is heard they go on: a quiet one may be well, and a server that leaves finishes what
    /// it has while nobody new is let in.
    pub fn close_if_silent(&self, dead_after: Duration) {
        let pools = || Class::ALL.into_iter().filter_map(|class| self.pool(class));
        let heard = pools().map(|pool| pool.heard()).chain([self.pools.upgrades.heard()]);
        if heard.chain(self.health.last_contact()).all(|heard| heard.elapsed() >= dead_after) {
            pools().for_each(|pool| pool.close_unwatched());
            self.pools.upgrades.close_all();
        }
    }
}

/// What became of a caller's exchange. Whatever the server answers, and what the caller did himself, is no failure.
fn report(exchange: health::Exchange<'_>, error: Option<&SendError>) {
    match error {
        None => exchange.answered(),
        Some(error) if error.is_of_connection() => exchange.failed(),
        Some(_) => {}
    }
}

/// What a pool's events say about a server's health.
///
/// Only our own connections decide. What happens to those of callers may be the callers' doing, and is a
/// reason to look; it counts by what becomes of their exchanges ([`Health::begin`]).
pub fn observe(health: &Health, class: Class, event: &Event<'_>) {
    match (class, event) {
        (Class::Own, Event::Connected { http2, .. }) => health.connected(*http2),
        (Class::Own, Event::ConnectFailed { error, .. }) => health.lost(*error),
        (Class::Own, Event::Closed { error: Some(_) }) => health.disconnected(),
        // Draining is often the first that is heard of a shutdown.
        (_, Event::ConnectFailed { .. } | Event::Closed { error: Some(_) })
        | (Class::Own, Event::Draining) => {
            health.look();
        }
        (_, Event::Connected { .. } | Event::Draining | Event::Closed { error: None }) => {}
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.authority)
    }
}
