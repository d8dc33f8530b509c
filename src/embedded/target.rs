//! What a request is about: an independent, small reading of the path.
//!
//! It shares nothing with [`crate::api::request_info`]: a test double that parses with the tested parser would
//! hide that parser's faults.

use http::request::Parts;
use http::{Method, Uri, header};

/// A request for a resource, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) resource: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

// === impl Target ===

impl Target {
    /// `None` if the path is not about a resource (discovery, health, unknown).
    pub(super) fn parse(path: &str) -> Option<Self> {
        let decoded: Vec<String> = path.trim_matches('/').split('/').map(percent_decode).collect();
        let mut parts = decoded.iter().map(String::as_str);
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let mut rest: Vec<&str> = parts.collect();
        let mut target = Self { group: group.to_owned(), version: version.to_owned(), ..Self::default() };
        let in_namespace =
            rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize");
        if in_namespace {
            target.namespace = Some(rest[1].to_owned());
            rest.drain(..2);
        }
        let mut rest = rest.into_iter().map(str::to_owned);
        target.resource = rest.next()?;
        target.name = rest.next();
        target.subresource = rest.next();
        Some(target)
    }

    /// Kubernetes' name for what the method does here.
    pub(super) fn verb(&self, method: &Method, query: &Query) -> &'static str {
        let one = self.name.is_some();
        match *method {
            Method::GET | Method::HEAD if one => "get",
            Method::GET | Method::HEAD if query.flag("watch") => "watch",
            Method::GET | Method::HEAD => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if one => "delete",
            Method::DELETE => "deletecollection",
            _ => "",
        }
    }
}

/// The query, decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

// === impl Query ===

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The first value under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value under `key` if there is one and it is not empty.
    pub(super) fn filled(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// How upstream reads booleans: everything but `false` and `0` is true, the empty value too.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}

/// Percent-decodes a path segment or a header's name; what is not decodable stays.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// `:authority`, or `Host` where HTTP/1.1 has no other.
pub(super) fn authority(parts: &Parts) -> String {
    let host = || parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(|authority| authority.as_str()).or_else(host).unwrap_or_default().to_owned()
}

/// Path and query, byte for byte.
pub(super) fn target_bytes(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), |target| target.as_str().to_owned())
}
