//! Who answers for which OpenAPI v3 document: a pure decision on the servers' indexes and the catalog.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use sha2::{Digest, Sha512};

use super::index::{Index, group_version};
use crate::{api::discovery::GroupDiscoveryList, servers::source::ServerSet};

/// What one server's index says.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its number.
    pub server: usize,
    /// Its name; the order of names decides ties.
    pub id: &'a str,
    /// Its index.
    pub index: &'a Index,
    /// Whether it is fresh.
    pub fresh: bool,
}

/// Who answers for one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The first of these that can: those that serve all of the group-version before those that do not.
    Servers(Vec<usize>),
    /// Nobody serves all of the group-version: the documents of these, united.
    Merged(Vec<usize>),
}

/// Who answers for which document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    answerers: BTreeMap<Arc<str>, Answerer>,
    /// The index that says so to clients.
    pub index: Index,
}

/// By group-version, the servers that list all of what anybody lists there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complete(HashMap<String, ServerSet>);

// === impl Complete ===

impl Complete {
    /// Of what each server's discovery lists: `/api` and `/apis`.
    pub fn of<'a>(documents: impl IntoIterator<Item = (usize, [&'a GroupDiscoveryList; 2])>) -> Self {
        #[derive(Default)]
        struct Listed<'a> {
            everything: BTreeSet<(&'a str, &'a str)>,
            by: Vec<(usize, usize)>,
        }
        let mut versions: HashMap<String, Listed<'a>> = HashMap::new();
        for (server, lists) in documents {
            for group in lists.into_iter().flat_map(|list| &list.items) {
                for version in &group.versions {
                    let mut own = BTreeSet::new();
                    for resource in &version.resources {
                        own.insert((&*resource.resource, ""));
                        let of = |name| (&*resource.resource, name);
                        own.extend(resource.subresources.iter().map(|sub| of(&*sub.subresource)));
                    }
                    let listed = versions.entry(key(group.name(), &version.version)).or_default();
                    listed.by.push((server, own.len()));
                    listed.everything.extend(own);
                }
            }
        }
        let complete = |listed: Listed<'_>| {
            let all = listed.everything.len();
            listed.by.into_iter().filter(|(_, own)| *own == all).map(|(server, _)| server).collect()
        };
        Self(versions.into_iter().map(|(key, listed)| (key, complete(listed))).collect())
    }

    /// Whether a server lists all of the group-version of which a document tells. What discovery does not speak of is
    /// complete wherever it is.
    pub fn contains(&self, key: &str, server: usize) -> bool {
        self.0.get(key).is_none_or(|complete| complete.contains(server))
    }

    /// Whether anybody lists the group-version of which a document tells.
    pub fn lists(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

fn key(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

// === impl Plan ===

impl Plan {
    /// Decides for a home. The result does not depend on the order of `sources`.
    ///
    /// A group-version is answered by home if home serves all of it; else by a peer that does, fresh ones first; else
    /// by all that have it, united. What is no group-version is answered by home if it has it, else by the first
    /// server that has it.
    pub fn new(sources: &[Source<'_>], home: usize, complete: &Complete) -> Self {
        let mut sources: Vec<&Source<'_>> = sources.iter().collect();
        sources.sort_by_key(|source| source.id);
        let mut having: BTreeMap<&Arc<str>, Vec<&Source<'_>>> = BTreeMap::new();
        for source in sources {
            for key in source.index.keys() {
                having.entry(key).or_default().push(source);
            }
        }
        let mut plan = Self::default();
        let mut index = Vec::with_capacity(having.len());
        for (key, having) in having {
            let (answerer, hash) = answerer(key, having, home, complete);
            index.push((Arc::clone(key), hash));
            plan.answerers.insert(Arc::clone(key), answerer);
        }
        plan.index = index.into_iter().collect();
        plan
    }

    /// Who answers for a document; `None` if nobody has it.
    pub fn answerer(&self, key: &str) -> Option<&Answerer> {
        self.answerers.get(key)
    }

    /// Everybody's answers, by document.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Answerer)> {
        self.answerers.iter()
    }
}

fn answerer(
    key: &str,
    having: Vec<&Source<'_>>,
    home: usize,
    complete: &Complete,
) -> (Answerer, Option<Arc<str>>) {
    let is_complete = |source: &Source<'_>| complete.contains(key, source.server);
    // One document, whoever gives it out.
    let same = having[1..].iter().all(|source| {
        source.index.hash(key).is_some() && source.index.hash(key) == having[0].index.hash(key)
    });
    if group_version(key).is_some() && !having.iter().copied().any(is_complete) && !same {
        let parts: Option<Vec<_>> =
            having.iter().map(|source| Some((source.id, &**source.index.hash(key)?))).collect();
        let hash = parts.map(|parts| united_tag(&parts));
        return (Answerer::Merged(having.into_iter().map(|source| source.server).collect()), hash);
    }
    let mut order = having;
    let is_plain = group_version(key).is_none();
    // Stable: names decide what this does not.
    order.sort_by_key(|source| (!is_complete(source), source.server != home, !is_plain && !source.fresh));
    let hash = order[0].index.hash(key).cloned();
    (Answerer::Servers(order.into_iter().map(|source| source.server).collect()), hash)
}

/// The tag of a document that is united of the servers' own with these tags, in the order of names. If all are the
/// same, so is the document, and its tag.
pub fn united_tag(parts: &[(&str, &str)]) -> Arc<str> {
    if let Some((_, first)) = parts.first()
        && parts.iter().all(|(_, tag)| tag == first)
    {
        return Arc::from(*first);
    }
    let mut hash = Sha512::new();
    for (id, tag) in parts {
        for part in [id, tag] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
    }
    upper_hex(&hash.finalize())
}

/// As upstream writes hashes (`computeETag` in `kube-openapi/pkg/handler3`).
pub fn upper_hex(bytes: &[u8]) -> Arc<str> {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into()
}

#[cfg(test)]
mod tests;
