//! OpenAPI: the index and what no server has whole is answered here, everything else is sent on to who has it.

use std::sync::Arc;

use http::{HeaderMap, Method, Response, StatusCode, header};

use super::{
    Exchange, Proxy, Reroute,
    authorize::Question,
    forward::{Attempt, Failure},
    record::Record,
};
use crate::{
    api::{
        media_type,
        request_info::{RequestInfo, query_value},
        status::Status,
    },
    body::{self, Body},
    discovery::openapi::{
        document::{Manner, not_acceptable},
        index::{ROOT, Url},
        plan::Answerer,
        unite::Encoding,
    },
    limits,
    metrics::Skip,
};

/// An OpenAPI document that is not simply home's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `/openapi/v3`
    Index,
    /// `/openapi/v3/<key>`
    Entry(String),
    /// `/openapi/v2`
    V2,
}

/// What upstream offers; the last one is the older name of the one before.
const OFFERED_V3: [(&str, &str, Encoding); 3] = [
    ("application", "json", Encoding::Json),
    ("application", "com.github.proto-openapi.spec.v3.v1.0+protobuf", Encoding::Protobuf),
    ("application", "com.github.proto-openapi.spec.v3@v1.0+protobuf", Encoding::Protobuf),
];

/// See [`OFFERED_V3`].
const OFFERED_V2: [(&str, &str, Encoding); 3] = [
    ("application", "json", Encoding::Json),
    ("application", "com.github.proto-openapi.spec.v2@v1.0+protobuf", Encoding::Protobuf),
    ("application", "com.github.proto-openapi.spec.v2.v1.0+protobuf", Encoding::Protobuf),
];

/// Whatever a server has under that path, it is known already: nobody reads the answer's body.
const ANY: &str = "*";

/// Whether a path is that of the index.
pub(super) fn is_index(path: &str) -> bool {
    path == ROOT
}

const V2: Manner = Manner { negotiated: true, gzip: true, immutable: false };

impl Proxy {
    /// The OpenAPI document that a request asks for, if we are to see to it.
    pub(super) fn wanted_openapi(&self, path: &str, exchange: &Exchange) -> Option<Wanted> {
        let settings = &exchange.policy.settings;
        let below = path.strip_prefix("/openapi/")?;
        if self.fleet.len() < 2
            || !settings.merge
            || exchange.peer_proxied
            || exchange.upgrade.is_some()
            || !matches!(exchange.method, Method::GET | Method::HEAD)
        {
            return None;
        }
        if below == "v2" {
            return Some(Wanted::V2);
        }
        // What the index lists beyond home's own has to be fetched from peers.
        let below = below.strip_prefix("v3").filter(|_| settings.reroute == Reroute::On)?;
        match below.strip_prefix('/') {
            Some(key) => Some(Wanted::Entry(key.to_owned())),
            None => below.is_empty().then_some(Wanted::Index),
        }
    }

    /// Answers a request for an OpenAPI document.
    pub(super) async fn openapi(
        &self,
        wanted: Wanted,
        info: &RequestInfo<'_>,
        path: &str,
        exchange: Exchange,
        body: Body,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        match wanted {
            Wanted::Index => {
                if let Some(refusal) = self.may_read(ROOT, &exchange, record).await? {
                    return Ok(refusal);
                }
                let planned = self.library.plan(exchange.home).await;
                let unknown = !planned.knows(exchange.home) && self.is_healthy(exchange.home);
                // Nobody has one: clients look for the other version when they hear that, not when it is empty.
                let absent = planned.knows_any() && !planned.lists_any();
                if unknown || absent {
                    return self.forward(info, path, exchange, body, record).await;
                }
                if !planned.knows_any() {
                    self.metrics.discovery.skipped(Skip::Unknown);
                    let status = Status::unavailable("no API server's index of OpenAPI was heard yet");
                    return Err(status.retry_after(limits::RETRY_AFTER_SECONDS));
                }
                self.metrics.openapi.answered("v3-index", "merged");
                record.reason = "merged-openapi";
                Ok(planned.document.respond(Manner::default(), &exchange.method, &exchange.headers).await)
            }
            Wanted::V2 => {
                if let Some(refusal) = self.may_read("/openapi/v2", &exchange, record).await? {
                    return Ok(refusal);
                }
                let Some(encoding) = encoding(&exchange.headers, &OFFERED_V2) else {
                    return Ok(not_acceptable(V2));
                };
                let Some(document) = self.library.v2(exchange.home, encoding).await else {
                    return self.forward(info, path, exchange, body, record).await;
                };
                self.metrics.openapi.answered("v2", "merged");
                record.reason = "merged-openapi";
                Ok(document.respond(V2, &exchange.method, &exchange.headers).await)
            }
            Wanted::Entry(key) => self.entry(&key, info, path, exchange, body, record).await,
        }
    }

    /// A document of version 3.
    async fn entry(
        &self,
        key: &str,
        info: &RequestInfo<'_>,
        path: &str,
        exchange: Exchange,
        body: Body,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        let planned = self.library.plan(exchange.home).await;
        let hash =
            query_value(exchange.uri.query().unwrap_or_default(), "hash").filter(|hash| !hash.is_empty());
        let named = hash.as_deref().map_or_else(Vec::new, |hash| self.named(key, hash, exchange.home));
        let mut servers = named.clone();
        match planned.plan.answerer(key) {
            Some(Answerer::Servers(able)) => {
                servers.extend(able.iter().filter(|server| !named.contains(server)))
            }
            Some(Answerer::Merged(parts)) if named.is_empty() => {
                return self.merged_entry(key, parts, hash.as_deref(), &exchange, record).await;
            }
            Some(Answerer::Merged(_)) => {}
            None if named.is_empty() => return self.unlisted(key, info, path, exchange, body, record).await,
            None => {}
        }
        // Who is not healthy is asked last. Stable: the order stays otherwise.
        servers.sort_by_key(|server| !self.is_healthy(*server));
        let reach = self.reach(&exchange);
        if let Some(first) = servers.first().filter(|first| !reach.contains(**first)) {
            // The caller is nobody there (I13), and what we know of it ourselves is for everybody whom home lets read it.
            return self.merged_entry(key, &[*first], hash.as_deref(), &exchange, record).await;
        }
        servers.retain(|server| reach.contains(*server));
        // If it is not healthy, others would stand in for it, and they do not have it.
        if servers == [exchange.home] && self.is_healthy(exchange.home) {
            self.metrics.openapi.answered("v3", "home");
            return self.forward(info, path, exchange, body, record).await;
        }
        self.ask_in_turn(key, &servers, &exchange, record).await
    }

    /// The servers that have the document under this hash, home first.
    fn named(&self, key: &str, hash: &str, home: usize) -> Vec<usize> {
        let fresh = self.book.catalog().fresh;
        let mut named: Vec<usize> =
            (0..self.fleet.len()).filter(|server| self.library.has_hash(*server, key, hash)).collect();
        named.sort_by_key(|server| (*server != home, !fresh.contains(*server)));
        named
    }

    /// Sends the request on to the first of these servers that has the document.
    async fn ask_in_turn(
        &self,
        key: &str,
        servers: &[usize],
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        let mut errors = Vec::new();
        let mut authorized = false;
        let (mut missing, mut failed) = (None, None);
        for (at, number) in servers.iter().copied().enumerate() {
            let server = self.fleet.get(number);
            let rerouted = number != exchange.home;
            // What home answers itself it authorizes itself (I10).
            if rerouted && !authorized {
                if let Some(refusal) = self.may_read(exchange.uri.path(), exchange, record).await? {
                    return Ok(refusal);
                }
                authorized = true;
            }
            // A peer that has more does not keep those from answering who have less.
            let others = servers[at + 1..].iter().any(|other| self.is_healthy(*other));
            let Some(turn) = self.turn(number, !others) else {
                errors.push(format!("{}: it is being tried by another request", server.name));
                continue;
            };
            record.attempts += 1;
            record.server = Some(Arc::clone(&server.name));
            let attempt = Attempt { server, rerouted, long_running: false, turn };
            let sending = self.send(exchange, attempt, exchange.request(body::empty()), record);
            let sent = if rerouted && others {
                match tokio::time::timeout(self.library.grace(), sending).await {
                    Ok(sent) => sent,
                    Err(_) => {
                        errors.push(format!("{}: it did not begin its answer in time", server.name));
                        continue;
                    }
                }
            } else {
                sending.await
            };
            let response = match sent {
                Ok(response) => response,
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Send(error)) => {
                    errors.push(format!("{}: {error}", server.name));
                    continue;
                }
            };
            match response.status() {
                // Its index listed it, and will not any more: ignorance of ours, no 404 (I8).
                StatusCode::NOT_FOUND => {
                    self.library.doubt_index(number);
                    errors.push(format!("{}: its index lists this, but it answered 404", server.name));
                    missing = Some(response);
                    continue;
                }
                status if status.is_server_error() && rerouted && others => {
                    errors.push(format!("{}: {status}", server.name));
                    failed.get_or_insert(response);
                    continue;
                }
                StatusCode::MOVED_PERMANENTLY if !self.knows_hash(number, key, response.headers()) => {
                    self.library.doubt_index(number);
                }
                _ => {}
            }
            self.metrics.openapi.answered("v3", if rerouted { "peer" } else { "home" });
            record.rerouted = rerouted;
            record.reason = if rerouted { "peer-openapi" } else { "home-openapi" };
            return Ok(response);
        }
        if let Some(response) = missing
            && self.is_gone(key, exchange.home).await
        {
            // Everybody's index was heard by now.
            return Ok(response);
        }
        match failed {
            // Its own words say more than ours.
            Some(response) => Ok(response),
            None => {
                self.skip_if_none_is_fresh(servers);
                Err(nobody(key, &errors.join("; ")))
            }
        }
    }

    /// Whether a document is in nobody's index any more, and everybody's is known.
    async fn is_gone(&self, key: &str, home: usize) -> bool {
        let planned = self.library.plan(home).await;
        planned.plan.answerer(key).is_none() && !self.library.may_be_unheard(key)
    }

    /// A document that no server has whole.
    async fn merged_entry(
        &self,
        key: &str,
        parts: &[usize],
        hash: Option<&str>,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        if let Some(refusal) = self.may_read(exchange.uri.path(), exchange, record).await? {
            return Ok(refusal);
        }
        let mut manner = Manner { negotiated: true, ..Manner::default() };
        let Some(encoding) = encoding(&exchange.headers, &OFFERED_V3) else {
            return Ok(not_acceptable(manner));
        };
        let Some(united) = self.library.v3(key, parts, exchange.home, encoding).await else {
            self.skip_if_none_is_fresh(parts);
            return Err(nobody(key, "see /debug/servers on the admin address"));
        };
        self.metrics.openapi.answered("v3", "merged");
        record.reason = "merged-openapi";
        let tag = united.document.tag();
        // What lacks somebody's part must not be kept under the hash of the whole.
        if let Some(hash) = hash.filter(|_| united.whole) {
            if hash != &**tag {
                return Ok(united.document.redirect(&Url { key, hash: Some(tag) }.to_string()));
            }
            manner.immutable = true;
        }
        Ok(united.document.respond(manner, &exchange.method, &exchange.headers).await)
    }

    /// A document that nobody's index lists: home says so, unless somebody's index was never heard (I8).
    async fn unlisted(
        &self,
        key: &str,
        info: &RequestInfo<'_>,
        path: &str,
        exchange: Exchange,
        body: Body,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        let response = self.forward(info, path, exchange, body, record).await?;
        if response.status() == StatusCode::NOT_FOUND && self.library.may_be_unheard(key) {
            self.metrics.discovery.skipped(Skip::Unknown);
            return Err(nobody(key, "not every API server's index of OpenAPI was heard"));
        }
        Ok(response)
    }

    /// `None` if home lets the caller read this path (I10).
    async fn may_read(
        &self,
        path: &str,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Option<Response<Body>>, Status> {
        let known = |server: usize| if path == "/openapi/v2" { self.library.etag_v2(server) } else { None };
        let question = Question {
            path,
            accept: "application/json",
            etag: &|server| Some(known(server).unwrap_or_else(|| ANY.to_owned())),
            changed: &|server| {
                if path == "/openapi/v2" {
                    self.library.doubt_v2(server);
                }
            },
        };
        self.authorize(&question, exchange, record).await
    }

    /// Whether a server's answer is of the document that its index names.
    fn knows_hash(&self, server: usize, key: &str, answer: &HeaderMap) -> bool {
        let etag = answer.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        etag.is_some_and(|etag| self.library.has_hash(server, key, etag.trim_matches('"')))
    }

    fn skip_if_none_is_fresh(&self, servers: &[usize]) {
        let fresh = self.book.catalog().fresh;
        if !servers.iter().any(|server| fresh.contains(*server)) {
            self.metrics.discovery.skipped(Skip::StaleOnly);
        }
    }

    fn is_healthy(&self, server: usize) -> bool {
        self.fleet.is_healthy(server)
    }
}

fn nobody(key: &str, why: &str) -> Status {
    Status::unavailable(format!("no API server could answer for {ROOT}/{key}; {why}"))
        .retry_after(limits::RETRY_AFTER_SECONDS)
}

/// What a request accepts; `None` if that is not offered.
fn encoding(headers: &HeaderMap, offered: &[(&str, &str, Encoding)]) -> Option<Encoding> {
    // Upstream reads the first line only.
    let accept = headers.get(header::ACCEPT).map_or("", |value| value.to_str().unwrap_or_default());
    let accept = if accept.is_empty() { "*/*" } else { accept };
    let types: Vec<(&str, &str)> = offered.iter().map(|(main, sub, _)| (*main, *sub)).collect();
    media_type::first_accepted(accept, &types).map(|at| offered[at].2)
}
