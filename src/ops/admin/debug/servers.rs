//! `/debug/servers`: every server, and how it is doing.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    discovery::catalog::Knowledge,
    proxy::{Proxy, home::Home},
    servers::{
        Class, Server,
        health::{Health, Reason},
    },
};

/// All servers, or one of them by its number.
pub(in crate::ops::admin) fn servers(proxy: &Proxy, only: Option<usize>) -> Value {
    let catalog = proxy.book.catalog();
    let home = match proxy.home {
        Home::Sidecar(home) => json!(*proxy.fleet.get(home).name),
        Home::Front(..) => Value::Null,
    };
    let servers = proxy.fleet.iter().zip(&catalog.servers).enumerate();
    let servers: Vec<Value> = servers
        .filter(|(number, _)| only.is_none_or(|only| only == *number))
        .map(|(number, (of, known))| server(proxy, number, of, known))
        .collect();
    json!({ "home": home, "generation": catalog.generation, "servers": servers })
}

fn server(proxy: &Proxy, number: usize, server: &Server, known: &Knowledge) -> Value {
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
    let fetched = proxy.metrics.discovery.since_last_sync(&server.name);
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
        "secondsSinceFetch": fetched.map(|since| since.as_secs_f64()),
        "lastError": server.health.last_error(),
        "requests": server.load.requests(),
        "watches": server.load.watches(),
        "connections": connections,
        "openapi": openapi(proxy, number),
        "refresh": server.watched.mode().as_str(),
        "informers": informers(server),
    })
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
