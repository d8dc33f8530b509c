//! `k8s.io/api/apidiscovery/v2`; v2beta1 has the same numbers.

use prost::Message;

use super::meta::{GroupVersionKind, ListMeta, ObjectMeta};
use crate::api::discovery::{
    GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, SubresourceDiscovery, VersionDiscovery,
};

#[derive(Clone, PartialEq, Message)]
pub(in crate::api::encoding) struct List {
    #[prost(message, required, tag = "1")]
    pub(super) metadata: ListMeta,
    #[prost(message, repeated, tag = "2")]
    pub(super) items: Vec<Group>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api::encoding) struct Group {
    #[prost(message, required, tag = "1")]
    pub(super) metadata: ObjectMeta,
    #[prost(message, repeated, tag = "2")]
    pub(super) versions: Vec<Version>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api::encoding) struct Version {
    #[prost(string, required, tag = "1")]
    pub(super) version: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Resource>,
    #[prost(string, required, tag = "3")]
    pub(super) freshness: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api::encoding) struct Resource {
    #[prost(string, required, tag = "1")]
    pub(super) resource: String,
    #[prost(message, optional, tag = "2")]
    pub(super) response_kind: Option<GroupVersionKind>,
    #[prost(string, required, tag = "3")]
    pub(super) scope: String,
    #[prost(string, required, tag = "4")]
    pub(super) singular_resource: String,
    #[prost(string, repeated, tag = "5")]
    pub(super) verbs: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    pub(super) short_names: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub(super) categories: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    pub(super) subresources: Vec<Subresource>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api::encoding) struct Subresource {
    #[prost(string, required, tag = "1")]
    pub(super) subresource: String,
    #[prost(message, optional, tag = "2")]
    pub(super) response_kind: Option<GroupVersionKind>,
    #[prost(message, repeated, tag = "3")]
    pub(super) accepted_types: Vec<GroupVersionKind>,
    #[prost(string, repeated, tag = "4")]
    pub(super) verbs: Vec<String>,
}

// === From our own types ===

impl From<&GroupDiscoveryList> for List {
    fn from(list: &GroupDiscoveryList) -> Self {
        Self { metadata: ListMeta::default(), items: list.items.iter().map(Into::into).collect() }
    }
}

impl From<&GroupDiscovery> for Group {
    fn from(group: &GroupDiscovery) -> Self {
        Self {
            metadata: ObjectMeta { name: group.name().to_owned(), ..ObjectMeta::default() },
            versions: group.versions.iter().map(|version| (&**version).into()).collect(),
        }
    }
}

impl From<&VersionDiscovery> for Version {
    fn from(version: &VersionDiscovery) -> Self {
        Self {
            version: version.version.clone(),
            resources: version.resources.iter().map(Into::into).collect(),
            freshness: version.freshness.as_str().to_owned(),
        }
    }
}

impl From<&ResourceDiscovery> for Resource {
    fn from(resource: &ResourceDiscovery) -> Self {
        Self {
            resource: resource.resource.clone(),
            response_kind: resource.response_kind.as_ref().map(Into::into),
            scope: resource.scope.clone(),
            singular_resource: resource.singular_resource.clone(),
            verbs: resource.verbs().to_vec(),
            short_names: resource.short_names.clone(),
            categories: resource.categories.clone(),
            subresources: resource.subresources.iter().map(Into::into).collect(),
        }
    }
}

impl From<&SubresourceDiscovery> for Subresource {
    fn from(subresource: &SubresourceDiscovery) -> Self {
        Self {
            subresource: subresource.subresource.clone(),
            response_kind: subresource.response_kind.as_ref().map(Into::into),
            accepted_types: subresource.accepted_types.iter().map(Into::into).collect(),
            verbs: subresource.verbs().to_vec(),
        }
    }
}
