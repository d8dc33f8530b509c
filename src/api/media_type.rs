//! What a client wants to read: kube-apiserver's reading of `Accept`, to the letter.
//!
//! Upstream parses `Accept` with munnerz/goautoneg and weighs it in
//! `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`. Neither follows RFC 9110 (no quoted strings, `q=0` refuses
//! nothing, only the first header line counts), and clients depend on the answer, so neither do we.

mod accept;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

use self::accept::Clause;
use super::discovery::{GROUP, KIND, VERSION};

/// Which of the offered media types an `Accept` line prefers, as handlers of upstream's OpenAPI read it: the first
/// offer that fits the first clause that any fits.
pub fn first_accepted(accept: &str, offered: &[(&str, &str)]) -> Option<usize> {
    let fits = |clause: &Clause<'_>, (main, sub): &(&str, &str)| {
        [(clause.main_type, main), (clause.subtype, sub)]
            .iter()
            .all(|(is, wanted)| *is == "*" || is == *wanted)
    };
    let clauses = accept::parse(accept);
    clauses.iter().find_map(|clause| offered.iter().position(|offer| fits(clause, offer)))
}

/// An encoding of Kubernetes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
    /// `application/cbor`, behind a gate (`CBORServingAndStorage`) that is off by default.
    Cbor,
}

/// Which form of discovery a request for `/apis` or `/api` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryForm {
    /// Aggregated discovery.
    Aggregated {
        /// The version of the document's type.
        version: AggregatedVersion,
        /// `profile=nopeer`: the server's own list, not the merged one.
        nopeer: bool,
        /// The encoding.
        media: Media,
        /// `pretty=1` in the `Accept` clause.
        pretty: bool,
    },
    /// The older list of groups (or, under `/api`, of versions) without resources.
    Unaggregated {
        /// The encoding.
        media: Media,
    },
    /// Nothing that is offered; kube-apiserver answers 406.
    NotAcceptable,
}

/// A version of aggregated discovery's own type. They differ in nothing but their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregatedVersion {
    /// Since Kubernetes 1.30.
    V2,
    /// From Kubernetes 1.26 to 1.34.
    V2Beta1,
}

/// Aggregated discovery v2 in JSON.
pub const ACCEPT_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What a server is asked for its own document with: aggregated v2, never merged by its native proxy. Servers
/// that do not know the profile ignore it.
pub const ACCEPT_NOPEER: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,\
     application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a `Content-Type` is that of an aggregated v2 document in JSON.
pub fn is_aggregated_v2_json(content_type: &str) -> bool {
    accept::parse(content_type)
        .first()
        .is_some_and(|clause| Media::Json.matches(clause) && is_aggregated_v2(clause))
}

// === impl Media ===

impl Media {
    /// In the order in which kube-apiserver offers them: the first is what a wildcard gets.
    const OFFERED: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// As in `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
            Self::Cbor => "application/cbor",
        }
    }

    /// Can a watch be sent in it?
    fn streams(self) -> bool {
        self != Self::Yaml
    }

    fn matches(self, clause: &Clause<'_>) -> bool {
        match (clause.main_type, clause.subtype) {
            ("*" | "application", "*") => true,
            ("application", subtype) => self.as_str().strip_prefix("application/") == Some(subtype),
            _ => false,
        }
    }
}

// === impl DiscoveryForm ===

impl DiscoveryForm {
    /// Reads the first `Accept` header line of a request, if there is one.
    ///
    /// Any usable clause that asks for v2 wins over plain ones, wherever it stands and whatever its `q`.
    pub fn of(accept: Option<&[u8]>) -> Self {
        let header = String::from_utf8_lossy(accept.unwrap_or_default());
        let clauses = accept::parse(&header);
        let aggregated = clauses.iter().find_map(|clause| {
            let media = usable(clause, is_aggregated_v2)?;
            Some(Self::Aggregated {
                version: AggregatedVersion::V2,
                nopeer: clause.parameter("profile") == Some("nopeer"),
                media,
                pretty: clause.parameter("pretty") == Some("1"),
            })
        });
        aggregated
            .or_else(|| plain(&header, &clauses).map(|media| Self::Unaggregated { media }))
            .unwrap_or(Self::NotAcceptable)
    }

    /// As [`Self::of`], from all headers of a request.
    pub fn of_headers(headers: &HeaderMap) -> Self {
        Self::of(headers.get(ACCEPT).map(|value| value.as_bytes()))
    }
}

/// The encoding of an ordinary object such as a `Status`, from the first `Accept` header line; none if nothing
/// suits (upstream sends an error in JSON then).
pub fn negotiate(accept: Option<&[u8]>) -> Option<Media> {
    let header = String::from_utf8_lossy(accept.unwrap_or_default());
    plain(&header, &accept::parse(&header))
}

/// Does kube-apiserver indent JSON for this request, apart from what `Accept` says? The query's `pretty` decides if
/// it is there, else the user agent: curl, Wget and browsers are people (upstream: `negotiation.isPrettyPrint`).
pub fn wants_pretty(query: Option<&str>, headers: &HeaderMap) -> bool {
    let asked =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(key, _)| key == "pretty");
    match asked {
        Some((_, value)) if !value.is_empty() => {
            matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True")
        }
        _ => headers.get(USER_AGENT).is_some_and(|agent| {
            [&b"curl"[..], b"Wget", b"Mozilla/5.0"].iter().any(|person| agent.as_bytes().starts_with(person))
        }),
    }
}

fn plain(header: &str, clauses: &[Clause<'_>]) -> Option<Media> {
    if header.is_empty() {
        return Some(Media::Json);
    }
    clauses.iter().find_map(|clause| usable(clause, is_untransformed))
}

/// The encoding that a clause gets, if `transform` allows what it asks for.
fn usable(clause: &Clause<'_>, transform: impl Fn(&Clause<'_>) -> bool) -> Option<Media> {
    if clause.parameter("sv").is_some_and(|version| !version.is_empty()) || !transform(clause) {
        return None;
    }
    let stream = clause.parameter("stream").unwrap_or_default();
    Media::OFFERED
        .into_iter()
        .find(|media| media.matches(clause) && (stream.is_empty() || (stream == "watch" && media.streams())))
}

fn is_aggregated_v2(clause: &Clause<'_>) -> bool {
    clause.parameter("g") == Some(GROUP)
        && clause.parameter("v") == Some(VERSION)
        && clause.parameter("as") == Some(KIND)
}

fn is_untransformed(clause: &Clause<'_>) -> bool {
    ["g", "v", "as"].iter().all(|name| clause.parameter(name).is_none())
}
