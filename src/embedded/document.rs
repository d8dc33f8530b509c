//! One tree of discovery, its ETag, and what it says about a resource.

use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::answer::{self, Answer};
use crate::body;

/// The two trees of discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// `/api`: the core group.
    Api,
    /// `/apis`: every other group.
    Apis,
}

/// One tree with what is derived from it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    etag: String,
}

/// What discovery says about one resource or subresource.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) kind: String,
    pub(super) namespaced: bool,
    pub(super) verbs: Vec<String>,
    /// Whether the resource (the parent, for a subresource) has a `status` of its own.
    pub(super) has_status: bool,
    /// For a subresource: whether it answers with its parent's own kind.
    pub(super) same_kind: bool,
}

/// The answer to "do you serve this?".
pub(super) enum Lookup {
    Yes(Served),
    /// The group is known, this version, resource or subresource of it is not.
    NotInGroup,
    NoGroup,
    /// Listed, but its extension server is away.
    Stale,
}

// === impl Served ===

impl Served {
    /// Whether it can be changed at all: `pods/log` has the kind of its parent too, but is no door to it.
    pub(super) fn is_written(&self) -> bool {
        self.verbs.iter().any(|verb| verb == "update" || verb == "patch")
    }
}

// === impl Document ===

impl Document {
    pub(super) fn new(value: Value) -> Self {
        let mut hashed = value.clone();
        if let Some(fields) = hashed.as_object_mut() {
            fields.shift_remove("kind");
            fields.shift_remove("apiVersion");
        }
        // Upstream hashes the Go encoding of the list without its type, and quotes the upper-case hex.
        let digest = Sha512::digest(hashed.to_string());
        let hex: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Self { value, etag: format!("\"{hex}\"") }
    }

    /// The aggregated form: 200, or 304 if the client has it already.
    pub(super) fn answer(&self, request: &HeaderMap, beta: bool) -> Answer {
        if request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == self.etag.as_bytes()) {
            let mut answer = Answer::new(body::empty());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            self.decorate(answer.headers_mut());
            return answer;
        }
        let mut value = self.value.clone();
        let content_type = if beta {
            value["apiVersion"] = json!("apidiscovery.k8s.io/v2beta1");
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        } else {
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        };
        let mut answer = answer::json(StatusCode::OK, &value);
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        self.decorate(answer.headers_mut());
        answer
    }

    fn decorate(&self, headers: &mut HeaderMap) {
        if let Ok(etag) = header::HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        headers.insert(header::VARY, header::HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public"));
    }

    pub(super) fn group(&self, name: &str) -> Option<&Value> {
        self.value["items"].as_array()?.iter().find(|item| group_name(item) == name)
    }

    pub(super) fn version(&self, group: &str, version: &str) -> Option<&Value> {
        named(&self.group(group)?["versions"], "version", version)
    }

    pub(super) fn lookup(&self, group: &str, version: &str, resource: &str, sub: Option<&str>) -> Lookup {
        if self.group(group).is_none() {
            return Lookup::NoGroup;
        }
        let Some(found) = self.version(group, version) else { return Lookup::NotInGroup };
        if found["freshness"] == "Stale" {
            return Lookup::Stale;
        }
        let Some(parent) = named(&found["resources"], "resource", resource) else {
            return Lookup::NotInGroup;
        };
        let entry = match sub {
            None => Some(parent),
            Some(sub) => named(&parent["subresources"], "subresource", sub),
        };
        let Some(entry) = entry else { return Lookup::NotInGroup };
        let verbs = entry["verbs"].as_array().into_iter().flatten();
        Lookup::Yes(Served {
            kind: text(&parent["responseKind"]["kind"]),
            namespaced: parent["scope"] == "Namespaced",
            verbs: verbs.map(text).collect(),
            has_status: named(&parent["subresources"], "subresource", "status").is_some(),
            same_kind: entry["responseKind"]["kind"] == parent["responseKind"]["kind"],
        })
    }
}

/// The core group's entry has no name.
pub(super) fn group_name(item: &Value) -> &str {
    item["metadata"]["name"].as_str().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn named<'a>(list: &'a Value, key: &str, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item[key] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_is_the_sha_512_of_the_list_without_its_type() {
        let list = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [],
        });
        // printf '{"metadata":{},"items":[]}' | sha512sum
        let expected = "\"E31D92F2F415F58D79E51A08706C00FE868ED961736AD66A944AC75AA3682B33\
                        24F1787C9AF1250F28E111EEF86B2C3CD65FC48D3A283E0598FFA800177D68C1\"";
        assert_eq!(Document::new(list).etag, expected);
    }
}
