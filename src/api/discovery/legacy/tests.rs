use std::collections::{HashMap, HashSet};
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::{
    ApiGroup, ApiGroupList, ApiResource, ApiResourceList, ApiVersions, List, ListError, group,
    group_discovery, group_list, resource_list, version_discovery,
};
use crate::api::discovery::{Freshness, GroupDiscoveryList, ResponseKind, VersionDiscovery, to_go_json};

/// The aggregated documents of a real server, `/api` and `/apis`, and all of its unaggregated lists.
fn recorded(version: &str) -> (GroupDiscoveryList, GroupDiscoveryList, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/discovery").join(version);
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let form = if version == "1.32" { "v2beta1" } else { "v2" };
    let aggregated = |tree: &str| {
        let text = read(&format!("{tree}-{form}.json")).replacen("/v2beta1", "/v2", 1);
        GroupDiscoveryList::parse(text.as_bytes()).unwrap()
    };
    (aggregated("api"), aggregated("apis"), read("lists.json").lines().map(str::to_owned).collect())
}

fn kind_of(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()
}

fn written(value: &impl serde::Serialize) -> String {
    String::from_utf8(to_go_json(value)).unwrap()
}

#[test]
fn the_lists_of_an_aggregated_document_are_those_of_the_server_to_the_byte() {
    for version in ["1.32", "1.36"] {
        let (api, apis, lines) = recorded(version);
        let mut seen: HashMap<String, usize> = HashMap::new();
        for line in &lines {
            let kind = kind_of(line);
            let ours = match kind.as_str() {
                "APIVersions" => written(&ApiVersions::parse(line.as_bytes()).unwrap()),
                "APIGroupList" => written(&group_list(&apis)),
                "APIGroup" => {
                    let name = ApiGroup::parse(line.as_bytes()).unwrap().name;
                    let found = apis.items.iter().find(|group| group.name() == name).unwrap();
                    written(&group(found).unwrap())
                }
                "APIResourceList" => {
                    let list = ApiResourceList::parse(line.as_bytes()).unwrap();
                    let hashes: HashMap<_, _> =
                        list.resources.iter().map(|row| (&row.name, &row.storage_version_hash)).collect();
                    let (name, listed) = find(&api, &apis, &list.group_version);
                    written(&resource_list(name, listed, |row| {
                        hashes.get(&row.to_owned()).map(|hash| (*hash).clone())
                    }))
                }
                _ => panic!("{line}"),
            };
            assert_eq!(&ours, line, "{version}");
            *seen.entry(kind).or_default() += 1;
        }
        let versions: usize = apis.items.iter().map(|group| group.versions.len()).sum();
        assert_eq!(seen["APIVersions"] + seen["APIGroupList"], 2);
        assert_eq!(seen["APIGroup"], apis.items.len());
        assert_eq!(seen["APIResourceList"], versions + 1);
    }
}

fn find<'a>(
    api: &'a GroupDiscoveryList,
    apis: &'a GroupDiscoveryList,
    group_version: &str,
) -> (&'a str, &'a VersionDiscovery) {
    let (name, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let tree = if name.is_empty() { api } else { apis };
    let group = tree.items.iter().find(|group| group.name() == name).unwrap();
    (group.name(), group.versions.iter().find(|listed| listed.version == version).unwrap())
}

#[test]
fn the_aggregated_document_of_a_servers_lists_is_its_own() {
    for version in ["1.32", "1.36"] {
        let (api, apis, lines) = recorded(version);
        let of_kind = |kind: &str| lines.iter().filter(|line| kind_of(line) == kind).collect::<Vec<_>>();
        let lists: HashMap<String, ApiResourceList> = of_kind("APIResourceList")
            .into_iter()
            .map(|line| ApiResourceList::parse(line.as_bytes()).unwrap())
            .map(|list| (list.group_version.clone(), list))
            .collect();
        let groups = ApiGroupList::parse(of_kind("APIGroupList")[0].as_bytes()).unwrap().groups;
        let made = groups.iter().map(|group| {
            let versions = group
                .versions
                .iter()
                .map(|listed| version_discovery(&listed.version, &lists[&listed.group_version]))
                .collect();
            group_discovery(&group.name, versions)
        });
        assert_eq!(made.collect::<Vec<_>>(), apis.items, "{version}");
        let core = group_discovery("", vec![version_discovery("v1", &lists["v1"])]);
        assert_eq!(vec![core], api.items, "{version}");
    }
}

/// As a 1.36 with CRDs was seen to answer: in the list a CRD's rows have no group and no version, in the aggregated
/// document they have their own.
#[test]
fn the_rows_of_a_crd_leave_out_what_the_list_says() {
    let listed: VersionDiscovery = serde_json::from_value(json!({"version": "v1", "resources": [{
        "resource": "foo-bars", "responseKind": {"group": "x.example.com", "version": "v1", "kind": "FooBar"},
        "scope": "Cluster", "singularResource": "foo-bar", "verbs": ["get"], "subresources": [
            {"subresource": "status", "responseKind": {"group": "x.example.com", "version": "v1", "kind": "FooBar"}, "verbs": ["get"]},
            {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]},
        ]}]}))
    .unwrap();
    let list =
        resource_list("x.example.com", &listed, |name| (name == "foo-bars").then(|| "y8J64+udKZE=".into()));
    assert_eq!(
        written(&list),
        concat!(
            r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"x.example.com/v1","resources":["#,
            r#"{"name":"foo-bars","singularName":"foo-bar","namespaced":false,"kind":"FooBar","verbs":["get"],"storageVersionHash":"y8J64+udKZE="},"#,
            r#"{"name":"foo-bars/status","singularName":"","namespaced":false,"kind":"FooBar","verbs":["get"]},"#,
            r#"{"name":"foo-bars/scale","singularName":"","namespaced":false,"group":"autoscaling","version":"v1","kind":"Scale","verbs":["get"]}]}"#,
        )
    );
    // The same kind of another version of the group is not what the list says.
    let older = VersionDiscovery { version: "v1beta1".to_owned(), ..listed };
    let list = resource_list("x.example.com", &older, |_| None);
    assert_eq!(list.resources[0].group, "x.example.com");
}

#[test]
fn what_was_never_versioned_stays_so() {
    let listed = VersionDiscovery { version: "v1".to_owned(), ..VersionDiscovery::default() };
    for (group, api_version) in [("", ""), ("extensions", ""), ("apps", "v1")] {
        assert_eq!(resource_list(group, &listed, |_| None).api_version, api_version, "{group}");
    }
}

fn rows(names: &[&str]) -> ApiResourceList {
    let row = |name: &&str| json!({"name": name, "namespaced": true, "kind": "K", "verbs": ["get"]});
    serde_json::from_value(
        json!({"groupVersion": "g/v1", "resources": names.iter().map(row).collect::<Vec<_>>()}),
    )
    .unwrap()
}

fn names(listed: &VersionDiscovery) -> Vec<String> {
    resource_list("g", listed, |_| None).resources.into_iter().map(|row| row.name).collect()
}

#[test]
fn odd_rows_are_read_by_the_rule() {
    let odd = rows(&["", "/", "/b", "a/", "a", "a", "a/b", "a/b", "a/b/c", "o/p", "o/q", "a//", "o"]);
    let listed = version_discovery("v1", &odd);
    assert_eq!(names(&listed), ["a", "a/b", "a/b/c", "a//", "o", "o/p", "o/q"]);

    // The first of several rows counts, whatever the later ones say.
    let mut twice = rows(&["a", "a", "a/b", "a/b"]);
    twice.resources[1].kind = "Other".to_owned();
    twice.resources[1].namespaced = false;
    twice.resources[3].verbs = None;
    assert_eq!(version_discovery("v1", &twice), version_discovery("v1", &rows(&["a", "a/b"])));

    // A subresource lives where its resource does.
    let mut scopes = rows(&["a", "a/b"]);
    scopes.resources[1].namespaced = false;
    assert_eq!(version_discovery("v1", &scopes), version_discovery("v1", &rows(&["a", "a/b"])));
}

#[test]
fn a_subresource_without_a_resource_has_a_parent_that_is_listed_nowhere() {
    let listed = version_discovery("v1", &rows(&["z/log", "a"]));
    let parent = &listed.resources[1];
    assert_eq!((parent.resource.as_str(), parent.scope.as_str()), ("z", "Namespaced"));
    assert_eq!((&parent.response_kind, &parent.verbs), (&Some(ResponseKind::default()), &None));
    assert_eq!(names(&listed), ["a", "z/log"]);
}

#[test]
fn a_resource_without_a_kind_is_listed_if_it_does_anything() {
    let mut list = rows(&["a", "b"]);
    list.resources[0].kind.clear();
    list.resources[1].kind.clear();
    list.resources[1].verbs = None;
    assert_eq!(names(&version_discovery("v1", &list)), ["a"]);
}

#[test]
fn a_subresource_without_a_kind_has_an_empty_one() {
    let mut list = rows(&["a", "a/b"]);
    list.resources[1].kind.clear();
    list.resources[1].group = "other".to_owned();
    let listed = version_discovery("v1", &list);
    assert_eq!(listed.resources[0].subresources[0].response_kind, Some(ResponseKind::default()));
    assert_eq!(listed.freshness, Freshness::Current);
}

#[test]
fn groups_without_versions_are_in_no_list() {
    let empty = group_discovery("g", Vec::new());
    assert_eq!(group(&empty), None);
    let document = GroupDiscoveryList { items: vec![empty], ..GroupDiscoveryList::default() };
    assert_eq!(written(&group_list(&document)), r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#);
}

#[test]
fn what_is_no_list_is_refused_by_name() {
    let status = br#"{"kind":"Status","apiVersion":"v1","code":403}"#;
    for error in [
        ApiVersions::parse(status).unwrap_err(),
        ApiGroupList::parse(status).unwrap_err(),
        ApiGroup::parse(status).unwrap_err(),
        ApiResourceList::parse(status).unwrap_err(),
    ] {
        assert!(error.to_string().contains(r#"got kind "Status""#), "{error}");
    }
    for text in ["", "{", "<html>", r#"{"kind":1}"#, r#"{"kind":"Status","kind":"APIGroupList"}"#] {
        assert!(matches!(ApiGroupList::parse(text.as_bytes()), Err(ListError::Json(_))), "{text}");
    }
    for text in ["{}", "[]", r#"["APIGroupList"]"#] {
        assert!(matches!(ApiGroupList::parse(text.as_bytes()), Err(ListError::Kind { .. })), "{text}");
    }
    let bad = br#"{"kind":"APIResourceList","resources":[{"name":7}]}"#;
    assert!(matches!(ApiResourceList::parse(bad), Err(ListError::Json(_))));
}

#[test]
fn null_and_missing_read_as_go_reads_them() {
    let null = br#"{"kind":"APIResourceList","apiVersion":null,"groupVersion":null,"resources":[{"name":null,"singularName":null,"namespaced":null,"group":null,"version":null,"kind":null,"verbs":null,"shortNames":null,"categories":null,"storageVersionHash":null},{}],"unknown":{"x":1}}"#;
    let list = ApiResourceList::parse(null).unwrap();
    assert_eq!(list.resources[0], list.resources[1]);
    assert_eq!(list, ApiResourceList { resources: vec![Default::default(); 2], ..Default::default() });
    let null = br#"{"kind":"APIGroupList","groups":[{"name":null,"versions":[{"groupVersion":null,"version":null}],"preferredVersion":null,"serverAddressByClientCIDRs":null}]}"#;
    assert_eq!(ApiGroupList::parse(null).unwrap().groups[0].versions.len(), 1);
    let null = br#"{"kind":"APIVersions","versions":null,"serverAddressByClientCIDRs":[{"clientCIDR":null,"serverAddress":null}]}"#;
    assert_eq!(ApiVersions::parse(null).unwrap().addresses.len(), 1);
}

/// Ten thousand rows of the same parent and as many parents take no quadratic time, and nothing is lost.
#[test]
fn a_large_list_is_read_whole() {
    let wide: Vec<String> =
        (0..10_000).flat_map(|n| [format!("r{n}"), format!("r{n}/status"), format!("r/s{n}")]).collect();
    let listed = version_discovery("v1", &rows(&wide.iter().map(String::as_str).collect::<Vec<_>>()));
    let found: HashSet<String> = names(&listed).into_iter().collect();
    assert_eq!(found, wide.into_iter().collect());
}

proptest! {
    /// Whatever a server lists, both forms of ours say the same.
    #[test]
    fn lists_and_documents_say_the_same(list in any_rows()) {
        let listed = version_discovery("v1", &list);
        let mut ours = resource_list("g", &listed, |_| None);
        let said: HashSet<&str> = list.resources.iter().map(|row| row.name.as_str()).collect();
        let mut names = HashSet::new();
        for row in &ours.resources {
            prop_assert!(names.insert(row.name.as_str()) && said.contains(row.name.as_str()), "{:?}", row);
        }
        for row in &list.resources {
            let odd = row.name.split_once('/').map_or(row.name.is_empty(), |(a, b)| a.is_empty() || b.is_empty());
            let first = list.resources.iter().find(|other| other.name == row.name).unwrap();
            let idle = !row.name.contains('/') && first.kind.is_empty() && first.verbs.as_ref().is_none_or(Vec::is_empty);
            prop_assert_eq!(names.contains(row.name.as_str()), !odd && !idle, "{:?}", row);
        }
        let mut again = resource_list("g", &version_discovery("v1", &ours), |_| None);
        for list in [&mut ours, &mut again] {
            list.resources.sort_by(|a, b| a.name.cmp(&b.name));
        }
        prop_assert_eq!(again, ours);
    }
}

fn any_rows() -> impl Strategy<Value = ApiResourceList> {
    let verbs = prop_oneof![Just(None), Just(Some(vec![])), Just(Some(vec!["get".to_owned()]))];
    let row = ("[ab/]{0,4}", any::<bool>(), "[gk]?", "(v1)?", "K?", verbs).prop_map(
        |(name, namespaced, group, version, kind, verbs)| ApiResource {
            name,
            namespaced,
            group,
            version,
            kind,
            verbs,
            ..ApiResource::default()
        },
    );
    proptest::collection::vec(row, 0..8)
        .prop_map(|resources| ApiResourceList { resources, ..ApiResourceList::default() })
}
