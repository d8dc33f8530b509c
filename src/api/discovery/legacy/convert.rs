//! Unaggregated lists of an aggregated document and the other way round.
//!
//! Into aggregated, as kube-apiserver does it for extension servers that have lists only
//! (`k8s.io/apiserver/pkg/endpoints/installer.go`, `ConvertGroupVersionIntoToDiscovery`): resources in the order of the
//! list, then their subresources. It differs where upstream believes an odd list, for here that list is to be merged:
//! - a row without a name, or with nothing before or behind its first slash, is passed over;
//! - of several rows with one name the first counts (upstream lists all of them);
//! - a subresource lives where its resource does, whatever its own row says (upstream refuses the whole list).
//!
//! As upstream, what stands behind the first slash is the subresource, further slashes included, and a subresource
//! whose resource has no row gets a parent that does nothing itself: no kind, no verbs.
//!
//! From aggregated, rows are in the order of the document, subresources behind their resource. That is the order of
//! kube-apiserver's own lists, except for two kinds of names: its built-in rows are sorted by their whole name, so
//! `foo-bar` would stand between `foo` and `foo/status` (nothing built-in has such names), and the resources of CRDs
//! come in no order at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{ApiGroup, ApiGroupList, ApiResource, ApiResourceList, GroupVersion, group_version};
use crate::api::discovery::{
    Extra, Freshness, GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, ResponseKind,
    SubresourceDiscovery, VersionDiscovery,
};

// === From aggregated ===

/// `/apis`. Groups without versions are left out, as clients take the first version for the preferred one.
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
    // The lists of CRDs leave out what their aggregated form repeats.
    let kind = |kind: Option<&ResponseKind>| match kind {
        Some(kind) if kind.group == group && kind.version == listed.version => {
            (String::new(), String::new(), kind.kind.clone())
        }
        Some(kind) => (kind.group.clone(), kind.version.clone(), kind.kind.clone()),
        None => Default::default(),
    };
    let mut resources = Vec::new();
    for resource in &listed.resources {
        let namespaced = resource.scope == "Namespaced";
        let of_resource = kind(resource.response_kind.as_ref());
        // Else it is only the parent of its subresources.
        if !of_resource.2.is_empty() || !resource.verbs().is_empty() {
            let (group, version, kind) = of_resource;
            resources.push(ApiResource {
                name: resource.resource.clone(),
                singular_name: resource.singular_resource.clone(),
                namespaced,
                group,
                version,
                kind,
                verbs: resource.verbs.clone(),
                short_names: resource.short_names.clone(),
                categories: resource.categories.clone(),
                storage_version_hash: hash(&resource.resource).unwrap_or_default(),
            });
        }
        resources.extend(resource.subresources.iter().map(|subresource| {
            let (group, version, kind) = kind(subresource.response_kind.as_ref());
            ApiResource {
                name: format!("{}/{}", resource.resource, subresource.subresource),
                namespaced,
                group,
                version,
                kind,
                verbs: subresource.verbs.clone(),
                ..ApiResource::default()
            }
        }));
    }
    // What Kubernetes 1.1 did not write is still not written (`discovery/util.go`, `keepUnversioned`).
    let unversioned = group.is_empty() || group == "extensions";
    ApiResourceList {
        api_version: if unversioned { String::new() } else { "v1".to_owned() },
        group_version: group_version(group, &listed.version),
        resources,
    }
}

// === Into aggregated ===

/// The aggregated form of a list of resources.
pub fn version_discovery(version: &str, list: &ApiResourceList) -> VersionDiscovery {
    let mut resources: Vec<ResourceDiscovery> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let scope = |row: &ApiResource| if row.namespaced { "Namespaced" } else { "Cluster" }.to_owned();
    let kind = |row: &ApiResource| ResponseKind {
        group: row.group.clone(),
        version: row.version.clone(),
        kind: row.kind.clone(),
        extra: Extra::default(),
    };
    for row in list.resources.iter().filter(|row| !row.name.is_empty() && !row.name.contains('/')) {
        if places.contains_key(row.name.as_str()) {
            continue;
        }
        places.insert(&row.name, resources.len());
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
    let mut seen = HashSet::new();
    for row in &list.resources {
        let Some((parent, name)) = row.name.split_once('/') else { continue };
        if parent.is_empty() || name.is_empty() || !seen.insert(&row.name) {
            continue;
        }
        let place = *places.entry(parent).or_insert_with(|| {
            resources.push(ResourceDiscovery {
                resource: parent.to_owned(),
                // Clients of 1.26 crash without it.
                response_kind: Some(ResponseKind::default()),
                scope: scope(row),
                ..ResourceDiscovery::default()
            });
            resources.len() - 1
        });
        resources[place].subresources.push(SubresourceDiscovery {
            subresource: name.to_owned(),
            // A group and a version without a kind say nothing.
            response_kind: Some(if row.kind.is_empty() { ResponseKind::default() } else { kind(row) }),
            verbs: row.verbs.clone(),
            ..SubresourceDiscovery::default()
        });
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
