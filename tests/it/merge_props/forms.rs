//! Properties of the forms in which a merged document is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube_peer_proxy::api::discovery::legacy::{ApiGroupList, ApiResourceList, ApiVersions};
use kube_peer_proxy::api::discovery::{DiscoveryPath, GroupDiscoveryList, Tree};
use kube_peer_proxy::api::media_type::{AggregatedVersion, Media};
use kube_peer_proxy::discovery::catalog::{Answers, Document, Found, Key, Origin, Part};
use kube_peer_proxy::discovery::render::Encoding;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::fleet::{Server, fleet};

/// The answers of a fleet whose servers have their groups under both trees, as they come to be known in some order.
fn answers(fleet: &BTreeMap<String, Server>, rotated: usize) -> Answers {
    let mut origins: Vec<Origin> = fleet
        .iter()
        .map(|(name, (list, believed))| {
            let (core, others): (Vec<_>, Vec<_>) =
                list.items.iter().cloned().partition(|group| group.name().is_empty());
            let part = |items| Part { list: GroupDiscoveryList { items, ..list.clone() }, etag: None };
            let document = Document { api: part(core), apis: part(others), ..Document::default() };
            Origin { name: name.as_str().into(), document: Arc::new(document), believed: *believed }
        })
        .collect();
    let count = origins.len();
    origins.rotate_left(rotated % count);
    Answers::new(origins, None).unwrap()
}

fn written(answers: &Answers, key: Key, media: Media) -> &[u8] {
    answers.write(key, Encoding::new(media, false)).body()
}

fn read<T: DeserializeOwned>(answers: &Answers, path: &str) -> Option<T> {
    match answers.unaggregated(DiscoveryPath::of(path).unwrap()) {
        Found::Document(key) => Some(serde_json::from_slice(written(answers, key, Media::Json)).unwrap()),
        _ => None,
    }
}

/// Group-version, resource or `resource/subresource` and kind.
type Row = [String; 3];

/// What clients of the aggregated form find, and the group-versions that they drop.
fn aggregated(answers: &Answers) -> (BTreeSet<Row>, BTreeSet<String>) {
    let (mut rows, mut dropped) = (BTreeSet::new(), BTreeSet::new());
    for tree in [Tree::Api, Tree::Apis] {
        let key = Key::Aggregated(tree, AggregatedVersion::V2);
        let document = GroupDiscoveryList::parse(written(answers, key, Media::Json)).unwrap();
        for group in &document.items {
            for version in &group.versions {
                let name = format!("{}/{}", group.name(), version.version);
                let name = name.trim_start_matches('/');
                if version.freshness.is_stale() {
                    dropped.insert(name.to_owned());
                    continue;
                }
                for resource in &version.resources {
                    let row = |what: String, kind: &str| [name.to_owned(), what, kind.to_owned()];
                    let kind = resource.response_kind.as_ref().map_or("", |kind| &kind.kind);
                    // Else it is only the parent of its subresources.
                    if !kind.is_empty() || !resource.verbs().is_empty() {
                        rows.insert(row(resource.resource.clone(), kind));
                    }
                    for sub in &resource.subresources {
                        let what = format!("{}/{}", resource.resource, sub.subresource);
                        let kind = sub.response_kind.as_ref().map_or("", |kind| &kind.kind);
                        rows.insert(row(what, kind));
                    }
                }
            }
        }
    }
    (rows, dropped)
}

/// What clients of the unaggregated forms find, and the group-versions that they get no list of.
fn unaggregated(answers: &Answers) -> (BTreeSet<Row>, BTreeSet<String>) {
    let core: ApiVersions = read(answers, "/api").unwrap();
    let groups: ApiGroupList = read(answers, "/apis").unwrap();
    let mut names: Vec<(String, String)> =
        core.versions.iter().map(|version| (version.clone(), format!("/api/{version}"))).collect();
    for group in &groups.groups {
        for version in &group.versions {
            names.push((version.group_version.clone(), format!("/apis/{}", version.group_version)));
        }
    }
    let (mut rows, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for (name, path) in names {
        let Some(list) = read::<ApiResourceList>(answers, &path) else {
            missing.insert(name);
            continue;
        };
        assert_eq!(list.group_version, name);
        rows.extend(list.resources.into_iter().map(|row| [name.clone(), row.name, row.kind]));
    }
    (rows, missing)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_lists_the_same_set_and_stale_is_an_error_where_there_is_no_word_for_it(fleet in fleet()) {
        let answers = answers(&fleet, 0);
        prop_assert_eq!(unaggregated(&answers), aggregated(&answers));
    }

    #[test]
    fn every_listed_group_is_found_by_its_name(fleet in fleet()) {
        let answers = answers(&fleet, 0);
        for group in &answers.list(Tree::Apis).items {
            let path = format!("/apis/{}", group.name());
            let found = answers.unaggregated(DiscoveryPath::of(&path).unwrap());
            prop_assert!(matches!(found, Found::Document(Key::Group(_))), "{}", path);
        }
    }

    /// I6
    #[test]
    fn every_form_is_the_same_in_whatever_order_servers_are_known(fleet in fleet(), rotated in 1_usize..4) {
        let (one, other) = (answers(&fleet, 0), answers(&fleet, rotated));
        let mut keys = Vec::new();
        for tree in [Tree::Api, Tree::Apis] {
            keys.push(Key::Root(tree));
            keys.extend([AggregatedVersion::V2, AggregatedVersion::V2Beta1].map(|version| Key::Aggregated(tree, version)));
            for (number, group) in one.list(tree).items.iter().enumerate() {
                if tree == Tree::Apis {
                    keys.push(Key::Group(number));
                }
                keys.extend((0..group.versions.len()).map(|version| Key::Version(tree, number, version)));
            }
        }
        for key in keys {
            for media in Media::offered(true) {
                prop_assert_eq!(written(&one, key, *media), written(&other, key, *media), "{:?}", key);
            }
            prop_assert_eq!(one.sources(key), other.sources(key));
        }
        prop_assert!(one.conflicts().eq(other.conflicts()));
    }
}
