//! Sending a request on, and its answer back.
//!
//! A request is decided, sent to one server, and decided again with what that taught: a server that provably
//! did not process it is not tried twice (I9), and one that denies a route which its discovery lists is asked
//! what it serves before anybody is told 404 (I8).

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time;

use super::{
    Exchange, Proxy, Reroute,
    domains::OF_HOME,
    headers::{self, PEER_PROXIED},
    record::Record,
    route::{self, Decision, Reason},
};
use crate::{
    api::{
        request_info::RequestInfo,
        status::{self, Status},
    },
    body::{self, Body, Watcher},
    discovery::{
        catalog::{Catalog, Serving},
        refresh::Trigger,
    },
    limits,
    metrics::Skip,
    proxy::caller::Caller,
    servers::{
        Class, Server, TokenHash,
        health::Exchange as Exchanging,
        pick,
        pool::{SendError, SendErrorKind},
        source::{InFlight, ServerSet},
    },
};

/// What was learned about servers while one request was tried.
#[derive(Default)]
struct Tried {
    /// Provably did not process it.
    unprocessed: ServerSet,
    /// Denied the route although their discovery lists it.
    denied: ServerSet,
    /// Were being tried by somebody else just then.
    spared: ServerSet,
    /// In the order in which it happened.
    errors: Vec<String>,
}

/// Where one attempt goes.
pub(super) struct Attempt<'a> {
    pub(super) server: &'a Arc<Server>,
    /// Somebody else than home: the loop header goes on.
    pub(super) rerouted: bool,
    pub(super) long_running: bool,
    pub(super) turn: Exchanging<'a>,
}

/// Why an attempt brought no answer.
pub(super) enum Failure {
    /// We do not send it, whoever the server is.
    Refused(Status),
    /// The server, or the way to it.
    Send(SendError),
}

impl Proxy {
    /// Decides, sends, and answers with what came back.
    pub(super) async fn forward(
        &self,
        info: &RequestInfo<'_>,
        path: &str,
        exchange: Exchange,
        body: Body,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        let mut tried = Tried::default();
        let mut request = Some(exchange.request(body));
        loop {
            let catalog = self.book.catalog();
            let serving = catalog.serving(info);
            let mut situation = self.situation(info, path, &exchange, &catalog);
            situation.denied = tried.denied;
            situation.healthy = situation.healthy.without(tried.unprocessed);
            let home = ServerSet::one(exchange.home);
            let (candidates, reason) = match route::route(serving, situation) {
                Decision::Home(reason) => (home, reason),
                Decision::Peers(peers, reason) if exchange.policy.settings.reroute == Reroute::DryRun => {
                    self.would_reroute(info, peers, reason);
                    (home, reason)
                }
                Decision::Peers(peers, reason) => (peers, reason),
                Decision::Forbidden(reason @ Reason::OtherDomain)
                    if exchange.policy.settings.reroute == Reroute::DryRun =>
                {
                    (home, reason)
                }
                Decision::Forbidden(reason) => {
                    record.decided(reason);
                    let listed = serving.listed();
                    if info.is_resource && !listed.is_empty() {
                        let (group, version, resource) = (info.group, info.version, info.resource);
                        self.metrics.reroutes.failed("trust_domain", group, version, resource);
                    }
                    return Err(self.out_of_reach(&exchange, &what(info), listed));
                }
                Decision::Unavailable(reason) => {
                    record.decided(reason);
                    self.metrics.discovery.skipped(match reason {
                        Reason::ProxiedHomeUnavailable => Skip::LoopHeader,
                        _ => Skip::Unknown,
                    });
                    return Err(self.unavailable(info, reason, &tried));
                }
            };
            record.decided(reason);
            let untried = candidates.without(tried.unprocessed);
            let tie = rand::random::<u32>() as usize;
            let (Some(number), Some(next)) = (pick::best(&self.fleet, untried, tie), request.take()) else {
                self.skip_if_stale(reason, serving, &catalog);
                return Err(self.unavailable(info, reason, &tried));
            };
            let Some(turn) = self.turn(number, tried.spared.contains(number)) else {
                tried.spared.insert(number);
                request = Some(next);
                continue;
            };
            let server = self.fleet.get(number);
            let rerouted = number != exchange.home;
            let replayable = next.body().is_end_stream();
            let attempt = Attempt { server, rerouted, long_running: info.is_long_running(), turn };
            record.attempts += 1;
            record.server = Some(Arc::clone(&server.name));
            record.rerouted = rerouted;
            let response = match self.send(&exchange, attempt, next, record).await {
                Ok(response) => response,
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Send(mut error)) => {
                    tried.errors.push(format!("{}: {error}", server.name));
                    match error.request.take() {
                        // A full pool is the callers' doing: spilling over would fill the next one's.
                        Some(unsent)
                            if error.kind.is_unprocessed() && error.kind != SendErrorKind::Exhausted =>
                        {
                            tried.unprocessed.insert(number);
                            request = Some(exchange.again(*unsent));
                            self.metrics.reroutes.retried("unprocessed");
                            continue;
                        }
                        _ => {
                            if error.kind != SendErrorKind::RequestBody {
                                self.skip_if_stale(reason, serving, &catalog);
                            }
                            return Err(self.failed(info, &exchange.method, &error, &tried));
                        }
                    }
                }
            };
            if rerouted && info.is_resource {
                self.count_reroute(info, response.status());
            }
            let doubted = info.is_resource && !info.is_answered_elsewhere();
            let listed = serving.listed().contains(number);
            if response.status() != StatusCode::NOT_FOUND || !doubted || !listed {
                return Ok(response);
            }
            let response = match held_back_404(response).await {
                Held::Object(response) => return Ok(response),
                Held::Route(response) => response,
            };
            // I8: its discovery lists the thing, its router does not know it. One of the two is out of date.
            self.metrics.reroutes.route_level_404(&server.name);
            if tried.denied.is_empty() {
                self.metrics.discovery.skipped(Skip::RouteNotFound);
            }
            self.recheck(number, exchange.policy.settings.recheck_timeout).await;
            let now = self.book.catalog();
            if now.serving(info).listed().is_empty() && self.is_complete() && now.unknown.is_empty() {
                // Everybody was heard just now, and nobody has it: the 404 was right.
                return Ok(response);
            }
            tried.errors.push(format!(
                "{}: its discovery lists this, but it answered that there is no such route",
                server.name
            ));
            let again = replayable && !tried.denied.contains(number);
            tried.denied.insert(number);
            if !again {
                return Err(self.denied(info, &tried));
            }
            self.metrics.reroutes.retried("route-level-404");
            request = Some(exchange.request(body::empty()));
        }
    }

    /// A turn at a server. A half-open one has one at a time: there is none for who can ask somebody else first, unless
    /// he is `insisting`.
    pub(super) fn turn(&self, number: usize, insisting: bool) -> Option<Exchanging<'_>> {
        let turn = self.fleet.get(number).health.begin();
        let others_first = || !self.fleet.healthy().contains(number);
        if turn.is_spare() && !insisting && others_first() { None } else { Some(turn) }
    }

    /// Sends a request to one server, as whoever the caller is there.
    pub(super) async fn send(
        &self,
        exchange: &Exchange,
        attempt: Attempt<'_>,
        mut request: Request<Body>,
        record: &mut Record,
    ) -> Result<Response<Body>, Failure> {
        let Attempt { server, rerouted, long_running, turn } = attempt;
        let user = self.presented(exchange, server).map_err(Failure::Refused)?;
        let is_foreign = server.trust_domain != self.fleet.get(exchange.home).trust_domain;
        if is_foreign {
            for name in OF_HOME {
                request.headers_mut().remove(name);
            }
        }
        if let Some(user) = &user {
            user.stamp(request.headers_mut(), &server.user_headers).map_err(Failure::Refused)?;
        }
        if rerouted {
            request.headers_mut().insert(PEER_PROXIED, HeaderValue::from_static("true"));
        }
        if let Some(wish) = &exchange.upgrade {
            record.class = Class::Upgrade.as_str();
            record.long_running = true;
            // Rare and big: boxed, it does not make every other request's future as big.
            let mut switched = Box::pin(self.switch(wish, server, request, user.is_some(), turn)).await;
            if let Ok(response) = &mut switched
                && is_foreign
            {
                response.headers_mut().remove(header::SET_COOKIE);
            }
            return switched;
        }
        let token = self.token_of(exchange);
        let class = match (&user, &token) {
            (Some(_), _) => Class::Identity,
            (None, Some(token)) if server.has_proven(token) => Class::Token,
            (None, _) => Class::Unproven,
        };
        record.class = class.as_str();
        if class == Class::Unproven && !request.body().is_end_stream() {
            // Go's server reads on for the rest of a body before it says no, unless it was told to expect one: so
            // anybody could hold these few connections with bodies that never end. Nobody has to wait for the 100
            // (RFC 9110, 10.1.1).
            let expect = request.headers_mut().entry(header::EXPECT);
            expect.or_insert(HeaderValue::from_static("100-continue"));
        }
        let in_flight = InFlight::new(server, long_running);
        let sent = server.send(class, request, turn).await;
        if matches!(&sent, Err(error) if error.kind == SendErrorKind::Exhausted) {
            self.metrics.servers.exhausted(&server.name, class.as_str());
        }
        let mut response = sent.map_err(Failure::Send)?;
        if response.status().is_informational() {
            let message = format!(
                "{}: answered {} to a request that asked for no upgrade",
                server.name,
                response.status()
            );
            return Err(Failure::Refused(Status::bad_gateway(message)));
        }
        if let Some(token) = token {
            server.prove(token, response.status());
        }
        headers::strip_hop_by_hop(response.headers_mut());
        if is_foreign {
            // The client would bring it to home.
            response.headers_mut().remove(header::SET_COOKIE);
        }
        // What the server speaks with us is not what we speak with the client (RFC 9110, 2.5).
        *response.version_mut() = http::Version::HTTP_11;
        Ok(response.map(|body| body::watched(body, Hold(in_flight))))
    }

    /// Stands for the caller's token at this process' caches.
    fn token_of(&self, exchange: &Exchange) -> Option<TokenHash> {
        if exchange.caller != Caller::Token {
            return None;
        }
        Some(self.hasher.hash(exchange.credentials()))
    }

    /// Has a server asked again what it serves, and waits for that for a while.
    async fn recheck(&self, number: usize, limit: Duration) {
        let fetched = self.refresh[number].ask_and_wait(Trigger::RouteNotFound);
        // What is not known by then is decided by what is known.
        let _ = time::timeout(limit, fetched).await;
    }

    /// Nobody answered, and nobody who lists it is known to be there.
    fn skip_if_stale(&self, reason: Reason, serving: Serving, catalog: &Catalog) {
        use Reason::{HomeServes, HomeStale, HomeUnhealthy, PeersServe};
        let listed = serving.listed();
        let by_discovery = matches!(reason, HomeServes | HomeStale | HomeUnhealthy | PeersServe);
        if by_discovery && !listed.is_empty() && listed.intersection(catalog.fresh).is_empty() {
            self.metrics.discovery.skipped(Skip::StaleOnly);
        }
    }

    fn would_reroute(&self, info: &RequestInfo<'_>, peers: ServerSet, reason: Reason) {
        self.metrics.reroutes.would_have_rerouted(info.group, info.version, info.resource);
        tracing::info!(
            group = info.group,
            version = info.version,
            resource = info.resource,
            verb = &*info.verb,
            peers = self.names(peers),
            reason = reason.as_str(),
            "would reroute (--reroute=dry-run)",
        );
    }

    fn count_reroute(&self, info: &RequestInfo<'_>, status: StatusCode) {
        self.metrics.reroutes.rerouted(status.as_u16(), info.group, info.version, info.resource);
    }

    /// Only what the catalog lists becomes a label; a client cannot make new ones.
    fn count_failure(&self, info: &RequestInfo<'_>) {
        let listed = !self.book.catalog().serving(info).listed().is_empty();
        let (group, version, resource) =
            if listed { (info.group, info.version, info.resource) } else { ("", "", "") };
        self.metrics.reroutes.failed("proxy_transport", group, version, resource);
    }

    /// 503: nobody was left to ask.
    fn unavailable(&self, info: &RequestInfo<'_>, reason: Reason, tried: &Tried) -> Status {
        if !tried.errors.is_empty() {
            self.count_failure(info);
            return Status::unavailable(format!(
                "no API server could answer for {}; tried: {}",
                what(info),
                tried.errors.join("; ")
            ))
            .retry_after(limits::RETRY_AFTER_SECONDS);
        }
        let hint = match reason {
            Reason::Unknown => {
                let unheard = self.unheard(&self.book.catalog());
                format!("; not heard: {unheard} (see /debug/servers on the admin address)")
            }
            _ => String::new(),
        };
        Status::unavailable(format!("{}: {}{hint}", what(info), reason.explain()))
            .retry_after(limits::RETRY_AFTER_SECONDS)
    }

    /// 503 for a 404 that we do not believe.
    fn denied(&self, info: &RequestInfo<'_>, tried: &Tried) -> Status {
        Status::unavailable(format!("{}: {}", what(info), tried.errors.join("; ")))
            .retry_after(limits::RETRY_AFTER_SECONDS)
    }

    /// The exchange broke off, and sending again could do a thing twice.
    fn failed(&self, info: &RequestInfo<'_>, method: &Method, error: &SendError, tried: &Tried) -> Status {
        let message = format!("{}: {}", what(info), tried.errors.join("; "));
        match error.kind {
            SendErrorKind::RequestBody => return Status::bad_request(message),
            _ => self.count_failure(info),
        }
        if method.is_safe() || error.kind.is_unprocessed() {
            return Status::unavailable(message).retry_after(limits::RETRY_AFTER_SECONDS);
        }
        Status::unavailable(format!(
            "{message}; the server may have acted on the request, so look before you repeat it"
        ))
    }
}

// === impl Exchange ===

impl Exchange {
    /// The request as it goes out, still without an identity.
    pub(super) fn request(&self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// A request that came back unsent: what was written for one server goes off before the next (I2).
    fn again(&self, mut unsent: Request<Body>) -> Request<Body> {
        *unsent.headers_mut() = self.headers.clone();
        *unsent.uri_mut() = self.uri.clone();
        unsent
    }

    /// Whatever the request proves itself with.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &[u8]> {
        [header::AUTHORIZATION, header::SEC_WEBSOCKET_PROTOCOL]
            .into_iter()
            .flat_map(|name| self.headers.get_all(name))
            .map(HeaderValue::as_bytes)
    }
}

/// A 404 whose body was looked at.
enum Held {
    /// There is no such object, or something else that is none of our business.
    Object(Response<Body>),
    /// There is no such route.
    Route(Response<Body>),
}

/// Looks at a 404 without losing any of it: a body that is longer than such answers are passes on.
async fn held_back_404(response: Response<Body>) -> Held {
    let (parts, mut body) = response.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Held::Object(Response::from_parts(parts, body));
    }
    let mut seen = Vec::new();
    let deadline = time::Instant::now() + limits::HELD_404_TIMEOUT;
    while seen.len() <= limits::MAX_BUFFERED_404_BYTES {
        match time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => seen.extend_from_slice(&data),
                Err(_) => break,
            },
            Ok(None) => {
                let is_route = status::is_route_not_found(parts.headers.get(header::CONTENT_TYPE), &seen);
                let response = Response::from_parts(parts, body::full(seen));
                return if is_route { Held::Route(response) } else { Held::Object(response) };
            }
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    Held::Object(Response::from_parts(parts, body::after(seen, body)))
}

/// Keeps a request counted until its answer's body is through.
struct Hold(InFlight);

impl Watcher for Hold {
    fn failed(&mut self, error: &body::BoxError) {
        self.0.broke_off(error);
    }

    fn trailers(&mut self, trailers: &mut http::HeaderMap) {
        headers::strip_hop_by_hop(trailers);
    }
}

/// The thing asked for, in an operator's words.
fn what(info: &RequestInfo<'_>) -> String {
    if !info.is_resource {
        return "the request".to_owned();
    }
    let slash = if info.group.is_empty() { "" } else { "/" };
    let sub = if info.subresource.is_empty() { String::new() } else { format!("/{}", info.subresource) };
    format!("{}{slash}{} {}{sub}", info.group, info.version, info.resource)
}
