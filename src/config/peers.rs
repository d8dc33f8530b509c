//! Servers that the configuration does not name: who does, and what they have in common.

use std::sync::Arc;

use super::read::Findings;
use super::servers::like_others;
use super::settings::Settings;
use super::{PeerSource, Peers, ServerMaterial, values};
use crate::servers::source::dns::Question;

/// Which source was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Static,
    Leases,
    EndpointSlices,
    Dns,
}

pub(super) fn kind(s: &Settings<'_>, found: &mut Findings) -> Kind {
    let choices = [
        ("static", Kind::Static),
        ("leases", Kind::Leases),
        ("endpointslices", Kind::EndpointSlices),
        ("dns", Kind::Dns),
    ];
    s.choice(found, "peer-source", &choices)
}

/// The source and what its servers have in common; none if there is no source, or a fault.
pub(super) fn peers(
    s: &Settings<'_>,
    kind: Kind,
    trust_domain: Arc<str>,
    found: &mut Findings,
) -> Option<(Peers, ServerMaterial)> {
    let allowed_cidrs = s.list(found, "peer-allowed-cidrs", Vec::new(), values::network);
    let name = s.optional(found, "peer-dns-name", Question::parse);
    if kind != Kind::Dns && s.given("peer-dns-name").is_some() {
        found.fault(s.key("peer-dns-name"), "means nothing without --peer-source=dns");
    }
    if kind == Kind::Static {
        if s.given("peer-allowed-cidrs").is_some() {
            found.fault(s.key("peer-allowed-cidrs"), "means nothing with --peer-source=static");
        }
        return None;
    }
    if s.given("peer-allowed-cidrs").is_none_or(|given| given.values.iter().all(String::is_empty)) {
        let message = "is missing: without it whoever can write what --peer-source reads could make us connect to \
            anything; it takes networks such as 10.0.0.0/24";
        found.fault(s.key("peer-allowed-cidrs"), message);
    }
    if kind == Kind::Dns && s.given("peer-dns-name").is_none() {
        found.fault(s.key("peer-dns-name"), "is missing: --peer-source=dns needs a name to look up");
    }
    let (like, material) = like_others(trust_domain, s, found)?;
    let source = match kind {
        Kind::Static => return None,
        Kind::Leases => PeerSource::Leases,
        Kind::EndpointSlices => PeerSource::EndpointSlices,
        Kind::Dns => PeerSource::Dns(name?),
    };
    Some((Peers { source, allowed_cidrs, nameserver: None, like }, material))
}
