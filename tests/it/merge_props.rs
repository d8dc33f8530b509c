//! Properties of the merge over random fleets (I6, I7).

mod fleet;
mod forms;
mod ghosts;

use std::collections::{BTreeMap, BTreeSet};

use kube_peer_proxy::api::discovery::{Freshness, GroupDiscovery, GroupDiscoveryList, VersionDiscovery};
use kube_peer_proxy::api::encoding::{Object, encode};
use kube_peer_proxy::api::media_type::{AggregatedVersion, Media};
use kube_peer_proxy::discovery::merge::{Source, merge};
use proptest::prelude::*;
use serde_json::Value;

use crate::vectors::json_and_etag;

use self::fleet::{Server, document, fleet, fresh_fleet, known, sources};

// === What is in a document ===

type Found<'a> = BTreeMap<(&'a str, &'a str), &'a VersionDiscovery>;

fn group_versions(document: &GroupDiscoveryList) -> Found<'_> {
    document
        .items
        .iter()
        .flat_map(|group| group.versions.iter().map(move |v| ((group.name(), v.version.as_str()), &**v)))
        .collect()
}

/// Group, version, resource, subresource (may be empty) and verb (may be empty) of all that a document lists.
fn everything(document: &GroupDiscoveryList) -> BTreeSet<[&str; 5]> {
    let mut all = BTreeSet::new();
    for ((group, version), discovery) in group_versions(document) {
        all.insert([group, version, "", "", ""]);
        for resource in &discovery.resources {
            let name = resource.resource.as_str();
            all.insert([group, version, name, "", ""]);
            all.extend(resource.verbs().iter().map(|verb| [group, version, name, "", verb]));
            for sub in &resource.subresources {
                all.insert([group, version, name, &sub.subresource, ""]);
            }
        }
    }
    all
}

/// Where unknown fields stand: the path to each of them, list elements by their name.
fn unknown_fields(document: &GroupDiscoveryList) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let path = format!("{path}/{key}");
                    if key.ends_with("-new") {
                        found.insert(path);
                    } else if key == "responseKind" {
                        // What is said of one kind is not true of another.
                        walk(value, &format!("{path}={}", value["kind"]), found);
                    } else {
                        walk(value, &path, found);
                    }
                }
            }
            Value::Array(list) => {
                for value in list {
                    let name = [
                        &value["subresource"],
                        &value["resource"],
                        &value["version"],
                        &value["metadata"]["name"],
                    ];
                    let name = name.into_iter().find(|name| name.is_string()).unwrap_or(&Value::Null);
                    walk(value, &format!("{path}/{name}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(&serde_json::to_value(document).unwrap(), "", &mut found);
    found
}

// === The properties ===

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    /// I6
    #[test]
    fn every_order_of_arrival_gives_the_same_bytes(fleet in fleet(), seed in any::<u64>()) {
        let mut shuffled = sources(&fleet);
        let count = shuffled.len();
        for i in (1..count).rev() {
            shuffled.swap(i, (seed.rotate_left(i as u32 * 7) as usize) % (i + 1));
        }
        prop_assert_eq!(json_and_etag(&merge(&sources(&fleet))), json_and_etag(&merge(&shuffled)));
    }

    #[test]
    fn merging_a_document_with_itself_changes_nothing(document in document()) {
        let source = |id| Source { id, document: &document, fresh: true };
        let alone = merge(&[source("a")]);
        prop_assert_eq!(&merge(&[source("a"), source("b"), source("c")]), &alone);
        prop_assert_eq!(&merge(&[Source { document: &alone, ..source("a") }]), &alone);
    }

    #[test]
    fn a_lone_fresh_server_is_answered_with_its_own_document(mut document in document()) {
        for group in &mut document.items {
            for version in group.versions.iter_mut().map(std::sync::Arc::make_mut) {
                version.freshness = Freshness::Current;
            }
        }
        document.items.retain(|group| !group.versions.is_empty());
        prop_assert_eq!(&merge(&[Source { id: "a", document: &document, fresh: true }]), &document);
    }

    /// I7
    #[test]
    fn nothing_is_lost_and_nothing_is_invented(fleet in fleet()) {
        let merged = merge(&sources(&fleet));
        let listed: BTreeSet<_> = fleet.values().flat_map(|(document, _)| everything(document)).collect();
        prop_assert_eq!(everything(&merged), listed);
    }

    #[test]
    fn every_name_stands_once_and_no_group_is_empty(fleet in fleet()) {
        let merged = merge(&sources(&fleet));
        let names: BTreeSet<_> = merged.items.iter().map(GroupDiscovery::name).collect();
        prop_assert_eq!(names.len(), merged.items.len());
        for group in &merged.items {
            prop_assert!(!group.versions.is_empty());
            let versions: BTreeSet<_> = group.versions.iter().map(|v| &v.version).collect();
            prop_assert_eq!(versions.len(), group.versions.len());
            for version in &group.versions {
                let resources: BTreeSet<_> = version.resources.iter().map(|r| &r.resource).collect();
                prop_assert_eq!(resources.len(), version.resources.len());
            }
        }
    }

    #[test]
    fn unknown_fields_survive(fleet in fleet()) {
        let merged = unknown_fields(&merge(&sources(&fleet)));
        for (document, _) in fleet.values() {
            for field in unknown_fields(document) {
                // The kind of a merged resource is that of one server; the others' kinds are not in the document.
                let shown = field.contains("responseKind") || is_in_an_empty_group(&field, &fleet);
                prop_assert!(shown || merged.contains(&field), "{} is lost", field);
            }
        }
    }

    #[test]
    fn unknown_fields_decide_nothing(fleet in fleet()) {
        let plain: BTreeMap<String, Server> =
            fleet.iter().map(|(id, (document, fresh))| (id.clone(), (known(document), *fresh))).collect();
        prop_assert_eq!(known(&merge(&sources(&fleet))), merge(&sources(&plain)));
    }

    #[test]
    fn a_group_version_is_stale_only_if_no_fresh_server_lists_it_otherwise(fleet in fleet()) {
        let merged = merge(&sources(&fleet));
        let any_fresh = fleet.values().any(|(_, fresh)| *fresh);
        for (key, version) in group_versions(&merged) {
            let vouched = fleet.values().filter(|(_, fresh)| *fresh).any(|(document, _)| {
                group_versions(document).get(&key).is_some_and(|version| !version.freshness.is_stale())
            });
            let core = key == ("", "v1") && any_fresh;
            prop_assert_eq!(version.freshness.is_stale(), !vouched && !core, "{:?}", key);
        }
    }

    #[test]
    fn among_fresh_servers_current_wins_over_stale_whoever_says_it(fleet in fresh_fleet()) {
        let merged = merge(&sources(&fleet));
        for (key, version) in group_versions(&merged) {
            let said: Vec<bool> = fleet
                .values()
                .filter_map(|(document, _)| group_versions(document).get(&key).map(|v| v.freshness.is_stale()))
                .collect();
            let stale = said.iter().all(|stale| *stale) && key != ("", "v1");
            prop_assert_eq!(version.freshness.is_stale(), stale, "{:?}", key);
        }
    }

    #[test]
    fn freshness_decides_nothing_but_the_marks(fleet in fleet()) {
        let all_fresh: BTreeMap<String, Server> =
            fleet.iter().map(|(id, (document, _))| (id.clone(), (document.clone(), true))).collect();
        let unmarked = |mut document: GroupDiscoveryList| {
            for group in &mut document.items {
                for version in group.versions.iter_mut().map(std::sync::Arc::make_mut) {
                    version.freshness = Freshness::Unset;
                }
            }
            document
        };
        prop_assert_eq!(unmarked(merge(&sources(&fleet))), unmarked(merge(&sources(&all_fresh))));
    }

    #[test]
    fn a_document_is_read_back_as_it_was_written(document in document()) {
        let (json, etag) = json_and_etag(&document);
        let read = GroupDiscoveryList::parse(&json).unwrap();
        prop_assert_eq!(&read, &document);
        prop_assert_eq!(json_and_etag(&read).1, etag);
        let pretty = encode(Object::Aggregated(&document, AggregatedVersion::V2), Media::Json, true);
        prop_assert_eq!(&GroupDiscoveryList::parse(&pretty).unwrap(), &document);
    }
}

/// A group that no server lists with a version is left out, with all that stood in it.
fn is_in_an_empty_group(field: &str, fleet: &BTreeMap<String, Server>) -> bool {
    let listed = |name: &str| {
        fleet.values().any(|(document, _)| {
            document.items.iter().any(|group| group.name() == name && !group.versions.is_empty())
        })
    };
    ["apps", "z.example.com"]
        .iter()
        .any(|name| field.starts_with(&format!("/items/\"{name}\"/")) && !listed(name))
        || (field.starts_with("/items/null/") && !listed(""))
}
