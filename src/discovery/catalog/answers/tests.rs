use std::collections::HashMap;

use serde_json::{Value, json};

use super::{super::Lists, super::Part, *};
use crate::api::discovery::legacy::ServerAddress;

fn list(items: Value) -> GroupDiscoveryList {
    let document =
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items});
    GroupDiscoveryList::parse(document.to_string().as_bytes()).unwrap()
}

fn resource(name: &str, kind: &str) -> Value {
    let kind = json!({"group": "", "version": "", "kind": kind});
    json!({"resource": name, "responseKind": kind, "scope": "Namespaced", "verbs": ["get"]})
}

fn group(name: &str, version: &str, freshness: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "versions": [
        {"version": version, "freshness": freshness, "resources": resources}]})
}

/// A server with these groups under `/apis`, and a core group with pods.
fn origin(name: &str, groups: Vec<Value>, lists: Lists) -> Origin {
    let part = |items| Part { list: list(items), etag: None };
    let document = Document {
        api: part(json!([group("", "v1", "Current", json!([resource("pods", "Pod")]))])),
        apis: part(groups.into()),
        lists: Arc::new(lists),
        ..Document::default()
    };
    Origin { name: name.into(), document: Arc::new(document), believed: true }
}

fn address(server: &str) -> Vec<ServerAddress> {
    vec![ServerAddress { client_cidr: "0.0.0.0/0".into(), server_address: server.into() }]
}

fn hashes(of: &[(&str, &str)]) -> Arc<HashMap<String, String>> {
    Arc::new(of.iter().map(|(resource, hash)| ((*resource).to_owned(), (*hash).to_owned())).collect())
}

fn read(answers: &Answers, path: &str) -> Value {
    let path = DiscoveryPath::of(path).unwrap();
    let Found::Document(key) = answers.unaggregated(path) else { panic!("{path:?} is not there") };
    serde_json::from_slice(answers.write(key, Encoding::new(Media::Json, false)).body()).unwrap()
}

#[test]
fn what_only_unaggregated_lists_say_is_the_first_servers_that_says_it() {
    let apps = || {
        vec![group(
            "apps",
            "v1",
            "Current",
            json!([resource("deployments", "Deployment"), resource("things", "Thing")]),
        )]
    };
    let lists = |addresses, of: &[(&str, &str)]| Lists {
        addresses,
        hashes: HashMap::from([("apps/v1".to_owned(), hashes(of))]),
    };
    // In an order that is not that of names.
    let answers = Answers::new(
        vec![
            origin("c", apps(), lists(address("c:6443"), &[("deployments", "from-c"), ("things", "from-c")])),
            origin("a", apps(), lists(Vec::new(), &[])),
            origin("b", apps(), lists(address("b:6443"), &[("deployments", "from-b"), ("things", "")])),
        ],
        None,
    )
    .unwrap();
    let listed = read(&answers, "/apis/apps/v1");
    let hash = |at: usize| listed["resources"][at]["storageVersionHash"].as_str().unwrap().to_owned();
    assert_eq!([hash(0), hash(1)], ["from-b", "from-c"]);
    let versions = read(&answers, "/api");
    assert_eq!(versions["versions"], json!(["v1"]));
    assert_eq!(versions["serverAddressByClientCIDRs"][0]["serverAddress"], "b:6443");
    assert!(read(&answers, "/api/v1")["resources"][0].get("storageVersionHash").is_none());
}

#[test]
fn a_document_is_found_by_its_path() {
    let groups = vec![
        group("apps", "v1", "Current", json!([resource("deployments", "Deployment")])),
        group("metrics.k8s.io", "v1beta1", "Stale", json!([])),
    ];
    let answers = Answers::new(vec![origin("a", groups, Lists::default())], None).unwrap();
    for (path, expected) in [
        ("/api", Found::Document(Key::Root(Tree::Api))),
        ("/api/", Found::Document(Key::Root(Tree::Api))),
        ("/apis", Found::Document(Key::Root(Tree::Apis))),
        ("/apis/", Found::Document(Key::Root(Tree::Apis))),
        ("/apis/apps", Found::Document(Key::Group(0))),
        ("/apis/apps/v1/", Found::Document(Key::Version(Tree::Apis, 0, 0))),
        ("/api/v1", Found::Document(Key::Version(Tree::Api, 0, 0))),
        ("/apis/metrics.k8s.io", Found::Document(Key::Group(1))),
        ("/apis/metrics.k8s.io/v1beta1", Found::Stale),
        ("/apis/metrics.k8s.io/v1", Found::Nothing),
        ("/apis/apps/v2", Found::Nothing),
        ("/apis/nope", Found::Nothing),
        ("/api/v2", Found::Nothing),
        ("/apis/v1", Found::Nothing),
    ] {
        assert_eq!(answers.unaggregated(DiscoveryPath::of(path).unwrap()), expected, "{path}");
    }
}

#[test]
fn the_sources_of_a_document_are_those_who_list_it() {
    let groups = |names: &[&str]| {
        let listed = |name: &&str| {
            let (group_name, version) = name.split_once('/').unwrap();
            group(group_name, version, "Current", json!([]))
        };
        names.iter().map(listed).collect::<Vec<_>>()
    };
    let mut stale = origin("b", groups(&["batch/v1", "apps/v2"]), Lists::default());
    stale.believed = false;
    let answers = Answers::new(
        vec![
            origin("c", groups(&["apps/v1"]), Lists::default()),
            stale,
            origin("a", groups(&["apps/v1"]), Lists::default()),
        ],
        None,
    )
    .unwrap();
    for (path, expected) in [
        ("/apis", "a, b;stale, c"),
        ("/api", "a, b;stale, c"),
        ("/api/v1", "a, b;stale, c"),
        ("/apis/apps", "a, b;stale, c"),
        ("/apis/apps/v1", "a, c"),
        ("/apis/batch", "b;stale"),
    ] {
        let Found::Document(key) = answers.unaggregated(DiscoveryPath::of(path).unwrap()) else {
            panic!("{path} is not there")
        };
        assert_eq!(answers.sources(key), expected, "{path}");
    }
}

#[test]
fn what_nobody_said_anything_of_has_no_answers() {
    assert!(Answers::new(Vec::new(), None).is_none());
}

#[test]
fn what_did_not_change_is_neither_merged_nor_written_again() {
    let apps = |kind: &str| vec![group("apps", "v1", "Current", json!([resource("deployments", kind)]))];
    let first = Answers::new(vec![origin("a", apps("Deployment"), Lists::default())], None).unwrap();
    let kept =
        |next: &Answers, tree| Arc::ptr_eq(&next.merged(tree).aggregated, &first.merged(tree).aggregated);

    let hashes = HashMap::from([("apps/v1".to_owned(), hashes(&[("deployments", "hash")]))]);
    let lists = Lists { hashes, ..Lists::default() };
    let next = Answers::new(vec![origin("a", apps("Deployment"), lists)], Some(&first)).unwrap();
    assert!(kept(&next, Tree::Api) && kept(&next, Tree::Apis), "only the unaggregated lists changed");
    assert_eq!(read(&next, "/apis/apps/v1")["resources"][0]["storageVersionHash"], "hash");

    let next = Answers::new(vec![origin("a", apps("Other"), Lists::default())], Some(&first)).unwrap();
    assert!(kept(&next, Tree::Api) && !kept(&next, Tree::Apis), "one tree changed");

    let mut doubted = origin("a", apps("Deployment"), Lists::default());
    doubted.believed = false;
    let next = Answers::new(vec![doubted], Some(&first)).unwrap();
    assert!(!kept(&next, Tree::Api), "its group-versions are Stale now");

    let two = ["a", "b"].map(|name| origin(name, apps("Deployment"), Lists::default()));
    let next = Answers::new(two.into(), Some(&first)).unwrap();
    assert!(!kept(&next, Tree::Apis), "another server");
}

#[test]
fn how_big_a_document_gets_is_seen_by_its_versions_and_subresources_too() {
    let kind = json!({"group": "", "version": "", "kind": "Thing"});
    let subresources: Vec<_> = (0..500)
        .map(|number| json!({"subresource": format!("s{number}"), "responseKind": kind, "verbs": ["get"]}))
        .collect();
    let mut thing = resource("things", "Thing");
    thing["subresources"] = subresources.into();
    let versions: Vec<_> = (0..500)
        .map(|number| json!({"version": format!("v1alpha{number}"), "freshness": "Current", "resources": [thing]}))
        .collect();
    let many = json!({"metadata": {"name": "many.example"}, "versions": versions});
    let answers = Answers::new(vec![origin("a", vec![many], Lists::default())], None).unwrap();
    for path in ["/apis", "/apis/many.example", "/apis/many.example/v1alpha7"] {
        let Found::Document(key) = answers.unaggregated(DiscoveryPath::of(path).unwrap()) else { panic!() };
        let written = answers.write(key, Encoding::new(Media::Json, false)).body().len();
        assert!(answers.size(key) >= written / 2, "{path}: {} for {written}", answers.size(key));
    }
}
