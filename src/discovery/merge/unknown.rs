//! Fields that upstream doesn't know: those of several servers are united, and they decide nothing.

use super::same_list;
use crate::api::discovery::{ResourceDiscovery, ResponseKind, SubresourceDiscovery};

pub(super) fn absorb_subresource(base: &mut SubresourceDiscovery, other: &SubresourceDiscovery) {
    absorb_kind(&mut base.response_kind, &other.response_kind);
    for (base, other) in base.accepted_types.iter_mut().zip(&other.accepted_types) {
        absorb_same_kind(base, other);
    }
    base.extra.absorb(&other.extra);
}

pub(super) fn absorb_kind(base: &mut Option<ResponseKind>, other: &Option<ResponseKind>) {
    if let (Some(base), Some(other)) = (base, other) {
        absorb_same_kind(base, other);
    }
}

/// What is said of one kind is not true of another.
fn absorb_same_kind(base: &mut ResponseKind, other: &ResponseKind) {
    if same_kind(base, other) {
        base.extra.absorb(&other.extra);
    }
}

/// Equal in all that upstream's types have.
pub(super) fn same_resource(a: &ResourceDiscovery, b: &ResourceDiscovery) -> bool {
    a.resource == b.resource
        && same_optional_kind(&a.response_kind, &b.response_kind)
        && a.scope == b.scope
        && a.singular_resource == b.singular_resource
        && a.verbs == b.verbs
        && a.short_names == b.short_names
        && a.categories == b.categories
        && same_list(&a.subresources, &b.subresources, same_subresource)
}

fn same_subresource(a: &SubresourceDiscovery, b: &SubresourceDiscovery) -> bool {
    a.subresource == b.subresource
        && same_optional_kind(&a.response_kind, &b.response_kind)
        && same_list(&a.accepted_types, &b.accepted_types, same_kind)
        && a.verbs == b.verbs
}

fn same_optional_kind(a: &Option<ResponseKind>, b: &Option<ResponseKind>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_kind(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_kind(a: &ResponseKind, b: &ResponseKind) -> bool {
    a.group == b.group && a.version == b.version && a.kind == b.kind
}
