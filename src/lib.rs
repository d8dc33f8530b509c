//! A TLS reverse proxy for Kubernetes control planes whose API servers run different versions.
//!
//! It stands in front of one API server (*sidecar*) or of several (*front*), knows what each of them serves,
//! sends a request for something that the chosen server does not serve to one that does, and answers discovery
//! with one merged document. Kubernetes 1.36 has this built in as the Mixed Version Proxy (KEP-4020), between
//! servers that have it switched on; this one works for any version and interoperates with that.
//!
//! # Words
//!
//! *Home* is the API server that a request goes to if that can serve it, a *peer* any other. A *reroute* goes
//! from home to a peer. The *catalog* is an immutable snapshot of what everyone serves. A server is *fresh* while
//! contact is confirmed and nothing said that its document changed; *stale* when contact is lost, the last fetch
//! failed, or its source names it no longer; *unknown* when never heard since start, or heard again after a loss and not
//! yet fetched.
//!
//! # Life of a request
//!
//! [`proxy::listener`] → TLS ([`tls::server`]) → [`ops::access`] (audit ID, access line, metrics) →
//! [`proxy::admit`] (is this HTTP that we and the API server read alike?) → [`proxy::caller`] (who is it?) →
//! [`api::request_info`] (Kubernetes' own reading) → [`proxy::route`] (a pure decision on one catalog) →
//! [`proxy::forward`] (send, stream back), or for discovery [`proxy::authorize`] (may the caller read it? home
//! decides) and [`discovery::serve`] (the rendered document), for OpenAPI whoever describes the thing
//! ([`discovery::openapi`]). A connection that the server switched to another
//! protocol goes on as a tunnel ([`proxy::upgrade`]).
//!
//! # Life of a discovery document
//!
//! Who the servers are is written in the configuration, and told by a source beside it ([`servers::source`]: identity
//! leases, endpoint slices, DNS). What each of them serves may have changed when its informers say so
//! ([`discovery::informer`]: custom resource definitions, APIServices, leases, endpoint slices), when contact or health
//! comes back ([`discovery::probe`]), when a request finds out, or when nothing was heard for long:
//!
//! one [`discovery::refresh`] task per server → [`discovery::fetch`] (conditional GET with our own identity, in the best
//! form that the server has; what only unaggregated lists say is read behind it) →
//! [`discovery::catalog`] rebuilt only if something changed ([`discovery::merge`], [`discovery::order`]) and published
//! by one atomic swap. Its documents are written in each form and encoding when first asked for
//! ([`discovery::catalog::Answers`], [`discovery::render`]). Requests never parse discovery, and nothing that a
//! request brought back enters the catalog. OpenAPI is read when somebody asks for it, kept while it is asked for, and
//! forgotten after ([`discovery::openapi`]).
//!
//! Whoever writes through us what discovery is made of (custom resource definitions, APIServices) gets no older view than
//! home has: for a while answers wait for a fetch ([`proxy::writes`]). With `--discovery-cache-dir` the last good
//! documents outlive us ([`discovery::cache`]): what was loaded was known, so it is listed and tried, and its server
//! is unknown until it is heard. What a server that is away said last of custom resources counts until a fresh one's
//! informers prove that they are gone from the storage that both have ([`discovery::catalog::ghosts`]).
//!
//! # Life of a configuration
//!
//! [`config`] reads and checks it whole, [`app`] makes of it what requests ([`proxy::policy`]), handshakes
//! ([`tls::server`]) and connections to servers ([`servers::pool`]) go by. While we run, files that change go the same
//! way: all is built before anything is swapped, and a request keeps the policy and the servers that it began with.
//! Another list of servers is another [`proxy::Proxy`]; what was known of those that stay stays known, and of those that
//! left nothing is kept once the last request with them is through. What takes a restart waits for one, and nothing
//! else waits with it. At start, after each change, and for a server that is new, it is held against what the API servers
//! publish of whom they believe ([`app`]); what differs is a warning.
//!
//! # Looking at it
//!
//! What servers serve, side by side, is one value ([`discovery::skew`]): `inspect` prints it, the status page
//! ([`ops::admin`]) shows it. Where a request would go is decided as for a request and told instead of done
//! ([`proxy::explain`]), of a proxy that runs or of documents just fetched. What was rerouted or refused lately is kept in a
//! small ring ([`metrics`]), without a name of anybody or anything.
//!
//! # The end
//!
//! At a signal [`drain`] goes through its phases and everybody follows: readiness fails, clients are told to go
//! elsewhere, nobody is accepted any more, and at last what has no end of its own is ended as if it were complete.
//!
//! # Floors
//!
//! An arrow between modules only goes down:
//!
//! ```text
//! commands    serve · demo · inspect · explain · certs · config · healthz · completions · man
//! app         the one place where everything is wired; main and the tests both call it
//! config      flags, environment and file become one checked configuration
//! ops         access · admin · metrics · readiness · telemetry
//! proxy       listener · admit · caller · domains · route · forward · authorize · headers · home · upgrade · policy
//! discovery   catalog · skew · refresh · fetch · merge · order · render · serve · openapi
//! servers     source · health · pool · pick
//! tls         server · client · certificate
//! api         gvr · request info · discovery types and encodings · media types · Status · users: no I/O, no clock
//! ```
//!
//! Below all of them: [`batched`], [`body`], [`descriptors`], [`drain`], [`limits`], [`metrics`], [`printable`],
//! [`redact`], [`mod@version`]. Beside the
//! house, using only what is pure: [`pki`] and [`embedded`], the API server in memory that the demo and the tests share.
//!
//! # Invariants
//!
//! Each is pinned by tests whose names begin with its number.
//!
//! - **I1** Identity headers from a client never reach an API server, in no spelling and under no configured name,
//!   unless the client is a trusted front proxy.
//! - **I2** Hop-by-hop headers go first, identity is written after: nothing named in `Connection` can remove it,
//!   nor `Impersonate-*` and `Authorization`.
//! - **I3** At most one reroute per request: `x-kubernetes-peer-proxied: true` is set (not added) on every reroute
//!   and on our own fetches, and a request that carries exactly that is served by home or refused. Whoever sends
//!   it opts out of rerouting for himself only; other values are removed.
//! - **I4** Classes of upstream connections are never mixed ([`servers::Class`]). An upgrade has a fresh one, which
//!   carries nothing before or after it.
//! - **I5** On an upgrade no client byte is forwarded before the server's 101, which must name the protocol that was
//!   asked for: `websocket` or `SPDY/3.1`, nothing else. Any other answer is the last thing on both connections; of
//!   those only 4xx and 5xx reach the client ([`proxy::upgrade`]).
//! - **I6** The merged document is a pure function of (server name → document, freshness), whichever server is
//!   home.
//! - **I7** A failure never shrinks what is served. A document that drops anything is believed only between two
//!   answers of 200 from the same server's `/readyz`.
//! - **I8** Ignorance gives 503 with `Retry-After`, never 404. A *route-level* 404 from a server whose discovery
//!   lists the thing is not passed on: the server is asked again what it serves, and the request is decided once
//!   more. What a node, a pod or a service answers through an API server is its own and passes.
//! - **I9** Nothing is sent twice unless it provably was not processed.
//! - **I10** Nobody reads a merged document whom home would refuse to read `/apis`.
//! - **I11** No address that a request names is ever dialled, and redirects are never followed.
//! - **I12** Secrets never reach a log, a metric, a cache key or an admin page.
//! - **I13** A caller's identity or token goes only to servers of the trust domain that authenticated it. Elsewhere he
//!   is what `identityMap` makes of him and nothing else, or nobody: a 403 that says so. Tokens, anonymous callers and
//!   `Impersonate-*` never cross. Each resource lives in one domain, home's if any server there lists it, and nobody of
//!   another stands in for home ([`proxy::domains`], [`proxy::route`]).

pub mod api;
pub mod app;
pub mod batched;
pub mod body;
pub mod commands;
pub mod config;
pub mod descriptors;
pub mod discovery;
pub mod drain;
pub mod embedded;
pub mod limits;
pub mod metrics;
pub mod ops;
pub mod pki;
pub mod printable;
pub mod proxy;
pub mod redact;
pub mod servers;
pub mod tls;
pub mod version;
