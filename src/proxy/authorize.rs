//! Nobody reads a merged document whom home would refuse to read `/apis` (I10).
//!
//! Home is asked with the caller's own credentials. A yes is remembered for a short while, everything else is
//! passed on and never remembered. A body that comes with the yes is thrown away: nothing that a caller's
//! request brought back enters the catalog.

use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::Scheme};
use moka::sync::Cache;

use super::{
    Exchange, Proxy, Reroute,
    caller::Caller,
    forward::{Attempt, Failure},
    record::Record,
};
use crate::{
    api::{
        media_type::{self, DiscoveryForm},
        status::Status,
    },
    body::{self, Body},
    discovery::{catalog::DiscoveryPath, refresh::Trigger, serve},
    limits,
    servers::TokenHash,
};

/// Who was lately allowed to read what, by a keyed hash.
pub struct Authorizations(Cache<TokenHash, ()>);

/// Headers of the caller that the question carries beside its credentials.
const CARRIED: [header::HeaderName; 3] =
    [super::headers::AUDIT_ID, super::headers::FORWARDED_FOR, header::USER_AGENT];

// === impl Authorizations ===

impl Authorizations {
    /// Remembers for so long.
    pub fn new(ttl: Duration) -> Self {
        let cache = Cache::builder().max_capacity(limits::MAX_DISCOVERY_AUTHORIZATIONS).time_to_live(ttl);
        Self(cache.build())
    }
}

impl Proxy {
    /// Answers a request for the merged document of `/api` or `/apis`.
    pub(super) async fn discovery(
        &self,
        path: DiscoveryPath,
        form: DiscoveryForm,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        record.reason = "merged-discovery";
        if let Some(refusal) = self.authorize(path, exchange, record).await? {
            return Ok(refusal);
        }
        let catalog = self.book.catalog();
        let Some(document) = catalog.merged(path) else {
            return Err(Status::unavailable(
                "no API server's discovery is known yet (see /debug/servers on the admin address)",
            )
            .retry_after(limits::RETRY_AFTER_SECONDS));
        };
        let last = self.served_generation.swap(catalog.generation, Ordering::Relaxed);
        self.metrics.discovery.merged(last == catalog.generation);
        let pretty = matches!(form, DiscoveryForm::AggregatedV2 { pretty: true, .. })
            || media_type::wants_pretty(exchange.uri.query(), &exchange.headers);
        Ok(serve::respond(document, &exchange.method, &exchange.headers, pretty))
    }

    /// `None` is a yes; otherwise what home, or who stands in for it, says instead.
    async fn authorize(
        &self,
        path: DiscoveryPath,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Option<Response<Body>>, Status> {
        let key = self.authorization_key(path, exchange);
        if self.authorizations.0.contains_key(&key) {
            self.metrics.discovery.authorized("cached");
            return Ok(None);
        }
        let mut errors = Vec::new();
        let mut undecided = None;
        for number in self.authorities(exchange) {
            let server = self.fleet.get(number);
            let rerouted = number != exchange.home;
            let known = self.book.catalog().servers[number].document.clone();
            let etag = known.and_then(|known| known.part(path).etag.clone());
            let attempt = Attempt { server, rerouted, long_running: false };
            record.attempts += 1;
            record.server = Some(number);
            let question = question(path, exchange, etag.as_deref());
            let response = match self.send(exchange, attempt, question, record).await {
                Ok(response) => response,
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Send(error)) => {
                    errors.push(format!("{}: {error}", server.name));
                    continue;
                }
            };
            match response.status() {
                StatusCode::NOT_MODIFIED => {}
                StatusCode::OK => {
                    let now = response.headers().get(header::ETAG).map(HeaderValue::as_bytes);
                    if now != etag.as_deref().map(str::as_bytes) {
                        self.refresh[number].ask(Trigger::Changed);
                    }
                }
                // It cannot say. The next one may, and if none can, the first one's words pass.
                status if status.is_server_error() => {
                    undecided.get_or_insert(response);
                    continue;
                }
                _ => {
                    self.metrics.discovery.authorized("refused");
                    return Ok(Some(response));
                }
            }
            self.metrics.discovery.authorized("allowed");
            self.authorizations.0.insert(key, ());
            return Ok(None);
        }
        if let Some(response) = undecided {
            self.metrics.discovery.authorized("undecided");
            return Ok(Some(response));
        }
        Err(Status::unavailable(format!(
            "no API server could say whether the caller may read {}; tried: {}",
            path.as_str(),
            errors.join("; ")
        ))
        .retry_after(limits::RETRY_AFTER_SECONDS))
    }

    /// Whom to ask: home; if it is not healthy, the healthy ones before it. A request from a peer goes no
    /// further (I3).
    fn authorities(&self, exchange: &Exchange) -> Vec<usize> {
        let home = exchange.home;
        if exchange.peer_proxied || exchange.policy.settings.reroute != Reroute::On {
            return vec![home];
        }
        let mut order: Vec<usize> = self.fleet.healthy().iter().filter(|number| *number != home).collect();
        let at = if self.fleet.get(home).health.is_healthy() { 0 } else { order.len() };
        order.insert(at, home);
        order
    }

    /// Over everything that the answer may depend on.
    fn authorization_key(&self, path: DiscoveryPath, exchange: &Exchange) -> TokenHash {
        let home = exchange.home.to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![&home, path.as_str().as_bytes(), exchange.caller.kind().as_bytes()];
        match &exchange.caller {
            Caller::FrontProxy(user) | Caller::Certificate(user) => {
                parts.extend([user.name.as_bytes(), user.uid.as_bytes()]);
                for group in &user.groups {
                    parts.extend([b"group".as_slice(), group.as_bytes()]);
                }
                for (name, value) in &user.extra {
                    parts.extend([b"extra".as_slice(), name.as_bytes(), value.as_bytes()]);
                }
            }
            Caller::Token | Caller::Anonymous => {
                for credential in exchange.credentials() {
                    parts.extend([b"credential".as_slice(), credential]);
                }
            }
        }
        for (name, value) in impersonation(exchange) {
            parts.extend([name.as_str().as_bytes(), value.as_bytes()]);
        }
        self.hasher.hash(parts)
    }
}

/// `GET` of home's own document, as the caller.
fn question(path: DiscoveryPath, exchange: &Exchange, etag: Option<&str>) -> Request<Body> {
    let mut request = Request::new(body::empty());
    *request.method_mut() = Method::GET;
    let mut target = exchange.uri.clone().into_parts();
    target.scheme = Some(Scheme::HTTPS);
    target.path_and_query = Some(http::uri::PathAndQuery::from_static(path.as_str()));
    // An authority that a URI was made of makes another one.
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_else(|_| Uri::from_static(path.as_str()));
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static(media_type::ACCEPT_NOPEER));
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(header::IF_NONE_MATCH, etag);
    }
    for name in CARRIED.into_iter().chain([header::AUTHORIZATION, super::headers::PEER_PROXIED]) {
        for value in exchange.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    for (name, value) in impersonation(exchange) {
        headers.append(name.clone(), value.clone());
    }
    request
}

fn impersonation(exchange: &Exchange) -> impl Iterator<Item = (&header::HeaderName, &HeaderValue)> {
    exchange.headers.iter().filter(|(name, _)| name.as_str().starts_with("impersonate-"))
}
