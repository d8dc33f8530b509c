//! Nobody reads a merged document whom home would refuse to read `/apis` (I10).
//!
//! Home is asked with the caller's own credentials. A yes is remembered for a short while, everything else is
//! passed on and never remembered. A body that comes with the yes is thrown away: nothing that a caller's
//! request brought back enters the catalog.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::Scheme};
use moka::sync::Cache;

use super::{
    Exchange, Proxy, Reroute,
    forward::{Attempt, Failure},
    record::Record,
};
use crate::{
    api::{status::Status, user::UserInfo},
    body::{self, Body},
    limits,
    servers::{Server, TokenHash, source::ServerSet},
};

/// Who was lately allowed to read what, by a keyed hash. Clones share it.
#[derive(Clone)]
pub struct Authorizations(Cache<TokenHash, ()>);

/// What home is asked, as the caller: `GET` of a path.
pub(super) struct Question<'a> {
    /// The path as it goes out, without a query.
    pub(super) path: &'a str,
    /// What to ask for. Nobody reads the answer's body.
    pub(super) accept: &'static str,
    /// By a server's number, the ETag of what we have from there, so that it need not send that again.
    pub(super) etag: &'a (dyn Fn(usize) -> Option<String> + Sync),
    /// Called with the number of a server that has something else now.
    pub(super) changed: &'a (dyn Fn(usize) + Sync),
}

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

    /// Home is asked again, whoever comes.
    pub fn forget(&self) {
        self.0.invalidate_all();
    }
}

impl Proxy {
    /// `None` is a yes; otherwise what home, or who stands in for it, says instead.
    pub(super) async fn authorize(
        &self,
        question: &Question<'_>,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Option<Response<Body>>, Status> {
        let presented = self.presented(exchange, self.fleet.get(exchange.home))?;
        let key = self.authorization_key(question.path, exchange, presented.as_deref());
        if self.authorizations.0.contains_key(&key) {
            self.metrics.discovery.authorized("cached");
            return Ok(None);
        }
        let mut errors = Vec::new();
        let mut undecided = None;
        let mut order = self.authorities(exchange);
        let mut spared = ServerSet::EMPTY;
        while let Some(number) = order.pop_front() {
            let Some(turn) = self.turn(number, order.is_empty() || spared.contains(number)) else {
                spared.insert(number);
                order.push_back(number);
                continue;
            };
            let server = self.fleet.get(number);
            let rerouted = number != exchange.home;
            let etag = (question.etag)(number);
            let attempt = Attempt { server, rerouted, long_running: false, turn };
            record.attempts += 1;
            record.server = Some(Arc::clone(&server.name));
            let request = question.request(exchange, etag.as_deref())?;
            let response = match self.send(exchange, attempt, request, record).await {
                Ok(response) => response,
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Send(error)) => {
                    errors.push(format!("{}: {error}", server.name));
                    continue;
                }
            };
            match response.status() {
                // What it doesn't serve it has authorized before it looked.
                StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND | StatusCode::NOT_ACCEPTABLE => {}
                StatusCode::OK => {
                    let now = response.headers().get(header::ETAG).map(HeaderValue::as_bytes);
                    if now.is_some() && now != etag.as_deref().map(str::as_bytes) {
                        (question.changed)(number);
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
            question.path,
            errors.join("; ")
        ))
        .retry_after(limits::RETRY_AFTER_SECONDS))
    }

    /// Whom to ask: home; if it is not healthy, the healthy ones of its trust domain before it, for others have roles of
    /// their own. A request from a peer goes no further (I3).
    fn authorities(&self, exchange: &Exchange) -> VecDeque<usize> {
        let home = exchange.home;
        if exchange.peer_proxied || exchange.policy.settings.reroute != Reroute::On {
            return VecDeque::from([home]);
        }
        let healthy = self.fleet.healthy().intersection(self.fleet.domain_of(home));
        let mut order: VecDeque<usize> = healthy.iter().filter(|number| *number != home).collect();
        let at = if healthy.contains(home) { 0 } else { order.len() };
        order.insert(at, home);
        order
    }

    /// Over everything that the answer may depend on.
    fn authorization_key(&self, path: &str, exchange: &Exchange, user: Option<&UserInfo>) -> TokenHash {
        let Server { name: home, trust_domain, .. } = &**self.fleet.get(exchange.home);
        let kind = exchange.caller.kind();
        let mut parts: Vec<&[u8]> = [&**home, &**trust_domain, path, kind].map(str::as_bytes).into();
        match user {
            Some(user) => {
                parts.extend([user.name.as_bytes(), user.uid.as_bytes()]);
                for group in &user.groups {
                    parts.extend([b"group".as_slice(), group.as_bytes()]);
                }
                for (name, value) in &user.extra {
                    parts.extend([b"extra".as_slice(), name.as_bytes(), value.as_bytes()]);
                }
            }
            None => {
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

// === impl Question ===

impl Question<'_> {
    fn request(&self, exchange: &Exchange, etag: Option<&str>) -> Result<Request<Body>, Status> {
        let bad = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
        let mut request = Request::new(body::empty());
        *request.method_mut() = Method::GET;
        let mut target = exchange.uri.clone().into_parts();
        target.scheme = Some(Scheme::HTTPS);
        target.path_and_query = Some(self.path.parse().map_err(|error| bad(&error))?);
        *request.uri_mut() = match target.authority {
            Some(_) => Uri::from_parts(target).map_err(|error| bad(&error))?,
            None => self.path.parse().map_err(|error| bad(&error))?,
        };
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(self.accept));
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
        Ok(request)
    }
}

fn impersonation(exchange: &Exchange) -> impl Iterator<Item = (&header::HeaderName, &HeaderValue)> {
    exchange.headers.iter().filter(|(name, _)| name.as_str().starts_with("impersonate-"))
}
