//! Unaggregated discovery: the lists that every API server has had since Kubernetes 1.0, and what becomes of one
//! form when the other is made of it.
//!
//! Types and order of fields: `k8s.io/apimachinery/pkg/apis/meta/v1/types.go` (`APIVersions`, `APIGroupList`,
//! `APIGroup`, `APIResourceList`). Their conversion into aggregated discovery:
//! `k8s.io/apiserver/pkg/endpoints/discovery/aggregated` and `endpoints/installer.go`
//! (`ConvertGroupVersionIntoToDiscovery`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Extra, Freshness, GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, ResponseKind,
    SubresourceDiscovery, VersionDiscovery, nullable,
};

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
    #[serde(rename = "clientCIDR")]
    pub client_cidr: String,
    /// Host and port.
    #[serde(rename = "serverAddress")]
    pub server_address: String,
}

/// `/apis`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, tag = "kind", rename = "APIGroupList")]
pub struct ApiGroupList {
    /// Always `v1`.
    #[serde(rename = "apiVersion")]
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
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `v1`, or empty inside a list.
    #[serde(rename = "apiVersion", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The group's name.
    pub name: String,
    /// The versions, in the server's order of priority.
    #[serde(deserialize_with = "nullable")]
    pub versions: Vec<GroupVersion>,
    /// The one that clients should take.
    #[serde(rename = "preferredVersion")]
    pub preferred: GroupVersion,
}

/// A version as a group lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupVersion {
    /// Such as `apps/v1`.
    #[serde(rename = "groupVersion")]
    pub group_version: String,
    /// Such as `v1`.
    pub version: String,
}

/// `/api/v1` and `/apis/<group>/<version>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, tag = "kind", rename = "APIResourceList")]
pub struct ApiResourceList {
    /// `v1`; empty for the core group.
    #[serde(rename = "apiVersion", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Such as `apps/v1`.
    #[serde(rename = "groupVersion")]
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
    pub name: String,
    /// Singular name, for people; empty for a subresource.
    #[serde(rename = "singularName")]
    pub singular_name: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Group of the kind, where it is not that of the list.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Version of the kind, where it is not that of the list.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The kind of its objects.
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
    #[serde(rename = "storageVersionHash", skip_serializing_if = "String::is_empty")]
    pub storage_version_hash: String,
}

/// How an object of a group-version writes its `apiVersion`.
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

// === From aggregated ===

/// `/apis`.
pub fn group_list(document: &GroupDiscoveryList) -> ApiGroupList {
    let groups = document.items.iter().filter_map(summary).collect();
    ApiGroupList { api_version: "v1".to_owned(), groups }
}

/// `/apis/<group>`; `None` for a group without versions.
pub fn group(group: &GroupDiscovery) -> Option<ApiGroup> {
    let summary = summary(group)?;
    Some(ApiGroup { kind: "APIGroup".to_owned(), api_version: "v1".to_owned(), ..summary })
}

fn summary(group: &GroupDiscovery) -> Option<ApiGroup> {
    let versions: Vec<GroupVersion> = group
        .versions
        .iter()
        .map(|listed| GroupVersion {
            group_version: group_version(group.name(), &listed.version),
            version: listed.version.clone(),
        })
        .collect();
    let preferred = versions.first()?.clone();
    Some(ApiGroup { name: group.name().to_owned(), versions, preferred, ..ApiGroup::default() })
}

/// `/api/v1` or `/apis/<group>/<version>`; `hash` knows the storage version hash of a resource.
pub fn resource_list(
    group: &str,
    listed: &VersionDiscovery,
    hash: impl Fn(&str) -> Option<String>,
) -> ApiResourceList {
    let mut resources = Vec::new();
    for resource in &listed.resources {
        let namespaced = resource.scope == "Namespaced";
        // Without a kind there are only subresources.
        if let Some(kind) = resource.response_kind.as_ref().filter(|kind| !kind.kind.is_empty()) {
            resources.push(ApiResource {
                name: resource.resource.clone(),
                singular_name: resource.singular_resource.clone(),
                namespaced,
                group: kind.group.clone(),
                version: kind.version.clone(),
                kind: kind.kind.clone(),
                verbs: resource.verbs.clone(),
                short_names: resource.short_names.clone(),
                categories: resource.categories.clone(),
                storage_version_hash: hash(&resource.resource).unwrap_or_default(),
            });
        }
        resources.extend(resource.subresources.iter().map(|subresource| {
            let kind = subresource.response_kind.clone().unwrap_or_default();
            ApiResource {
                name: format!("{}/{}", resource.resource, subresource.subresource),
                namespaced,
                group: kind.group,
                version: kind.version,
                kind: kind.kind,
                verbs: subresource.verbs.clone(),
                ..ApiResource::default()
            }
        }));
    }
    ApiResourceList {
        api_version: if group.is_empty() { String::new() } else { "v1".to_owned() },
        group_version: group_version(group, &listed.version),
        resources,
    }
}

// === Into aggregated ===

/// The aggregated form of a list of resources, as a kube-apiserver that has both forms gives it.
pub fn version_discovery(version: &str, list: &ApiResourceList) -> VersionDiscovery {
    let mut resources: Vec<ResourceDiscovery> = Vec::new();
    let scope = |row: &ApiResource| if row.namespaced { "Namespaced" } else { "Cluster" }.to_owned();
    let kind = |row: &ApiResource| ResponseKind {
        group: row.group.clone(),
        version: row.version.clone(),
        kind: row.kind.clone(),
        extra: Extra::default(),
    };
    for row in list.resources.iter().filter(|row| !row.name.contains('/')) {
        resources.push(ResourceDiscovery {
            resource: row.name.clone(),
            response_kind: Some(kind(row)),
            scope: scope(row),
            singular_resource: row.singular_name.clone(),
            verbs: row.verbs.clone(),
            short_names: row.short_names.clone(),
            categories: row.categories.clone(),
            ..ResourceDiscovery::default()
        });
    }
    for row in &list.resources {
        let Some((parent, name)) = row.name.split_once('/') else { continue };
        let subresource = SubresourceDiscovery {
            subresource: name.to_owned(),
            response_kind: Some(kind(row)),
            verbs: row.verbs.clone(),
            ..SubresourceDiscovery::default()
        };
        if let Some(found) = resources.iter_mut().find(|resource| resource.resource == parent) {
            found.subresources.push(subresource);
        } else {
            resources.push(ResourceDiscovery {
                resource: parent.to_owned(),
                response_kind: Some(ResponseKind::default()),
                scope: scope(row),
                subresources: vec![subresource],
                ..ResourceDiscovery::default()
            });
        }
    }
    VersionDiscovery {
        version: version.to_owned(),
        resources,
        freshness: Freshness::Current,
        extra: Extra::default(),
    }
}

/// A group of what was found out about its versions.
pub fn group_discovery(name: &str, versions: Vec<VersionDiscovery>) -> GroupDiscovery {
    let mut group = GroupDiscovery::default();
    group.metadata.name = name.to_owned();
    group.versions = versions.into_iter().map(Arc::new).collect();
    group
}
