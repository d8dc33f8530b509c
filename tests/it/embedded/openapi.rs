//! OpenAPI: the documents, their heads, and how they go wrong.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use kube_peer_proxy::body;
use kube_peer_proxy::embedded::{OpenApiFault, ResourceSpec};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::client::{Client, Reply};
use super::server_and_bob;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

async fn get(bob: &mut Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    bob.call(Method::GET, path, headers, None).await
}

async fn url_of(bob: &mut Client, key: &str) -> String {
    bob.get("/openapi/v3").await.json()["paths"][key]["serverRelativeURL"].as_str().unwrap().to_owned()
}

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

#[tokio::test]
async fn the_index_names_every_document_with_the_hash_of_its_bytes() {
    let (_server, mut bob) = server_and_bob().await;
    let index = bob.get("/openapi/v3").await;
    assert_eq!(index.header("content-type"), "text/plain; charset=utf-8", "as upstream has it");
    assert_eq!((index.header("etag"), index.header("cache-control")), ("", "no-cache, private"));
    let index = index.json();
    let paths = index["paths"].as_object().unwrap();
    for key in ["api", "api/v1", "apis", "apis/batch", "apis/batch/v1", "apis/apps/v1", "version"] {
        assert!(paths.contains_key(key), "{key}");
    }
    for (key, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let (path, hash) = url.split_once("?hash=").unwrap();
        assert_eq!(path, format!("/openapi/v3/{key}"));
        let document = bob.get(url).await;
        assert_eq!(document.header("etag"), format!("\"{hash}\""));
        assert_eq!(sha512(&document.body), hash);
        assert_eq!(document.json()["openapi"], "3.0.0");
    }
}

#[tokio::test]
async fn a_right_hash_may_be_cached_for_ever_and_a_wrong_one_is_sent_to_the_right_one() {
    let (server, mut bob) = server_and_bob().await;
    let url = url_of(&mut bob, "apis/batch/v1").await;
    let right = bob.get(&url).await;
    assert_eq!(right.header("cache-control"), "public, immutable");
    assert!(right.header("expires").ends_with(" UTC"), "{}", right.header("expires"));
    assert_eq!((right.header("vary"), right.header("content-type")), ("Accept", "application/json"));

    let path = "/openapi/v3/apis/batch/v1";
    let none = bob.get(path).await;
    assert_eq!((none.status.as_u16(), none.header("cache-control")), (200, "no-cache, private"));
    assert_eq!((none.header("expires"), &none.body), ("", &right.body));

    let wrong = bob.get(&format!("{path}?hash=ABC")).await;
    assert_eq!((wrong.status.as_u16(), wrong.header("location"), wrong.body.len()), (301, &*url, 0));
    assert_eq!(wrong.header("etag"), right.header("etag"));

    let unknown = bob.get("/openapi/v3/apis/nope/v1?hash=ABC").await;
    assert_eq!((unknown.status.as_u16(), unknown.body.len()), (404, 0));
    assert!(server.discovery().remove_group_version("batch", "v1"));
    assert_eq!(bob.get(&url).await.status, 404, "what is served no more is described no more");
}

#[tokio::test]
async fn a_known_etag_is_not_modified_in_every_way_to_write_it() {
    let (server, mut bob) = server_and_bob().await;
    for path in ["/openapi/v3/api/v1", "/openapi/v2"] {
        let etag = bob.get(path).await.header("etag").to_owned();
        for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
            let reply = get(&mut bob, path, &[("if-none-match", &known)]).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0), "{known}");
            assert_eq!(reply.header("etag"), etag);
        }
        server.discovery().add_resource("", "v1", &ResourceSpec::new("widgets", "Widget", true));
        assert_eq!(get(&mut bob, path, &[("if-none-match", &etag)]).await.status, 200, "it changed");
        assert!(server.discovery().remove_resource("", "v1", "widgets"));
        assert_eq!(bob.get(path).await.header("etag"), etag, "it is the old one again");
    }
}

#[tokio::test]
async fn every_kind_has_a_schema_and_its_paths_say_which_parameters_are_understood() {
    let (server, mut bob) = server_and_bob().await;
    server.discovery().add_resource("example.org", "v1", &ResourceSpec::new("widgets", "Widget", true));
    let document = bob.get("/openapi/v3/apis/example.org/v1").await.json();
    let schemas = &document["components"]["schemas"];
    let widget = &schemas["org.example.v1.Widget"];
    let gvk = json!({ "group": "example.org", "kind": "Widget", "version": "v1" });
    assert_eq!(widget["x-kubernetes-group-version-kind"], json!([gvk]));
    assert!(widget["description"].as_str().unwrap().contains("Widget"));
    let fields: Vec<_> = widget["properties"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["apiVersion", "kind", "metadata", "spec", "status"]);
    assert_eq!(schemas["org.example.v1.WidgetList"]["required"], json!(["items"]));

    let one = &document["paths"]["/apis/example.org/v1/namespaces/{namespace}/widgets/{name}"];
    let all = &document["paths"]["/apis/example.org/v1/namespaces/{namespace}/widgets"];
    for (operation, action) in [(&one["patch"], "patch"), (&all["post"], "post"), (&one["put"], "put")] {
        let parameters = operation["parameters"].as_array().unwrap();
        for name in ["dryRun", "fieldValidation"] {
            let understood = |p: &Value| p["name"] == name && p["in"] == "query";
            assert!(parameters.iter().any(understood), "{action} {name}");
        }
        assert_eq!(operation["x-kubernetes-action"], action);
        assert_eq!(operation["x-kubernetes-group-version-kind"], gvk);
    }
    assert_eq!(document["paths"]["/apis/example.org/v1/widgets"]["get"]["x-kubernetes-action"], "list");

    let swagger = bob.get("/openapi/v2").await.json();
    assert_eq!(swagger["definitions"]["org.example.v1.Widget"]["properties"]["spec"]["type"], "object");
    assert!(swagger["paths"]["/apis/example.org/v1/widgets"].is_object());
    assert!(swagger["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
}

#[tokio::test]
async fn v2_comes_in_json_or_protobuf_plain_or_zipped_with_one_etag() {
    let (_server, mut bob) = server_and_bob().await;
    let plain = bob.get("/openapi/v2").await;
    assert_eq!(plain.header("content-type"), "application/json");
    assert_eq!(plain.header("etag"), format!("\"{}\"", sha512(&plain.body)));
    let varies: Vec<_> = plain.headers.get_all("vary").iter().collect();
    assert_eq!(varies, ["Accept-Encoding", "Accept"]);
    let binary = get(&mut bob, "/openapi/v2", &[("accept", V2_PROTOBUF)]).await;
    assert!(binary.body.starts_with(b"\x0a\x032.0\x12"), "swagger comes first");
    for accept in [V2_PROTOBUF_OLD, &format!("application/json;q=0.5, {V2_PROTOBUF}")] {
        let reply = get(&mut bob, "/openapi/v2", &[("accept", accept)]).await;
        assert_eq!((reply.header("content-type"), &reply.body), (V2_PROTOBUF, &binary.body), "{accept}");
        assert_eq!(reply.header("etag"), plain.header("etag"));
    }
    for (accept, unzipped) in [("*/*", &plain.body), (V2_PROTOBUF, &binary.body)] {
        let zipped = get(&mut bob, "/openapi/v2", &[("accept", accept), ("accept-encoding", "gzip")]).await;
        assert_eq!(zipped.header("content-encoding"), "gzip");
        let mut bytes = Vec::new();
        GzDecoder::new(&zipped.body[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, unzipped[..]);
        assert_eq!(zipped.header("etag"), plain.header("etag"));
    }
    assert_eq!(get(&mut bob, "/openapi/v2", &[("accept", "text/html")]).await.status, 406);
}

#[tokio::test]
async fn v3_comes_in_json_or_protobuf_and_never_zipped() {
    let (_server, mut bob) = server_and_bob().await;
    let path = "/openapi/v3/apis/batch/v1";
    let plain = get(&mut bob, path, &[("accept-encoding", "gzip")]).await;
    assert_eq!((plain.header("content-encoding"), plain.header("content-type")), ("", "application/json"));
    let binary = get(&mut bob, path, &[("accept", V3_PROTOBUF)]).await;
    assert_eq!(binary.header("content-type"), V3_PROTOBUF);
    assert_eq!(binary.header("etag"), plain.header("etag"));
    assert!(binary.body.starts_with(b"\x0a\x053.0.0\x12"), "openapi comes first");
    assert_eq!(get(&mut bob, path, &[("accept", "text/html")]).await.status, 406);
}

#[tokio::test]
async fn openapi_fails_in_the_way_that_was_switched_on_whole_or_at_one_path() {
    let (server, mut bob) = server_and_bob().await;
    let path = "/openapi/v3/apis/batch/v1";
    let good = bob.get(path).await;
    let faults = server.faults();

    faults.openapi(Some(OpenApiFault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    for path in [path, "/openapi/v3", "/openapi/v2"] {
        assert_eq!(bob.get(path).await.status, 500, "{path}");
    }
    assert_eq!(bob.get("/apis").await.status, 200, "discovery is another thing");
    faults.openapi(Some(OpenApiFault::Garbage));
    let known = [("if-none-match", good.header("etag"))];
    let garbage = get(&mut bob, path, &known).await;
    assert!(garbage.status == 200 && serde_json::from_slice::<Value>(&garbage.body).is_err());
    faults.openapi(Some(OpenApiFault::Slow(Duration::from_millis(1))));
    assert_eq!(bob.get(path).await.body, good.body);
    faults.openapi(Some(OpenApiFault::Aborted));
    let answer = bob.send(Method::GET, path, &[], body::empty()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    faults.openapi(Some(OpenApiFault::Endless));
    let mut endless = bob.send(Method::GET, path, &[], body::empty()).await.unwrap().into_body();
    let mut size = 0;
    while size < 1_000_000 {
        size += endless.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    drop(endless);

    faults.openapi(None);
    faults.openapi_at(path, Some(OpenApiFault::Status(StatusCode::NOT_FOUND)));
    assert_eq!(bob.get(&format!("{path}?hash=ABC")).await.status, 404);
    assert_eq!(bob.get("/openapi/v3/apis/apps/v1").await.status, 200);
    faults.openapi_at(path, None);
    assert_eq!(bob.get(path).await.body, good.body);
}
