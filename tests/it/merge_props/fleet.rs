//! Random fleets of servers with their documents.

use std::collections::BTreeMap;

use kube_peer_proxy::api::discovery::{
    Extra, Freshness, GroupDiscovery, GroupDiscoveryList, ObjectMeta, ResourceDiscovery, ResponseKind,
    SubresourceDiscovery, VersionDiscovery,
};
use kube_peer_proxy::discovery::merge::Source;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

/// A server: its document and whether it is fresh.
pub(super) type Server = (GroupDiscoveryList, bool);

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

pub(super) fn document() -> impl Strategy<Value = GroupDiscoveryList> {
    let groups = named(&["", "apps", "z.example.com"], group(), |g, name| g.metadata.name = name.into());
    (groups, extra()).prop_map(|(items, extra)| GroupDiscoveryList { items, extra, ..Default::default() })
}

pub(super) fn fleet() -> impl Strategy<Value = BTreeMap<String, Server>> {
    let any = btree_map("[a-c][0-9]?", (document(), any::<bool>()), 1..4);
    prop_oneof![3 => any, 1 => servers_of_two_releases()]
}

pub(super) fn fresh_fleet() -> impl Strategy<Value = BTreeMap<String, Server>> {
    btree_map("[a-c][0-9]?", (document(), Just(true)), 1..4)
}

/// Servers that differ in nothing but fields that only the newer release knows.
fn servers_of_two_releases() -> impl Strategy<Value = BTreeMap<String, Server>> {
    (document(), btree_map("[a-c][0-9]?", any::<(bool, bool)>(), 1..4)).prop_map(|(document, servers)| {
        let server = |(id, (newer, fresh))| {
            let mut document = known(&document);
            if newer {
                for_every_extra(&mut document, |extra| extra.insert("x-new", json!(true)));
            }
            (id, (document, fresh))
        };
        servers.into_iter().map(server).collect()
    })
}

pub(super) fn sources(fleet: &BTreeMap<String, Server>) -> Vec<Source<'_>> {
    fleet.iter().map(|(id, (document, fresh))| Source { id, document, fresh: *fresh }).collect()
}

/// A document without unknown fields, as kube-apiserver 1.36 would read it.
pub(super) fn known(document: &GroupDiscoveryList) -> GroupDiscoveryList {
    let mut document = document.clone();
    for_every_extra(&mut document, |extra| *extra = Extra::default());
    document
}

fn for_every_extra(document: &mut GroupDiscoveryList, mut change: impl FnMut(&mut Extra)) {
    change(&mut document.extra);
    for group in &mut document.items {
        change(&mut group.extra);
        change(&mut group.metadata.extra);
        for version in group.versions.iter_mut().map(std::sync::Arc::make_mut) {
            change(&mut version.extra);
            for resource in &mut version.resources {
                change(&mut resource.extra);
                resource.response_kind.iter_mut().for_each(|kind| change(&mut kind.extra));
                for sub in &mut resource.subresources {
                    change(&mut sub.extra);
                    sub.response_kind.iter_mut().for_each(|kind| change(&mut kind.extra));
                }
            }
        }
    }
}
