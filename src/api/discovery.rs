//! Aggregated discovery, `apidiscovery.k8s.io/v2` (KEP-3352; upstream: `k8s.io/api/apidiscovery/v2`).
//!
//! Parsing keeps the fields that these types don't know, at every level, in [`Extra`]: a newer API server may
//! say more than we understand, and its clients shall still read it. Writing gives byte for byte what Go's
//! `encoding/json` makes of upstream's types, because the ETag of a document is a hash of those bytes.
//! Fields stand in upstream's order, unknown ones behind the known ones.
//!
//! Go tells a nil list from an empty one. On the wire that shows only in `verbs` (`null` against `[]`), so only
//! `verbs` is an `Option` here.

mod extra;
mod go_json;
pub mod legacy;
mod path;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::extra::Extra;
pub use self::go_json::{to_go_json, to_go_json_pretty};
pub use self::path::{DiscoveryPath, Tree};

/// The `kind` of the document.
pub const KIND: &str = "APIGroupDiscoveryList";
/// The API group of the document's own type.
pub const GROUP: &str = "apidiscovery.k8s.io";
/// The version of the document's own type.
pub const VERSION: &str = "v2";
/// The `apiVersion` of the document: [`GROUP`] and [`VERSION`].
pub const API_VERSION: &str = "apidiscovery.k8s.io/v2";
/// The same from Kubernetes 1.26 to 1.34, the only one until 1.29.
pub const API_VERSION_BETA: &str = "apidiscovery.k8s.io/v2beta1";

/// Why bytes are not an aggregated discovery document.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, or JSON of another shape.
    #[error("not an {KIND}: {0}")]
    Json(#[from] serde_json::Error),
    /// Not the unaggregated list that it should be.
    #[error(transparent)]
    List(#[from] legacy::ListError),
    /// JSON of another kind: a `Status`, an unaggregated list, another version.
    #[error("expected kind {KIND} of the version asked for, got kind {kind:?} of {api_version:?}")]
    Kind {
        /// What the document calls itself.
        kind: String,
        /// The version that the document claims.
        api_version: String,
    },
}

/// Everything that an API server serves under `/apis`, or under `/api`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDiscoveryList {
    /// List metadata; empty in every document that upstream emits.
    pub metadata: Extra,
    /// The groups in the server's order of priority.
    pub items: Vec<GroupDiscovery>,
    /// Fields that upstream's type doesn't have.
    pub extra: Extra,
}

/// One API group and its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDiscovery {
    /// Empty in every document that upstream emits.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Empty in every document that upstream emits.
    #[serde(
        rename = "apiVersion",
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub api_version: String,
    /// Carries the group's name.
    #[serde(default, deserialize_with = "group_metadata")]
    pub metadata: ObjectMeta,
    /// The versions, the preferred one first. Shared, because merging copies most of them unchanged.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Arc<VersionDiscovery>>,
    /// Fields that upstream's type doesn't have.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The metadata of a group: its name, and whatever else stood there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// The group's name; empty for the core group.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Everything else, in the order in which it came.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One version of a group and its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionDiscovery {
    /// Such as `v1beta1`.
    #[serde(default, deserialize_with = "nullable")]
    pub version: String,
    /// What the version serves.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceDiscovery>,
    /// Whether the server could lately ask who serves this group-version.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Freshness::is_unset")]
    pub freshness: Freshness,
    /// Fields that upstream's type doesn't have.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How far the list of a group-version may be trusted. Clients drop a `Stale` group-version whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// The field is missing or empty; clients read that as current.
    #[default]
    Unset,
    /// The list is up to date.
    Current,
    /// The list could not be refreshed and may be empty.
    Stale,
    /// A word that upstream doesn't define; clients read it as current.
    Other(String),
}

/// A resource, such as `pods`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDiscovery {
    /// Plural name, as in the path.
    #[serde(default, deserialize_with = "nullable")]
    pub resource: String,
    /// What the resource's requests answer with; none if only subresources exist.
    #[serde(rename = "responseKind", default, skip_serializing_if = "Option::is_none")]
    pub response_kind: Option<ResponseKind>,
    /// `Cluster` or `Namespaced`.
    #[serde(default, deserialize_with = "nullable")]
    pub scope: String,
    /// Singular name, for people.
    #[serde(rename = "singularResource", default, deserialize_with = "nullable")]
    pub singular_resource: String,
    /// `None` is written as `null`.
    #[serde(default)]
    pub verbs: Option<Vec<String>>,
    /// Short names, for people.
    #[serde(
        rename = "shortNames",
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub short_names: Vec<String>,
    /// Groups of resources such as `all`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Subresources, such as `status`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub subresources: Vec<SubresourceDiscovery>,
    /// Fields that upstream's type doesn't have.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A subresource, such as `status` of `pods`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubresourceDiscovery {
    /// Name, as in the path.
    #[serde(default, deserialize_with = "nullable")]
    pub subresource: String,
    /// What its requests answer with; none if that is no Kubernetes object.
    #[serde(rename = "responseKind", default, skip_serializing_if = "Option::is_none")]
    pub response_kind: Option<ResponseKind>,
    /// Kinds that it takes.
    #[serde(
        rename = "acceptedTypes",
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub accepted_types: Vec<ResponseKind>,
    /// `None` is written as `null`.
    #[serde(default)]
    pub verbs: Option<Vec<String>>,
    /// Fields that upstream's type doesn't have.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Group, version and kind of an object. An empty group or version means that of the list it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseKind {
    /// API group.
    #[serde(default, deserialize_with = "nullable")]
    pub group: String,
    /// Version.
    #[serde(default, deserialize_with = "nullable")]
    pub version: String,
    /// Kind.
    #[serde(default, deserialize_with = "nullable")]
    pub kind: String,
    /// Fields that upstream's type doesn't have.
    #[serde(flatten)]
    pub extra: Extra,
}

// === impl GroupDiscoveryList ===

impl GroupDiscoveryList {
    /// Reads a document and checks that it is one: `kind` and `apiVersion` must be [`KIND`] and [`API_VERSION`].
    ///
    /// # Errors
    /// Bytes that are no JSON, JSON of another shape or kind. Missing or `null` fields are no errors, as in Go.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_as(bytes, API_VERSION)
    }

    /// As [`Self::parse`], with another `apiVersion`: [`API_VERSION_BETA`] differs from [`API_VERSION`] in nothing
    /// but its name.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_as(bytes: &[u8], api_version: &str) -> Result<Self, ParseError> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.kind != KIND || wire.api_version != api_version {
            return Err(ParseError::Kind { kind: wire.kind, api_version: wire.api_version });
        }
        Ok(Self { metadata: wire.metadata, items: wire.items, extra: wire.extra })
    }
}

/// The document as it is sent: the list with its type.
#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "nullable")]
    kind: String,
    #[serde(rename = "apiVersion", default, deserialize_with = "nullable")]
    api_version: String,
    #[serde(default, deserialize_with = "nullable")]
    metadata: Extra,
    #[serde(default, deserialize_with = "nullable")]
    items: Vec<GroupDiscovery>,
    #[serde(flatten)]
    extra: Extra,
}

impl Serialize for GroupDiscoveryList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", KIND)?;
        map.serialize_entry("apiVersion", API_VERSION)?;
        map.serialize_entry("metadata", &self.metadata)?;
        map.serialize_entry("items", &self.items)?;
        for (key, value) in self.extra.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

// === impl GroupDiscovery ===

impl GroupDiscovery {
    /// The group's name; empty for the core group.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }
}

// === impl ResourceDiscovery ===

impl ResourceDiscovery {
    /// The verbs, none if the list is `null`.
    pub fn verbs(&self) -> &[String] {
        self.verbs.as_deref().unwrap_or_default()
    }
}

// === impl SubresourceDiscovery ===

impl SubresourceDiscovery {
    /// The verbs, none if the list is `null`.
    pub fn verbs(&self) -> &[String] {
        self.verbs.as_deref().unwrap_or_default()
    }
}

// === impl Freshness ===

impl Freshness {
    /// Is it exactly `Stale`, which is what clients ask?
    pub fn is_stale(&self) -> bool {
        *self == Self::Stale
    }

    fn is_unset(&self) -> bool {
        *self == Self::Unset
    }

    /// The word itself; empty if unset.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unset => "",
            Self::Current => "Current",
            Self::Stale => "Stale",
            Self::Other(word) => word,
        }
    }
}

impl Serialize for Freshness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Freshness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "" => Self::Unset,
            "Current" => Self::Current,
            "Stale" => Self::Stale,
            _ => Self::Other(word),
        })
    }
}

/// Go reads `null` as the zero value of whatever it fills.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// API servers up to 1.33 write `creationTimestamp: null`; later ones leave an unset time out, and so do we.
fn group_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata: ObjectMeta = nullable(deserializer)?;
    metadata.extra.remove_null("creationTimestamp");
    Ok(metadata)
}
