//! `/debug`: the catalog and its decisions as JSON. Nothing here is secret, and nothing changes anything.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    api::{
        discovery::{DiscoveryPath, Tree},
        media_type::AggregatedVersion,
        request_info::{self, RequestInfo},
        user::UserInfo,
    },
    discovery::catalog::Key,
    proxy::{Proxy, caller::Caller, home::Home, route::Decision},
    servers::{
        Class, Server,
        health::{Health, Reason},
        source::ServerSet,
    },
};

/// Every server, and how it is doing.
pub(super) fn servers(proxy: &Proxy) -> Value {
    let catalog = proxy.book.catalog();
    let home = match proxy.home {
        Home::Sidecar(home) => json!(*proxy.fleet.get(home).name),
        Home::Front(..) => Value::Null,
    };
    let servers: Vec<Value> = proxy
        .fleet
        .iter()
        .zip(&catalog.servers)
        .enumerate()
        .map(|(number, (server, known))| {
            let connections: serde_json::Map<String, Value> = Class::ALL
                .into_iter()
                .map(|class| {
                    let stats = server.connections(class);
                    let shown = json!({
                        "live": stats.live, "opening": stats.opening, "draining": stats.draining,
                        "streams": stats.in_use, "capacity": stats.capacity, "waiting": stats.waiting,
                    });
                    (class.as_str().to_owned(), shown)
                })
                .collect();
            let contact = server.health.last_contact().map(|at| at.elapsed().as_secs_f64());
            json!({
                "name": *server.name,
                "address": server.authority,
                "trustDomain": *server.trust_domain,
                "version": known.document.as_ref().and_then(|document| document.version)
                    .map(|(major, minor)| format!("{major}.{minor}")),
                "healthy": server.health.is_healthy(),
                "health": health(&server.health),
                "freshness": known.freshness().as_str(),
                "departed": known.departed,
                "gone": known.gone().keys().map(ToString::to_string).collect::<Vec<_>>(),
                "secondsSinceContact": contact,
                "lastError": server.health.last_error(),
                "requests": server.load.requests(),
                "watches": server.load.watches(),
                "connections": connections,
                "openapi": openapi(proxy, number),
                "refresh": server.watched.mode().as_str(),
                "informers": informers(server),
            })
        })
        .collect();
    json!({ "home": home, "generation": catalog.generation, "servers": servers })
}

/// Whether a server is asked first, and if not, why, and what it takes to come back.
fn health(health: &Health) -> Value {
    let standing = health.standing();
    json!({
        "state": standing.state.as_str(),
        "reason": standing.reason.map(Reason::as_str),
        "secondsLeft": standing.until.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64()),
        "goodProbesWanted": standing.probes_wanted,
        "connected": health.is_connected(),
        "discoveryFetched": health.is_fetched(),
    })
}

/// A server's informers.
fn informers(server: &Server) -> Value {
    let shown = server.watched.informers().into_iter().map(|(resource, state)| {
        let shown = json!({
            "resourceVersion": state.resource_version,
            "live": state.live,
            "objects": state.objects,
            "refused": state.refused,
        });
        (resource.to_owned(), shown)
    });
    Value::Object(shown.collect())
}

/// A server's OpenAPI.
fn openapi(proxy: &Proxy, number: usize) -> Value {
    let state = proxy.library.state(number);
    json!({
        "index": state.state,
        "entries": state.entries,
        "secondsSinceConfirmed": state.confirmed.map(|since| since.as_secs_f64()),
        "lastError": state.error,
        "documentErrors": state.document_errors.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "bytes": state.bytes,
    })
}

/// By group-version, the resources and who lists them; and what servers contradict each other in.
pub(super) fn catalog(proxy: &Proxy) -> Value {
    let catalog = proxy.book.catalog();
    let mut group_versions = serde_json::Map::new();
    for (known, server) in catalog.servers.iter().zip(proxy.fleet.iter()) {
        let Some(document) = known.counts() else { continue };
        for group in document.api.list.items.iter().chain(&document.apis.list.items) {
            for version in &group.versions {
                let slash = if group.name().is_empty() { "" } else { "/" };
                let name = format!("{}{slash}{}", group.name(), version.version);
                let resources = group_versions.entry(name).or_insert_with(|| json!({}));
                for resource in &version.resources {
                    let mut names = vec![resource.resource.clone()];
                    let sub = |sub: &crate::api::discovery::SubresourceDiscovery| {
                        format!("{}/{}", resource.resource, sub.subresource)
                    };
                    names.extend(resource.subresources.iter().map(sub));
                    for name in names {
                        push(&mut resources[name], &server.name);
                    }
                }
            }
        }
    }
    group_versions.sort_keys();
    let etag = |tree| {
        let etag = catalog.answers.as_ref()?.etag(Key::Aggregated(tree, AggregatedVersion::V2))?;
        Some(etag.digits().to_owned())
    };
    json!({
        "generation": catalog.generation,
        "etags": { "/api": etag(Tree::Api), "/apis": etag(Tree::Apis) },
        "conflicts": catalog.conflicts().collect::<Vec<_>>(),
        "groupVersions": group_versions,
    })
}

fn push(list: &mut Value, name: &str) {
    match list {
        Value::Array(names) => names.push(json!(name)),
        other => *other = json!([name]),
    }
}

/// Where a request would go now, and why.
///
/// # Errors
/// What is missing or wrong in the question.
pub(super) fn explain<'a>(proxy: &Proxy, asked: impl Fn(&str) -> Option<&'a str>) -> Result<Value, String> {
    const USAGE: &str =
        "ask as /debug/explain?path=/apis/apps/v1/deployments&verb=list[&home=NAME][&user=NAME&groups=G,G]";
    let target = asked("path").ok_or(USAGE)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') {
        return Err(USAGE.to_owned());
    }
    let (method, watch) = match asked("verb").unwrap_or("get") {
        "get" | "list" => (Method::GET, false),
        "watch" => (Method::GET, true),
        "create" => (Method::POST, false),
        "update" => (Method::PUT, false),
        "patch" => (Method::PATCH, false),
        "delete" | "deletecollection" => (Method::DELETE, false),
        verb => return Err(format!("{verb:?} is no verb of Kubernetes; {USAGE}")),
    };
    let decoded = request_info::decode(path).map_err(|error| error.to_string())?;
    let query = if watch { Some("watch=1") } else { query };
    let info = RequestInfo::parse(&method, path, &decoded, query).map_err(|error| error.to_string())?;
    let home = match (asked("home"), proxy.home) {
        (Some(name), _) => {
            proxy.fleet.position(name).ok_or_else(|| format!("there is no API server {name:?}"))?
        }
        (None, Home::Sidecar(home)) => home,
        (None, Home::Front(..)) => return Err("in front mode say which home to assume: &home=NAME".into()),
    };
    let (decision, catalog) = proxy.explain(&info, &decoded, home, caller(&asked));
    let names = |servers: ServerSet| -> Vec<&str> {
        servers.iter().map(|number| &*proxy.fleet.get(number).name).collect()
    };
    let serving = catalog.serving(&info);
    let (goes, to, reason) = match decision {
        Decision::Home(reason) => ("home", ServerSet::one(home), reason),
        Decision::Peers(peers, reason) => ("peer", peers, reason),
        Decision::Unavailable(reason) => ("nowhere (503)", ServerSet::EMPTY, reason),
        Decision::Forbidden(reason) => ("nowhere (403)", ServerSet::EMPTY, reason),
    };
    let (goes, to, reason, because) = match merged(proxy, &method, &decoded) {
        Some(because) => ("here", ServerSet::EMPTY, "merged-document", because),
        None => (goes, to, reason.as_str(), reason.explain()),
    };
    Ok(json!({
        "request": {
            "isResource": info.is_resource, "verb": info.verb, "group": info.group, "version": info.version,
            "namespace": info.namespace, "resource": info.resource, "subresource": info.subresource,
            "name": info.name,
        },
        "home": *proxy.fleet.get(home).name,
        "goes": goes,
        "to": names(to),
        "reason": reason,
        "because": because,
        "listedBy": { "asCurrent": names(serving.current), "asStale": names(serving.stale) },
        "fresh": names(catalog.fresh),
        "unknown": names(catalog.unknown),
        "healthy": names(proxy.fleet.healthy()),
        "catalogGeneration": catalog.generation,
    }))
}

/// For whom it is asked: somebody with a certificate, if he is named.
fn caller<'a>(asked: &impl Fn(&str) -> Option<&'a str>) -> Caller {
    let Some(name) = asked("user") else { return Caller::Anonymous };
    let groups = asked("groups").unwrap_or_default().split(',').filter(|group| !group.is_empty());
    let groups = groups.map(str::to_owned).collect();
    Caller::Certificate(Arc::new(UserInfo { name: name.to_owned(), groups, ..UserInfo::default() }))
}

/// Why a request is answered by nobody but us, if it is.
fn merged(proxy: &Proxy, method: &Method, path: &str) -> Option<&'static str> {
    if *method != Method::GET || !proxy.policy.load().settings.merge {
        return None;
    }
    if DiscoveryPath::of(path).is_some() {
        return Some("discovery is merged; home is asked whether the caller may read it");
    }
    path.starts_with("/openapi/").then_some(
        "OpenAPI is merged; a document that one server has whole comes from there, from home if that has it",
    )
}
