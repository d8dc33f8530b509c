//! `/debug`: the catalog and its decisions as JSON. Nothing here is secret, and nothing changes anything.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    api::{discovery::Tree, media_type::AggregatedVersion},
    discovery::catalog::Key,
    proxy::{Proxy, explain, home::Home},
    servers::{
        Class, Server,
        health::{Health, Reason},
    },
};

/// Every server, and how it is doing.
pub(super) fn servers(proxy: &Proxy) -> Value {
    let catalog = proxy.book.catalog();
    let home = match proxy.home {
        Home::Sidecar(home) => json!(*proxy.fleet.get(home).name),
        Home::Front(_) => Value::Null,
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

/// Where a request would go now, why, and who its caller would be there.
///
/// # Errors
/// What is missing or wrong in the question.
pub(super) fn explain<'a>(proxy: &Proxy, asked: impl Fn(&str) -> Option<&'a str>) -> Result<Value, String> {
    explain::of_proxy(proxy, &explain::Asked::read(asked))
}
