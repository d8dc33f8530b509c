//! A schema for every kind: enough that `kubectl explain` has something to say and that client-side validation
//! lets through what the server takes. Nothing is known of what stands inside `spec` and `status`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::embedded::legacy::group_version;

/// Which OpenAPI it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

/// Field names and their types, by kind.
static FIELDS: LazyLock<HashMap<&str, Vec<(&str, &str)>>> = LazyLock::new(|| {
    let mut kinds: HashMap<_, Vec<_>> = HashMap::new();
    for line in include_str!("fields.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        kinds.entry(kind).or_default().extend(words.filter_map(|word| word.split_once(':')));
    }
    kinds
});

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

// === impl Dialect ===

impl Dialect {
    /// A reference to a schema.
    pub(super) fn reference(self, name: &str) -> Value {
        let place = match self {
            Self::V2 => "definitions",
            Self::V3 => "components/schemas",
        };
        json!({ "$ref": format!("#/{place}/{name}") })
    }

    /// A field that is described elsewhere: beside a reference, OpenAPI 3.0 allows nothing.
    fn described(self, description: &str, name: &str) -> Value {
        let reference = self.reference(name);
        match self {
            Self::V2 => json!({ "description": description, "$ref": reference["$ref"] }),
            Self::V3 => json!({ "description": description, "default": {}, "allOf": [reference] }),
        }
    }
}

/// What upstream calls the schema of a kind: by Go package for its own, by reversed domain for others.
pub(super) fn name_of(group: &str, version: &str, kind: &str) -> String {
    match group {
        "apiextensions.k8s.io" => {
            return format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}");
        }
        "apiregistration.k8s.io" => {
            return format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}");
        }
        _ => {}
    }
    let builtin = group.strip_suffix(".k8s.io").or_else(|| (!group.contains('.')).then_some(group));
    match builtin {
        Some("") => format!("io.k8s.api.core.{version}.{kind}"),
        Some(group) => {
            let package = group.split('.').next().unwrap_or_default();
            format!("io.k8s.api.{package}.{version}.{kind}")
        }
        None => {
            let reversed: Vec<&str> = group.rsplit('.').collect();
            format!("{}.{version}.{kind}", reversed.join("."))
        }
    }
}

/// Adds the schema of a kind, of its list if there is one, and of what they refer to.
pub(super) fn add(schemas: &mut Map<String, Value>, dialect: Dialect, gvk: [&str; 3], listed: bool) {
    let [group, version, kind] = gvk;
    let name = name_of(group, version, kind);
    schemas.entry(OBJECT_META).or_insert_with(|| {
        let description =
            "ObjectMeta is what every object has: its name, where it lives, what is known of it.";
        json!({ "description": description, "type": "object", "properties": properties("ObjectMeta") })
    });
    schemas.insert(name.clone(), of_kind(dialect, gvk));
    if listed {
        schemas.entry(LIST_META).or_insert_with(|| {
            let description = "ListMeta is what every list has.";
            json!({ "description": description, "type": "object", "properties": properties("ListMeta") })
        });
        let item = match dialect {
            Dialect::V2 => dialect.reference(&name),
            Dialect::V3 => json!({ "default": {}, "allOf": [dialect.reference(&name)] }),
        };
        let mut fields = typed();
        fields.insert("items".into(), json!({ "type": "array", "items": item }));
        fields.insert("metadata".into(), dialect.described("Metadata of the list.", LIST_META));
        let list = format!("{kind}List");
        let schema = json!({
            "description": format!("{list} is a list of objects of kind {kind}."),
            "type": "object", "required": ["items"], "properties": fields,
            "x-kubernetes-group-version-kind": [{ "group": group, "kind": list, "version": version }],
        });
        schemas.insert(name_of(group, version, &list), schema);
    }
}

fn of_kind(dialect: Dialect, [group, version, kind]: [&str; 3]) -> Value {
    let mut fields = typed();
    fields.insert("metadata".into(), dialect.described("Standard object's metadata.", OBJECT_META));
    if FIELDS.contains_key(kind) {
        fields.extend(properties(kind));
    } else {
        for (field, of) in [("spec", "What is wanted of"), ("status", "What is seen of")] {
            let description = format!("{of} this {kind}.");
            fields.insert(field.into(), json!({ "description": description, "type": "object" }));
        }
    }
    json!({
        "description": format!("{kind} of {}, as a server in memory knows it.", group_version(group, version)),
        "type": "object", "properties": fields,
        "x-kubernetes-group-version-kind": [{ "group": group, "kind": kind, "version": version }],
    })
}

fn typed() -> Map<String, Value> {
    let field = |description: &str| json!({ "description": description, "type": "string" });
    let version = field("APIVersion is the group and the version that the object is written in.");
    let kind = field("Kind is the type of the object.");
    Map::from_iter([("apiVersion".to_owned(), version), ("kind".to_owned(), kind)])
}

fn properties(kind: &str) -> Map<String, Value> {
    let fields = FIELDS.get(kind).into_iter().flatten();
    fields.map(|(name, of)| ((*name).to_owned(), property(kind, name, of))).collect()
}

fn property(kind: &str, name: &str, of: &str) -> Value {
    let mut value = json!({ "description": format!("The field {name} of {kind}.") });
    match of {
        "any" => {}
        "map" => {
            value["type"] = json!("object");
            value["additionalProperties"] = json!({ "type": "string" });
        }
        "array" => {
            value["type"] = json!("array");
            value["items"] = json!({ "type": "object" });
        }
        "strings" => {
            value["type"] = json!("array");
            value["items"] = json!({ "type": "string" });
        }
        plain => value["type"] = json!(plain),
    }
    value
}
