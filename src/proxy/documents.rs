//! Documents that are answered here and not by one server: discovery.

use std::sync::{Arc, atomic::Ordering};

use http::{Method, Response};

use super::{Exchange, Proxy, authorize::Question, record::Record};
use crate::{
    api::{
        discovery::{DiscoveryPath, Tree},
        media_type::{self, DiscoveryForm, Media},
        status::Status,
    },
    body::Body,
    discovery::{
        catalog::{Answers, Catalog, Found, Key},
        refresh::Trigger,
        render::Encoding,
        serve,
    },
    limits,
    metrics::Skip,
    servers::source::ServerSet,
};

/// A document that we answer for, or why there is none.
pub(super) struct Wanted {
    catalog: Arc<Catalog>,
    tree: Tree,
    answer: Answer,
}

/// What the caller gets if home lets him read the path.
enum Answer {
    Document {
        answers: Arc<Answers>,
        key: Key,
        encoding: Encoding,
    },
    Refusal(Status),
    /// 503, for we don't know.
    Withheld(Skip, Status),
}

impl Proxy {
    /// What to answer a request with, if that is not home's affair.
    ///
    /// # Errors
    /// 503 where nobody lists what the path names, but not everybody was heard (I8).
    pub(super) fn wanted(&self, path: &str, exchange: &Exchange) -> Result<Option<Wanted>, Status> {
        // Who asks with the loop header reads home's own document in every form (I3): other proxies do.
        if !exchange.policy.settings.merge || exchange.upgrade.is_some() || exchange.peer_proxied {
            return Ok(None);
        }
        let Some(path) = DiscoveryPath::of(path) else { return Ok(None) };
        let catalog = self.book.catalog();
        let tree = path.tree();
        let wanted = |catalog, answer| Ok(Some(Wanted { catalog, tree, answer }));
        if !is_read(path, &exchange.method) {
            return if is_peers_only(&catalog, path, exchange.home) {
                let refusal = Status::method_not_allowed(
                    "the server does not allow this method on the requested resource",
                );
                wanted(catalog, Answer::Refusal(refusal))
            } else {
                Ok(None)
            };
        }
        let cbor = offers_cbor(&catalog, exchange.home);
        let form = match path {
            DiscoveryPath::Root(_) => DiscoveryForm::of_headers(&exchange.headers, cbor),
            _ => DiscoveryForm::unaggregated(&exchange.headers, cbor),
        };
        let found = |answers: &Answers| match form {
            DiscoveryForm::Aggregated { version, .. } => Found::Document(Key::Aggregated(tree, version)),
            _ => answers.unaggregated(path),
        };
        let (media, pretty) = match form {
            DiscoveryForm::Aggregated { nopeer: true, .. } => {
                self.metrics.discovery.nopeer();
                return Ok(None);
            }
            DiscoveryForm::Aggregated { media, pretty, .. }
            | DiscoveryForm::Unaggregated { media, pretty } => (media, pretty),
            DiscoveryForm::NotAcceptable => (Media::Json, false),
        };
        let Some(answers) = catalog.answers.clone() else {
            let unheard = "no API server's discovery is known yet (see /debug/servers on the admin address)";
            return wanted(catalog, Answer::Withheld(Skip::Unknown, again(unheard)));
        };
        let key = match found(&answers) {
            Found::Document(key) => key,
            Found::Stale => {
                let message = format!(
                    "{}: no API server that serves it can tell of it now (see /debug/servers on the admin address)",
                    exchange.uri.path()
                );
                return wanted(catalog, Answer::Withheld(Skip::StaleOnly, again(message)));
            }
            Found::Nothing if ignorance(&catalog, path).is_empty() => return Ok(None),
            Found::Nothing => {
                self.metrics.discovery.skipped(Skip::Unknown);
                let unknown = self.names(catalog.unknown);
                return Err(again(format!(
                    "{}: no API server that was heard lists it; not heard: {unknown} \
                     (see /debug/servers on the admin address)",
                    exchange.uri.path()
                )));
            }
        };
        if form == DiscoveryForm::NotAcceptable {
            let offered: Vec<&str> = Media::offered(cbor).iter().map(|media| media.as_str()).collect();
            return wanted(catalog, Answer::Refusal(Status::not_acceptable(&offered)));
        }
        let pretty = pretty || media_type::wants_pretty(exchange.uri.query(), &exchange.headers);
        wanted(catalog, Answer::Document { answers, key, encoding: Encoding::new(media, pretty) })
    }

    /// Answers with it, if home lets the caller read the path (I10).
    pub(super) async fn document(
        &self,
        wanted: Wanted,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        record.reason = "merged-discovery";
        let Wanted { catalog, tree, answer } = wanted;
        let aggregated = matches!(answer, Answer::Document { key: Key::Aggregated(..), .. });
        // Also for clients that read nothing aggregated: it shows whether what we have is old.
        let path = exchange.uri.path();
        let root = path == tree.as_str();
        let etag = |number: usize| {
            let known = catalog.servers[number].document.as_ref().filter(|_| root)?;
            known.part(tree).etag.clone()
        };
        let question = Question {
            path,
            accept: if root { media_type::ACCEPT_NOPEER } else { Media::Json.as_str() },
            etag: &etag,
            changed: &|number| {
                if root {
                    self.refresh[number].ask(Trigger::Changed);
                }
            },
        };
        if let Some(refusal) = self.authorize(&question, exchange, record).await? {
            return Ok(refusal);
        }
        let (answers, key, encoding) = match answer {
            Answer::Document { answers, key, encoding } => (answers, key, encoding),
            Answer::Refusal(status) => return Err(status),
            Answer::Withheld(reason, status) => {
                self.metrics.discovery.skipped(reason);
                return Err(status);
            }
        };
        if aggregated {
            let last = self.served_generation.swap(catalog.generation, Ordering::Relaxed);
            self.metrics.discovery.merged(last == catalog.generation);
        }
        let Exchange { method, headers, policy, .. } = exchange;
        let sources = policy.settings.sources_header;
        Ok(serve::respond(&answers, serve::Request { method, headers, key, encoding, sources }).await)
    }
}

/// Servers that may list what a path names without our knowledge.
fn ignorance(catalog: &Catalog, path: DiscoveryPath<'_>) -> ServerSet {
    match path {
        DiscoveryPath::Root(_) | DiscoveryPath::Plain(_) => catalog.unknown,
        DiscoveryPath::Group(group) => catalog.ignorance_of_group(group, None),
        DiscoveryPath::Version { group, version } => catalog.ignorance_of_group(group, Some(version)),
    }
}

/// Whether CBOR is offered: home has it.
pub(super) fn offers_cbor(catalog: &Catalog, home: usize) -> bool {
    catalog.servers[home].document.as_ref().is_some_and(|document| document.cbor)
}

/// Whether kube-apiserver answers the method with the document. Where its handler is go-restful's, that is GET only;
/// elsewhere it would be any, but who posts to discovery may hear of it from home.
fn is_read(path: DiscoveryPath<'_>, method: &Method) -> bool {
    match *method {
        Method::GET => true,
        Method::HEAD => match path {
            DiscoveryPath::Root(tree) | DiscoveryPath::Plain(tree) => tree == Tree::Apis,
            DiscoveryPath::Group(_) => true,
            DiscoveryPath::Version { .. } => false,
        },
        _ => false,
    }
}

/// Whether home would say that there is no such path, and somebody else knows it.
fn is_peers_only(catalog: &Catalog, path: DiscoveryPath<'_>, home: usize) -> bool {
    let (group, version) = match path {
        DiscoveryPath::Root(_) | DiscoveryPath::Plain(_) => return false,
        DiscoveryPath::Group(group) => (group, None),
        DiscoveryPath::Version { group, version } => (group, Some(version)),
    };
    let listed = |server| catalog.lists(server, group, version);
    !listed(home) && (0..catalog.servers.len()).any(listed)
}

fn again(message: impl Into<String>) -> Status {
    Status::unavailable(message).retry_after(limits::RETRY_AFTER_SECONDS)
}
