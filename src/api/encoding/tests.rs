//! Against what real servers send: `tests/fixtures/discovery`, which `tests/real/record` makes.

use std::path::Path;

use minicbor::Decoder;
use minicbor::data::Type;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Object, encode};
use crate::api::discovery::{
    Freshness, GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, ResponseKind, SubresourceDiscovery,
    VersionDiscovery,
    legacy::{ApiGroup, ApiGroupList, ApiResourceList, ApiVersions, List as _},
};
use crate::api::media_type::{AggregatedVersion, Media};

const VERSIONS: [&str; 2] = ["1.32", "1.36"];

fn recorded(version: &str, file: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/discovery").join(version).join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a server sent in JSON, in another encoding: every recorded document, its name, ours.
fn each(media: Media, suffix: &str, check: impl Fn(&str, &[u8], &[u8])) {
    for version in VERSIONS {
        let json = |name: &str| recorded(version, &format!("{name}.json"));
        let compare = |name: &str, object: Object<'_>| {
            let server = recorded(version, &format!("{name}.{suffix}"));
            check(&format!("{version} {name}"), &encode(object, media, false), &server);
        };
        compare("api", Object::Versions(&ApiVersions::parse(&json("api")).unwrap()));
        compare("apis", Object::Groups(&ApiGroupList::parse(&json("apis")).unwrap()));
        compare("apis-apps", Object::Group(&ApiGroup::parse(&json("apis-apps")).unwrap()));
        for name in ["api-v1", "apis-apps-v1"] {
            compare(name, Object::Resources(&ApiResourceList::parse(&json(name)).unwrap()));
        }
        for name in ["api", "apis"] {
            let (form, name) = match version {
                "1.32" => (AggregatedVersion::V2Beta1, format!("{name}-v2beta1")),
                _ => (AggregatedVersion::V2, format!("{name}-v2")),
            };
            compare(&name, Object::Aggregated(&aggregated(&json(&name)), form));
        }
    }
}

fn aggregated(document: &[u8]) -> GroupDiscoveryList {
    let v2 = String::from_utf8(document.to_vec()).unwrap().replacen("/v2beta1", "/v2", 1);
    GroupDiscoveryList::parse(v2.as_bytes()).unwrap()
}

/// API servers up to 1.33 write `creationTimestamp: null` into every group; we never do.
fn without_timestamps(document: &[u8]) -> String {
    let text = String::from_utf8(document.to_vec()).unwrap();
    text.replace(r#","creationTimestamp":null"#, "")
        .replace(r#""creationTimestamp":null"#, "")
        .replace("metadata:\n    creationTimestamp: null\n    name", "metadata:\n    name")
        .replace("metadata:\n    creationTimestamp: null\n", "metadata: {}\n")
}

#[test]
fn json_is_that_of_real_servers_to_the_byte() {
    each(Media::Json, "json", |name, ours, server| {
        assert_eq!(String::from_utf8_lossy(ours), without_timestamps(server), "{name}");
    });
}

#[test]
fn protobuf_is_that_of_real_servers_to_the_byte() {
    each(Media::Protobuf, "pb", |name, ours, server| assert_eq!(hex(ours), hex(server), "{name}"));
}

#[test]
fn yaml_is_that_of_real_servers_to_the_byte() {
    each(Media::Yaml, "yaml", |name, ours, server| {
        assert_eq!(String::from_utf8_lossy(ours), without_timestamps(server), "{name}");
    });
}

#[test]
fn cbor_says_what_that_of_a_real_server_says() {
    let list = ApiResourceList::parse(&recorded("1.36", "apis-apps-v1.json")).unwrap();
    let server = recorded("1.36", "apis-apps-v1.cbor");
    let ours = encode(Object::Resources(&list), Media::Cbor, false);
    assert_eq!(ours.len(), server.len(), "the same but for the order of keys");
    assert_eq!(read_cbor(&ours), read_cbor(&server));
    assert_eq!(read_cbor(&ours), serde_json::to_value(&list).unwrap());
}

#[test]
fn cbor_is_deterministic() {
    let list = aggregated(
        br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","x":[-1,1.5,true,null,{"bb":1,"a":2}],"items":[]}"#,
    );
    let ours = encode(Object::Aggregated(&list, AggregatedVersion::V2), Media::Cbor, false);
    let expected = [
        // The tag, a map of five, `x` first for it is the shortest key.
        "d9d9f7a5",
        "4178",
        "85",
        "20",
        "fb3ff8000000000000",
        "f5",
        "f6",
        "a2416102",
        "42626201",
        "446b696e64",
        "554150494772",
        "6f7570446973636f766572794c697374",
        "456974656d7380",
        "486d65746164617461a0",
        "4a61706956657273696f6e",
        "5661706964697363",
        "6f766572792e6b38732e696f2f7632",
    ];
    assert_eq!(hex(&ours), expected.concat());
}

#[test]
fn strings_that_yaml_reads_as_something_else_are_quoted() {
    let words = [
        "no",
        "y",
        "on",
        "null",
        "~",
        "",
        "1e5",
        "0x1f",
        "1_000",
        "12:30",
        "2026-01-01",
        "=",
        "<<",
        "- a",
        "a: b",
        "#",
        "é\u{2028}",
        "a\nb",
        " a",
        "true",
        "!x",
        "*y",
        "&z",
        "%",
        "@",
        "`",
        "0.5",
        ".5",
        "1.",
        "+1",
        "-",
        "*",
        "[::1]:6443",
        "127.0.0.1:6443",
        "a.example.com:443",
        "0.0.0.0/0",
        "8aSe+NMegvE=",
    ];
    let mut list: ApiResourceList =
        serde_json::from_value(json!({"groupVersion": "g/v1", "resources": [{"name": "r"}]})).unwrap();
    list.resources[0].short_names = words.map(str::to_owned).to_vec();
    let yaml = encode(Object::Resources(&list), Media::Yaml, false);
    let read: Value = serde_saphyr::from_slice(&yaml).unwrap();
    assert_eq!(read, serde_json::to_value(&list).unwrap());
    let text = String::from_utf8(yaml).unwrap();
    for word in ["no", "y", "on", "null", "~", "", "1e5", "12:30"] {
        assert!(text.contains(&format!("\n  - \"{word}\"\n")), "{word}: {text}");
    }
    for word in ["*", "*y", "[::1]:6443"] {
        assert!(text.contains(&format!("\n  - '{word}'\n")), "{word}: {text}");
    }
    for word in ["127.0.0.1:6443", "a.example.com:443", "0.0.0.0/0", "8aSe+NMegvE="] {
        assert!(text.contains(&format!("\n  - {word}\n")), "{word}: {text}");
    }
}

#[test]
fn v2beta1_is_v2_under_another_name() {
    let list = aggregated(
        br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{"m":1},"items":[{"metadata":{}}],"l":2}"#,
    );
    let of =
        |version| String::from_utf8(encode(Object::Aggregated(&list, version), Media::Json, false)).unwrap();
    assert_eq!(of(AggregatedVersion::V2Beta1), of(AggregatedVersion::V2).replace("/v2\"", "/v2beta1\""));
    assert!(of(AggregatedVersion::V2Beta1).contains("/v2beta1"));
}

#[test]
fn no_verbs_and_no_list_of_verbs_are_told_apart() {
    for (verbs, written) in [("null", ""), ("[]", "2200"), (r#"["get"]"#, "22050a03676574")] {
        let text = format!(
            r#"{{"kind":"APIResourceList","groupVersion":"v1","resources":[{{"name":"r","singularName":"","namespaced":true,"kind":"","verbs":{verbs}}}]}}"#
        );
        let list = ApiResourceList::parse(text.as_bytes()).unwrap();
        let of = |media| encode(Object::Resources(&list), media, false);
        assert_eq!(of(Media::Json), format!("{text}\n").into_bytes());
        let expected = format!("0a017210011a00{written}320042004a005200");
        let found = hex(&of(Media::Protobuf));
        assert!(found.contains(&expected), "{found} has no {expected}");
    }
}

proptest! {
    #[test]
    fn cbor_and_yaml_read_back_as_the_json(list in any_list()) {
        let object = Object::Aggregated(&list, AggregatedVersion::V2);
        let json: Value = serde_json::from_slice(&encode(object, Media::Json, false)).unwrap();
        prop_assert_eq!(&read_cbor(&encode(object, Media::Cbor, false)), &json);
        let yaml: Value = serde_saphyr::from_slice(&encode(object, Media::Yaml, false)).unwrap();
        prop_assert_eq!(&yaml, &json);
    }

}

// === Documents of any content ===

pub(super) fn any_list() -> impl Strategy<Value = GroupDiscoveryList> {
    let word = || prop_oneof![4 => "[a-z0-9.:~=-]{0,8}", 1 => "\\PC{0,6}"];
    let words = move || proptest::collection::vec(word(), 0..3);
    let kind = move || {
        (word(), word(), word()).prop_map(|(group, version, kind)| ResponseKind {
            group,
            version,
            kind,
            ..ResponseKind::default()
        })
    };
    let kinds = move || proptest::collection::vec(kind(), 0..2);
    // No list at all can't be told from an empty one in this form of protobuf.
    let subresource = (word(), proptest::option::of(kind()), kinds(), words()).prop_map(
        |(subresource, response_kind, accepted_types, verbs)| SubresourceDiscovery {
            subresource,
            response_kind,
            accepted_types,
            verbs: Some(verbs),
            ..SubresourceDiscovery::default()
        },
    );
    let resource = (
        (word(), proptest::option::of(kind()), word(), word()),
        (words(), words(), words()),
        proptest::collection::vec(subresource, 0..3),
    )
        .prop_map(|((resource, response_kind, scope, singular_resource), lists, subresources)| {
            let (verbs, short_names, categories) = lists;
            ResourceDiscovery {
                resource,
                response_kind,
                scope,
                singular_resource,
                verbs: Some(verbs),
                short_names,
                categories,
                subresources,
                ..ResourceDiscovery::default()
            }
        });
    let freshness = prop_oneof![
        Just(Freshness::Unset),
        Just(Freshness::Current),
        Just(Freshness::Stale),
        Just(Freshness::Other("Perhaps".to_owned())),
    ];
    let version = (word(), proptest::collection::vec(resource, 0..3), freshness).prop_map(
        |(version, resources, freshness)| {
            VersionDiscovery { version, resources, freshness, ..VersionDiscovery::default() }.into()
        },
    );
    let group = (word(), proptest::collection::vec(version, 0..3)).prop_map(|(name, versions)| {
        let mut group = GroupDiscovery { versions, ..GroupDiscovery::default() };
        group.metadata.name = name;
        group
    });
    proptest::collection::vec(group, 0..3)
        .prop_map(|items| GroupDiscoveryList { items, ..GroupDiscoveryList::default() })
}

// === Reading ===

/// A document of CBOR as the JSON that it stands for.
fn read_cbor(document: &[u8]) -> Value {
    assert_eq!(hex(&document[..3]), "d9d9f7");
    let mut decoder = Decoder::new(&document[3..]);
    let value = cbor_value(&mut decoder);
    assert_eq!(decoder.position(), document.len() - 3, "nothing follows");
    value
}

fn cbor_value(decoder: &mut Decoder<'_>) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match decoder.datatype().unwrap() {
        Type::Null => {
            decoder.null().unwrap();
            Value::Null
        }
        Type::Bool => decoder.bool().unwrap().into(),
        Type::Bytes => text(decoder.bytes().unwrap()).into(),
        Type::Array => {
            let length = decoder.array().unwrap().unwrap();
            (0..length).map(|_| cbor_value(decoder)).collect()
        }
        Type::Map => {
            let length = decoder.map().unwrap().unwrap();
            let field = |_| (text(decoder.bytes().unwrap()), cbor_value(decoder));
            Value::Object((0..length).map(field).collect())
        }
        other => panic!("{other} in a document of discovery"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
