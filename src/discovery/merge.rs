//! Many servers' discovery, one document (KEP-4020; upstream: `peer_aggregated_handler.go`).
//!
//! The result is what a kube-apiserver 1.36 with its own proxy on computes for the same documents, bytes and ETag
//! included, except where we mean to differ:
//!
//! | where servers differ | kube-apiserver | here | why |
//! |---|---|---|---|
//! | in the freshness of a group-version only | each server answers with its own list | one answer | I6 |
//! | `Stale` here, `Current` there | the smaller server id says it | `Current` | clients drop a `Stale` group-version whole |
//! | a server can't be asked | it is forgotten | what it alone serves stays, `Stale` | I7 |
//! | a group without versions | emitted | left out | kube-rs gives up on it |
//! | in a field that 1.36 doesn't know | dropped | kept, the smaller server id's value | newer clients read it |
//! | in the metadata of a group beyond its name | each server answers with its own | the smaller server id's | I6 |
//! | a name twice in one list | depends on the order of servers | folded into one | I6 |
//!
//! The first and the sixth row are one shortcut of upstream's: if folding brought nothing new, a server returns its
//! own list rather than that of the smallest id. Leaving the shortcut out changes nothing but those two rows.

pub mod conflicts;
mod freshness;
#[cfg(test)]
mod tests;
mod unknown;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub use self::conflicts::Conflict;
use self::conflicts::Noticed;
use self::unknown::{absorb_kind, absorb_subresource, same_resource};
use super::order::merge_preserving_relative_order;
use crate::api::discovery::{
    GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, SubresourceDiscovery, VersionDiscovery,
};

/// What one server says, and how far it may be trusted.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Unique among the sources. The order of ids decides ties, so every replica must give a server the same id.
    pub id: &'a str,
    /// Its own (`nopeer`) document of `/apis`, or of `/api`.
    pub document: &'a GroupDiscoveryList,
    /// Is contact with the server confirmed, and nothing known to have changed since the document was read?
    pub fresh: bool,
}

/// Merges the documents of one path. Pure, and the same for every order of `sources` (I6).
///
/// Nothing that a server lists is lost. A group-version is `Stale` only if no fresh server lists it otherwise; core
/// `v1` never while any server is fresh.
pub fn merge(sources: &[Source<'_>]) -> GroupDiscoveryList {
    merge_and_compare(sources).0
}

/// [`merge`], and what the sources contradict each other in.
pub fn merge_and_compare(sources: &[Source<'_>]) -> (GroupDiscoveryList, Vec<Conflict>) {
    let mut noticed = Noticed::default();
    let mut sources: Vec<&Source<'_>> = sources.iter().collect();
    sources.sort_by_key(|source| source.id);

    let mut merged = GroupDiscoveryList::default();
    // The group so far, and the last source that had it.
    let mut groups: HashMap<&str, (GroupDiscovery, usize)> = HashMap::new();
    let mut orders: Vec<Vec<&str>> = Vec::with_capacity(sources.len());
    for (number, source) in sources.iter().enumerate() {
        let mut names = Vec::with_capacity(source.document.items.len());
        for group in &source.document.items {
            let unique = without_duplicates(group);
            if let Some((known, last)) = groups.get_mut(group.name()) {
                merge_group(known, &unique, &mut noticed);
                if *last == number {
                    continue;
                }
                *last = number;
            } else {
                groups.insert(group.name(), (unique.into_owned(), number));
            }
            names.push(group.name());
        }
        orders.push(names);
        merged.extra.absorb(&source.document.extra);
    }

    merged.items = merge_preserving_relative_order(&orders)
        .into_iter()
        .filter_map(|name| groups.remove(name))
        .map(|(group, _)| group)
        .filter(|group| !group.versions.is_empty())
        .collect();
    freshness::apply(&mut merged.items, &sources);
    let conflicts = noticed.described(&sources, &merged);
    (merged, conflicts)
}

fn merge_group(base: &mut GroupDiscovery, other: &GroupDiscovery, noticed: &mut Noticed) {
    base.metadata.extra.absorb(&other.metadata.extra);
    base.extra.absorb(&other.extra);
    let name = &base.metadata.name;
    merge_named(
        &mut base.versions,
        &other.versions,
        |version| &version.version,
        |base, other| merge_version(base, other, &mut |resource| noticed.add(name, &other.version, resource)),
    );
}

/// `differs` is told the name of a resource that the two contradict each other in.
fn merge_version(
    base: &mut Arc<VersionDiscovery>,
    other: &Arc<VersionDiscovery>,
    differs: &mut dyn FnMut(&str),
) {
    if Arc::ptr_eq(base, other) || (base.resources == other.resources && base.extra == other.extra) {
        return;
    }
    let base = Arc::make_mut(base);
    base.extra.absorb(&other.extra);
    merge_named(
        &mut base.resources,
        &other.resources,
        |resource| &resource.resource,
        |base, other| {
            if conflicts::contradict(base, other) {
                differs(&other.resource);
            }
            merge_resource(base, other);
        },
    );
}

/// Verbs and subresources are united and sorted, all else stays; but nothing is sorted where nothing differs.
fn merge_resource(base: &mut ResourceDiscovery, other: &ResourceDiscovery) {
    if base == other {
        return;
    }
    if !same_resource(base, other) {
        let verbs: BTreeSet<&String> = base.verbs().iter().chain(other.verbs()).collect();
        base.verbs = (!verbs.is_empty()).then(|| verbs.into_iter().cloned().collect());

        let mut subresources: BTreeMap<String, SubresourceDiscovery> = BTreeMap::new();
        for subresource in
            std::mem::take(&mut base.subresources).into_iter().chain(other.subresources.clone())
        {
            let name = subresource.subresource.clone();
            if let Some(earlier) = subresources.insert(name.clone(), subresource)
                && let Some(later) = subresources.get_mut(&name)
            {
                absorb_subresource(later, &earlier);
            }
        }
        base.subresources = subresources.into_values().collect();
    } else {
        for (base, other) in base.subresources.iter_mut().zip(&other.subresources) {
            absorb_subresource(base, other);
        }
    }
    absorb_kind(&mut base.response_kind, &other.response_kind);
    base.extra.absorb(&other.extra);
}

// === Lists whose elements have names ===

fn same_list<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// Merges `other` into `base`, element by element, and orders the names of both. Neither list has a name twice.
fn merge_named<T: Clone>(
    base: &mut Vec<T>,
    other: &[T],
    name: impl Fn(&T) -> &str,
    mut merge: impl FnMut(&mut T, &T),
) {
    if same_list(base, other, |a, b| name(a) == name(b)) {
        base.iter_mut().zip(other).for_each(|(base, other)| merge(base, other));
        return;
    }
    let base_names: Vec<String> = base.iter().map(|element| name(element).to_owned()).collect();
    let orders = [
        base_names.iter().map(String::as_str).collect::<Vec<_>>(),
        other.iter().map(&name).collect::<Vec<_>>(),
    ];
    let mut elements: HashMap<&str, T> = orders[0].iter().copied().zip(base.drain(..)).collect();
    for element in other {
        if let Some(known) = elements.get_mut(name(element)) {
            merge(known, element);
        } else {
            elements.insert(name(element), element.clone());
        }
    }
    *base = merge_preserving_relative_order(&orders)
        .into_iter()
        .filter_map(|name| elements.remove(name))
        .collect();
}

/// The group, changed only if a version, or a resource of a version, stands in it twice.
fn without_duplicates(group: &GroupDiscovery) -> Cow<'_, GroupDiscovery> {
    if !has_duplicates(&group.versions, |version| &version.version)
        && !group
            .versions
            .iter()
            .any(|version| has_duplicates(&version.resources, |resource| &resource.resource))
    {
        return Cow::Borrowed(group);
    }
    let mut group = group.clone();
    for version in &mut group.versions {
        fold_duplicates(&mut Arc::make_mut(version).resources, |resource| &resource.resource, merge_resource);
    }
    // A server that contradicts itself is not compared with others.
    let merge = |base: &mut _, other: &_| merge_version(base, other, &mut |_| ());
    fold_duplicates(&mut group.versions, |version| &version.version, merge);
    Cow::Owned(group)
}

fn fold_duplicates<T>(list: &mut Vec<T>, name: impl Fn(&T) -> &str, mut merge: impl FnMut(&mut T, &T)) {
    let mut places: HashMap<String, usize> = HashMap::new();
    for element in std::mem::take(list) {
        if let Some(place) = places.get(name(&element)) {
            merge(&mut list[*place], &element);
        } else {
            places.insert(name(&element).to_owned(), list.len());
            list.push(element);
        }
    }
}

fn has_duplicates<T>(list: &[T], name: impl Fn(&T) -> &str) -> bool {
    let mut seen = HashSet::with_capacity(list.len());
    list.len() > 1 && !list.iter().all(|element| seen.insert(name(element)))
}
