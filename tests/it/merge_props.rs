//! Properties of the merge over random fleets (I6, I7).

use std::collections::{BTreeMap, BTreeSet};

use kube_peer_proxy::api::discovery::{
    Extra, Freshness, GroupDiscovery, GroupDiscoveryList, ObjectMeta, ResourceDiscovery, ResponseKind,
    SubresourceDiscovery, VersionDiscovery,
};
use kube_peer_proxy::discovery::merge::{Source, merge};
use kube_peer_proxy::discovery::render::Rendered;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

// === Random fleets ===

/// A server: its document and whether it is fresh.
type Server = (GroupDiscoveryList, bool);

fn names(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(of, 0..=of.len()).prop_shuffle()
}

fn strings(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    names(of).prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

/// Unknown fields, rarely any.
fn extra() -> impl Strategy<Value = Extra> {
    let field = (select(&["x-new", "y-new"][..]), select(vec![json!(1), json!({"a": ["b"]}), json!("c")]));
    prop_oneof![9 => Just(vec![]), 1 => vec(field, 1..3)].prop_map(|fields| {
        let mut extra = Extra::default();
        for (key, value) in fields {
            extra.insert(key, value);
        }
        extra
    })
}

fn kind() -> impl Strategy<Value = Option<ResponseKind>> {
    prop_oneof![
        1 => Just(None),
        3 => (select(&["A", "B"][..]), extra())
            .prop_map(|(kind, extra)| Some(ResponseKind { kind: kind.into(), extra, ..Default::default() })),
    ]
}

fn verbs() -> impl Strategy<Value = Option<Vec<String>>> {
    prop_oneof![1 => Just(None), 5 => strings(&["create", "get", "list"]).prop_map(Some)]
}

/// Elements with the names drawn, each once, in any order.
fn named<T: std::fmt::Debug + Clone>(
    of: &'static [&'static str],
    element: impl Strategy<Value = T>,
    name: fn(&mut T, &str),
) -> impl Strategy<Value = Vec<T>> {
    (names(of), vec(element, of.len())).prop_map(move |(names, elements)| {
        let rename = |(given, mut element): (&str, T)| {
            name(&mut element, given);
            element
        };
        names.into_iter().zip(elements).map(rename).collect()
    })
}

fn subresource() -> impl Strategy<Value = SubresourceDiscovery> {
    (kind(), verbs(), extra()).prop_map(|(response_kind, verbs, extra)| SubresourceDiscovery {
        response_kind,
        verbs,
        extra,
        ..Default::default()
    })
}

fn resource() -> impl Strategy<Value = ResourceDiscovery> {
    let subresources = named(&["log", "status"], subresource(), |s, name| s.subresource = name.into());
    (kind(), verbs(), strings(&["s", "t"]), subresources, extra()).prop_map(
        |(response_kind, verbs, short_names, subresources, extra)| ResourceDiscovery {
            response_kind,
            verbs,
            short_names,
            subresources,
            extra,
            scope: "Namespaced".into(),
            ..Default::default()
        },
    )
}

fn version() -> impl Strategy<Value = VersionDiscovery> {
    let freshness = prop_oneof![
        6 => Just(Freshness::Current),
        3 => Just(Freshness::Stale),
        1 => Just(Freshness::Unset),
        1 => Just(Freshness::Other("Soon".into())),
    ];
    let resources = named(&["jobs", "pods"], resource(), |r, name| r.resource = name.into());
    (resources, freshness, extra()).prop_map(|(resources, freshness, extra)| VersionDiscovery {
        resources,
        freshness,
        extra,
        ..Default::default()
    })
}

fn group() -> impl Strategy<Value = GroupDiscovery> {
    let versions = named(&["v1", "v2", "v1beta1"], version(), |v, name| v.version = name.into());
    (versions, extra(), extra()).prop_map(|(versions, metadata, extra)| GroupDiscovery {
        metadata: ObjectMeta { extra: metadata, ..Default::default() },
        versions: versions.into_iter().map(Into::into).collect(),
        extra,
        ..Default::default()
    })
}

fn document() -> impl Strategy<Value = GroupDiscoveryList> {
    let groups = named(&["", "apps", "z.example.com"], group(), |g, name| g.metadata.name = name.into());
    (groups, extra()).prop_map(|(items, extra)| GroupDiscoveryList { items, extra, ..Default::default() })
}

fn fleet() -> impl Strategy<Value = BTreeMap<String, Server>> {
    btree_map("[a-c][0-9]?", (document(), any::<bool>()), 1..4)
}

fn fresh_fleet() -> impl Strategy<Value = BTreeMap<String, Server>> {
    btree_map("[a-c][0-9]?", (document(), Just(true)), 1..4)
}

fn sources(fleet: &BTreeMap<String, Server>) -> Vec<Source<'_>> {
    fleet.iter().map(|(id, (document, fresh))| Source { id, document, fresh: *fresh }).collect()
}

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

/// A document without unknown fields, as kube-apiserver 1.36 would read it.
fn known(document: &GroupDiscoveryList) -> GroupDiscoveryList {
    let mut document = document.clone();
    document.extra = Extra::default();
    for group in &mut document.items {
        group.extra = Extra::default();
        group.metadata.extra = Extra::default();
        for version in group.versions.iter_mut().map(std::sync::Arc::make_mut) {
            version.extra = Extra::default();
            for resource in &mut version.resources {
                resource.extra = Extra::default();
                resource.response_kind.iter_mut().for_each(|kind| kind.extra = Extra::default());
                for sub in &mut resource.subresources {
                    sub.extra = Extra::default();
                    sub.response_kind.iter_mut().for_each(|kind| kind.extra = Extra::default());
                }
            }
        }
    }
    document
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
        let (one, other) = (Rendered::new(&merge(&sources(&fleet))), Rendered::new(&merge(&shuffled)));
        prop_assert_eq!(one.json().body(), other.json().body());
        prop_assert_eq!(one.etag(), other.etag());
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
        let rendered = Rendered::new(&document);
        let read = GroupDiscoveryList::parse(rendered.json().body()).unwrap();
        prop_assert_eq!(&read, &document);
        let again = Rendered::new(&read);
        prop_assert_eq!(again.etag(), rendered.etag());
        prop_assert_eq!(&GroupDiscoveryList::parse(rendered.pretty().body()).unwrap(), &document);
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
