//! The path of a request, top to bottom.
//!
//! listener → TLS → [`admit`] → [`caller`] → request info → [`route`] → [`forward`], or for discovery
//! [`authorize`] and the merged document (`documents`). A connection that the server switched to another protocol goes on as a
//! tunnel ([`upgrade`]).

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Request, Response, Uri, header, request::Parts, uri::Authority};
use http_body::Body as _;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::{
    api::{
        discovery::DiscoveryPath,
        media_type::DiscoveryForm,
        request_info::{self, RequestInfo},
        status::{Encoding, Status},
    },
    body::{self, Body},
    discovery::{
        catalog::{Book, Catalog},
        openapi::Library,
        refresh::Refresh,
    },
    drain, limits,
    metrics::{Metrics, Skip},
    servers::{
        TokenHasher,
        source::{Fleet, ServerSet},
    },
};

pub mod admit;
pub mod authorize;
pub mod caller;
mod documents;
pub mod domains;
pub mod explain;
pub mod forward;
pub mod headers;
pub mod home;
pub mod listener;
mod openapi;
pub mod policy;
pub mod record;
pub mod route;
pub mod seats;
pub mod upgrade;
pub mod writes;

use caller::Caller;
use home::Home;
use listener::{Connection, MayPause};
use policy::Policy;
pub use policy::Reroute;
use record::Record;
use route::{Decision, Situation};
use seats::{Seat, Seats};
use upgrade::Wish;
use writes::Writes;

/// Paths by which a server tells of itself; only home can answer them for home.
const HOME_ONLY: [&str; 5] = ["/healthz", "/livez", "/readyz", "/metrics", "/debug"];

/// The proxy in use. Another fleet is another one, and a request keeps the one that it began with.
pub type InUse = Arc<ArcSwap<Proxy>>;

/// Everything that a request needs; shared by all of them.
pub struct Proxy {
    /// What an operator decides; a request keeps the one that it began with.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Which server a request goes to if that can serve it.
    pub home: Home,
    /// The API servers.
    pub fleet: Fleet,
    /// What they serve.
    pub book: Arc<Book>,
    /// What they have of OpenAPI.
    pub library: Arc<Library>,
    /// By number, the task that keeps the catalog right about a server.
    pub refresh: Vec<Refresh>,
    /// For tokens and authorizations.
    pub hasher: TokenHasher,
    /// Who may read discovery.
    pub authorizations: authorize::Authorizations,
    /// Whether what there is to discover was written lately.
    pub writes: Arc<Writes>,
    /// The catalog generation of the last merged document given out.
    pub served_generation: AtomicU64,
    /// What is counted.
    pub metrics: Metrics,
    /// Short requests that are under way.
    pub seats: Seats,
    /// Whether we are on our way out.
    pub drain: drain::Signal,
    /// Whether the source of servers has said once who there is.
    pub complete: watch::Receiver<bool>,
}

/// Who the API servers are, and what is known of them: all in which one [`Proxy`] differs from the next.
pub struct Servers {
    /// See [`Proxy::home`].
    pub home: Home,
    /// See [`Proxy::fleet`].
    pub fleet: Fleet,
    /// See [`Proxy::book`].
    pub book: Arc<Book>,
    /// See [`Proxy::library`].
    pub library: Arc<Library>,
    /// See [`Proxy::refresh`].
    pub refresh: Vec<Refresh>,
}

/// A request that was read and cleaned, ready to be sent on.
struct Exchange {
    policy: Arc<Policy>,
    method: Method,
    /// With the authority that the client asked for; without one, the server's own is sent.
    uri: Uri,
    /// Without anything hop-by-hop, and without an identity.
    headers: HeaderMap,
    caller: Caller,
    home: usize,
    /// A peer sent it to us (I3).
    peer_proxied: bool,
    /// What the connection is to become.
    upgrade: Option<Wish>,
}

// === impl Proxy ===

impl Proxy {
    /// The same, before other servers, and with another policy if there is one. Requests that began with this one keep its
    /// own: the names of trust domains mean what they meant (I13).
    #[must_use]
    pub fn before(&self, servers: Servers, policy: Option<Arc<Policy>>) -> Self {
        let Servers { home, fleet, book, library, refresh } = servers;
        let policy = policy.map(|policy| Arc::new(ArcSwap::new(policy)));
        Self {
            policy: policy.unwrap_or_else(|| Arc::clone(&self.policy)),
            home,
            fleet,
            book,
            library,
            refresh,
            hasher: self.hasher.clone(),
            authorizations: self.authorizations.clone(),
            writes: Arc::clone(&self.writes),
            served_generation: u64::MAX.into(),
            metrics: self.metrics.clone(),
            seats: self.seats.clone(),
            drain: self.drain.clone(),
            complete: self.complete.clone(),
        }
    }

    /// Answers one request. The connection it came on stands in its extensions.
    pub async fn handle(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let encoding = Encoding::preferred(request.headers());
        let upgrade = upgrade::is_asked_for(&request);
        let head = request.method() == Method::HEAD;
        let mut record = Record::default();
        let mut response = match self.answer(request, &mut record).await {
            Ok(response) => response,
            Err(status) => {
                record.refused(&status);
                let response = status.into_response(encoding);
                if head { without_body(response) } else { response }
            }
        };
        if upgrade {
            upgrade::end_unless_switched(&mut response);
        }
        record.name_home(&self.fleet);
        response.extensions_mut().insert(record);
        response
    }

    async fn answer(&self, request: Request<Body>, record: &mut Record) -> Result<Response<Body>, Status> {
        if self.fleet.is_empty() {
            self.metrics.discovery.skipped(Skip::NoServer);
            let message = "no API server is known yet (--peer-source, --api-server)";
            return Err(Status::unavailable(message).retry_after(limits::RETRY_AFTER_SECONDS));
        }
        let (mut parts, body) = request.into_parts();
        let authority = admit::admit(&parts)?;
        let wish = Wish::of(&mut parts)?;
        let decoded = request_info::decode(parts.uri.path()).map_err(bad_path)?;
        let decoded = decoded.as_ref().to_owned();
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), &decoded, parts.uri.query())
            .map_err(bad_path)?;
        record.asked(&info);
        let connection = parts
            .extensions
            .get::<Arc<Connection>>()
            .cloned()
            .ok_or_else(|| Status::internal("the request has no connection"))?;
        let mut exchange = self.read(parts, authority, &connection)?;
        exchange.upgrade = wish;
        record.number = Some(exchange.home);
        record.called_by(&exchange.caller);
        let policy = Arc::clone(&exchange.policy);
        let body = headers::clean_trailers(body, &policy.identity_filter);

        // The predicate of kube-apiserver knows one path that is no resource: profiles take their time.
        let upgrade = exchange.upgrade.is_some();
        let long_running = info.is_long_running() || decoded.starts_with("/debug/pprof/");
        let seat = if long_running { None } else { self.seat(&exchange)? };
        // Pinned where it is, for `timeout` would keep another copy of all that is inside.
        let answered = pin!(async {
            self.revalidate(&decoded, &exchange).await;
            if let Some(wanted) = self.wanted_openapi(&decoded, &exchange) {
                // Rare: boxed, it does not make every other request's future as big.
                return Box::pin(self.openapi(wanted, &info, &decoded, exchange, body, record)).await;
            }
            match self.wanted(&decoded, &exchange)? {
                Some(wanted) => self.document(wanted, &exchange, record).await,
                None => {
                    let registers = writes::is_registration(&info, &exchange);
                    let answer = self.forward(&info, &decoded, exchange, body, record).await?;
                    if registers {
                        self.registered(&answer, record.server.as_deref());
                    }
                    Ok(answer)
                }
            }
        });
        // An upgrade may last after its 101, not before it.
        if long_running && !upgrade {
            let mut response = body::until_over(answered.await?, self.drain.clone());
            response.extensions_mut().insert(MayPause);
            return Ok(response);
        }
        let limit = policy.settings.request_timeout;
        let answered = tokio::time::timeout(limit, answered).await;
        // Given up here and not at the end of the answer: a client that takes none of it would sit there forever.
        drop(seat);
        answered.unwrap_or_else(|_| {
            Err(Status::timeout(format!("the API server did not begin its answer within {limit:?}")))
        })
    }

    /// A seat for a short request; `None` if nobody counts.
    ///
    /// # Errors
    /// 429 if all are taken. As in kube-apiserver, that does not count for the cluster's masters: they are who
    /// would have to find out why (`k8s.io/apiserver/pkg/server/filters/maxinflight.go`).
    fn seat(&self, exchange: &Exchange) -> Result<Option<Seat>, Status> {
        let Some(max) = exchange.policy.settings.max_requests_in_flight else { return Ok(None) };
        // Those of another cluster are nobody's masters here.
        let is_of_home = self.fleet.get(exchange.home).trust_domain == exchange.policy.domains.callers;
        if is_of_home && exchange.caller.is_master() {
            return Ok(Some(self.seats.take_anyway()));
        }
        let full = || {
            Status::too_many_requests("Too many requests, please try again later (--max-requests-inflight).")
                .retry_after(limits::RETRY_AFTER_SECONDS)
        };
        self.seats.take(max).ok_or_else(full).map(Some)
    }

    /// Finds out the caller, and takes off whatever only a client would have put on (I1, I2).
    fn read(
        &self,
        parts: Parts,
        authority: Option<Authority>,
        connection: &Connection,
    ) -> Result<Exchange, Status> {
        let Parts { method, uri, mut headers, .. } = parts;
        let policy = self.policy.load_full();
        let (authenticator, now) = (&policy.authenticator, UnixTime::now());
        let judged = connection.credentials(&policy, now);
        let credentials = &judged.1;
        // Before anything is removed, for a front proxy's user stands in those very headers.
        let caller = authenticator.caller(credentials, &headers, now)?;
        let client = connection.remote.ip();
        let trusted = authenticator.is_front_proxy(credentials, now) || policy.settings.trusts(client);

        headers::strip_hop_by_hop(&mut headers);
        policy.identity_filter.strip(&mut headers);
        headers::join_cookies(&mut headers);
        headers.remove(header::HOST);
        if caller.is_known() {
            headers.remove(header::AUTHORIZATION);
            upgrade::remove_token(&mut headers);
        }
        headers::forwarded_for(&mut headers, client, trusted);
        let peer_proxied = headers::take_peer_proxied(&mut headers);

        let mut target = uri.into_parts();
        target.scheme = authority.as_ref().map(|_| http::uri::Scheme::HTTPS);
        target.authority = authority;
        let uri = Uri::from_parts(target).map_err(|error| Status::bad_request(error.to_string()))?;
        let home = connection.home(self.home, &self.fleet, &self.book.catalog());
        Ok(Exchange { policy, method, uri, headers, caller, home, peer_proxied, upgrade: None })
    }

    fn situation(
        &self,
        info: &RequestInfo<'_>,
        path: &str,
        exchange: &Exchange,
        catalog: &Catalog,
    ) -> Situation<'_> {
        // Before one trust domain nobody asks whose a resource is.
        let several = self.fleet.domains().len() > 1;
        let read = |read: &dyn Fn() -> ServerSet| if several { read() } else { ServerSet::EMPTY };
        Situation {
            is_resource: Catalog::speaks_of(info),
            home_only: is_home_only(path)
                || asks_for_nopeer(path, &exchange.headers, documents::offers_cbor(catalog, exchange.home)),
            peer_proxied: exchange.peer_proxied,
            reroute: exchange.policy.settings.reroute != Reroute::Off,
            home: exchange.home,
            all: self.fleet.all(),
            healthy: self.fleet.healthy(),
            fresh: catalog.fresh,
            unknown: catalog.ignorance_of(info),
            unheard: read(&|| catalog.unheard()),
            incomplete: !self.is_complete(),
            denied: ServerSet::EMPTY,
            having: read(&|| catalog.having(info)),
            domains: self.fleet.domains(),
            reach: self.reach(exchange),
        }
    }

    /// Whether it is known who the API servers are, so that what nobody lists is not there (I8).
    fn is_complete(&self) -> bool {
        *self.complete.borrow()
    }

    /// Who was not heard, for people.
    fn unheard(&self, catalog: &Catalog) -> String {
        let unknown = self.names(catalog.unknown);
        match (self.is_complete(), unknown.as_str()) {
            (true, _) => unknown,
            (false, "") => "those whom --peer-source has not named yet".to_owned(),
            (false, names) => format!("{names}, and those whom --peer-source has not named yet"),
        }
    }

    /// The decision for a request by a catalog, for `/debug/explain`; without a caller that of one who gets into
    /// every trust domain.
    fn explain(
        &self,
        catalog: &Catalog,
        info: &RequestInfo<'_>,
        path: &str,
        home: usize,
        caller: Option<&Caller>,
    ) -> Decision {
        let exchange = Exchange {
            policy: self.policy.load_full(),
            method: Method::GET,
            uri: Uri::default(),
            headers: HeaderMap::new(),
            caller: caller.cloned().unwrap_or(Caller::Anonymous),
            home,
            peer_proxied: false,
            upgrade: None,
        };
        let mut situation = self.situation(info, path, &exchange, catalog);
        if caller.is_none() {
            situation.reach = self.fleet.all();
        }
        route::route(catalog.serving(info), situation)
    }

    /// Names of servers, for people.
    fn names(&self, servers: ServerSet) -> String {
        let names: Vec<&str> = servers.iter().map(|index| &*self.fleet.get(index).name).collect();
        names.join(", ")
    }
}

/// The same as an answer to HEAD. Over HTTP/2 nobody else sees to that.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, body::empty())
}

/// Whether a server tells of itself there.
fn is_home_only(path: &str) -> bool {
    let below =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    HOME_ONLY.into_iter().any(below)
}

/// Home's own document cannot come from anybody else.
fn asks_for_nopeer(path: &str, headers: &HeaderMap, cbor: bool) -> bool {
    matches!(DiscoveryPath::of(path), Some(DiscoveryPath::Root(_)))
        && matches!(DiscoveryForm::of_headers(headers, cbor), DiscoveryForm::Aggregated { nopeer: true, .. })
}

fn bad_path(error: request_info::PathError) -> Status {
    Status::bad_request(error.to_string())
}
