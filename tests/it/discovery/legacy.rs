//! The unaggregated forms: answered from the catalog, and the same set as the aggregated one's.

use std::collections::BTreeSet;

use http::Method;
use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use kube_peer_proxy::embedded::ResourceSpec;
use serde_json::Value;

use crate::kit::client::Protocol;
use crate::kit::{As, BOB, Client, Cluster, EVE, NOPEER, PKI, PROXIED, Proxy, V2, certificate, eventually};

/// A group-version that only `v136` has.
const PEERS: &str = "/apis/new.example.com/v1";

/// Three servers, of which the newest has a group for itself.
async fn three() -> Cluster {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let things = ResourceSpec::new("things", "Thing", true).subresource("status");
    cluster.server("v136").discovery().add_resource("new.example.com", "v1", &things);
    cluster
}

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

/// Waits until what only unaggregated lists say was read of everybody: that comes behind the documents.
async fn until_lists_are_known(proxy: &Proxy) {
    eventually("everybody's lists", || {
        let catalog = proxy.app.proxy.load().book.catalog();
        catalog.servers.iter().all(|known| {
            let lists = &known.document.as_ref().unwrap().lists;
            let hashed = |name: &str| lists.hashes.contains_key(name);
            !lists.addresses.is_empty() && hashed("v1") && hashed("apps/v1")
        })
    })
    .await;
}

/// Group-version, resource or `resource/subresource`, kind, namespaced, verbs.
type Row = (String, String, String, bool, String);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Everything that an aggregated document lists, and of which unaggregated lists can speak.
fn flat(document: &Value) -> BTreeSet<Row> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rows = BTreeSet::new();
    for group in list(&document["items"]) {
        for version in list(&group["versions"]) {
            let name = [text(&group["metadata"]["name"]), text(&version["version"])];
            let group_version = name.join("/").trim_start_matches('/').to_owned();
            for resource in list(&version["resources"]) {
                let namespaced = resource["scope"] == "Namespaced";
                let mut add = |name: String, of: &Value| {
                    let kind = text(&of["responseKind"]["kind"]);
                    rows.insert((group_version.clone(), name, kind, namespaced, of["verbs"].to_string()));
                };
                let name = text(&resource["resource"]);
                if !text(&resource["responseKind"]["kind"]).is_empty() || resource["verbs"][0].is_string() {
                    add(name.clone(), &resource);
                }
                for sub in list(&resource["subresources"]) {
                    add(format!("{name}/{}", text(&sub["subresource"])), &sub);
                }
            }
        }
    }
    rows
}

/// What a client without aggregated discovery finds by reading every list.
async fn walked(client: &Client) -> BTreeSet<Row> {
    let mut lists = Vec::new();
    for version in client.get("/api").await.json()["versions"].as_array().unwrap() {
        lists.push((version.as_str().unwrap().to_owned(), format!("/api/{}", version.as_str().unwrap())));
    }
    for group in client.get("/apis").await.json()["groups"].as_array().unwrap() {
        let alone = client.get(&format!("/apis/{}", group["name"].as_str().unwrap())).await.json();
        assert_eq!((&alone["kind"], &alone["versions"]), (&"APIGroup".into(), &group["versions"]));
        assert_eq!(alone["preferredVersion"], alone["versions"][0]);
        for version in group["versions"].as_array().unwrap() {
            let name = text(&version["groupVersion"]);
            lists.push((name.clone(), format!("/apis/{name}")));
        }
    }
    let mut rows = BTreeSet::new();
    for (name, path) in lists {
        let reply = client.get(&path).await;
        assert_eq!(reply.status, 200, "{path}");
        let list = reply.json();
        assert_eq!((&list["kind"], &list["groupVersion"]), (&"APIResourceList".into(), &name.clone().into()));
        for row in list["resources"].as_array().unwrap() {
            let (resource, kind) = (text(&row["name"]), text(&row["kind"]));
            rows.insert((name.clone(), resource, kind, row["namespaced"] == true, row["verbs"].to_string()));
        }
    }
    rows
}

#[tokio::test]
async fn unaggregated_lists_say_what_the_aggregated_document_says_whoever_is_home() {
    let cluster = three().await;
    for home in ["v132", "v135", "v136"] {
        let proxy = cluster.proxy().home(home).start().await;
        let admin = admin(&proxy).await;
        let mut aggregated = flat(&admin.get_with("/api", V2).await.json());
        aggregated.extend(flat(&admin.get_with("/apis", V2).await.json()));
        assert!(aggregated.len() > 100, "{}", aggregated.len());
        assert_eq!(walked(&admin).await, aggregated, "{home}");
    }
}

#[tokio::test]
async fn i6_every_home_gives_the_same_bytes_with_a_slash_at_the_end_and_without() {
    let cluster = three().await;
    let mut first: Option<Vec<_>> = None;
    for home in ["v132", "v135", "v136"] {
        let proxy = cluster.proxy().home(home).start().await;
        until_lists_are_known(&proxy).await;
        let admin = admin(&proxy).await;
        let mut bodies = Vec::new();
        for path in
            ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1", PEERS, "/apis/new.example.com"]
        {
            let (without, with) = (admin.get(path).await, admin.get(&format!("{path}/")).await);
            assert_eq!((without.status.as_u16(), with.status.as_u16()), (200, 200), "{path}");
            assert_eq!(without.body, with.body, "{path}");
            assert!(without.body.ends_with(b"\n"), "{path}");
            for reply in [&without, &with] {
                let seen = ["content-type", "cache-control", "etag", "vary"].map(|name| reply.header(name));
                assert_eq!(seen, ["application/json", "no-cache, private", "", ""], "{path}");
            }
            bodies.push(without.body);
        }
        assert_eq!(first.get_or_insert_with(|| bodies.clone()), &bodies, "{home}");
    }
}

#[tokio::test]
async fn storage_version_hashes_and_addresses_are_those_of_the_first_server_that_has_them() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v136").start().await;
    until_lists_are_known(&proxy).await;
    let (merged, first) = (admin(&proxy).await, &cluster.server("v132"));
    let direct = Client::connect(first.addr(), As::Certificate(&PKI.admin), Protocol::H2).await;
    assert_eq!(merged.get("/api").await.body, direct.get("/api").await.body);
    let hash = |list: &Value| {
        let rows = list["resources"].as_array().unwrap().clone();
        let pods = rows.into_iter().find(|row| row["name"] == "pods").unwrap();
        text(&pods["storageVersionHash"])
    };
    let expected = hash(&direct.get("/api/v1").await.json());
    assert!(!expected.is_empty());
    assert_eq!(hash(&merged.get("/api/v1").await.json()), expected);
}

#[tokio::test]
async fn cbor_is_offered_where_home_has_it() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    let cbor = ("accept", "application/cbor");
    assert_eq!(admin.get_with("/apis", cbor).await.status, 406);
    for (server, status) in [("v136", 406), ("v132", 200)] {
        proxy.app.proxy.load().book.update(&proxy.target(server), |known| {
            let mut document = (**known.document.as_ref().unwrap()).clone();
            document.cbor = true;
            known.document = Some(document.into());
        });
        let reply = admin.get_with("/apis", cbor).await;
        assert_eq!(reply.status, status, "{server} has it, and v132 is home");
        assert!(status == 406 || reply.header("content-type") == "application/cbor");
    }
}

#[tokio::test]
async fn with_a_slash_at_the_end_nothing_aggregated_is_offered() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    for path in ["/apis/", "/apis/apps", "/apis/apps/v1", "/api/v1", PEERS] {
        let message = admin.get_with(path, V2).await.refused(406);
        assert_eq!(
            message,
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
            "{path}"
        );
    }
    assert_eq!(admin.get_with("/apis", ("accept", "text/html")).await.status, 406);
    // `/api/` has the handler of `/api` upstream.
    let both = [admin.get_with("/api/", V2).await, admin.get_with("/api", V2).await];
    assert_eq!(both[0].header("content-type"), both[1].header("content-type"));
    assert_eq!(both[0].body, both[1].body);
}

#[tokio::test]
async fn head_is_answered_where_kube_apiserver_answers_it() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    for path in ["/apis", "/apis/", "/apis/apps", "/apis/new.example.com"] {
        let (get, head) = (admin.get(path).await, admin.ask(Method::HEAD, path).whole().await);
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
    // Home's affair, and 405 from a real one.
    for path in ["/api", "/api/v1", "/apis/apps/v1"] {
        admin.ask(Method::HEAD, path).whole().await;
        let asked = |request: &kube_peer_proxy::embedded::LoggedRequest| {
            request.method == Method::HEAD && request.target == path
        };
        assert_eq!(cluster.asked("v132", asked).len(), 1, "{path}");
    }
    assert_eq!(admin.ask(Method::HEAD, PEERS).whole().await.status, 405);
}

#[tokio::test]
async fn what_only_a_peer_lists_is_discovery_and_takes_no_other_method() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        for path in [PEERS, "/apis/new.example.com/v1/", "/apis/new.example.com"] {
            let message = admin.ask(method.clone(), path).whole().await.refused(405);
            assert_eq!(message, "the server does not allow this method on the requested resource");
        }
        admin.ask(method.clone(), "/apis/apps/v1").whole().await;
        let asked = |request: &kube_peer_proxy::embedded::LoggedRequest| {
            request.method == method && request.target == "/apis/apps/v1"
        };
        assert_eq!(cluster.asked("v132", asked).len(), 1, "{method} on what home has is home's affair");
    }
    assert!(cluster.asked("v136", |_| true).is_empty(), "nothing was sent there blindly");
}

#[tokio::test]
async fn a_group_version_that_nobody_can_tell_of_is_a_503_and_still_listed() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(PEERS).await.status, 200);
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Freshness::Stale).await;
    for path in [PEERS, "/apis/new.example.com/v1/"] {
        let reply = admin.get(path).await;
        assert_eq!(reply.header("retry-after"), "1");
        assert!(reply.refused(503).contains("can tell of it now"));
    }
    assert_eq!(admin.get("/apis/new.example.com").await.status, 200);
    assert!(admin.get("/apis").await.text().contains("new.example.com/v1"));
    let shared = admin.get("/apis/admissionregistration.k8s.io/v1").await;
    assert!(shared.text().contains("mutatingadmissionpolicies"), "others vouch for the group-version");
}

#[tokio::test]
async fn what_nobody_lists_is_homes_own_answer_if_everybody_was_heard() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    let direct =
        Client::connect(cluster.server("v132").addr(), As::Certificate(&PKI.admin), Protocol::H2).await;
    for path in ["/apis/nope.example.com", "/apis/nope.example.com/v1", "/apis/apps/v9", "/api/v9"] {
        let (ours, theirs) = (admin.get(path).await, direct.get(path).await);
        assert_eq!((ours.status.as_u16(), ours.body), (404, theirs.body), "{path}");
    }
}

#[tokio::test]
async fn i8_what_nobody_lists_is_a_503_while_a_server_was_never_heard() {
    let cluster = three().await;
    cluster.server("v136").stop().await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    let admin = admin(&proxy).await;
    for path in [PEERS, "/apis/new.example.com", "/apis/apps/v9"] {
        let reply = admin.get(path).await;
        assert_eq!(reply.header("retry-after"), "1", "{path}");
        assert!(reply.refused(503).contains("not heard: v136"), "{path}");
    }
    assert_eq!(admin.get("/apis/apps/v1").await.status, 200);
}

#[tokio::test]
async fn i3_a_peer_that_asks_reads_homes_own_document_in_every_form() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let through = proxy.h2(As::Token(BOB)).await.with("audit-id", "same").with(PROXIED, "true");
    let direct = Client::connect(cluster.server("v132").addr(), As::Token(BOB), Protocol::H2)
        .await
        .with("audit-id", "same")
        .with(PROXIED, "true");
    for (path, form) in [
        ("/api", V2),
        ("/apis", V2),
        ("/apis", NOPEER),
        ("/apis", ("accept", "application/json")),
        ("/api/v1", ("accept", "application/json")),
        ("/apis/apps", ("accept", "application/json")),
        ("/apis/admissionregistration.k8s.io/v1", ("accept", "application/json")),
        (PEERS, ("accept", "application/json")),
    ] {
        let (mut ours, mut theirs) = (through.get_with(path, form).await, direct.get_with(path, form).await);
        // The second may have changed in between.
        assert!(ours.headers.remove("date").is_some() && theirs.headers.remove("date").is_some());
        assert_eq!((ours.status, ours.headers), (theirs.status, theirs.headers), "{path}");
        assert!(ours.body == theirs.body, "{path}");
    }
    let asked = cluster.asked("v132", |request| request.headers.contains_key(PROXIED));
    assert!(asked.len() >= 8, "and home is told that it goes no further");
}

#[tokio::test]
async fn i10_home_decides_who_reads_which_list() {
    let cluster = Cluster::with([("v132", V1_32), ("v136", V1_36)], |builder| {
        builder
            .authorizer(|user, path, verb| user.name != "eve" || (path == "/apis/apps/v1" && verb == "get"))
    })
    .await;
    let things = ResourceSpec::new("things", "Thing", true);
    cluster.server("v136").discovery().add_resource("new.example.com", "v1", &things);
    let proxy = cluster.proxy().home("v132").start().await;
    let eve_by_certificate = certificate("eve", &["ops"]);
    for who in [As::Token(EVE), As::Certificate(&eve_by_certificate)] {
        let eve = proxy.h2(who).await;
        assert_eq!(eve.get("/apis/apps/v1").await.status, 200);
        for path in ["/apis", "/apis/apps", "/apis/apps/v1/", "/api/v1", PEERS] {
            assert_eq!(eve.get(path).await.status, 403, "{path}");
        }
        assert_eq!(eve.ask(Method::POST, PEERS).whole().await.status, 403);
    }
    let bob = proxy.h2(As::Token(BOB)).await;
    for path in ["/apis", "/apis/apps", "/api/v1", PEERS] {
        assert_eq!(bob.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn with_merge_off_every_form_is_homes() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").flags(|args| args.merge = Some("off".into())).start().await;
    let admin = admin(&proxy).await;
    for path in ["/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
        assert_eq!(admin.get(path).await.status, 200);
        assert_eq!(cluster.asked_for("v132", path).len(), 1, "{path}");
    }
    assert_eq!(admin.get(PEERS).await.status, 404);
}

#[tokio::test]
async fn people_get_indented_json_as_kube_apiserver_gives_it() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let curl = admin(&proxy).await.with("user-agent", "curl/8.0");
    let reply = curl.get("/apis/apps").await;
    assert!(reply.text().starts_with("{\n  \"kind\": \"APIGroup\""), "{}", reply.text());
    assert!(!reply.text().ends_with('\n'));
    assert!(!curl.get("/apis/apps?pretty=0").await.text().contains("\n  "));
    let asked = admin(&proxy).await.get_with("/apis/apps", ("accept", "application/json;pretty=1")).await;
    assert_eq!(asked.body, reply.body);
}
