//! The index of OpenAPI v3 of one server: which documents it has, and the hash of each.
//!
//! Upstream: `OpenAPIV3Discovery` in `k8s.io/kube-openapi/pkg/handler3/handler.go`. Everything in an index is what
//! some server says: an entry whose key makes no path is left out, an address that is not the one which the key makes
//! is not believed.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::Deserialize;

use super::members::Members;

/// Where the documents are.
pub const ROOT: &str = "/openapi/v3";

/// Bytes of a key and of a hash; upstream's hash has 128.
const MAX_NAME: usize = 512;

/// The documents of one server, by what stands behind `/openapi/v3/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    entries: BTreeMap<Arc<str>, Option<Arc<str>>>,
}

/// Why an index is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum BadIndex {
    #[error("no index of OpenAPI v3: {0}")]
    Rubbish(String),
    #[error("the index of OpenAPI v3 has more than {0} entries")]
    TooMany(usize),
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "serverRelativeURL", borrow, default)]
    url: Cow<'a, str>,
}

// === impl Index ===

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// If it is none, or has more than `max` entries.
    pub fn parse(bytes: &[u8], max: usize) -> Result<Self, BadIndex> {
        let rubbish = |error: serde_json::Error| BadIndex::Rubbish(error.to_string());
        let Members(members) = Members::of(bytes).map_err(rubbish)?;
        let Some((_, paths)) = members.into_iter().find(|(name, _)| name == "paths") else {
            return Err(BadIndex::Rubbish("it has no paths".to_owned()));
        };
        let Members(paths) = Members::in_value(paths).map_err(rubbish)?;
        if paths.len() > max {
            return Err(BadIndex::TooMany(max));
        }
        let mut entries = BTreeMap::new();
        for (key, entry) in paths {
            let entry: Entry<'_> = serde_json::from_str(entry.get()).map_err(rubbish)?;
            if is_key(&key) {
                entries.insert(Arc::from(&*key), hash_in(&entry.url, &key).map(Arc::from));
            }
        }
        Ok(Self { entries })
    }

    /// Whether the server has this document.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The hash of a document, if the server named one.
    pub fn hash(&self, key: &str) -> Option<&Arc<str>> {
        self.entries.get(key)?.as_ref()
    }

    /// Every document, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A document that this index has and `newer` has not.
    pub fn dropped_by(&self, newer: &Self) -> Option<&Arc<str>> {
        self.entries.keys().find(|key| !newer.contains(key))
    }

    /// As upstream writes it.
    pub fn to_json(&self) -> Vec<u8> {
        // Keys and hashes are of letters that JSON need not escape.
        let mut text = String::with_capacity(self.entries.len() * 256);
        text.push_str("{\"paths\":{");
        for (number, (key, hash)) in self.entries.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let url = Url { key, hash: hash.as_deref() };
            let _ = write!(text, "{comma}\"{key}\":{{\"serverRelativeURL\":\"{url}\"}}");
        }
        text.push_str("}}");
        text.into_bytes()
    }
}

impl FromIterator<(Arc<str>, Option<Arc<str>>)> for Index {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Option<Arc<str>>)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

/// The address of a document.
pub struct Url<'a> {
    /// What stands behind `/openapi/v3/`.
    pub key: &'a str,
    /// Its hash, if there is one.
    pub hash: Option<&'a str>,
}

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ROOT}/{}", self.key)?;
        self.hash.map_or(Ok(()), |hash| write!(f, "?hash={hash}"))
    }
}

/// Group and version of which a document tells; `None` if it tells of something else (`version`, `apis/apps`).
pub fn group_version(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.split('/');
    match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("api", Some(version), None, None) => Some(("", version)),
        ("apis", Some(group), Some(version), None) => Some((group, version)),
        _ => None,
    }
}

/// Segments of letters that mean nothing in a path, a query or a JSON string.
fn is_key(key: &str) -> bool {
    key.len() <= MAX_NAME
        && key.split('/').all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte)
}

/// The hash of an address that is the one which the key makes.
fn hash_in<'a>(url: &'a str, key: &str) -> Option<&'a str> {
    let hash = url.strip_prefix(ROOT)?.strip_prefix('/')?.strip_prefix(key)?.strip_prefix("?hash=")?;
    let believed = !hash.is_empty() && hash.len() <= MAX_NAME && hash.bytes().all(is_plain);
    believed.then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Index {
        Index::parse(text.as_bytes(), 100).unwrap()
    }

    #[test]
    fn an_index_is_written_as_it_was_read() {
        let text = concat!(
            r#"{"paths":{".well-known/openid-configuration":{"serverRelativeURL":"/openapi/v3/.well-known/openid-configuration?hash=0A"},"#,
            r#""api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=F0"}}}"#,
        );
        assert_eq!(String::from_utf8(parsed(text).to_json()).unwrap(), text);
    }

    #[test]
    fn only_the_address_that_the_key_makes_is_believed() {
        for url in [
            "https://elsewhere/openapi/v3/api/v1?hash=F0",
            "//elsewhere/openapi/v3/api/v1?hash=F0",
            "/openapi/v3/api/v2?hash=F0",
            "/openapi/v3/api/v1/../v2?hash=F0",
            "/openapi/v3/api/v1?hash=F0&x=y",
            "/openapi/v3/api/v1?hash=F0\\u0022",
            "/openapi/v3/api/v1?hash=",
            "/openapi/v3/api/v1?x=y",
            "/openapi/v3/api/v1",
            "",
        ] {
            let index = parsed(&format!(r#"{{"paths":{{"api/v1":{{"serverRelativeURL":"{url}"}}}}}}"#));
            let written = String::from_utf8(index.to_json()).unwrap();
            assert_eq!(
                written, r#"{"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1"}}}"#,
                "{url}"
            );
        }
        let long = "F".repeat(MAX_NAME + 1);
        let index = parsed(&format!(
            r#"{{"paths":{{"api/v1":{{"serverRelativeURL":"/openapi/v3/api/v1?hash={long}"}}}}}}"#
        ));
        assert_eq!(index.hash("api/v1"), None);
    }

    #[test]
    fn a_key_that_makes_no_path_is_left_out() {
        for key in
            ["", "/api", "api/", "api//v1", "../etc", "api/./v1", "api?x", "a b", "a%2fb", "a\\u0022b", "ä"]
        {
            let index =
                parsed(&format!(r#"{{"paths":{{"{key}":{{"serverRelativeURL":"x"}}, "version":{{}}}}}}"#));
            assert_eq!(index.keys().map(|key| &**key).collect::<Vec<_>>(), ["version"], "{key}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in ["", "null", "[]", "{}", r#"{"paths":[]}"#, r#"{"paths":{"a":1}}"#, "<html>"] {
            assert!(matches!(Index::parse(text.as_bytes(), 9), Err(BadIndex::Rubbish(_))), "{text}");
        }
    }

    #[test]
    fn an_index_of_too_many_entries_is_refused() {
        let text = r#"{"paths":{"a":{},"b":{}}}"#;
        assert_eq!(Index::parse(text.as_bytes(), 1), Err(BadIndex::TooMany(1)));
        assert_eq!(Index::parse(text.as_bytes(), 2).unwrap().len(), 2);
    }

    #[test]
    fn only_group_versions_are_group_versions() {
        assert_eq!(group_version("api/v1"), Some(("", "v1")));
        assert_eq!(group_version("apis/apps/v1"), Some(("apps", "v1")));
        for key in ["api", "apis", "apis/apps", "version", "logs", "openid/v1/jwks", "apis/a/b/c", "api/v1/x"]
        {
            assert_eq!(group_version(key), None, "{key}");
        }
    }
}
