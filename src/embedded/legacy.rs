//! The forms of discovery that older clients read, derived from the v2 document.
//!
//! It shares nothing with [`crate::api::discovery::legacy`]: tests compare what the proxy makes of a v2 document with
//! what this server makes of the same, and shared code would be wrong in both places alike.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::document::{Document, group_name};
use crate::pki::base64;

/// By group, version and resource: the version that is stored, behind its group if that is another one.
pub(super) type StorageVersions = HashMap<(String, String, String), String>;

/// What kube-apiserver 1.32 to 1.36 store in another version than the listed one: group, listed version, resource,
/// stored version. Told by the hashes that they list.
const STORED_OTHERWISE: [(&str, &str, &str, &str); 5] = [
    ("events.k8s.io", "v1", "events", "/v1"),
    ("autoscaling", "v1", "horizontalpodautoscalers", "v2"),
    ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", "v1beta1"),
    ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", "v1beta1"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "v1beta1"),
];

/// `/api`
pub(super) fn api_versions(document: &Document, address: SocketAddr) -> Value {
    let versions: Vec<_> = document.group("").map(version_names).unwrap_or_default();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string() }],
    })
}

/// `/apis`
pub(super) fn group_list(document: &Document) -> Value {
    let groups = document.value["items"].as_array().into_iter().flatten();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.map(summary).collect::<Vec<_>>() })
}

/// `/apis/<group>`
pub(super) fn group(document: &Document, name: &str) -> Option<Value> {
    let mut whole = Map::new();
    whole.insert("kind".into(), "APIGroup".into());
    whole.insert("apiVersion".into(), "v1".into());
    whole.extend(summary(document.group(name)?).as_object().cloned().unwrap_or_default());
    Some(whole.into())
}

/// `/api/<version>` and `/apis/<group>/<version>`
pub(super) fn resource_list(
    document: &Document,
    stored: &StorageVersions,
    group: &str,
    version: &str,
) -> Option<Value> {
    let found = document.version(group, version)?;
    let mut resources = Vec::new();
    for parent in found["resources"].as_array().into_iter().flatten() {
        let name = parent["resource"].as_str().unwrap_or_default();
        let mut row = resource(parent, name, parent);
        if is_stored(parent) {
            let kind = parent["responseKind"]["kind"].as_str().unwrap_or_default();
            row["storageVersionHash"] = storage_hash(stored, group, version, name, kind).into();
        }
        resources.push(row);
        for sub in parent["subresources"].as_array().into_iter().flatten() {
            let name =
                [&parent["resource"], &sub["subresource"]].map(|part| part.as_str().unwrap_or_default());
            resources.push(resource(parent, &name.join("/"), sub));
        }
    }
    let mut list = Map::new();
    list.insert("kind".into(), "APIResourceList".into());
    // Upstream leaves it out in the core group.
    if !group.is_empty() {
        list.insert("apiVersion".into(), "v1".into());
    }
    list.insert("groupVersion".into(), group_version(group, version).into());
    list.insert("resources".into(), resources.into());
    Some(list.into())
}

/// Whether objects of it are kept: reviews and bindings can't be listed, component statuses not be made.
fn is_stored(resource: &Value) -> bool {
    let verbs = resource["verbs"].as_array();
    let has = |wanted: &str| verbs.is_some_and(|verbs| verbs.iter().any(|verb| verb == wanted));
    has("list") && has("create")
}

/// Upstream: `k8s.io/apiserver/pkg/endpoints/discovery/storageversionhash.go`.
fn storage_hash(stored: &StorageVersions, group: &str, version: &str, resource: &str, kind: &str) -> String {
    let set = stored.get(&(group.to_owned(), version.to_owned(), resource.to_owned()));
    let known = || {
        let mut table = STORED_OTHERWISE.iter();
        table.find(|row| (row.0, row.1, row.2) == (group, version, resource)).map(|row| row.3)
    };
    let stored = set.map(String::as_str).or_else(known).unwrap_or(version);
    let (group, version) = stored.split_once('/').unwrap_or((group, stored));
    base64(&Sha256::digest(format!("{group}/{version}/{kind}"))[..8])
}

/// How an object of this group-version writes its `apiVersion`.
pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn version_names(group: &Value) -> Vec<&str> {
    let versions = group["versions"].as_array().into_iter().flatten();
    versions.filter_map(|version| version["version"].as_str()).collect()
}

fn summary(group: &Value) -> Value {
    let name = group_name(group);
    let versions: Vec<_> = version_names(group)
        .iter()
        .map(|version| json!({ "groupVersion": group_version(name, version), "version": version }))
        .collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions.first() })
}

fn resource(parent: &Value, name: &str, entry: &Value) -> Value {
    let mut value = json!({
        "name": name,
        "singularName": entry["singularResource"].as_str().unwrap_or_default(),
        "namespaced": parent["scope"] == "Namespaced",
    });
    let response = &entry["responseKind"];
    for key in ["group", "version"] {
        if response[key].as_str().is_some_and(|text| !text.is_empty()) {
            value[key] = response[key].clone();
        }
    }
    value["kind"] = response["kind"].clone();
    value["verbs"] = entry["verbs"].clone();
    for key in ["shortNames", "categories"] {
        if !entry[key].is_null() {
            value[key] = entry[key].clone();
        }
    }
    value
}
