//! What one server said that it serves.

use std::{collections::HashMap, sync::Arc};

use super::index;
use crate::api::discovery::{GroupDiscoveryList, Tree, legacy::ServerAddress};

/// What one server said that it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `/api`: the core group.
    pub api: Part,
    /// `/apis`: every other group.
    pub apis: Part,
    /// `major.minor` of `/version`.
    pub version: Option<(u32, u32)>,
    /// What only its unaggregated lists say.
    pub lists: Arc<Lists>,
    /// In which form it gave each part.
    pub forms: Forms,
    /// Whether it offers `application/cbor` for discovery (gate `CBORServingAndStorage`).
    pub cbor: bool,
}

/// The form of discovery that a server answers in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Aggregated, `v2`: since Kubernetes 1.30.
    #[default]
    V2,
    /// Aggregated, `v2beta1`: from Kubernetes 1.26 to 1.29.
    V2Beta1,
    /// A list of groups and one of resources for each group-version: before.
    Unaggregated,
}

/// The form of each part; a server may answer one tree in one form and the other tree in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// Of `/api`.
    pub api: Form,
    /// Of `/apis`.
    pub apis: Form,
}

/// What a server's unaggregated lists say and its aggregated documents do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Of `/api`: where clients find the server.
    pub addresses: Vec<ServerAddress>,
    /// By group-version (`apps/v1`, `v1`) and resource, the storage version hash.
    pub hashes: HashMap<String, Arc<HashMap<String, String>>>,
}

/// One of the two discovery documents of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Groups, versions, resources.
    pub list: GroupDiscoveryList,
    /// The server's own `ETag`, quotes included, to ask for changes with.
    pub etag: Option<String>,
}

// === impl Document ===

impl Document {
    /// The part for a tree.
    pub fn part(&self, tree: Tree) -> &Part {
        match tree {
            Tree::Api => &self.api,
            Tree::Apis => &self.apis,
        }
    }

    /// The form of a part.
    pub fn form(&self, tree: Tree) -> Form {
        match tree {
            Tree::Api => self.forms.api,
            Tree::Apis => self.forms.apis,
        }
    }

    /// Whether both list the same in a tree. Quick for documents that share their group-versions.
    pub fn lists_as(&self, other: &Self, tree: Tree) -> bool {
        std::ptr::eq(self, other) || self.part(tree).list == other.part(tree).list
    }

    /// Whether it lists a group, or of it a version.
    pub fn has(&self, group: &str, version: Option<&str>) -> bool {
        let groups = self.part(Tree::of_group(group)).list.items.iter();
        let mut versions = groups.filter(|listed| listed.name() == group).flat_map(|group| &group.versions);
        versions.any(|listed| version.is_none_or(|version| listed.version == version))
    }

    /// The first thing that this document lists and `newer` does not: a group-version, resource, subresource
    /// or verb.
    pub fn dropped_by(&self, newer: &Self) -> Option<String> {
        index::dropped(&self.api.list, &newer.api.list)
            .or_else(|| index::dropped(&self.apis.list, &newer.apis.list))
    }
}
