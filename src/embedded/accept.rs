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
    /// Reads the first `Accept` line only, as upstream does; `aggregated` are the forms that are served beside the
    /// plain one.
    pub(super) fn negotiate(headers: &HeaderMap, aggregated: &[Self]) -> Self {
        let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Self::Plain;
        };
        let mut clauses: Vec<Clause<'_>> = accept.split(',').map(Clause::parse).collect();
        clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        for clause in clauses.iter().filter(|clause| clause.is_json()) {
            let form = match clause.discovery_version() {
                Some("v2") => Self::V2,
                Some("v2beta1") => Self::V2Beta1,
                _ => continue,
            };
            if aggregated.contains(&form) {
                return form;
            }
        }
        let plain = clauses.iter().any(|clause| clause.is_json() && clause.get("as").is_none());
        if plain { Self::Plain } else { Self::NotAcceptable }
    }
}

/// Which of these media types (no parameters) the first `Accept` line asks for first; anything without a line.
/// Upstream: the loops of `k8s.io/kube-openapi/pkg/handler`.
pub(super) fn first_of(headers: &HeaderMap, offered: &[&str]) -> Option<usize> {
    clauses(headers).iter().find_map(|clause| {
        let fits = |offered: &&str| {
            clause.media_type == *offered || matches!(clause.media_type, "*/*" | "application/*")
        };
        offered.iter().position(fits)
    })
}

/// The clauses of the first `Accept` line that JSON suits, the preferred ones first; as if it said `*/*` without one.
pub(super) fn json_clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses = clauses(headers);
    clauses.retain(Clause::is_json);
    clauses
}

fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).filter(|line| !line.is_empty());
    let mut clauses: Vec<Clause<'_>> = accept.unwrap_or("*/*").split(',').map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// One media range with its parameters.
pub(super) struct Clause<'a> {
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

    /// The value of a parameter; the last one counts.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
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
