//! What a server lists because something was registered: custom resources, and what extension servers have.
//!
//! Upstream: `k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_discovery_controller.go`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::document::{Document, Tree, group_name};
use super::resource_spec::ResourceSpec;
use super::store::Registered;

/// What extension servers answer, by group and version; one that is not in here is away.
pub(super) type Extensions = HashMap<(String, String), Vec<ResourceSpec>>;

/// A group-version that was registered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Addition {
    group: String,
    version: String,
    stale: bool,
    resources: Vec<Value>,
}

// === impl Addition ===

impl Addition {
    /// All of them in the order in which they are listed: by group, its newest version first.
    pub(super) fn all(registered: &Registered, crds: bool, extensions: &Extensions) -> Vec<Self> {
        let mut all = Vec::new();
        if crds {
            registered.crds.iter().for_each(|crd| add_crd(&mut all, crd));
        }
        registered.services.iter().filter_map(|service| extension(service, extensions)).for_each(|it| {
            if !all.iter().any(|other| other.is(&it.group, &it.version)) {
                all.push(it);
            }
        });
        all.sort_by_cached_key(|it| (it.group.clone(), age(&it.version), it.version.clone()));
        all
    }

    /// What nobody registered: a number in its name tells it from others.
    pub(super) fn made_up(tree: Tree, number: u64) -> Self {
        let (group, resource) = match tree {
            Tree::Api => (String::new(), format!("changing{number}")),
            Tree::Apis => (format!("changing{number}.example.com"), "things".to_owned()),
        };
        let resource = ResourceSpec::new(&resource, "Changing", true).to_value(&group, "v1");
        Self { group, version: "v1".into(), stale: false, resources: vec![resource] }
    }

    /// `document` with this behind it.
    pub(super) fn to(&self, document: &Document) -> Document {
        let mut value = document.value.clone();
        self.add_to(&mut value);
        Document::new(value)
    }

    fn is(&self, group: &str, version: &str) -> bool {
        self.group == group && self.version == version
    }

    /// Puts this behind what `document` lists; what it lists itself under the same name stays.
    pub(super) fn add_to(&self, document: &mut Value) {
        let Some(groups) = document.get_mut("items").and_then(Value::as_array_mut) else { return };
        let group = position_or(
            groups,
            |item| group_name(item) == self.group,
            || json!({ "metadata": { "name": self.group, "creationTimestamp": null }, "versions": [] }),
        );
        let Some(versions) = group.get_mut("versions").and_then(Value::as_array_mut) else { return };
        let version = position_or(
            versions,
            |item| item["version"] == self.version,
            || {
                let freshness = if self.stale { "Stale" } else { "Current" };
                if self.resources.is_empty() {
                    json!({ "version": self.version, "freshness": freshness })
                } else {
                    json!({ "version": self.version, "resources": [], "freshness": freshness })
                }
            },
        );
        let Some(resources) = version.get_mut("resources").and_then(Value::as_array_mut) else { return };
        for resource in &self.resources {
            position_or(resources, |item| item["resource"] == resource["resource"], || resource.clone());
        }
    }
}

fn add_crd(all: &mut Vec<Addition>, crd: &Value) {
    let spec = &crd["spec"];
    let group = text(&spec["group"]);
    let served = spec["versions"].as_array().into_iter().flatten().filter(|it| it["served"] == true);
    for version in served {
        let name = text(&version["name"]);
        let resource = resource(spec, group, name, version);
        match all.iter_mut().find(|it| it.is(group, name)) {
            Some(found) => found.resources.push(resource),
            None => all.push(Addition {
                group: group.to_owned(),
                version: name.to_owned(),
                stale: false,
                resources: vec![resource],
            }),
        }
    }
}

fn resource(spec: &Value, group: &str, version: &str, entry: &Value) -> Value {
    let names = &spec["names"];
    let kind = json!({ "group": group, "version": version, "kind": names["kind"] });
    let mut value = json!({
        "resource": names["plural"], "responseKind": kind, "scope": spec["scope"],
        "singularResource": names["singular"],
        "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
    });
    for list in ["shortNames", "categories"] {
        if names[list].is_array() {
            value[list] = names[list].clone();
        }
    }
    let scale = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
    let subresources: Vec<Value> = [("status", &kind), ("scale", &scale)]
        .into_iter()
        .filter(|(name, _)| entry["subresources"][name].is_object())
        .map(|(name, kind)| {
            json!({ "subresource": name, "responseKind": kind, "verbs": ["get", "patch", "update"] })
        })
        .collect();
    if !subresources.is_empty() {
        value["subresources"] = subresources.into();
    }
    value
}

/// `None` for an APIService of what an API server serves itself.
fn extension(service: &Arc<Value>, extensions: &Extensions) -> Option<Addition> {
    let spec = &service["spec"];
    if !spec["service"].is_object() {
        return None;
    }
    let (group, version) = (text(&spec["group"]).to_owned(), text(&spec["version"]).to_owned());
    let answer = extensions.get(&(group.clone(), version.clone()));
    let resources =
        answer.into_iter().flatten().map(|resource| resource.to_value(&group, &version)).collect();
    Some(Addition { group, version, stale: answer.is_none(), resources })
}

/// Smaller is listed earlier: general availability, beta, alpha, each from the latest to the first; then the rest.
/// Upstream: `k8s.io/apimachinery/pkg/version/helpers.go`.
fn age(version: &str) -> (u8, Reverse<u64>, Reverse<u64>) {
    let last = (3, Reverse(0), Reverse(0));
    let Some(rest) = version.strip_prefix('v') else { return last };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, stage) = rest.split_at(digits);
    let Ok(major) = major.parse() else { return last };
    let of = |stage: u8, minor: &str| minor.parse().ok().map(|minor| (stage, Reverse(major), Reverse(minor)));
    let read = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
        (Some(minor), _) => of(1, minor),
        (_, Some(minor)) => of(2, minor),
        _ if stage.is_empty() => Some((0, Reverse(major), Reverse(0))),
        _ => None,
    };
    read.unwrap_or(last)
}

fn position_or(
    items: &mut Vec<Value>,
    matches: impl Fn(&Value) -> bool,
    make: impl FnOnce() -> Value,
) -> &mut Value {
    let at = items.iter().position(matches).unwrap_or_else(|| {
        items.push(make());
        items.len() - 1
    });
    &mut items[at]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn newer_and_more_finished_versions_are_listed_first() {
        let expected =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1"];
        let mut sorted = expected;
        sorted.reverse();
        sorted.sort_by_key(|version| age(version));
        assert_eq!(sorted, expected);
    }
}
