//! The forms of discovery that older clients read, derived from the v2 document.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::discovery::{Document, group_name};

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
pub(super) fn resource_list(document: &Document, group: &str, version: &str) -> Option<Value> {
    let found = document.version(group, version)?;
    let mut resources = Vec::new();
    for parent in found["resources"].as_array().into_iter().flatten() {
        resources.push(resource(parent, parent["resource"].as_str().unwrap_or_default(), parent));
        for sub in parent["subresources"].as_array().into_iter().flatten() {
            let name =
                [&parent["resource"], &sub["subresource"]].map(|part| part.as_str().unwrap_or_default());
            resources.push(resource(parent, &name.join("/"), sub));
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version(group, version), "resources": resources,
    }))
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
