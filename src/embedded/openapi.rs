//! `/openapi/v3`, just so much that `kubectl apply` and `create -f` find out that the server validates.
//!
//! kubectl looks for a `fieldValidation` parameter on the PATCH of the object's kind (upstream:
//! `cli-runtime/pkg/resource/query_param_verifier_v3.go`). The schemas know no fields. `/openapi/v2`, which kubectl
//! before 1.31 reads for the same purpose, is not served: there `--validate=false` helps.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::discovery::{Discovery, Tree, group_name, tree_of};
use super::legacy::group_version;

/// `None` if the path is not below `/openapi/v3`.
pub(super) fn answer(discovery: &Discovery, path: &str) -> Option<Answer> {
    let below = path.strip_prefix("/openapi/v3")?;
    let segments: Vec<&str> = below.split('/').skip(1).collect();
    let (group, version) = match segments[..] {
        [] => return Some(answer::json(StatusCode::OK, &index(discovery))),
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let document = discovery.snapshot(tree_of(group));
    Some(match document.version(group, version) {
        Some(found) => answer::json(StatusCode::OK, &of_version(&found["resources"], group, version)),
        None => answer::text(StatusCode::NOT_FOUND, ""),
    })
}

fn index(discovery: &Discovery) -> Value {
    let mut paths = Map::new();
    for tree in [Tree::Api, Tree::Apis] {
        let document = discovery.snapshot(tree);
        for group in document.value["items"].as_array().into_iter().flatten() {
            for version in group["versions"].as_array().into_iter().flatten() {
                let version = version["version"].as_str().unwrap_or_default();
                let path = root(group_name(group), version);
                paths.insert(path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}") }));
            }
        }
    }
    json!({ "paths": paths })
}

fn root(group: &str, version: &str) -> String {
    let prefix = if group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", group_version(group, version))
}

fn of_version(resources: &Value, group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in resources.as_array().into_iter().flatten() {
        let verbs = resource["verbs"].as_array();
        if !verbs.is_some_and(|verbs| verbs.iter().any(|verb| verb == "patch")) {
            continue;
        }
        let namespace = if resource["scope"] == "Namespaced" { "namespaces/{namespace}/" } else { "" };
        let name = resource["resource"].as_str().unwrap_or_default();
        let kind = resource["responseKind"]["kind"].as_str().unwrap_or_default();
        let gvk = json!({ "group": group, "version": version, "kind": kind });
        let patch = json!({
            "parameters": [{ "name": "fieldValidation", "in": "query", "schema": { "type": "string" } }],
            "responses": { "200": { "description": "OK" } },
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": gvk,
        });
        paths.insert(
            format!("/{}/{namespace}{name}/{{name}}", root(group, version)),
            json!({ "patch": patch }),
        );
        let schema = json!({
            "type": "object", "description": "This server in memory knows no fields.",
            "x-kubernetes-group-version-kind": [gvk],
        });
        schemas.insert(kind.to_owned(), schema);
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "unversioned" },
        "paths": paths, "components": { "schemas": schemas },
    })
}
