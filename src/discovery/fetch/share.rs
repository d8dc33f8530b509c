//! Equal group-versions of a server's old and new document are one in memory.
//!
//! Comparing documents and merging them skips what is the same object.

use std::{collections::HashMap, sync::Arc};

use crate::api::discovery::{GroupDiscoveryList, VersionDiscovery};

/// Replaces what is equal in `known` by what is known.
pub(super) fn with(list: &mut GroupDiscoveryList, known: &GroupDiscoveryList) {
    let known = by_name(known);
    for group in &mut list.items {
        let Some(versions) = known.get(group.metadata.name.as_str()) else { continue };
        for version in &mut group.versions {
            if let Some(same) = versions.iter().find(|known| **known == *version) {
                *version = Arc::clone(same);
            }
        }
    }
}

/// The versions of each group.
pub(super) fn by_name(list: &GroupDiscoveryList) -> HashMap<&str, &[Arc<VersionDiscovery>]> {
    list.items.iter().map(|group| (group.name(), &*group.versions)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(versions: &[(&str, &str)]) -> GroupDiscoveryList {
        let items: Vec<_> = versions
            .iter()
            .map(|(group, version)| {
                serde_json::json!({ "metadata": { "name": group }, "versions": [{ "version": version }] })
            })
            .collect();
        let document = serde_json::json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items
        });
        GroupDiscoveryList::parse(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_is_equal_becomes_one_and_what_is_not_stays() {
        let known = list(&[("apps", "v1"), ("batch", "v1"), ("gone", "v1")]);
        let mut new = list(&[("batch", "v2"), ("apps", "v1"), ("new", "v1")]);
        let unshared = new.clone();
        with(&mut new, &known);
        assert_eq!(new, unshared, "what it says is the same");
        assert!(Arc::ptr_eq(&new.items[1].versions[0], &known.items[0].versions[0]));
        assert!(Arc::ptr_eq(&new.items[0].versions[0], &unshared.items[0].versions[0]));
        assert!(Arc::ptr_eq(&new.items[2].versions[0], &unshared.items[2].versions[0]));
    }
}
