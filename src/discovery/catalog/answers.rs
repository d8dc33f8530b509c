//! What a snapshot answers: the merged documents in every form, written when first asked for.
//!
//! Aggregated v2 in JSON is written at once, for its hash is the ETag of all of them.

use std::{collections::HashMap, sync::Arc, sync::OnceLock};

use http::HeaderValue;

use super::document::Document;
use crate::{
    api::{
        discovery::{
            DiscoveryPath, GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, Tree,
            legacy::{self, ApiVersions},
        },
        encoding::{self, Object},
        media_type::{AggregatedVersion, Media},
    },
    discovery::{
        merge::{self, Conflict, Source},
        render::{Encoded, Encoding, Encodings, Etag},
    },
};

/// What one resource of an unaggregated list is expected to take when written, in bytes; built-in ones take 230.
const BYTES_PER_RESOURCE: usize = 256;

/// A server whose document went into the answers.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The server's name; the order of names decides ties.
    pub name: Arc<str>,
    /// What it says.
    pub document: Arc<Document>,
    /// Whether it is believed that this is so still.
    pub believed: bool,
}

/// The documents of one snapshot.
#[derive(Debug)]
pub struct Answers {
    /// In the order of their names.
    origins: Vec<Origin>,
    api: Merged,
    apis: Merged,
    /// Taken by whoever writes something big, so that nobody else begins the same.
    pub(in crate::discovery) turn: tokio::sync::Mutex<()>,
}

/// One document, by where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `/api` or `/apis`, aggregated.
    Aggregated(Tree, AggregatedVersion),
    /// `/api` or `/apis`, unaggregated.
    Root(Tree),
    /// `/apis/<group>`: the number of the group.
    Group(usize),
    /// `/api/<version>` or `/apis/<group>/<version>`: the numbers of group and version.
    Version(Tree, usize, usize),
}

/// What there is under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A document.
    Document(Key),
    /// A group-version that nobody can tell of now. The unaggregated form has no word for that.
    Stale,
    /// Nothing that anybody lists.
    Nothing,
}

/// One of the two trees.
#[derive(Debug)]
struct Merged {
    aggregated: Arc<Aggregated>,
    root: Written,
    /// By the number of the group.
    groups: Vec<Group>,
}

/// What aggregated documents make of a tree; the next snapshot has the same if nothing in it changed.
#[derive(Debug)]
struct Aggregated {
    list: GroupDiscoveryList,
    conflicts: Vec<Conflict>,
    etag: Etag,
    v2: Written,
    v2beta1: Written,
    /// The number of a group by its name.
    numbers: HashMap<Box<str>, usize>,
}

#[derive(Debug, Default)]
struct Group {
    whole: Written,
    /// By the number of the version.
    versions: Vec<Written>,
}

/// What was made of a document so far.
#[derive(Debug, Default)]
struct Written {
    encodings: Encodings,
    sources: OnceLock<HeaderValue>,
}

// === impl Answers ===

impl Answers {
    /// Merges what servers say; `None` if none said anything yet. What is as it was `before` is taken from there.
    pub fn new(mut origins: Vec<Origin>, before: Option<&Self>) -> Option<Self> {
        if origins.is_empty() {
            return None;
        }
        origins.sort_by(|one, other| one.name.cmp(&other.name));
        let merged = |tree: Tree| {
            let known = before.filter(|before| {
                let pairs = before.origins.iter().zip(&origins);
                before.origins.len() == origins.len() && pairs.into_iter().all(|(a, b)| a.says_as(b, tree))
            });
            let aggregated = known.map_or_else(
                || Arc::new(Aggregated::new(&origins, tree)),
                |before| Arc::clone(&before.merged(tree).aggregated),
            );
            Merged::new(aggregated)
        };
        let (api, apis) = (merged(Tree::Api), merged(Tree::Apis));
        Some(Self { origins, api, apis, turn: tokio::sync::Mutex::default() })
    }

    /// What servers contradict each other in.
    pub fn conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.api.aggregated.conflicts.iter().chain(&self.apis.aggregated.conflicts)
    }

    /// The merged list of a tree.
    pub fn list(&self, tree: Tree) -> &GroupDiscoveryList {
        &self.merged(tree).aggregated.list
    }

    /// The unaggregated document under a path.
    pub fn unaggregated(&self, path: DiscoveryPath<'_>) -> Found {
        let tree = path.tree();
        let merged = &self.merged(tree).aggregated;
        let (group, version) = match path {
            DiscoveryPath::Root(_) | DiscoveryPath::Plain(_) => return Found::Document(Key::Root(tree)),
            DiscoveryPath::Group(group) => (group, None),
            DiscoveryPath::Version { group, version } => (group, Some(version)),
        };
        let Some(number) = merged.numbers.get(group).copied() else { return Found::Nothing };
        let Some(version) = version else { return Found::Document(Key::Group(number)) };
        let versions = &merged.list.items[number].versions;
        match versions.iter().position(|listed| listed.version == version) {
            None => Found::Nothing,
            Some(at) if versions[at].freshness.is_stale() => Found::Stale,
            Some(at) => Found::Document(Key::Version(tree, number, at)),
        }
    }

    /// The ETag of a document, if its form has one.
    pub fn etag(&self, key: Key) -> Option<&Etag> {
        match key {
            Key::Aggregated(tree, _) => Some(&self.merged(tree).aggregated.etag),
            _ => None,
        }
    }

    /// A document as it was written before, if it was.
    pub fn written(&self, key: Key, encoding: Encoding) -> Option<&Encoded> {
        self.slot(key).encodings.get(encoding)
    }

    /// A document; only the first call writes it, and concurrent ones wait for that.
    pub fn write(&self, key: Key, encoding: Encoding) -> &Encoded {
        self.slot(key).encodings.get_or_write(encoding, || self.bytes(key, encoding))
    }

    /// About how many bytes writing it makes.
    pub fn size(&self, key: Key) -> usize {
        let whole = |tree| {
            let json = Encoding::new(Media::Json, false);
            self.written(Key::Aggregated(tree, AggregatedVersion::V2), json)
                .map_or(0, |json| json.body().len())
        };
        match key {
            Key::Aggregated(tree, _) => whole(tree),
            Key::Root(tree) => {
                let rows = |group: &GroupDiscovery| 1 + group.versions.len();
                self.list(tree).items.iter().map(rows).sum::<usize>() * BYTES_PER_RESOURCE
            }
            Key::Group(group) => self.list(Tree::Apis).items[group].versions.len() * BYTES_PER_RESOURCE,
            Key::Version(tree, group, version) => {
                let rows = |resource: &ResourceDiscovery| 1 + resource.subresources.len();
                let version = &self.list(tree).items[group].versions[version];
                version.resources.iter().map(rows).sum::<usize>() * BYTES_PER_RESOURCE
            }
        }
    }

    /// Whose documents went into it: `a, b;stale`, in the order of names. Stale are those that can't be asked now.
    pub fn sources(&self, key: Key) -> &HeaderValue {
        self.slot(key).sources.get_or_init(|| {
            let involved = self.origins.iter().filter(|origin| self.is_in(key, origin));
            let names: Vec<String> = involved
                .map(|origin| format!("{}{}", origin.name, if origin.believed { "" } else { ";stale" }))
                .collect();
            HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""))
        })
    }

    fn is_in(&self, key: Key, origin: &Origin) -> bool {
        let (tree, group, version) = match key {
            Key::Aggregated(..) | Key::Root(_) => return true,
            Key::Group(group) => (Tree::Apis, group, None),
            Key::Version(tree, group, version) => (tree, group, Some(version)),
        };
        let group = &self.list(tree).items[group];
        let listed = origin.document.part(tree).list.items.iter().filter(|of| of.name() == group.name());
        match version {
            None => listed.into_iter().any(|of| !of.versions.is_empty()),
            Some(version) => {
                let name = &group.versions[version].version;
                listed.flat_map(|of| &of.versions).any(|of| of.version == *name)
            }
        }
    }

    fn merged(&self, tree: Tree) -> &Merged {
        match tree {
            Tree::Api => &self.api,
            Tree::Apis => &self.apis,
        }
    }

    fn slot(&self, key: Key) -> &Written {
        match key {
            Key::Aggregated(tree, AggregatedVersion::V2) => &self.merged(tree).aggregated.v2,
            Key::Aggregated(tree, AggregatedVersion::V2Beta1) => &self.merged(tree).aggregated.v2beta1,
            Key::Root(tree) => &self.merged(tree).root,
            Key::Group(group) => &self.apis.groups[group].whole,
            Key::Version(tree, group, version) => &self.merged(tree).groups[group].versions[version],
        }
    }

    fn bytes(&self, key: Key, encoding: Encoding) -> Vec<u8> {
        let write = |object: Object<'_>| encoding::encode(object, encoding.media(), encoding.pretty());
        match key {
            Key::Aggregated(tree, version) => write(Object::Aggregated(self.list(tree), version)),
            Key::Root(Tree::Apis) => write(Object::Groups(&legacy::group_list(self.list(Tree::Apis)))),
            Key::Root(Tree::Api) => {
                let core = self.list(Tree::Api).items.iter().filter(|group| group.name().is_empty());
                let versions = core.flat_map(|group| &group.versions);
                write(Object::Versions(&ApiVersions {
                    versions: versions.map(|listed| listed.version.clone()).collect(),
                    addresses: self
                        .origins
                        .iter()
                        .map(|origin| &origin.document.lists.addresses)
                        .find(|addresses| !addresses.is_empty())
                        .cloned()
                        .unwrap_or_default(),
                }))
            }
            Key::Group(group) => {
                let group = legacy::group(&self.list(Tree::Apis).items[group]);
                write(Object::Group(&group.expect("a merged document has no group without versions")))
            }
            Key::Version(tree, group, version) => {
                let group = &self.list(tree).items[group];
                let listed = &group.versions[version];
                let name = legacy::group_version(group.name(), &listed.version);
                let known: Vec<_> = self
                    .origins
                    .iter()
                    .filter_map(|origin| origin.document.lists.hashes.get(&name))
                    .collect();
                let hash = |resource: &str| {
                    known
                        .iter()
                        .find_map(|hashes| hashes.get(resource).filter(|hash| !hash.is_empty()).cloned())
                };
                write(Object::Resources(&legacy::resource_list(group.name(), listed, hash)))
            }
        }
    }
}

// === impl Origin ===

impl Origin {
    /// Whether the other makes the same of a tree's aggregated form.
    fn says_as(&self, other: &Self, tree: Tree) -> bool {
        self.name == other.name
            && self.believed == other.believed
            && self.document.lists_as(&other.document, tree)
    }
}

// === impl Merged ===

impl Merged {
    fn new(aggregated: Arc<Aggregated>) -> Self {
        let groups = aggregated.list.items.iter().map(|group| Group {
            versions: group.versions.iter().map(|_| Written::default()).collect(),
            ..Group::default()
        });
        Self { groups: groups.collect(), root: Written::default(), aggregated }
    }
}

// === impl Aggregated ===

impl Aggregated {
    fn new(origins: &[Origin], tree: Tree) -> Self {
        let sources: Vec<Source<'_>> = origins
            .iter()
            .map(|Origin { name, document, believed }| Source {
                id: name,
                document: &document.part(tree).list,
                fresh: *believed,
            })
            .collect();
        let (list, conflicts) = merge::merge_and_compare(&sources);
        let v2 = Written::default();
        let json = v2.encodings.get_or_write(Encoding::new(Media::Json, false), || {
            encoding::encode(Object::Aggregated(&list, AggregatedVersion::V2), Media::Json, false)
        });
        let etag = Etag::of(json.body());
        let number = |(number, name): (usize, &str)| (name.into(), number);
        let numbers = list.items.iter().map(|group| group.name()).enumerate().map(number).collect();
        Self { list, conflicts, etag, v2, v2beta1: Written::default(), numbers }
    }
}

#[cfg(test)]
mod tests;
