//! Unaggregated discovery: the lists that every API server has had since Kubernetes 1.0, and what becomes of one
//! form when the other is made of it.
//!
//! Types and order of fields: `k8s.io/apimachinery/pkg/apis/meta/v1/types.go` (`APIVersions`, `APIGroupList`,
//! `APIGroup`, `APIResourceList`). `null` and missing fields read as Go reads them. Fields that these types don't have
//! are dropped: the two forms have other names for the same thing, so one's unknown field says nothing in the other.

mod convert;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::convert::{group, group_discovery, group_list, resource_list, version_discovery};
use super::nullable;

/// `/api`. Upstream writes it, and `/api/v1`, without `apiVersion`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, tag = "kind", rename = "APIVersions")]
pub struct ApiVersions {
    /// The versions of the core group.
    #[serde(deserialize_with = "nullable")]
    pub versions: Vec<String>,
    /// Where clients find the server, by their own address.
    #[serde(rename = "serverAddressByClientCIDRs", deserialize_with = "nullable")]
    pub addresses: Vec<ServerAddress>,
}

/// Where clients of a network find the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerAddress {
    /// The network.
    #[serde(deserialize_with = "nullable", rename = "clientCIDR")]
    pub client_cidr: String,
    /// Host and port.
    #[serde(deserialize_with = "nullable", rename = "serverAddress")]
    pub server_address: String,
}

/// `/apis`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, tag = "kind", rename = "APIGroupList")]
pub struct ApiGroupList {
    /// Always `v1`.
    #[serde(deserialize_with = "nullable", rename = "apiVersion")]
    pub api_version: String,
    /// The groups in the server's order of priority.
    #[serde(deserialize_with = "nullable")]
    pub groups: Vec<ApiGroup>,
}

/// One group of `/apis`; `/apis/<group>` is the same with its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiGroup {
    /// `APIGroup`, or empty inside a list.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `v1`, or empty inside a list.
    #[serde(deserialize_with = "nullable", rename = "apiVersion", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The group's name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The versions, in the server's order of priority.
    #[serde(deserialize_with = "nullable")]
    pub versions: Vec<GroupVersion>,
    /// The one that clients should take.
    #[serde(deserialize_with = "nullable", rename = "preferredVersion")]
    pub preferred: GroupVersion,
}

/// A version as a group lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupVersion {
    /// Such as `apps/v1`.
    #[serde(deserialize_with = "nullable", rename = "groupVersion")]
    pub group_version: String,
    /// Such as `v1`.
    #[serde(deserialize_with = "nullable")]
    pub version: String,
}

/// `/api/v1` and `/apis/<group>/<version>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, tag = "kind", rename = "APIResourceList")]
pub struct ApiResourceList {
    /// `v1`; empty for the core group and for `extensions`.
    #[serde(deserialize_with = "nullable", rename = "apiVersion", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Such as `apps/v1`.
    #[serde(deserialize_with = "nullable", rename = "groupVersion")]
    pub group_version: String,
    /// Resources and subresources.
    #[serde(deserialize_with = "nullable")]
    pub resources: Vec<ApiResource>,
}

/// One resource, such as `pods`, or subresource, such as `pods/log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiResource {
    /// Plural, as in the path.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Singular name, for people; empty for a subresource.
    #[serde(deserialize_with = "nullable", rename = "singularName")]
    pub singular_name: String,
    /// Whether its objects live in namespaces.
    #[serde(deserialize_with = "nullable")]
    pub namespaced: bool,
    /// Group of the kind, where it is not that of the list.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Version of the kind, where it is not that of the list.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The kind of its objects.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// `None` is written as `null`.
    pub verbs: Option<Vec<String>>,
    /// Short names, for people.
    #[serde(rename = "shortNames", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    /// Groups of resources such as `all`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Says when objects are stored in another version than before; only these lists have it.
    #[serde(
        deserialize_with = "nullable",
        rename = "storageVersionHash",
        skip_serializing_if = "String::is_empty"
    )]
    pub storage_version_hash: String,
}

/// Why bytes are not the list that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not JSON, or JSON of another shape.
    #[error("not a list of discovery: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind, such as a `Status`.
    #[error("expected kind {expected}, got kind {kind:?}")]
    Kind {
        /// What was asked for.
        expected: &'static str,
        /// What the document calls itself.
        kind: String,
    },
}

/// A document of unaggregated discovery.
pub trait List: DeserializeOwned {
    /// Its `kind`.
    const KIND: &'static str;

    /// Reads a document and checks that it is one, for any JSON object would pass for an empty list. Its `apiVersion`
    /// isn't looked at: upstream leaves it out here and there.
    ///
    /// # Errors
    /// Bytes that are no JSON, JSON of another shape or kind.
    fn parse(bytes: &[u8]) -> Result<Self, ListError> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(default, deserialize_with = "nullable")]
            kind: String,
        }
        let Typed { kind } = serde_json::from_slice(bytes)?;
        // Serde reads an array as a struct, too.
        let kind = if bytes.trim_ascii_start().starts_with(b"{") { kind } else { String::new() };
        if kind != Self::KIND {
            return Err(ListError::Kind { expected: Self::KIND, kind });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl List for ApiVersions {
    const KIND: &'static str = "APIVersions";
}

impl List for ApiGroupList {
    const KIND: &'static str = "APIGroupList";
}

impl List for ApiGroup {
    const KIND: &'static str = "APIGroup";
}

impl List for ApiResourceList {
    const KIND: &'static str = "APIResourceList";
}

/// How an object of a group-version writes its `apiVersion`.
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
