//! What Kubernetes' own code answers (`tests/vectors/`, written by `tests/vectors/regenerate`), and what we answer.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use kube_peer_proxy::api::discovery::{GroupDiscoveryList, to_go_json};
use kube_peer_proxy::api::media_type::{AggregatedVersion, DiscoveryForm, Media};
use kube_peer_proxy::discovery::merge::{Source, merge};
use kube_peer_proxy::discovery::render::Rendered;
use serde_json::{Value, json};

/// Cases in which we differ on purpose, see the table in `discovery::merge`.
const CURRENT_WINS: [&str; 4] =
    ["stale-and-empty-first", "stale-but-for-the-last", "stale-first", "stale-second"];
const NO_EMPTY_GROUPS: [&str; 1] = ["a-group-without-versions-of-a-peer"];

fn lines(file: &str) -> Vec<Value> {
    let path = root().join("tests/vectors").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The servers of a case with their documents.
fn servers(case: &Value) -> Vec<(String, GroupDiscoveryList)> {
    let document = |server: &Value| match server["file"].as_str() {
        Some(file) => fs::read(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}")),
        None => typed(server.get("items").unwrap_or(&json!([]))).into_bytes(),
    };
    let server = |server: &Value| {
        (server["id"].as_str().unwrap().to_owned(), GroupDiscoveryList::parse(&document(server)).unwrap())
    };
    case["servers"].as_array().unwrap().iter().map(server).collect()
}

/// A document with these items as Go writes it.
fn typed(items: &Value) -> String {
    let items = String::from_utf8(to_go_json(items)).unwrap();
    format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{{}},"items":{items}}}"#
    )
}

fn merged(servers: &[(String, GroupDiscoveryList)]) -> GroupDiscoveryList {
    let sources: Vec<_> = servers.iter().map(|(id, document)| Source { id, document, fresh: true }).collect();
    merge(&sources)
}

#[test]
fn merged_documents_and_etags_are_those_of_kube_apiserver() {
    let cases = lines("merge.jsonl");
    assert!(cases.len() > 70, "only {} cases", cases.len());
    let mut with_stale = 0;
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let servers = servers(case);
        let rendered = Rendered::new(&merged(&servers));
        let answers = case["answers"].as_array().unwrap();

        let deliberate = CURRENT_WINS.contains(&name) || NO_EMPTY_GROUPS.contains(&name);
        // Some of the random fleets know Stale too.
        let may_differ =
            deliberate || (name.starts_with("random") && case["servers"].to_string().contains("\"Stale\""));
        with_stale += usize::from(may_differ);
        for answer in answers {
            let expected = as_we_mean_it(&answer["items"], &servers);
            assert!(may_differ || expected == answer["items"], "{name} may not need an exception");
            assert_eq!(
                String::from_utf8_lossy(rendered.json().body()),
                typed(&expected) + "\n",
                "{name}, as {} answers",
                answer["homes"]
            );
            if expected == answer["items"] {
                assert_eq!(rendered.etag(), answer["etag"], "{name}, as {} answers", answer["homes"]);
            } else {
                assert_ne!(rendered.etag(), answer["etag"], "{name}: the items differ, the ETag must too");
            }
        }
        if deliberate {
            assert!(
                answers.iter().any(|answer| rendered.etag() != answer["etag"]),
                "{name} is listed as deliberately different, but is not"
            );
        }
    }
    assert!(with_stale > 5, "only {with_stale} cases with Stale");
}

/// Upstream's answer with our two differences: a group-version is `Current` if any server says so, and groups
/// without versions are left out.
fn as_we_mean_it(items: &Value, servers: &[(String, GroupDiscoveryList)]) -> Value {
    let mut stale_everywhere: HashMap<(&str, &str), bool> = HashMap::new();
    for group in servers.iter().flat_map(|(_, document)| &document.items) {
        for version in &group.versions {
            *stale_everywhere.entry((group.name(), &version.version)).or_insert(true) &=
                version.freshness.is_stale();
        }
    }
    let mut items = items.clone();
    items.as_array_mut().unwrap().retain(|group| group.get("versions").is_some());
    for group in items.as_array_mut().unwrap() {
        let name = group["metadata"]["name"].as_str().unwrap().to_owned();
        for version in group["versions"].as_array_mut().unwrap() {
            let key = (name.as_str(), version["version"].as_str().unwrap());
            if !stale_everywhere[&key] {
                version["freshness"] = json!("Current");
            }
        }
    }
    items
}

#[test]
fn the_accept_header_is_read_as_kube_apiserver_reads_it() {
    let cases = lines("accept.jsonl");
    assert!(cases.len() > 300, "only {} cases", cases.len());
    for case in cases {
        let media = || match case["media"].as_str().unwrap() {
            "application/json" => Media::Json,
            "application/yaml" => Media::Yaml,
            "application/vnd.kubernetes.protobuf" => Media::Protobuf,
            other => panic!("unknown encoding {other}"),
        };
        let pretty = case.get("pretty") == Some(&json!(true));
        let accept = case["accept"].as_str().unwrap();
        let mut form = DiscoveryForm::of(Some(accept.as_bytes()));
        if let DiscoveryForm::Aggregated { media: Media::Yaml | Media::Protobuf, pretty, .. } = &mut form {
            // Only JSON can be pretty, so the vectors can't tell.
            *pretty = false;
        }
        let expected = match case["form"].as_str().unwrap() {
            "merged" => DiscoveryForm::Aggregated {
                version: AggregatedVersion::V2,
                nopeer: false,
                media: media(),
                pretty,
            },
            "nopeer" => DiscoveryForm::Aggregated {
                version: AggregatedVersion::V2,
                nopeer: true,
                media: media(),
                pretty,
            },
            "unaggregated" => DiscoveryForm::Unaggregated { media: media() },
            "notAcceptable" => DiscoveryForm::NotAcceptable,
            other => panic!("unknown form {other}"),
        };
        assert_eq!(form, expected, "Accept: {accept}");
    }
}
