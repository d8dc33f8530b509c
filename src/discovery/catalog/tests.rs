use http::Method;

use super::{index::Index, *};
use crate::{
    api::{discovery::GroupDiscoveryList, gvr::GroupVersionResource, request_info},
    servers::nowhere::server_at,
};

fn list(json: serde_json::Value) -> GroupDiscoveryList {
    let document = serde_json::json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": json,
    });
    GroupDiscoveryList::parse(document.to_string().as_bytes()).unwrap()
}

/// Pods with `subresources`, and cluster-scoped nodes, in the core group.
fn core(subresources: &[&str]) -> GroupDiscoveryList {
    let subresources: Vec<_> = subresources
        .iter()
        .map(|name| serde_json::json!({"subresource": name, "verbs": ["get", "patch", "update"]}))
        .collect();
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    list(
        serde_json::json!([{"metadata": {}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
            {"resource": "nodes", "scope": "Cluster", "singularResource": "node", "verbs": verbs},
            {"resource": "namespaces", "scope": "Cluster", "singularResource": "namespace", "verbs": verbs,
             "subresources": [{"subresource": "finalize", "verbs": ["update"]}]},
            {"resource": "pods", "scope": "Namespaced", "singularResource": "pod", "verbs": verbs,
             "subresources": subresources},
        ]}]}]),
    )
}

fn who(index: &Index, method: &Method, target: &str) -> Vec<usize> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let decoded = request_info::decode(path).unwrap();
    let info = RequestInfo::parse(method, path, &decoded, query).unwrap();
    index.serving(&info).current.iter().collect()
}

#[test]
fn a_request_is_listed_by_group_version_resource_scope_subresource_and_verb() {
    let mut index = Index::default();
    index.add(0, &core(&["status", "proxy"]));
    index.add(1, &core(&["status", "proxy", "resize"]));
    let (get, patch, post, put) = (Method::GET, Method::PATCH, Method::POST, Method::PUT);
    let both: &[usize] = &[0, 1];
    for (method, target, expected) in [
        (&get, "/api/v1/pods", both),
        (&get, "/api/v1/pods?watch=1", both),
        (&get, "/api/v1/watch/pods", both),
        (&get, "/api/v1/namespaces/x/pods/p", both),
        (&patch, "/api/v1/namespaces/x/pods/p/resize", &[1]),
        (&post, "/api/v1/namespaces/x/pods/p/resize", &[]),
        (&patch, "/api/v1/namespaces/x/pods/p/status", both),
        (&put, "/api/v1/namespaces/x/finalize", both),
        (&get, "/api/v1/namespaces/x", both),
        (&get, "/api/v1/nodes/n", both),
        (&get, "/api/v1/namespaces/x/pods/p/proxy/a/b/c", both),
        (&get, "/api/v1/things", &[]),
        (&get, "/api/v2/pods", &[]),
        (&get, "/apis/apps/v1/pods", &[]),
        (&Method::OPTIONS, "/api/v1/pods", &[]),
    ] {
        assert_eq!(who(&index, method, target), expected, "{method} {target}");
    }
}

#[test]
fn a_path_that_no_server_has_a_route_for_is_listed_by_nobody() {
    let mut index = Index::default();
    index.add(0, &core(&["status"]));
    for target in [
        "/api/v1/pods/p",
        "/api/v1/pods/p/status",
        "/api/v1/namespaces/x/nodes",
        "/api/v1/namespaces/x/nodes/n",
        "/api/v1/namespaces/x/pods/p/status/more",
    ] {
        assert!(who(&index, &Method::GET, target).is_empty(), "{target}");
    }
    for method in [Method::POST, Method::DELETE] {
        assert!(who(&index, &method, "/api/v1/pods").is_empty(), "{method} across namespaces");
    }
}

#[test]
fn a_group_version_that_a_server_calls_stale_is_told_apart() {
    let metrics = |freshness: &str| {
        list(serde_json::json!([{"metadata": {"name": "metrics.k8s.io"}, "versions": [
            {"version": "v1beta1", "freshness": freshness, "resources": [
                {"resource": "nodes", "scope": "Cluster", "singularResource": "", "verbs": ["get"]}]}]}]))
    };
    let mut index = Index::default();
    index.add(0, &metrics("Stale"));
    index.add(1, &metrics("Current"));
    let path = "/apis/metrics.k8s.io/v1beta1/nodes/n";
    let info = RequestInfo::parse(&Method::GET, path, path, None).unwrap();
    let serving = index.serving(&info);
    assert_eq!((serving.current, serving.stale), (ServerSet::one(1), ServerSet::one(0)));
}

#[test]
fn a_server_that_has_nothing_in_a_stale_group_version_may_serve_anything_there() {
    let far = |freshness: &str| {
        list(serde_json::json!([{"metadata": {"name": "far.example"}, "versions": [
            {"version": "v1", "freshness": freshness}]}]))
    };
    let mut index = Index::default();
    index.add(0, &far("Stale"));
    index.add(1, &far("Current"));
    let path = "/apis/far.example/v1/things";
    let info = RequestInfo::parse(&Method::GET, path, path, None).unwrap();
    let serving = index.serving(&info);
    assert_eq!((serving.current, serving.stale), (ServerSet::EMPTY, ServerSet::one(0)));
}

#[test]
fn i7_whatever_a_newer_document_drops_is_named() {
    let document = |list| Document { api: Part { list, etag: None }, ..Document::default() };
    let full = document(core(&["status", "resize"]));
    assert_eq!(full.dropped_by(&full), None);
    assert_eq!(document(core(&["status"])).dropped_by(&full), None);
    assert_eq!(full.dropped_by(&document(core(&["status"]))).as_deref(), Some("/v1 pods/resize"));
    assert_eq!(full.dropped_by(&Document::default()).as_deref(), Some("/v1"));
    let mut fewer = core(&["status", "resize"]);
    let version = Arc::make_mut(&mut fewer.items[0].versions[0]);
    version.resources[0].verbs = Some(vec!["get".into()]);
    assert_eq!(full.dropped_by(&document(fewer)).as_deref(), Some("/v1 nodes, verb create"));
}

#[test]
fn doubt_makes_a_server_unknown_for_requests_and_leaves_documents_alone_until_a_fetch_fails() {
    let mut known = Knowledge::default();
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Unknown, false));
    known.fetched(None, true);
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Fresh, true));
    known.doubt();
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Unknown, true));
    known.fetch_failed();
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Unknown, false));
    known.fetched(None, true);
    known.contact_lost();
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Stale, false));
    known.contact_back();
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Unknown, true));
    known.fetched(None, false);
    assert_eq!(known.freshness(), Freshness::Unknown, "an answer from before a loss settles nothing");
    known.fetched(None, true);
    known.fetch_failed();
    assert_eq!((known.freshness(), known.is_believed_in_documents()), (Freshness::Stale, false));
}

#[test]
fn i8_nothing_is_gone_from_a_server_that_is_elsewhere_now() {
    let widgets = list(serde_json::json!([{"metadata": {"name": "example.com"}, "versions": [
        {"version": "v1", "resources": [{"resource": "widgets", "scope": "Cluster", "verbs": ["get"]}]}]}]));
    let document = Arc::new(Document { apis: Part { list: widgets, etag: None }, ..Document::default() });
    let gone = ghosts::Gone::from([(
        GroupVersionResource {
            group: "example.com".into(),
            version: "v1".into(),
            resource: "widgets".into(),
        },
        ghosts::Proof { lost: ghosts::Lost::Definition, revision: 9 },
    )]);
    let old = server_at("a", "192.0.2.1");
    let book = Book::new(Fleet::new(vec![Arc::clone(&old)]));
    let named = ghosts::Named {
        definitions: [(("example.com".into(), "widgets".into()), 4)].into(),
        services: [(
            ("example.com".into(), "v1".into()),
            ghosts::NamedService { revision: 5, of_definitions: true, aggregated: false },
        )]
        .into(),
    };
    book.books().recall(&old, document, Remembered { storage: Some("one".into()), named, gone });
    let path = "/apis/example.com/v1/widgets/w";
    let info = RequestInfo::parse(&Method::GET, path, path, None).unwrap();
    assert!(book.catalog().ignorance_of(&info).is_empty(), "it had them, and they are gone");

    let renamed = book.succeed(Fleet::new(vec![server_at("b", "192.0.2.1")]));
    assert!(renamed.catalog().ignorance_of(&info).is_empty());
    let moved = book.succeed(Fleet::new(vec![server_at("a", "192.0.2.2")]));
    assert_eq!(moved.catalog().ignorance_of(&info), ServerSet::one(0), "it may be of another cluster");
}
