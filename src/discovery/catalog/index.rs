//! Group, version, resource, scope, subresource, verb → servers.

use std::collections::HashMap;

use super::document::Document;
use crate::{
    api::{
        discovery::{GroupDiscoveryList, ResourceDiscovery, VersionDiscovery},
        request_info::RequestInfo,
    },
    servers::source::ServerSet,
};

/// Verbs that discovery lists; a request has exactly one of them or none.
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// What a catalog says of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Servers that list it, in a group-version that they do not call Stale themselves.
    pub current: ServerSet,
    /// Servers that list it in a group-version that they call Stale: its extension server is away. If that was away
    /// all the time, such a server lists nothing there, and may serve anything.
    pub stale: ServerSet,
}

type Map<T> = HashMap<Box<str>, T>;

/// Whether discovery could list a request with this verb at all.
pub(super) fn is_listable(verb: &str) -> bool {
    VERBS.contains(&verb)
}

/// Nested by name, so that a look-up by what a path says allocates nothing.
#[derive(Default)]
pub(super) struct Index {
    groups: Map<Map<Version>>,
    /// Resources that not all of those servers list whose documents are in it.
    pub(super) skewed: usize,
}

#[derive(Default)]
struct Version {
    /// Servers that call it Stale.
    stale: ServerSet,
    /// Of these, the ones that list nothing in it: they have not heard of its extension server yet.
    hollow: ServerSet,
    resources: Map<Resource>,
}

#[derive(Default)]
struct Resource {
    namespaced: ServerSet,
    cluster: ServerSet,
    verbs: Verbs,
    subresources: Map<Verbs>,
}

/// For each of [`VERBS`], who lists it.
#[derive(Default)]
struct Verbs([ServerSet; VERBS.len()]);

// === impl Serving ===

impl Serving {
    /// What documents, each of the server with that number, say of one request; and which servers list its resource in
    /// whatever version.
    pub fn of<'a>(
        documents: impl Iterator<Item = (usize, &'a Document)>,
        info: &RequestInfo<'_>,
    ) -> (Self, ServerSet) {
        let mut index = Index::default();
        for (server, document) in documents {
            index.add(server, &document.api.list);
            index.add(server, &document.apis.list);
        }
        (index.serving(info), index.having(info.group, info.resource))
    }

    /// Everybody who lists it.
    pub fn listed(self) -> ServerSet {
        self.current.union(self.stale)
    }

    /// The same of some servers.
    #[must_use]
    pub fn among(self, some: ServerSet) -> Self {
        Self { current: self.current.intersection(some), stale: self.stale.intersection(some) }
    }

    /// The same without some servers, unless nobody would be left.
    #[must_use]
    pub fn avoiding(self, avoided: ServerSet) -> Self {
        let left = Self { current: self.current.without(avoided), stale: self.stale.without(avoided) };
        if left.listed().is_empty() { self } else { left }
    }
}

// === impl Index ===

impl Index {
    pub(super) fn add(&mut self, server: usize, list: &GroupDiscoveryList) {
        for group in &list.items {
            let versions = entry(&mut self.groups, group.name());
            for listed in &group.versions {
                entry(versions, &listed.version).add(server, listed);
            }
        }
    }

    /// Counts what differs, once all are in.
    pub(super) fn complete(&mut self, heard: ServerSet) {
        let skewed_in = |version: &Version| {
            // Who could not say what it has there, or not lately, is not said to lack it, as in `skew`.
            let heard = heard.without(version.stale);
            version
                .resources
                .values()
                .filter(|it| !heard.without(it.namespaced.union(it.cluster)).is_empty())
                .count()
        };
        self.skewed = self.groups.values().flat_map(Map::values).map(skewed_in).sum();
    }

    pub(super) fn serving(&self, info: &RequestInfo<'_>) -> Serving {
        let Some(version) = self.groups.get(info.group).and_then(|group| group.get(info.version)) else {
            return Serving::default();
        };
        let listed = version.resources.get(info.resource).map_or(ServerSet::EMPTY, |it| it.listed(info));
        Serving {
            current: listed.without(version.stale),
            stale: listed.intersection(version.stale).union(version.hollow),
        }
    }

    /// Servers that list the resource in any version, with whatever verbs, subresources and scope.
    pub(super) fn having(&self, group: &str, resource: &str) -> ServerSet {
        let versions = self.groups.get(group).into_iter().flat_map(HashMap::values);
        let having = |version: &Version| {
            let listed = version.resources.get(resource).map(|it| it.namespaced.union(it.cluster));
            listed.unwrap_or_default().union(version.hollow)
        };
        versions.map(having).fold(ServerSet::EMPTY, ServerSet::union)
    }
}

// === impl Version ===

impl Version {
    fn add(&mut self, server: usize, listed: &VersionDiscovery) {
        if listed.freshness.is_stale() {
            self.stale.insert(server);
            if listed.resources.is_empty() {
                self.hollow.insert(server);
            }
        }
        for resource in &listed.resources {
            entry(&mut self.resources, &resource.resource).add(server, resource);
        }
    }
}

// === impl Resource ===

impl Resource {
    fn add(&mut self, server: usize, listed: &ResourceDiscovery) {
        if listed.scope == "Namespaced" {
            self.namespaced.insert(server);
        } else {
            self.cluster.insert(server);
        }
        self.verbs.add(server, listed.verbs());
        for subresource in &listed.subresources {
            entry(&mut self.subresources, &subresource.subresource).add(server, subresource.verbs());
        }
    }

    /// Servers that have a route for the request. A path of a shape that no server has a route for (an object
    /// of a namespaced resource without a namespace, say) is listed by nobody: else a client could make us
    /// distrust a server by asking it for nonsense.
    fn listed(&self, info: &RequestInfo<'_>) -> ServerSet {
        let verbs = match info.subresource {
            "" => Some(&self.verbs),
            subresource => self.subresources.get(subresource),
        };
        let Some(verbs) = verbs else { return ServerSet::EMPTY };
        if info.parts > 3 && info.subresource != "proxy" {
            return ServerSet::EMPTY;
        }
        let in_namespace = !info.namespace.is_empty() && info.resource != "namespaces";
        let across_namespaces = info.parts == 1 && matches!(&*info.verb, "list" | "watch");
        let scope = if in_namespace {
            self.namespaced
        } else if across_namespaces {
            self.cluster.union(self.namespaced)
        } else {
            self.cluster
        };
        verbs.get(&info.verb).intersection(scope)
    }
}

// === impl Verbs ===

impl Verbs {
    fn add(&mut self, server: usize, listed: &[String]) {
        for verb in listed {
            if let Some(at) = VERBS.iter().position(|known| known == verb) {
                self.0[at].insert(server);
            }
        }
    }

    fn get(&self, verb: &str) -> ServerSet {
        VERBS.iter().position(|known| *known == verb).map_or(ServerSet::EMPTY, |at| self.0[at])
    }
}

/// The entry of a name, made if it is new; the name is copied only then.
fn entry<'a, T: Default>(map: &'a mut Map<T>, name: &str) -> &'a mut T {
    if !map.contains_key(name) {
        map.insert(name.into(), T::default());
    }
    map.get_mut(name).expect("it was just put in")
}

/// The first thing that `older` lists and `newer` does not.
pub(super) fn dropped(older: &GroupDiscoveryList, newer: &GroupDiscoveryList) -> Option<String> {
    let mut now = Index::default();
    now.add(0, newer);
    for group in &older.items {
        for version in &group.versions {
            let name = || format!("{}/{}", group.name(), version.version);
            let Some(found) = now.groups.get(group.name()).and_then(|group| group.get(&*version.version))
            else {
                return Some(name());
            };
            for resource in &version.resources {
                let name = || format!("{} {}", name(), resource.resource);
                let Some(found) = found.resources.get(&*resource.resource) else { return Some(name()) };
                if let Some(verb) = resource.verbs().iter().find(|verb| lacks(&found.verbs, verb)) {
                    return Some(format!("{}, verb {verb}", name()));
                }
                for subresource in &resource.subresources {
                    let name = || format!("{}/{}", name(), subresource.subresource);
                    let Some(found) = found.subresources.get(&*subresource.subresource) else {
                        return Some(name());
                    };
                    if let Some(verb) = subresource.verbs().iter().find(|verb| lacks(found, verb)) {
                        return Some(format!("{}, verb {verb}", name()));
                    }
                }
            }
        }
    }
    None
}

/// A verb that we know and `found` does not have.
fn lacks(found: &Verbs, verb: &str) -> bool {
    VERBS.contains(&verb) && found.get(verb).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(freshness: &str, resources: &[&str]) -> GroupDiscoveryList {
        let resource = |name: &&str| json!({"resource": name, "scope": "Namespaced", "verbs": ["get"]});
        let version = json!({
            "version": "v1", "freshness": freshness,
            "resources": resources.iter().map(resource).collect::<Vec<_>>(),
        });
        let groups = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
            "items": [{"metadata": {"name": "metrics.k8s.io"}, "versions": [version]}],
        });
        GroupDiscoveryList::parse(groups.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn nobody_lacks_anything_of_what_he_lists_as_stale() {
        let skewed = |other: &GroupDiscoveryList| {
            let mut index = Index::default();
            index.add(0, &list("Current", &["nodes", "pods"]));
            index.add(1, other);
            index.complete([0, 1].into_iter().collect());
            index.skewed
        };
        assert_eq!(skewed(&list("Current", &["nodes"])), 1);
        assert_eq!(skewed(&list("Stale", &["nodes"])), 0);
        assert_eq!(skewed(&list("Stale", &[])), 0);
    }
}
