//! `k8s.io/apimachinery/pkg/runtime` and `pkg/apis/meta/v1`.

use prost::Message;

use crate::api::discovery::{ResponseKind, legacy};

// === runtime ===

/// The envelope of every document.
#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct Unknown {
    #[prost(message, required, tag = "1")]
    pub(super) type_meta: TypeMeta,
    #[prost(bytes = "vec", required, tag = "2")]
    pub(super) raw: Vec<u8>,
    #[prost(string, required, tag = "3")]
    pub(super) content_encoding: String,
    #[prost(string, required, tag = "4")]
    pub(super) content_type: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct TypeMeta {
    #[prost(string, required, tag = "1")]
    pub(super) api_version: String,
    #[prost(string, required, tag = "2")]
    pub(super) kind: String,
}

// === meta/v1 ===

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ListMeta {
    #[prost(string, required, tag = "1")]
    pub(in crate::api) self_link: String,
    #[prost(string, required, tag = "2")]
    pub(in crate::api) resource_version: String,
    #[prost(string, required, tag = "3")]
    pub(in crate::api) continue_token: String,
    #[prost(int64, optional, tag = "4")]
    pub(in crate::api) remaining_item_count: Option<i64>,
}

/// As far as discovery fills it, which is the name only.
#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ObjectMeta {
    #[prost(string, required, tag = "1")]
    pub(super) name: String,
    #[prost(string, required, tag = "2")]
    pub(super) generate_name: String,
    #[prost(string, required, tag = "3")]
    pub(super) namespace: String,
    #[prost(string, required, tag = "4")]
    pub(super) self_link: String,
    #[prost(string, required, tag = "5")]
    pub(super) uid: String,
    #[prost(string, required, tag = "6")]
    pub(super) resource_version: String,
    #[prost(int64, required, tag = "7")]
    pub(super) generation: i64,
    #[prost(message, required, tag = "8")]
    pub(super) creation_timestamp: Time,
}

/// A time that isn't set has no fields.
#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct Time {
    #[prost(int64, optional, tag = "1")]
    pub(super) seconds: Option<i64>,
    #[prost(int32, optional, tag = "2")]
    pub(super) nanos: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct GroupVersionKind {
    #[prost(string, required, tag = "1")]
    pub(super) group: String,
    #[prost(string, required, tag = "2")]
    pub(super) version: String,
    #[prost(string, required, tag = "3")]
    pub(super) kind: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ApiVersions {
    #[prost(string, repeated, tag = "1")]
    pub(super) versions: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) addresses: Vec<ServerAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ServerAddress {
    #[prost(string, required, tag = "1")]
    pub(super) client_cidr: String,
    #[prost(string, required, tag = "2")]
    pub(super) server_address: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ApiGroupList {
    #[prost(message, repeated, tag = "1")]
    pub(super) groups: Vec<ApiGroup>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ApiGroup {
    #[prost(string, required, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) versions: Vec<GroupVersion>,
    #[prost(message, required, tag = "3")]
    pub(super) preferred: GroupVersion,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct GroupVersion {
    #[prost(string, required, tag = "1")]
    pub(super) group_version: String,
    #[prost(string, required, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ApiResourceList {
    #[prost(string, required, tag = "1")]
    pub(super) group_version: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<ApiResource>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct ApiResource {
    #[prost(string, required, tag = "1")]
    pub(super) name: String,
    #[prost(bool, required, tag = "2")]
    pub(super) namespaced: bool,
    #[prost(string, required, tag = "3")]
    pub(super) kind: String,
    #[prost(message, optional, tag = "4")]
    pub(super) verbs: Option<Verbs>,
    #[prost(string, repeated, tag = "5")]
    pub(super) short_names: Vec<String>,
    #[prost(string, required, tag = "6")]
    pub(super) singular_name: String,
    #[prost(string, repeated, tag = "7")]
    pub(super) categories: Vec<String>,
    #[prost(string, required, tag = "8")]
    pub(super) group: String,
    #[prost(string, required, tag = "9")]
    pub(super) version: String,
    #[prost(string, required, tag = "10")]
    pub(super) storage_version_hash: String,
}

/// Tells no verbs from no list of verbs.
#[derive(Clone, PartialEq, Message)]
pub(in crate::api) struct Verbs {
    #[prost(string, repeated, tag = "1")]
    pub(super) items: Vec<String>,
}

// === From our own types ===

impl From<&ResponseKind> for GroupVersionKind {
    fn from(kind: &ResponseKind) -> Self {
        Self { group: kind.group.clone(), version: kind.version.clone(), kind: kind.kind.clone() }
    }
}

impl From<&legacy::ApiVersions> for ApiVersions {
    fn from(list: &legacy::ApiVersions) -> Self {
        let addresses = list.addresses.iter().map(|address| ServerAddress {
            client_cidr: address.client_cidr.clone(),
            server_address: address.server_address.clone(),
        });
        Self { versions: list.versions.clone(), addresses: addresses.collect() }
    }
}

impl From<&legacy::ApiGroupList> for ApiGroupList {
    fn from(list: &legacy::ApiGroupList) -> Self {
        Self { groups: list.groups.iter().map(Into::into).collect() }
    }
}

impl From<&legacy::ApiGroup> for ApiGroup {
    fn from(group: &legacy::ApiGroup) -> Self {
        Self {
            name: group.name.clone(),
            versions: group.versions.iter().map(Into::into).collect(),
            preferred: (&group.preferred).into(),
        }
    }
}

impl From<&legacy::GroupVersion> for GroupVersion {
    fn from(listed: &legacy::GroupVersion) -> Self {
        Self { group_version: listed.group_version.clone(), version: listed.version.clone() }
    }
}

impl From<&legacy::ApiResourceList> for ApiResourceList {
    fn from(list: &legacy::ApiResourceList) -> Self {
        Self {
            group_version: list.group_version.clone(),
            resources: list.resources.iter().map(Into::into).collect(),
        }
    }
}

impl From<&legacy::ApiResource> for ApiResource {
    fn from(row: &legacy::ApiResource) -> Self {
        Self {
            name: row.name.clone(),
            namespaced: row.namespaced,
            kind: row.kind.clone(),
            verbs: row.verbs.clone().map(|items| Verbs { items }),
            short_names: row.short_names.clone(),
            singular_name: row.singular_name.clone(),
            categories: row.categories.clone(),
            group: row.group.clone(),
            version: row.version.clone(),
            storage_version_hash: row.storage_version_hash.clone(),
        }
    }
}
