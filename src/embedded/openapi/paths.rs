//! What can be done at which path. Clients look here for query parameters that a server understands.

use serde_json::{Map, Value, json};

use super::schema::{Dialect, name_of};

/// The resources of one group-version, as its entry in v2 discovery has them.
pub(super) struct GroupVersion<'a> {
    pub(super) dialect: Dialect,
    /// `api/v1` or `apis/<group>/<version>`.
    pub(super) root: &'a str,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
}

/// Verb of discovery, method, action, query parameters.
type Operation = (&'static str, &'static str, &'static str, &'static [&'static str]);

const LIST: &[&str] = &["continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "propagationPolicy"];

const OF_ALL: [Operation; 1] = [("list", "get", "list", LIST)];
const OF_COLLECTION: [Operation; 3] = [
    ("list", "get", "list", LIST),
    ("create", "post", "post", WRITE),
    ("deletecollection", "delete", "deletecollection", DELETE),
];
const OF_OBJECT: [Operation; 5] = [
    ("get", "get", "get", &[]),
    ("update", "put", "put", WRITE),
    ("create", "post", "post", WRITE),
    ("patch", "patch", "patch", PATCH),
    ("delete", "delete", "delete", DELETE),
];

// === impl GroupVersion ===

impl GroupVersion<'_> {
    /// Adds the paths of one resource and its subresources.
    pub(super) fn add(&self, paths: &mut Map<String, Value>, resource: &Value) {
        let name = text(&resource["resource"]);
        let namespaced = resource["scope"] == "Namespaced";
        let inside = if namespaced { "namespaces/{namespace}/" } else { "" };
        let collection = format!("/{}/{inside}{name}", self.root);
        if namespaced {
            let everywhere = format!("/{}/{name}", self.root);
            self.put(paths, everywhere, resource, resource, &OF_ALL, &[]);
        }
        let namespace: &[&str] = if namespaced { &["namespace"] } else { &[] };
        self.put(paths, collection.clone(), resource, resource, &OF_COLLECTION, namespace);
        let one = [&["name"], namespace].concat();
        // What is created stands in the collection, but for subresources.
        self.put(paths, format!("{collection}/{{name}}"), resource, resource, &without_create(), &one);
        for sub in resource["subresources"].as_array().into_iter().flatten() {
            let path = format!("{collection}/{{name}}/{}", text(&sub["subresource"]));
            self.put(paths, path, sub, resource, &OF_OBJECT, &one);
        }
    }

    fn put(
        &self,
        paths: &mut Map<String, Value>,
        path: String,
        entry: &Value,
        parent: &Value,
        operations: &[Operation],
        in_path: &[&str],
    ) {
        let verbs = entry["verbs"].as_array();
        let can = |wanted: &str| verbs.is_some_and(|verbs| verbs.iter().any(|verb| verb == wanted));
        let mut item = Map::new();
        for (verb, method, action, parameters) in operations.iter().filter(|operation| can(operation.0)) {
            let operation = self.operation(entry, parent, (verb, action), parameters);
            item.insert((*method).to_owned(), operation);
        }
        if item.is_empty() {
            return;
        }
        if !in_path.is_empty() {
            let parameters = in_path.iter().map(|name| self.parameter(name, "path"));
            item.insert("parameters".into(), parameters.collect());
        }
        paths.insert(path, item.into());
    }

    fn operation(
        &self,
        entry: &Value,
        parent: &Value,
        (verb, action): (&str, &str),
        query: &[&str],
    ) -> Value {
        let gvk @ [group, version, kind] = kind_of(entry, [self.group, self.version]);
        let list = format!("{kind}List");
        let connects = is_tunnel(kind);
        let action = if connects { "connect" } else { action };
        let schema = if connects {
            json!({ "type": "string" })
        } else {
            let kind = if verb == "list" { &list } else { kind };
            self.dialect.reference(&name_of(group, version, kind))
        };
        let mut parameters: Vec<Value> = query.iter().map(|name| self.parameter(name, "query")).collect();
        let mut operation = json!({
            "description": format!("{verb} {kind}"),
            "operationId": format!("{verb}_{}_{}_{}", self.root, text(&parent["resource"]),
                entry["subresource"].as_str().unwrap_or_default()),
        });
        let takes_body = matches!(action, "post" | "put" | "patch");
        match self.dialect {
            Dialect::V2 => {
                if takes_body {
                    let body = json!({ "name": "body", "in": "body", "required": true, "schema": schema });
                    parameters.insert(0, body);
                }
                operation["parameters"] = parameters.into();
                operation["responses"] = json!({ "200": { "description": "OK", "schema": schema } });
            }
            Dialect::V3 => {
                operation["parameters"] = parameters.into();
                let content = |media: &str| json!({ media: { "schema": schema } });
                if takes_body {
                    operation["requestBody"] = json!({ "content": content("*/*"), "required": true });
                }
                operation["responses"] =
                    json!({ "200": { "description": "OK", "content": content("application/json") } });
            }
        }
        operation["x-kubernetes-action"] = json!(action);
        operation["x-kubernetes-group-version-kind"] = gvk_value(gvk);
        operation
    }

    fn parameter(&self, name: &str, place: &str) -> Value {
        let of = match name {
            "force" | "watch" => "boolean",
            "limit" | "gracePeriodSeconds" => "integer",
            _ => "string",
        };
        let mut parameter = json!({ "name": name, "in": place, "description": format!("The {name}.") });
        if place == "path" {
            parameter["required"] = json!(true);
        }
        match self.dialect {
            Dialect::V2 => {
                parameter["type"] = json!(of);
                parameter["uniqueItems"] = json!(true);
            }
            Dialect::V3 => parameter["schema"] = json!({ "type": of, "uniqueItems": true }),
        }
        parameter
    }
}

/// Group, version and kind of what a resource or subresource answers; empty ones are those of the list.
pub(super) fn kind_of<'a>(entry: &'a Value, [group, version]: [&'a str; 2]) -> [&'a str; 3] {
    let response = &entry["responseKind"];
    let kind = text(&response["kind"]);
    match text(&response["version"]) {
        "" => [group, version, kind],
        elsewhere => [text(&response["group"]), elsewhere, kind],
    }
}

/// Whether a kind is no object but the options of a connection, such as `PodExecOptions`.
pub(super) fn is_tunnel(kind: &str) -> bool {
    kind.ends_with("Options")
}

fn gvk_value([group, version, kind]: [&str; 3]) -> Value {
    json!({ "group": group, "kind": kind, "version": version })
}

fn without_create() -> Vec<Operation> {
    OF_OBJECT.into_iter().filter(|operation| operation.0 != "create").collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
