//! Where servers contradict each other in what a resource is: its scope, its kind, the kind of a subresource.
//!
//! The merge resolves it as upstream does: scope and kind are those of the first server that has the resource, in the
//! order of ids; a subresource is that of the last one that has it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::Source;
use crate::api::discovery::{
    GroupDiscoveryList, ResourceDiscovery, ResponseKind, legacy::group_version as group_version_name,
};

/// One thing that servers contradict each other in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// Such as `apps/v1`.
    pub group_version: String,
    /// Such as `deployments`, or `deployments/scale`.
    pub resource: String,
    /// What they contradict each other in.
    pub about: About,
    /// What the merged document says.
    pub kept: String,
    /// What each server says, in the order of ids.
    pub said: Vec<Said>,
}

/// What one server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Its id.
    pub server: String,
    /// Its word: a scope, or a kind with its group-version.
    pub value: String,
}

/// What servers can contradict each other in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// Whether objects live in namespaces.
    Scope,
    /// What the resource's objects are.
    Kind,
}

/// Resources that two servers contradicted each other in, found while merging.
#[derive(Debug, Default)]
pub(super) struct Noticed(BTreeSet<[String; 3]>);

/// A group-version, of which a resource or subresource is something.
struct Place<'a> {
    group: &'a str,
    version: &'a str,
}

// === impl Noticed ===

impl Noticed {
    pub(super) fn add(&mut self, group: &str, version: &str, resource: &str) {
        self.0.insert([group, version, resource].map(str::to_owned));
    }

    /// Looks up who says what.
    pub(super) fn described(&self, sources: &[&Source<'_>], merged: &GroupDiscoveryList) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        if self.0.is_empty() {
            return conflicts;
        }
        // Each document is walked through once, for there may be as many contradictions as resources.
        let kept_at = self.places(merged);
        let said_at: Vec<_> =
            sources.iter().map(|source| (source.id, self.places(source.document))).collect();
        for [group, version, resource] in &self.0 {
            let place = Place { group, version };
            let at = [group, version, resource].map(String::as_str);
            let Some(kept) = kept_at.get(&at) else { continue };
            let listed: Vec<(&str, &ResourceDiscovery)> =
                said_at.iter().filter_map(|(id, places)| Some((*id, *places.get(&at)?))).collect();
            let mut compare = |name: String, about, value: &dyn Fn(&ResourceDiscovery) -> Option<String>| {
                let said: Vec<Said> = listed
                    .iter()
                    .filter_map(|(id, resource)| {
                        Some(Said { server: (*id).to_owned(), value: value(resource)? })
                    })
                    .collect();
                if said.iter().any(|one| one.value != said[0].value) {
                    conflicts.push(Conflict {
                        group_version: group_version_name(group, version),
                        resource: name,
                        about,
                        kept: value(kept).unwrap_or_default(),
                        said,
                    });
                }
            };
            let kind = |kind: Option<&ResponseKind>| Some(place.kind(kind?)).filter(|kind| !kind.is_empty());
            compare(resource.clone(), About::Scope, &|one| {
                Some(one.scope.clone()).filter(|scope| !scope.is_empty())
            });
            compare(resource.clone(), About::Kind, &|one| kind(one.response_kind.as_ref()));
            for subresource in kept.subresources.iter().map(|one| &one.subresource) {
                compare(format!("{resource}/{subresource}"), About::Kind, &|one| {
                    let found = one.subresources.iter().find(|one| one.subresource == *subresource)?;
                    kind(found.response_kind.as_ref())
                });
            }
        }
        conflicts
    }

    /// What a document says of these resources; the first word counts.
    fn places<'d>(&self, document: &'d GroupDiscoveryList) -> HashMap<[&'d str; 3], &'d ResourceDiscovery> {
        let wanted: HashSet<[&str; 3]> =
            self.0.iter().map(|place| place.each_ref().map(String::as_str)).collect();
        let mut places = HashMap::with_capacity(wanted.len());
        for group in &document.items {
            for version in &group.versions {
                for resource in &version.resources {
                    let at = [group.name(), version.version.as_str(), resource.resource.as_str()];
                    if wanted.contains(&at) {
                        places.entry(at).or_insert(resource);
                    }
                }
            }
        }
        places
    }
}

// === impl Place ===

impl Place<'_> {
    /// A kind with its group-version, which may be that of the list; empty if there is none.
    fn kind(&self, kind: &ResponseKind) -> String {
        let ResponseKind { group, version, kind, .. } = kind;
        match (group.as_str(), version.as_str(), kind.as_str()) {
            (_, _, "") => String::new(),
            ("", "", kind) => format!("{} {kind}", group_version_name(self.group, self.version)),
            (group, version, kind) => format!("{} {kind}", group_version_name(group, version)),
        }
    }
}

// === impl Conflict ===

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group_version, resource, about, kept, said } = self;
        let about = match about {
            About::Scope => "scope",
            About::Kind => "kind",
        };
        write!(f, "{about} of {group_version} {resource}: ")?;
        for Said { server, value } in said {
            write!(f, "{value} on {server}, ")?;
        }
        write!(f, "taken as {kept}")
    }
}

/// Whether two servers may contradict each other in a resource; cheap, and asked only where lists differ.
pub(super) fn contradict(one: &ResourceDiscovery, other: &ResourceDiscovery) -> bool {
    let kinds = |one: &Option<ResponseKind>, other: &Option<ResponseKind>| match (one, other) {
        (Some(one), Some(other)) => {
            !one.kind.is_empty()
                && !other.kind.is_empty()
                && (&one.group, &one.version, &one.kind) != (&other.group, &other.version, &other.kind)
        }
        _ => false,
    };
    (one.scope != other.scope && !one.scope.is_empty() && !other.scope.is_empty())
        || kinds(&one.response_kind, &other.response_kind)
        || one.subresources.iter().any(|sub| {
            let same = other.subresources.iter().find(|other| other.subresource == sub.subresource);
            same.is_some_and(|other| kinds(&sub.response_kind, &other.response_kind))
        })
}

#[cfg(test)]
mod tests;
