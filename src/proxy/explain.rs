//! Where a request would go, by which rule, from which view, and who its caller would be there.
//!
//! Nothing is sent. `/debug/explain` asks it of a proxy that runs, `kube-peer-proxy explain` of that or of documents
//! that it fetched itself; the decision is [`route::route`]'s either way.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::{
    Proxy,
    caller::Caller,
    domains::Domains,
    home::Home,
    is_home_only,
    policy::Reroute,
    route::{self, Decision, Reason, Situation},
};
use crate::{
    api::{
        discovery::DiscoveryPath,
        request_info::{self, RequestInfo},
        user::UserHeaders,
    },
    discovery::catalog::{Catalog, Freshness, Serving},
    servers::source::{ServerSet, by_domain},
};

mod caller;

use caller::{caller_of, upstream};

/// How to ask, for whoever asked otherwise.
const USAGE: &str = "ask as /debug/explain?path=/apis/apps/v1/deployments&verb=list\
                     [&home=NAME][&user=NAME&groups=A,B | &caller=token | &caller=anonymous]";

/// Kubernetes' verbs and HTTP's methods for what is no resource, each with the method that a client sends.
const VERBS: [(&str, Method); 12] = [
    ("get", Method::GET),
    ("list", Method::GET),
    ("watch", Method::GET),
    ("create", Method::POST),
    ("update", Method::PUT),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
    ("deletecollection", Method::DELETE),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("head", Method::HEAD),
    ("options", Method::OPTIONS),
];

/// A request, its path decoded, the home to take, and the caller.
type Decide<'a> = dyn Fn(&RequestInfo<'_>, &str, usize, Option<&Caller>) -> Decision + 'a;

/// What is decided by.
pub struct View<'a> {
    /// The servers, in the order of their names.
    pub servers: Vec<Seen>,
    /// Counts changes of what is known; none where nothing is followed.
    pub generation: Option<u64>,
    /// Those that are healthy.
    pub healthy: ServerSet,
    /// The home of every request; none: each connection has its own.
    pub home: Option<usize>,
    /// Those that can be home.
    pub homes: ServerSet,
    /// Whether requests are sent on.
    pub reroute: Reroute,
    /// Whether discovery is merged.
    pub merge: bool,
    /// Who lists what a request asks for.
    pub serving: &'a dyn Fn(&RequestInfo<'_>) -> Serving,
    /// Decides a request, its path decoded, with that home, for that caller; without one as for somebody who gets into
    /// every trust domain.
    pub decide: &'a Decide<'a>,
    /// Who callers are where.
    pub domains: Domains,
}

/// A server, as far as an answer speaks of it.
pub struct Seen {
    /// Its name.
    pub name: Arc<str>,
    /// Major and minor.
    pub version: Option<(u32, u32)>,
    /// How far what is known of it is trusted.
    pub freshness: Freshness,
    /// How long ago it was heard.
    pub contact: Option<Duration>,
    /// Why it could not be asked.
    pub error: Option<String>,
    /// Where it takes a user's identity from.
    pub user_headers: UserHeaders,
    /// Whose callers it accepts.
    pub trust_domain: Arc<str>,
}

/// The question; each field is a parameter of `/debug/explain`.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Path, perhaps with a query.
    pub path: Option<String>,
    /// One of Kubernetes' verbs; `get` if left out, which for a collection is `list`.
    pub verb: Option<String>,
    /// Which server to take for home.
    pub home: Option<String>,
    /// Name of a caller with a client certificate.
    pub user: Option<String>,
    /// His groups, separated by commas.
    pub groups: Option<String>,
    /// `token` or `anonymous`: any other caller.
    pub caller: Option<String>,
}

// === impl Asked ===

impl Asked {
    /// What [`Self::read`] reads.
    pub const PARAMETERS: [&str; 6] = ["path", "verb", "home", "user", "groups", "caller"];

    /// Reads parameters.
    pub fn read<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Self {
        let read = |name| parameter(name).map(str::to_owned);
        Self {
            path: read("path"),
            verb: read("verb"),
            home: read("home"),
            user: read("user"),
            groups: read("groups"),
            caller: read("caller"),
        }
    }

    /// What [`Self::read`] reads.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { path, verb, home, user, groups, caller } = self;
        let all = [
            ("path", path),
            ("verb", verb),
            ("home", home),
            ("user", user),
            ("groups", groups),
            ("caller", caller),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// Answers for a proxy that runs.
///
/// # Errors
/// What is missing or wrong in the question.
pub fn of_proxy(proxy: &Proxy, asked: &Asked) -> Result<Value, String> {
    let policy = proxy.policy.load();
    let settings = &policy.settings;
    let catalog = proxy.book.catalog();
    let servers = catalog.servers.iter().zip(catalog.fleet.iter()).map(|(known, server)| Seen {
        name: Arc::clone(&server.name),
        version: known.document.as_ref().and_then(|document| document.version),
        freshness: known.freshness(),
        contact: server.health.last_contact().map(|at| at.elapsed()),
        error: server.health.last_error().filter(|_| known.freshness() != Freshness::Fresh),
        user_headers: server.user_headers.clone(),
        trust_domain: Arc::clone(&server.trust_domain),
    });
    let (home, homes) = match proxy.home {
        Home::Sidecar(home) => (Some(home), ServerSet::one(home)),
        Home::Front(_, among) => (None, among),
    };
    let view = View {
        servers: servers.collect(),
        generation: Some(catalog.generation),
        healthy: proxy.fleet.healthy(),
        home,
        homes,
        reroute: settings.reroute,
        merge: settings.merge,
        serving: &|info| catalog.serving(info),
        decide: &|info, path, home, caller| proxy.explain(&catalog, info, path, home, caller),
        domains: policy.domains.clone(),
    };
    explain(&view, asked)
}

/// What a proxy knows that begins now and knows all its servers: those in `heard` have just said what they serve, and
/// of the others nothing is known.
#[derive(Clone, Copy)]
pub struct Beginning<'a> {
    /// The trust domain of each server.
    pub trust_domains: &'a [Arc<str>],
    /// Those that answered.
    pub heard: ServerSet,
    /// Whether requests are sent on.
    pub reroute: bool,
    /// Who callers are where.
    pub domains: &'a Domains,
}

// === impl Beginning ===

impl Beginning<'_> {
    /// Decides a request with that home, for that caller: `serving` is who serves it, and who has the resource in
    /// whatever version ([`Serving::of`]).
    #[must_use]
    pub fn decide(
        &self,
        (serving, having): (Serving, ServerSet),
        info: &RequestInfo<'_>,
        path: &str,
        home: usize,
        caller: Option<&Caller>,
    ) -> Decision {
        let all: ServerSet = (0..self.trust_domains.len()).collect();
        let of = |number: usize| &*self.trust_domains[number];
        let domains = by_domain(self.trust_domains.iter().map(|name| &**name));
        let may = |number: &usize| {
            caller
                .is_none_or(|caller| self.domains.presented(caller, || false, of(home), of(*number)).is_ok())
        };
        let situation = Situation {
            is_resource: Catalog::speaks_of(info),
            home_only: is_home_only(path),
            peer_proxied: false,
            reroute: self.reroute,
            home,
            all,
            healthy: self.heard,
            fresh: self.heard,
            unknown: all.without(self.heard),
            unheard: all.without(self.heard),
            incomplete: false,
            denied: ServerSet::EMPTY,
            having,
            domains: &domains,
            reach: all.iter().filter(may).collect(),
        };
        route::route(serving, situation)
    }
}

/// Whether a question can be answered at all.
///
/// # Errors
/// What is missing or wrong in it, wherever it is asked.
pub fn check(asked: &Asked) -> Result<(), String> {
    let view = View {
        servers: Vec::new(),
        generation: None,
        healthy: ServerSet::EMPTY,
        home: None,
        homes: ServerSet::EMPTY,
        reroute: Reroute::On,
        merge: false,
        serving: &|_| Serving::default(),
        decide: &|_, _, _, _| Decision::Unavailable(Reason::Unknown),
        domains: Domains::default(),
    };
    explain(&view, &Asked { home: None, ..asked.clone() }).map(drop)
}

/// Answers by a view.
///
/// # Errors
/// What is missing or wrong in the question.
pub fn explain(view: &View<'_>, asked: &Asked) -> Result<Value, String> {
    let target = asked.path.as_deref().ok_or(USAGE)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') {
        return Err(format!(
            "the path {path:?} does not begin with a slash, as /apis/apps/v1/deployments does"
        ));
    }
    let verb = asked.verb.as_deref();
    let method = method_of(verb.unwrap_or("get"))?;
    let decoded = request_info::decode(path).map_err(|error| error.to_string())?;
    let query = if verb == Some("watch") { Some("watch=1") } else { query };
    let info = RequestInfo::parse(&method, path, &decoded, query).map_err(|error| error.to_string())?;
    if info.is_resource
        && let Some(verb @ ("list" | "watch" | "deletecollection")) = verb
        && !info.name.is_empty()
        && info.verb != verb
    {
        return Err(format!(
            "{path} names one object, so it can be asked for with {:?} and not {verb:?}",
            info.verb
        ));
    }
    let home = match asked.home.as_deref() {
        Some(name) => {
            Some(view.servers.iter().position(|server| &*server.name == name).ok_or_else(|| {
                let names: Vec<&str> = view.servers.iter().map(|server| &*server.name).collect();
                format!("there is no API server {name:?}, but {}", names.join(", "))
            })?)
        }
        None => view.home,
    };
    let caller = caller_of(asked)?;
    let question = Question { info: &info, method: &method, path: &decoded, caller: caller.as_ref() };
    let mut answer = json!({
        "request": {
            "isResource": info.is_resource, "verb": info.verb, "group": info.group, "version": info.version,
            "namespace": info.namespace, "resource": info.resource, "subresource": info.subresource,
            "name": info.name, "path": path,
        },
        "home": home.map(|home| &*view.servers[home].name),
    });
    match home {
        Some(home) => append(&mut answer, question.with_home(view, home)?),
        None => {
            let homes = view.homes.iter().map(|home| {
                let mut one = json!({ "home": &*view.servers[home].name });
                append(&mut one, question.with_home(view, home)?);
                Ok(one)
            });
            answer["homes"] = Value::Array(homes.collect::<Result<_, String>>()?);
        }
    }
    let serving = (view.serving)(&info);
    let with = |wanted: Freshness| -> ServerSet {
        let all = view.servers.iter().enumerate();
        all.filter(|(_, server)| server.freshness == wanted).map(|(number, _)| number).collect()
    };
    append(
        &mut answer,
        json!({
            "listedBy": { "asCurrent": view.names(serving.current), "asStale": view.names(serving.stale) },
            "fresh": view.names(with(Freshness::Fresh)),
            "unknown": view.names(with(Freshness::Unknown)),
            "healthy": view.names(view.healthy),
            "catalogGeneration": view.generation,
            "servers": servers(view, serving),
        }),
    );
    Ok(answer)
}

/// A question that could be read.
struct Question<'a> {
    info: &'a RequestInfo<'a>,
    method: &'a Method,
    path: &'a str,
    caller: Option<&'a Caller>,
}

// === impl View ===

impl View<'_> {
    fn names(&self, servers: ServerSet) -> Vec<&str> {
        servers.iter().map(|number| &*self.servers[number].name).collect()
    }
}

// === impl Question ===

impl Question<'_> {
    /// Where it goes from there, and who the caller is there.
    fn with_home(&self, view: &View<'_>, home: usize) -> Result<Value, String> {
        let dry_run = view.reroute == Reroute::DryRun;
        let (goes, to, reason) = match (view.decide)(self.info, self.path, home, self.caller) {
            Decision::Home(reason) => ("home", ServerSet::one(home), reason),
            Decision::Peers(_, reason) | Decision::Forbidden(reason @ Reason::OtherDomain) if dry_run => {
                ("home (dry-run)", ServerSet::one(home), reason)
            }
            Decision::Peers(peers, reason) => ("peer", peers, reason),
            Decision::Unavailable(reason) => ("nowhere (503)", ServerSet::EMPTY, reason),
            Decision::Forbidden(reason) => ("nowhere (403)", ServerSet::EMPTY, reason),
        };
        // Nobody reads it who is nobody to home, which would be asked.
        let merges = view.merge && reason != Reason::HomeOfOtherDomain;
        let merged = if merges { merged(self.method, self.path) } else { None };
        let (goes, to, reason, because) = match merged {
            Some(because) => ("here", ServerSet::EMPTY, "merged-document", because),
            None => (goes, to, reason.as_str(), reason.explain()),
        };
        // Who authorizes a merged document is asked as the caller, too.
        let asked = if merged.is_some() { ServerSet::one(home) } else { to };
        let callers = asked.iter().map(|number| {
            let server = &view.servers[number];
            Ok((server.name.to_string(), upstream(view, self.caller, home, number, self.info)?))
        });
        Ok(json!({
            "goes": goes,
            "to": view.names(to),
            "reason": reason,
            "because": because,
            "callerUpstream": callers.collect::<Result<serde_json::Map<_, _>, String>>()?,
        }))
    }
}

/// Of each server, how far it is trusted and what it says of the thing.
fn servers(view: &View<'_>, serving: Serving) -> Vec<Value> {
    let shown = view.servers.iter().enumerate().map(|(number, server)| {
        json!({
            "name": *server.name,
            "version": server.version.map(|(major, minor)| format!("{major}.{minor}")),
            "freshness": server.freshness.as_str(),
            "healthy": view.healthy.contains(number),
            "error": server.error,
            "secondsSinceContact": server.contact.map(|since| since.as_secs_f64()),
            "lists": match number {
                _ if serving.current.contains(number) => "as Current",
                _ if serving.stale.contains(number) => "as Stale",
                _ if server.freshness == Freshness::Unknown => "?",
                _ => "no",
            },
        })
    });
    shown.collect()
}

fn append(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn method_of(verb: &str) -> Result<Method, String> {
    let found = VERBS.iter().find(|(known, _)| *known == verb);
    found.map(|(_, method)| method.clone()).ok_or_else(|| {
        let known: Vec<&str> = VERBS[..8].iter().map(|(verb, _)| *verb).collect();
        format!("{verb:?} is no verb of Kubernetes; there are {}", known.join(", "))
    })
}

/// Why a request is answered by nobody but us, if it is.
fn merged(method: &Method, path: &str) -> Option<&'static str> {
    if *method != Method::GET {
        return None;
    }
    if DiscoveryPath::of(path).is_some() {
        return Some("discovery is merged; home is asked whether the caller may read it");
    }
    path.starts_with("/openapi/").then_some(
        "OpenAPI is merged; a document that one server has whole comes from there, from home if that has it",
    )
}
