//! What is served, and how it is told.

use http::Method;
use kube_peer_proxy::embedded::{Recorded, ResourceSpec, Tree};
use serde_json::{Value, json};

use super::client::Client;
use super::{BOB, builder, server_and_bob, start};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

#[tokio::test]
async fn v2_discovery_is_the_recorded_document_with_upstreams_headers() {
    for version in Recorded::ALL {
        let server = start(builder().version(version)).await;
        let mut bob = Client::h2(&server, None).await.with(BOB);
        for (path, document) in [("/api", version.api()), ("/apis", version.apis())] {
            let reply = bob.call(Method::GET, path, &[("accept", V2)], None).await;
            assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, V2));
            assert_eq!((reply.header("vary"), reply.header("cache-control")), ("Accept", "public"));
            assert_eq!(reply.text(), format!("{document}\n"));
            let etag = reply.header("etag").to_owned();
            assert!(etag.len() == 130 && etag == etag.to_uppercase(), "{etag}");

            let again = [("accept", V2), ("if-none-match", &etag)];
            let reply = bob.call(Method::GET, path, &again, None).await;
            assert_eq!((reply.status.as_u16(), reply.body.len(), reply.header("etag")), (304, 0, &*etag));
            let weak = format!("W/{etag}");
            let again = [("accept", V2), ("if-none-match", &weak)];
            assert_eq!(bob.call(Method::GET, path, &again, None).await.status, 200);
        }
    }
}

#[tokio::test]
async fn the_accept_header_decides_the_form_as_upstream_reads_it() {
    let new = start(builder()).await;
    let old = start(builder().version(Recorded::V1_32)).await;
    let nopeer = format!("{V2};profile=nopeer");
    let late = format!("application/json,{V2};q=0.1");
    let client_go = format!("{V2},{V2BETA1},application/json");
    let beta_or_plain = format!("{V2BETA1},application/json");
    let (v2, beta) = ("apidiscovery.k8s.io/v2", "apidiscovery.k8s.io/v2beta1");
    for (accept, on_new, on_old) in [
        (V2, v2, v2),
        (&nopeer, v2, v2),
        (&late, v2, v2),
        (&client_go, v2, v2),
        (&beta_or_plain, "v1", beta),
        (V2BETA1, "406", beta),
        ("application/json", "v1", "v1"),
        ("*/*", "v1", "v1"),
        ("text/html", "406", "406"),
        ("Application/JSON;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "406", "406"),
    ] {
        for (server, expected) in [(&new, on_new), (&old, on_old)] {
            let mut bob = Client::h2(server, None).await.with(BOB);
            let reply = bob.call(Method::GET, "/apis", &[("accept", accept)], None).await;
            let is_406 = reply.status == 406;
            let got = if is_406 { json!("406") } else { reply.json()["apiVersion"].clone() };
            assert_eq!(got, expected, "{accept}");
        }
    }
}

#[tokio::test]
async fn the_older_forms_say_the_same() {
    let (server, mut bob) = server_and_bob().await;
    assert_eq!(bob.get("/api").await.json()["versions"], json!(["v1"]));
    let groups = bob.get("/apis").await.json()["groups"].clone();
    let names = |list: &Value, path: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|item| item.pointer(path).unwrap().clone()).collect()
    };
    let document = server.discovery().document(Tree::Apis);
    assert_eq!(names(&groups, "/name"), names(&document["items"], "/metadata/name"));

    let group = bob.get("/apis/autoscaling").await.json();
    assert_eq!((&group["kind"], &group["preferredVersion"]["version"]), (&json!("APIGroup"), &json!("v2")));
    let resources = bob.get("/apis/batch/v1").await.json();
    assert_eq!(resources["groupVersion"], "batch/v1");
    assert_eq!(
        names(&resources["resources"], "/name"),
        ["cronjobs", "cronjobs/status", "jobs", "jobs/status"]
    );
    assert_eq!(bob.get("/api/v1").await.json()["kind"], "APIResourceList");
    assert_eq!(bob.get("/apis/nope").await.text(), "404 page not found\n");
}

#[tokio::test]
async fn what_is_added_or_removed_shows_at_once_in_discovery_and_in_what_is_served() {
    let (server, mut bob) = server_and_bob().await;
    let etag = |bob: Client| async {
        let mut bob = bob;
        let reply = bob.call(Method::GET, "/apis", &[("accept", V2)], None).await;
        (reply.header("etag").to_owned(), bob)
    };
    let (before, back) = etag(bob).await;
    bob = back;
    let widgets = "/apis/example.org/v1/namespaces/default/widgets";
    assert_eq!(bob.get(widgets).await.status, 404);
    let spec = ResourceSpec::new("widgets", "Widget", true).subresource("status");
    server.discovery().add_resource("example.org", "v1", &spec);
    assert_eq!(bob.get(widgets).await.json()["kind"], "WidgetList");
    let (with, back) = etag(bob).await;
    bob = back;
    assert_ne!(before, with);

    assert!(server.discovery().remove_subresource("example.org", "v1", "widgets", "status"));
    assert_eq!(bob.get(&format!("{widgets}/x/status")).await.json()["details"], json!({}));
    assert!(server.discovery().remove_resource("example.org", "v1", "widgets"));
    assert_eq!(
        bob.get(widgets).await.text(),
        "404 page not found\n",
        "the group went with its last resource"
    );
    let (after, _) = etag(bob).await;
    assert_eq!(before, after);
    assert!(!server.discovery().remove_group_version("example.org", "v1"), "it is gone already");
}

#[tokio::test]
async fn route_level_404s_are_those_of_real_servers() {
    let (server, mut bob) = server_and_bob().await;
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the server could not find the requested resource", "reason": "NotFound",
        "details": {}, "code": 404,
    });
    for known_group in
        ["/apis/batch/v9/jobs", "/apis/batch/v1/nothings", "/api/v1/namespaces/x/pods/y/nothing"]
    {
        let reply = bob.get(known_group).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (404, status.clone()), "{known_group}");
    }
    assert!(server.discovery().remove_group_version("batch", "v1"));
    let reply = bob.get("/apis/batch/v1/jobs").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(reply.text(), "404 page not found\n");

    let reply = bob.call(Method::DELETE, "/api/v1/namespaces", &[], None).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["reason"]), (405, &json!("MethodNotAllowed")));
}

#[tokio::test]
async fn a_stale_group_version_is_marked_and_its_requests_are_503() {
    let (server, mut bob) = server_and_bob().await;
    assert!(server.discovery().set_stale("batch", "v1", true));
    let document = bob.call(Method::GET, "/apis", &[("accept", V2)], None).await.json();
    let batch =
        document["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "batch").unwrap();
    assert_eq!(batch["versions"][0]["freshness"], "Stale");
    assert_eq!(bob.get("/apis/batch/v1/jobs").await.status, 503);
    assert!(server.discovery().set_stale("batch", "v1", false));
    assert_eq!(bob.get("/apis/batch/v1/jobs").await.status, 200);
}
