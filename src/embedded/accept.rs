//! Which form of discovery a client asks for.
//!
//! Upstream: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated/wrapper.go`. An aggregated clause wins even if
//! a plain one stands before it.

use http::HeaderMap;
use http::header::ACCEPT;

/// A form of `/api` or `/apis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One document with everything, `apidiscovery.k8s.io/v2`.
    V2,
    /// The same as `v2beta1`: the versions before 1.35 have it.
    V2Beta1,
    /// `APIVersions` or `APIGroupList`.
    Plain,
    /// 406.
    NotAcceptable,
}

// === impl Form ===

impl Form {
    /// Reads the first `Accept` line only, as upstream does.
    pub(super) fn negotiate(headers: &HeaderMap, beta_served: bool) -> Self {
        let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Self::Plain;
        };
        let mut clauses: Vec<Clause<'_>> = accept.split(',').map(Clause::parse).collect();
        clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        for clause in clauses.iter().filter(|clause| clause.is_json()) {
            match clause.discovery_version() {
                Some("v2") => return Self::V2,
                Some("v2beta1") if beta_served => return Self::V2Beta1,
                _ => {}
            }
        }
        let plain = clauses.iter().any(|clause| clause.is_json() && clause.get("as").is_none());
        if plain { Self::Plain } else { Self::NotAcceptable }
    }
}

struct Clause<'a> {
    media_type: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

// === impl Clause ===

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let params: Vec<_> = parts
            .filter_map(|param| param.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(_, value)| !value.is_empty() && !value.contains('='))
            .collect();
        let mut clause = Self { media_type, params, quality: 1.0 };
        if let Some(quality) = clause.get("q") {
            clause.quality = quality.parse().unwrap_or(0.0);
        }
        clause
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.params.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn is_json(&self) -> bool {
        matches!(self.media_type, "application/json" | "application/*" | "*/*")
    }

    fn discovery_version(&self) -> Option<&'a str> {
        let ours = self.get("g") == Some("apidiscovery.k8s.io")
            && self.get("as") == Some("APIGroupDiscoveryList")
            && self.get("sv").is_none()
            && self.get("stream").is_none_or(|stream| stream == "watch");
        self.get("v").filter(|_| ours)
    }
}
