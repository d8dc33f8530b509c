//! What a client wants to read: kube-apiserver's reading of `Accept`, and RFC 9110's where the two don't contradict.
//!
//! Upstream parses `Accept` with munnerz/goautoneg and weighs it in
//! `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`. Clients depend on the answer, so we give the same one,
//! except to what upstream doesn't read at all:
//!
//! | in the request | kube-apiserver | here |
//! |---|---|---|
//! | several `Accept` lines | the first one counts | one list (RFC 9110, 5.3) |
//! | `profile="nopeer"` | a word with quotes in it | what stands between the quotes (5.6.6) |
//! | `q=0` | the last choice | not acceptable; what is named more closely counts (12.4.2) |
//! | only `v2beta1` | 406 or unaggregated since 1.35 | v2beta1, which clients up to 1.29 ask for |
//!
//! As upstream, and not as the RFC has it: names are compared with their case, and a clause that asks for aggregated
//! discovery wins over a plain one, wherever it stands and whatever its `q`.

mod accept;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

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
        /// `pretty=1` in the `Accept` clause.
        pretty: bool,
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

/// What a server is asked for its own document with: aggregated v2, never merged by its native proxy (servers that
/// do not know the profile ignore it), else what older servers have. Nobody answers 406 to it.
pub const ACCEPT_NOPEER: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,\
     application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
     application/json";

/// The version of the aggregated document in JSON that a `Content-Type` names, if it names one.
pub fn aggregated_json(content_type: &str) -> Option<AggregatedVersion> {
    let clauses = accept::parse(content_type);
    let clause = clauses.first().filter(|clause| Media::Json.matches(clause))?;
    let (group, kind) = (clause.parameter("g"), clause.parameter("as"));
    match clause.parameter("v").filter(|_| group == Some(GROUP) && kind == Some(KIND))? {
        VERSION => Some(AggregatedVersion::V2),
        "v2beta1" => Some(AggregatedVersion::V2Beta1),
        _ => None,
    }
}

/// Whether a `Content-Type` is that of an ordinary object in JSON.
pub fn is_plain_json(content_type: &str) -> bool {
    accept::parse(content_type)
        .first()
        .is_some_and(|clause| Media::Json.matches(clause) && is_untransformed(clause))
}

// === impl Media ===

impl Media {
    /// In the order in which kube-apiserver offers them: the first is what a wildcard gets.
    const OFFERED: [Self; 4] = [Self::Json, Self::Yaml, Self::Protobuf, Self::Cbor];

    /// What is offered, with CBOR or without.
    pub fn offered(cbor: bool) -> &'static [Self] {
        if cbor { &Self::OFFERED } else { &Self::OFFERED[..3] }
    }

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
    /// Reads an `Accept` header whose lines were joined. `cbor` says whether that is offered.
    ///
    /// Any usable clause that asks for v2 wins over those that ask for v2beta1, and these over plain ones.
    pub fn of(accept: &[u8], cbor: bool) -> Self {
        let header = String::from_utf8_lossy(accept);
        let clauses = accept::parse(&header);
        let offered = Media::offered(cbor);
        let aggregated = |version: AggregatedVersion| {
            let (clause, media) = choose(&clauses, offered, |clause| is_aggregated(clause, version))?;
            let nopeer = clause.parameter("profile") == Some("nopeer");
            Some(Self::Aggregated { version, nopeer, media, pretty: is_pretty(clause) })
        };
        aggregated(AggregatedVersion::V2)
            .or_else(|| aggregated(AggregatedVersion::V2Beta1))
            .unwrap_or_else(|| Self::of_clauses(&header, &clauses, offered))
    }

    /// As [`Self::of`], from all headers of a request.
    pub fn of_headers(headers: &HeaderMap, cbor: bool) -> Self {
        Self::of(&accept_of(headers), cbor)
    }

    /// As [`Self::of_headers`], where nothing aggregated is offered.
    pub fn unaggregated(headers: &HeaderMap, cbor: bool) -> Self {
        let accept = accept_of(headers);
        let header = String::from_utf8_lossy(&accept);
        Self::of_clauses(&header, &accept::parse(&header), Media::offered(cbor))
    }

    fn of_clauses(header: &str, clauses: &[Clause<'_>], offered: &[Media]) -> Self {
        if header.is_empty() {
            return Self::Unaggregated { media: Media::Json, pretty: false };
        }
        match choose(clauses, offered, is_untransformed) {
            Some((clause, media)) => Self::Unaggregated { media, pretty: is_pretty(clause) },
            None => Self::NotAcceptable,
        }
    }
}

// === impl AggregatedVersion ===

impl AggregatedVersion {
    /// As in `apiVersion`, without the group.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => VERSION,
            Self::V2Beta1 => "v2beta1",
        }
    }
}

/// The encoding of an ordinary object such as a `Status`; none if nothing suits (upstream sends an error in JSON
/// then).
pub fn negotiate(accept: Option<&[u8]>) -> Option<Media> {
    let header = String::from_utf8_lossy(accept.unwrap_or_default());
    match DiscoveryForm::of_clauses(&header, &accept::parse(&header), Media::offered(false)) {
        DiscoveryForm::Unaggregated { media, .. } => Some(media),
        _ => None,
    }
}

/// All `Accept` lines as one.
fn accept_of(headers: &HeaderMap) -> Cow<'_, [u8]> {
    let mut lines = headers.get_all(ACCEPT).iter().map(|line| line.as_bytes());
    let first = lines.next().unwrap_or_default();
    let mut joined = Cow::Borrowed(first);
    for line in lines {
        let joined = joined.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
    }
    joined
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

/// The first clause that can be followed, and the encoding that it gets; `transform` says what a clause may ask for.
fn choose<'c, 'a>(
    clauses: &'c [Clause<'a>],
    offered: &[Media],
    transform: impl Fn(&Clause<'a>) -> bool,
) -> Option<(&'c Clause<'a>, Media)> {
    // Found out once for each encoding: a header can have thousands of clauses on either side.
    let refusals: Vec<&Clause<'a>> =
        clauses.iter().filter(|clause| clause.is_refusal && transform(clause)).collect();
    let refused: Vec<Option<u8>> = offered
        .iter()
        .map(|media| {
            let matching = refusals.iter().filter(|clause| media.matches(clause));
            matching.map(|clause| clause.specificity()).max()
        })
        .collect();
    clauses.iter().filter(|clause| !clause.is_refusal && transform(clause)).find_map(|clause| {
        if clause.parameter("sv").is_some_and(|version| !version.is_empty()) {
            return None;
        }
        let stream = clause.parameter("stream").unwrap_or_default();
        let usable = |media: &Media| {
            media.matches(clause) && (stream.is_empty() || (stream == "watch" && media.streams()))
        };
        let mut open = offered.iter().zip(&refused).filter(|(_, by)| **by <= Some(clause.specificity()));
        open.find(|(media, _)| usable(media)).map(|(media, _)| (clause, *media))
    })
}

fn is_pretty(clause: &Clause<'_>) -> bool {
    clause.parameter("pretty") == Some("1")
}

fn is_aggregated(clause: &Clause<'_>, version: AggregatedVersion) -> bool {
    clause.parameter("g") == Some(GROUP)
        && clause.parameter("v") == Some(version.as_str())
        && clause.parameter("as") == Some(KIND)
}

fn is_untransformed(clause: &Clause<'_>) -> bool {
    ["g", "v", "as"].iter().all(|name| clause.parameter(name).is_none())
}
