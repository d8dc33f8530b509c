//! `/debug/catalog`: who serves what, and `/debug/discovery`: what one server said.

use serde_json::{Map, Value, json};

use crate::{
    api::{
        discovery::{Tree, legacy},
        media_type::AggregatedVersion,
    },
    discovery::catalog::{Document, Key},
    proxy::Proxy,
};

/// By group-version, the resources and who lists them; and what servers contradict each other in.
pub(in crate::ops::admin) fn catalog(proxy: &Proxy) -> Value {
    let catalog = proxy.book.catalog();
    let mut group_versions = Map::new();
    for (known, server) in catalog.servers.iter().zip(proxy.fleet.iter()) {
        let Some(document) = known.counts() else { continue };
        each_resource(document, |group_version, resource, _| {
            let resources = group_versions.entry(group_version).or_insert_with(|| json!({}));
            push(&mut resources[resource], &server.name);
        });
    }
    let etag = |tree| {
        let etag = catalog.answers.as_ref()?.etag(Key::Aggregated(tree, AggregatedVersion::V2))?;
        Some(etag.digits().to_owned())
    };
    json!({
        "generation": catalog.generation,
        "etags": { "/api": etag(Tree::Api), "/apis": etag(Tree::Apis) },
        "conflicts": catalog.conflicts().collect::<Vec<_>>(),
        "groupVersions": sorted(group_versions),
    })
}

/// What one server lists by itself: by group-version, the resources and their verbs.
pub(in crate::ops::admin) fn catalog_of(proxy: &Proxy, number: usize) -> Value {
    let catalog = proxy.book.catalog();
    let known = &catalog.servers[number];
    let mut group_versions = Map::new();
    if let Some(document) = known.counts() {
        each_resource(document, |group_version, resource, verbs| {
            group_versions.entry(group_version).or_insert_with(|| json!({}))[resource] = json!(verbs);
        });
    }
    json!({
        "generation": catalog.generation,
        "server": *proxy.fleet.get(number).name,
        "freshness": known.freshness().as_str(),
        "groupVersions": sorted(group_versions),
    })
}

/// The documents of one server as it gave them last, in the form of `apidiscovery.k8s.io/v2` whatever form that was;
/// `None` if it gave none yet.
pub(in crate::ops::admin) fn discovery(proxy: &Proxy, number: usize) -> Option<Value> {
    let catalog = proxy.book.catalog();
    let known = &catalog.servers[number];
    let document = known.document.as_ref()?;
    let server = &proxy.fleet.get(number).name;
    Some(json!({
        "server": **server,
        "freshness": known.freshness().as_str(),
        "secondsSinceFetch": proxy.metrics.discovery.since_last_sync(server).map(|since| since.as_secs_f64()),
        "etags": { "/api": document.api.etag, "/apis": document.apis.etag },
        "/api": document.api.list,
        "/apis": document.apis.list,
    }))
}

/// Calls with each group-version, resource or subresource, and its verbs.
fn each_resource(document: &Document, mut each: impl FnMut(String, String, &[String])) {
    for group in document.api.list.items.iter().chain(&document.apis.list.items) {
        for version in &group.versions {
            let group_version = legacy::group_version(group.name(), &version.version);
            for resource in &version.resources {
                let name = &resource.resource;
                each(group_version.clone(), name.clone(), resource.verbs.as_deref().unwrap_or_default());
                for sub in &resource.subresources {
                    let verbs = sub.verbs.as_deref().unwrap_or_default();
                    each(group_version.clone(), format!("{name}/{}", sub.subresource), verbs);
                }
            }
        }
    }
}

/// So that what changes is all that differs between two answers.
fn sorted(mut group_versions: Map<String, Value>) -> Value {
    group_versions.values_mut().for_each(Value::sort_all_objects);
    group_versions.sort_keys();
    Value::Object(group_versions)
}

fn push(list: &mut Value, name: &str) {
    match list {
        Value::Array(names) => names.push(json!(name)),
        other => *other = json!([name]),
    }
}
