//! A resource as a test or the demo describes it.

use serde_json::{Value, json};

/// A resource to be added at run time, as a CRD would.
#[derive(Clone, Debug)]
pub struct ResourceSpec {
    /// Plural, as in paths.
    pub resource: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What may be done with it; [`ResourceSpec::new`] fills in all usual verbs.
    pub verbs: Vec<String>,
    /// Names of subresources that are updated in place, such as `status`.
    pub subresources: Vec<String>,
}

// === impl ResourceSpec ===

impl ResourceSpec {
    /// A resource with all usual verbs and no subresource.
    pub fn new(resource: &str, kind: &str, namespaced: bool) -> Self {
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        Self {
            resource: resource.into(),
            kind: kind.into(),
            namespaced,
            verbs: verbs.map(str::to_owned).to_vec(),
            subresources: Vec::new(),
        }
    }

    /// One more subresource.
    #[must_use]
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresources.push(name.into());
        self
    }

    pub(super) fn to_value(&self, group: &str, version: &str) -> Value {
        let kind = json!({ "group": group, "version": version, "kind": self.kind });
        let mut value = json!({
            "resource": self.resource,
            "responseKind": kind,
            "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": self.kind.to_ascii_lowercase(),
            "verbs": self.verbs,
        });
        if !self.subresources.is_empty() {
            let verbs = ["get", "patch", "update"];
            let list = self.subresources.iter();
            let list = list.map(|name| json!({ "subresource": name, "responseKind": kind, "verbs": verbs }));
            value["subresources"] = list.collect();
        }
        value
    }
}
