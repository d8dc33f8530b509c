//! `/debug`: the catalog and its decisions as JSON. Nothing here is secret, and nothing changes anything.

use http::Method;
use serde_json::{Value, json};

use crate::{
    api::{
        discovery::DiscoveryPath,
        request_info::{self, RequestInfo},
    },
    proxy::{Proxy, home::Home, route::Decision},
    servers::source::ServerSet,
};

mod catalog;
mod decisions;
mod diff;
mod servers;

pub(super) use catalog::{catalog, catalog_of, discovery};
pub(super) use decisions::decisions;
pub(super) use diff::{matrix, pair, peculiar};
pub(super) use servers::servers;

/// Where a request would go now, and why.
///
/// # Errors
/// What is missing or wrong in the question.
pub(super) fn explain<'a>(proxy: &Proxy, asked: impl Fn(&str) -> Option<&'a str>) -> Result<Value, String> {
    const USAGE: &str = "ask as /debug/explain?path=/apis/apps/v1/deployments&verb=list[&home=NAME]";
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
        (None, Home::Front(_)) => return Err("in front mode say which home to assume: &home=NAME".into()),
    };
    let (decision, catalog) = proxy.explain(&info, &decoded, home);
    let names = |servers: ServerSet| -> Vec<&str> {
        servers.iter().map(|number| &*proxy.fleet.get(number).name).collect()
    };
    let serving = catalog.serving(&info);
    let (goes, to, reason) = match decision {
        Decision::Home(reason) => ("home", ServerSet::one(home), reason),
        Decision::Peers(peers, reason) => ("peer", peers, reason),
        Decision::Unavailable(reason) => ("nowhere (503)", ServerSet::EMPTY, reason),
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
