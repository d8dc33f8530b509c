//! A server's document as rows of a table.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use kube::core::Version;

use super::{Cell, State};
use crate::{
    api::discovery::{GroupDiscoveryList, ResponseKind, VersionDiscovery, legacy},
    discovery::catalog::{Document, Freshness},
};

/// The name of a group-version, in the order in which people look for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupVersion {
    /// The empty one sorts first.
    pub(super) group: String,
    preference: Reverse<Preference>,
    pub(super) version: String,
}

/// The order of versions that Kubernetes prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Preference(Version);

/// What one server lists: by group-version and resource.
#[derive(Default)]
pub(super) struct Listed {
    versions: HashMap<(String, String), HashMap<String, Cell>>,
    /// Group-versions which it lists as stale.
    stale: Vec<(String, String)>,
}

/// What any server lists: resources by group-version.
pub(super) type Names = BTreeMap<GroupVersion, BTreeSet<String>>;

// === impl Listed ===

impl Listed {
    /// Adds the names to those of all servers.
    pub(super) fn of(document: &Document, freshness: Freshness, names: &mut Names) -> Self {
        let mut listed = Self::default();
        for list in [&document.api.list, &document.apis.list] {
            listed.add(list, freshness, names);
        }
        listed
    }

    fn add(&mut self, list: &GroupDiscoveryList, freshness: Freshness, names: &mut Names) {
        for group in &list.items {
            for version in &group.versions {
                let is_stale = version.freshness.is_stale();
                let key = (group.name().to_owned(), version.version.clone());
                if is_stale {
                    self.stale.push(key.clone());
                }
                let state =
                    if is_stale || freshness != Freshness::Fresh { State::Stale } else { State::Served };
                let resources = self.versions.entry(key).or_default();
                let all = names.entry(GroupVersion::new(group.name(), &version.version)).or_default();
                for (name, cell) in cells(group.name(), version, state) {
                    if !all.contains(&name) {
                        all.insert(name.clone());
                    }
                    resources.entry(name).or_insert(cell);
                }
            }
        }
    }

    /// The group-versions that it lists as stale.
    pub(super) fn stale(&self) -> Vec<String> {
        let names = self.stale.iter();
        names.map(|(group, version)| legacy::group_version(group, version)).collect()
    }

    /// Whether it lists a group-version.
    pub(super) fn has(&self, name: &GroupVersion) -> bool {
        self.versions.contains_key(&name.key())
    }

    /// What it makes of a resource.
    pub(super) fn cell(&self, name: &GroupVersion, resource: &str) -> Cell {
        let key = name.key();
        let found = self.versions.get(&key).and_then(|resources| resources.get(resource));
        found.cloned().unwrap_or_else(|| {
            // Its list may be empty because it could not be had.
            let state = if self.stale.contains(&key) { State::Unknown } else { State::NotServed };
            Cell { state, ..Cell::default() }
        })
    }
}

/// The resources and subresources of a group-version.
fn cells(group: &str, version: &VersionDiscovery, state: State) -> Vec<(String, Cell)> {
    let cell = |kind: Option<&ResponseKind>, scope: &str, verbs: &[String]| {
        let mut verbs = verbs.to_vec();
        verbs.sort_unstable();
        verbs.dedup();
        let kind = kind.map(|kind| full_kind(group, &version.version, kind)).unwrap_or_default();
        Cell { state, kind, scope: scope.to_owned(), verbs }
    };
    let mut cells = Vec::new();
    for resource in &version.resources {
        // One without stands there for its subresources only.
        if resource.response_kind.is_some() || !resource.verbs().is_empty() {
            let own = cell(resource.response_kind.as_ref(), &resource.scope, resource.verbs());
            cells.push((resource.resource.clone(), own));
        }
        for sub in &resource.subresources {
            let name = format!("{}/{}", resource.resource, sub.subresource);
            cells.push((name, cell(sub.response_kind.as_ref(), &resource.scope, sub.verbs())));
        }
    }
    cells
}

/// `apps/v1 Deployment`; what is empty is that of the list.
fn full_kind(group: &str, version: &str, kind: &ResponseKind) -> String {
    if kind.kind.is_empty() {
        return String::new();
    }
    let (group, version) = match (&*kind.group, &*kind.version) {
        ("", "") => (group, version),
        given => given,
    };
    format!("{} {}", legacy::group_version(group, version), kind.kind)
}

// === impl GroupVersion ===

impl GroupVersion {
    fn new(group: &str, version: &str) -> Self {
        let preference = Reverse(Preference(Version::parse(version)));
        Self { group: group.to_owned(), preference, version: version.to_owned() }
    }

    fn key(&self) -> (String, String) {
        (self.group.clone(), self.version.clone())
    }
}

// === impl Preference ===

impl Ord for Preference {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.priority().cmp(&other.0.priority())
    }
}

impl PartialOrd for Preference {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
