//! What Kubernetes' own code answers (`tests/vectors/`, written by `tests/vectors/regenerate`), and what we answer.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use kube_peer_proxy::api::discovery::{GroupDiscoveryList, to_go_json};
use kube_peer_proxy::api::encoding::{Object, encode};
use kube_peer_proxy::api::media_type::{AggregatedVersion, DiscoveryForm, Media};
use kube_peer_proxy::discovery::merge::{Source, merge};
use kube_peer_proxy::discovery::render::Etag;
use serde_json::{Value, json};

/// Cases in which we differ on purpose, see the table in `discovery::merge`.
const CURRENT_WINS: [&str; 4] =
    ["stale-and-empty-first", "stale-but-for-the-last", "stale-first", "stale-second"];
const NO_EMPTY_GROUPS: [&str; 1] = ["a-group-without-versions-of-a-peer"];

const fn own(media: Media) -> DiscoveryForm {
    DiscoveryForm::Unaggregated { media, pretty: false }
}

const fn aggregated(nopeer: bool, media: Media) -> DiscoveryForm {
    DiscoveryForm::Aggregated { version: AggregatedVersion::V2, nopeer, media, pretty: false }
}

/// Headers that we read otherwise, each with our answer: upstream knows no quoted strings, and to it `q=0` is the last
/// choice and not a refusal.
const READ_AS_RFC_9110: [(&str, DiscoveryForm); 8] = [
    // A quoted value.
    (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=\"nopeer\"",
        aggregated(true, Media::Json),
    ),
    // The only thing asked for is refused.
    (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0",
        DiscoveryForm::NotAcceptable,
    ),
    ("application/vnd.kubernetes.protobuf; q=0;profile=nopeer", DiscoveryForm::NotAcceptable),
    (
        "application/json;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList; v=v2;q=0 ,application/*;q= 0.7;g=apidiscovery.k8s.io;v=v2 ,application/*;g=apidiscovery.k8s.io;v=v2",
        DiscoveryForm::NotAcceptable,
    ),
    // Aggregated is refused, the plain list is not.
    (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0,application/json",
        own(Media::Json),
    ),
    (
        "application/json ;q=0.5,application/yaml;q=0; g=apidiscovery.k8s.io ;as=APIGroupDiscoveryList;v=v2,application/*; a=b=c; profile=nopeer;g=apidiscovery.k8s.io;v=v2",
        own(Media::Json),
    ),
    // One encoding is refused, the other one's weight is none.
    (
        "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=-1,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0",
        aggregated(false, Media::Yaml),
    ),
    // Everything is acceptable, but every encoding that there is is refused more closely.
    ("*; profile=nopeer,application/* ;q=0; foo", DiscoveryForm::NotAcceptable),
];

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

/// A document as it is sent, and the digits of its tag.
pub fn json_and_etag(document: &GroupDiscoveryList) -> (Vec<u8>, String) {
    let json = encode(Object::Aggregated(document, AggregatedVersion::V2), Media::Json, false);
    let etag = Etag::of(&json).digits().to_owned();
    (json, etag)
}

#[test]
fn merged_documents_and_etags_are_those_of_kube_apiserver() {
    let cases = lines("merge.jsonl");
    assert!(cases.len() > 70, "only {} cases", cases.len());
    let mut with_stale = 0;
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let servers = servers(case);
        let (json, etag) = json_and_etag(&merged(&servers));
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
                String::from_utf8_lossy(&json),
                typed(&expected) + "\n",
                "{name}, as {} answers",
                answer["homes"]
            );
            if expected == answer["items"] {
                assert_eq!(etag, answer["etag"], "{name}, as {} answers", answer["homes"]);
            } else {
                assert_ne!(etag, answer["etag"], "{name}: the items differ, the ETag must too");
            }
        }
        if deliberate {
            assert!(
                answers.iter().any(|answer| etag != answer["etag"]),
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
fn the_accept_header_is_read_as_kube_apiserver_reads_it_except_where_rfc_9110_says_more() {
    let cases = lines("accept.jsonl");
    assert!(cases.len() > 300, "only {} cases", cases.len());
    let (mut refused, mut beta) = (0, 0);
    for case in cases {
        let accept = case["accept"].as_str().unwrap();
        let form = DiscoveryForm::of(accept.as_bytes(), false);
        let upstream = upstreams(&case, form);
        if let Some((_, ours)) = READ_AS_RFC_9110.iter().find(|(listed, _)| *listed == accept) {
            refused += 1;
            assert_eq!(form, *ours, "Accept: {accept}");
            assert_ne!(form, upstream, "needs no exception: {accept}");
        } else if let DiscoveryForm::Aggregated { version: AggregatedVersion::V2Beta1, .. } = form {
            beta += 1;
            assert!(
                matches!(upstream, DiscoveryForm::Unaggregated { .. } | DiscoveryForm::NotAcceptable),
                "v2 wins over v2beta1: {accept}"
            );
            // v2beta1 is read as v2 would be, if there were no v2.
            let later = accept.replace("v=v2beta1", "v=later").replace("v=v2", "v=v9");
            let as_v2 = DiscoveryForm::of(later.replace("v=later", "v=v2").as_bytes(), false);
            assert_eq!(form, renamed(as_v2), "Accept: {accept}");
        } else {
            assert_eq!(form, upstream, "Accept: {accept}");
        }
    }
    assert_eq!(refused, READ_AS_RFC_9110.len());
    assert!(beta > 20, "only {beta} cases with v2beta1");
}

fn renamed(form: DiscoveryForm) -> DiscoveryForm {
    match form {
        DiscoveryForm::Aggregated { nopeer, media, pretty, .. } => {
            DiscoveryForm::Aggregated { version: AggregatedVersion::V2Beta1, nopeer, media, pretty }
        }
        other => other,
    }
}

/// What kube-apiserver answered. Whether it indents shows only in aggregated JSON, so the rest is taken from `ours`.
fn upstreams(case: &Value, ours: DiscoveryForm) -> DiscoveryForm {
    let media = || match case["media"].as_str().unwrap() {
        "application/json" => Media::Json,
        "application/yaml" => Media::Yaml,
        "application/vnd.kubernetes.protobuf" => Media::Protobuf,
        other => panic!("unknown encoding {other}"),
    };
    let aggregated = |nopeer| {
        let pretty = match (media(), ours) {
            (Media::Yaml | Media::Protobuf, DiscoveryForm::Aggregated { pretty, .. }) => pretty,
            _ => case.get("pretty") == Some(&json!(true)),
        };
        DiscoveryForm::Aggregated { version: AggregatedVersion::V2, nopeer, media: media(), pretty }
    };
    match case["form"].as_str().unwrap() {
        "merged" => aggregated(false),
        "nopeer" => aggregated(true),
        "unaggregated" => {
            let pretty = matches!(ours, DiscoveryForm::Unaggregated { pretty: true, .. });
            DiscoveryForm::Unaggregated { media: media(), pretty }
        }
        "notAcceptable" => DiscoveryForm::NotAcceptable,
        other => panic!("unknown form {other}"),
    }
}
