use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::limits;

fn json_of(generation: Generation, documents: &[Value]) -> Value {
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    serde_json::from_slice(&generation.unite(Encoding::Json, &texts).unwrap()).unwrap()
}

fn v2(paths: Value, definitions: Value) -> Value {
    json!({ "swagger": "2.0", "paths": paths, "definitions": definitions, "security": [1] })
}

#[test]
fn names_of_all_are_there_and_the_first_has_its_way() {
    let a = v2(json!({ "/b": { "get": "a" } }), json!({ "Pod": "a", "Zebra": "a" }));
    let b = v2(json!({ "/a": { "get": "b" }, "/b": { "get": "b" } }), json!({ "Job": "b", "Pod": "b" }));
    let united = json_of(Generation::V2, &[a, b]);
    let expected = v2(
        json!({ "/a": { "get": "b" }, "/b": { "get": "a" } }),
        json!({ "Job": "b", "Pod": "a", "Zebra": "a" }),
    );
    // Sorted, as upstream writes them.
    assert_eq!(united.to_string(), expected.to_string());
}

#[test]
fn methods_of_the_same_path_are_united() {
    let a = v2(json!({ "/x": { "get": 1, "parameters": ["a"] } }), json!({}));
    let b = v2(json!({ "/x": { "get": 2, "patch": 3, "parameters": ["b"] } }), json!({}));
    let united = json_of(Generation::V2, &[a, b]);
    assert_eq!(united["paths"]["/x"], json!({ "get": 1, "parameters": ["a"], "patch": 3 }));
}

#[test]
fn a_member_that_only_a_later_server_has_is_kept() {
    let a = json!({ "swagger": "2.0", "paths": {} });
    let b = json!({ "swagger": "2.1", "parameters": { "p": 1 }, "x-new": true });
    let united = json_of(Generation::V2, &[a, b]);
    assert_eq!(united, json!({ "swagger": "2.0", "paths": {}, "parameters": { "p": 1 }, "x-new": true }));
}

#[test]
fn components_are_united_by_their_kinds() {
    let a = json!({ "paths": {}, "components": { "schemas": { "A": 1, "B": 1 }, "securitySchemes": { "S": 1 } } });
    let b = json!({ "paths": {}, "components": { "schemas": { "B": 2, "C": 2 }, "headers": { "H": 2 } } });
    let united = json_of(Generation::V3, &[a, b]);
    let components = json!({
        "schemas": { "A": 1, "B": 1, "C": 2 }, "securitySchemes": { "S": 1 }, "headers": { "H": 2 },
    });
    assert_eq!(united["components"], components);
}

#[test]
fn values_pass_as_they_were_written() {
    let a = br#"{"paths":{},"definitions":{"A":{"n":1.50,"big":123456789012345678901234567890,"e":"\u003c\u00e4"}}}"#;
    let b = br#"{"paths":{},"definitions":{"B":{}}}"#;
    let united = Generation::V2.unite(Encoding::Json, &[a, b]).unwrap();
    let text = String::from_utf8(united).unwrap();
    assert!(text.contains(r#"{"n":1.50,"big":123456789012345678901234567890,"e":"\u003c\u00e4"}"#), "{text}");
}

#[test]
fn rubbish_is_refused_and_never_united() {
    let bad_json: [&[u8]; 8] = [
        b"",
        b"null",
        b"[]",
        b"{",
        b"<html>",
        br#"{"paths":[]}"#,
        br#"{"paths":{},"definitions":1}"#,
        b"{\"paths\":{\"\xff\":1}}",
    ];
    for bad in bad_json {
        assert!(Generation::V2.check(Encoding::Json, bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
    }
    assert!(Generation::V3.check(Encoding::Json, br#"{"paths":{},"components":[]}"#).is_err());
    assert!(Generation::V3.check(Encoding::Json, br#"{"paths":{},"components":{"schemas":[]}}"#).is_err());
    // A field that breaks off, a group, a list that is a number, an entry that is one, a number without end.
    let bad_protobuf: [&[u8]; 6] = [
        b"\x42\x05a",
        b"\x43",
        b"\x40\x01",
        b"\x42\x02\x10\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"<html>",
    ];
    for bad in bad_protobuf {
        assert!(Generation::V2.check(Encoding::Protobuf, bad).is_err(), "{bad:?}");
    }
}

#[test]
fn more_names_than_the_limit_are_refused() {
    let names = |count: usize| (0..count).map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(",");
    let document = |count| format!("{{\"paths\":{{}},\"definitions\":{{{}}}}}", names(count)).into_bytes();
    assert!(Generation::V2.check(Encoding::Json, &document(limits::MAX_OPENAPI_NAMES)).is_ok());
    assert!(Generation::V2.check(Encoding::Json, &document(limits::MAX_OPENAPI_NAMES + 1)).is_err());
    let fields = |count| b"\x08\x01".repeat(count);
    assert!(Generation::V2.check(Encoding::Protobuf, &fields(limits::MAX_OPENAPI_NAMES)).is_ok());
    assert!(Generation::V2.check(Encoding::Protobuf, &fields(limits::MAX_OPENAPI_NAMES + 1)).is_err());
}

#[test]
fn nesting_without_end_is_only_bytes() {
    let deep = format!(r#"{{"paths":{{"/x":{}1{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let other = br#"{"paths":{"/x":{"get":1}}}"#;
    assert!(Generation::V2.check(Encoding::Json, deep.as_bytes()).is_ok());
    let united = Generation::V2.unite(Encoding::Json, &[deep.as_bytes(), other]).unwrap();
    assert_eq!(united, deep.as_bytes());
}

// === A document of either encoding, from one model ===

/// Paths with their methods, and names of schemas; `by` is what each says of itself.
#[derive(Clone, Debug)]
struct Model {
    paths: Vec<(&'static str, Vec<&'static str>)>,
    schemas: Vec<&'static str>,
    by: &'static str,
}

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

fn field(number: u32, value: &[u8]) -> Vec<u8> {
    // Everything here is short.
    let mut bytes = vec![(number << 3) as u8 | 2, u8::try_from(value.len() & 0x7f).unwrap()];
    if value.len() > 0x7f {
        bytes[1] |= 0x80;
        bytes.push(u8::try_from(value.len() >> 7).unwrap());
    }
    bytes.extend_from_slice(value);
    bytes
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, value)].concat()
}

impl Model {
    fn json(&self, generation: Generation) -> Vec<u8> {
        let said = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), json!(self.by))).collect::<Map<_, _>>()
        };
        let paths: Map<_, _> =
            self.paths.iter().map(|(path, methods)| ((*path).to_owned(), said(methods).into())).collect();
        let document = match generation {
            Generation::V2 => {
                json!({ "swagger": self.by, "paths": paths, "definitions": said(&self.schemas) })
            }
            Generation::V3 => {
                json!({ "openapi": self.by, "paths": paths, "components": { "schemas": said(&self.schemas) } })
            }
        };
        document.to_string().into_bytes()
    }

    fn protobuf(&self, generation: Generation) -> Vec<u8> {
        let (paths_at, entry, first_method, schemas_at) = match generation {
            Generation::V2 => (8, 2, 2, 9),
            Generation::V3 => (4, 1, 4, 5),
        };
        let item = |methods: &[&str]| {
            let of = |(at, method): (usize, &&str)| {
                methods.contains(method).then(|| field(first_method + at as u32, self.by.as_bytes()))
            };
            METHODS.iter().enumerate().filter_map(of).collect::<Vec<_>>().concat()
        };
        let listed = |(path, methods): &(&str, Vec<&str>)| field(entry, &named(path, &item(methods)));
        let paths = self.paths.iter().map(listed).collect::<Vec<_>>().concat();
        let schemas: Vec<_> =
            self.schemas.iter().map(|name| field(1, &named(name, self.by.as_bytes()))).collect();
        let schemas = match generation {
            Generation::V2 => schemas.concat(),
            Generation::V3 => field(1, &schemas.concat()),
        };
        [field(1, self.by.as_bytes()), field(paths_at, &paths), field(schemas_at, &schemas)].concat()
    }
}

fn bytes_of(encoding: Encoding, generation: Generation, model: &Model) -> Vec<u8> {
    match encoding {
        Encoding::Json => model.json(generation),
        Encoding::Protobuf => model.protobuf(generation),
    }
}

fn any_model(by: &'static str) -> impl Strategy<Value = Model> {
    let methods = || prop::sample::subsequence(METHODS.to_vec(), 0..=4);
    let paths = prop::sample::subsequence(vec!["/a", "/b", "/c"], 0..=3);
    let schemas = prop::sample::subsequence(vec!["A", "B", "C"], 0..=3);
    (paths, [methods(), methods(), methods()], schemas).prop_map(move |(paths, methods, schemas)| Model {
        paths: paths.into_iter().zip(methods).collect(),
        schemas,
        by,
    })
}

/// What a union of models has to be: who first has a path's method or a schema.
fn expected(models: &[Model]) -> Union {
    let mut expected = Union::default();
    for model in models {
        for (path, methods) in &model.paths {
            let item = expected.paths.entry(path).or_default();
            for method in methods {
                item.entry(method).or_insert(model.by);
            }
        }
        for schema in &model.schemas {
            expected.schemas.entry(schema).or_insert(model.by);
        }
    }
    expected
}

type ByName = BTreeMap<&'static str, &'static str>;

#[derive(Debug, Default, PartialEq, Eq)]
struct Union {
    paths: BTreeMap<&'static str, ByName>,
    schemas: ByName,
}

impl Union {
    fn json(&self) -> (Value, Value) {
        (json!(self.paths), json!(self.schemas))
    }
}

proptest! {
    #[test]
    fn a_union_is_what_whoever_is_first_says(
        a in any_model("a"), b in any_model("b"), c in any_model("c"),
    ) {
        let models = [a, b, c];
        for generation in [Generation::V2, Generation::V3] {
            let documents: Vec<_> = models.iter().map(|model| model.json(generation)).collect();
            let documents: Vec<_> = documents.iter().map(Vec::as_slice).collect();
            let united: Value =
                serde_json::from_slice(&generation.unite(Encoding::Json, &documents).unwrap()).unwrap();
            let schemas = match generation {
                Generation::V2 => &united["definitions"],
                Generation::V3 => &united["components"]["schemas"],
            };
            prop_assert_eq!((united["paths"].clone(), schemas.clone()), expected(&models).json());
        }
    }

    #[test]
    fn json_and_protobuf_list_the_same(a in any_model("a"), b in any_model("b"), c in any_model("c")) {
        let models = [a, b, c];
        for generation in [Generation::V2, Generation::V3] {
            let documents: Vec<_> = models.iter().map(|model| model.protobuf(generation)).collect();
            let documents: Vec<_> = documents.iter().map(Vec::as_slice).collect();
            let united = generation.unite(Encoding::Protobuf, &documents).unwrap();
            // What the same union is when written by one server that has all of it. Who said it is looked at below.
            let all = expected(&models);
            let mut written = Vec::new();
            let (first_method, paths_at, entry, schemas_at) = match generation {
                Generation::V2 => (2, 8, 2, 9),
                Generation::V3 => (4, 4, 1, 5),
            };
            let paths: Vec<_> = all.paths.iter().map(|(path, methods)| {
                let item: Vec<_> = METHODS.iter().enumerate().filter_map(|(at, method)| {
                    Some(field(first_method + at as u32, methods.get(method)?.as_bytes()))
                }).collect();
                field(entry, &named(path, &item.concat()))
            }).collect();
            let schemas: Vec<_> =
                all.schemas.iter().map(|(name, by)| field(1, &named(name, by.as_bytes()))).collect();
            let schemas = match generation {
                Generation::V2 => schemas.concat(),
                Generation::V3 => field(1, &schemas.concat()),
            };
            written.extend(field(1, b"a"));
            written.extend(field(paths_at, &paths.concat()));
            written.extend(field(schemas_at, &schemas));
            prop_assert_eq!(united, written);
        }
    }

    #[test]
    fn one_document_alone_is_what_it_was(model in any_model("a")) {
        for generation in [Generation::V2, Generation::V3] {
            for encoding in Encoding::ALL {
                let bytes = bytes_of(encoding, generation, &model);
                prop_assert_eq!(generation.unite(encoding, &[&bytes]).unwrap(), bytes.clone());
                prop_assert_eq!(generation.unite(encoding, &[&bytes, &bytes]).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn no_bytes_bring_it_down(a in prop::collection::vec(any::<u8>(), 0..64), b in any_model("b")) {
        for generation in [Generation::V2, Generation::V3] {
            for encoding in Encoding::ALL {
                let other = bytes_of(encoding, generation, &b);
                let checked = generation.check(encoding, &a).is_ok();
                let united = generation.unite(encoding, &[&a, &other]);
                // What was checked can be united; `unite` relies on it.
                prop_assert!(!checked || united.is_ok());
            }
        }
    }

    #[test]
    fn what_passes_the_check_can_be_united(
        members in prop::collection::vec((prop::sample::select(vec!["paths", "components", "definitions", "x"]), any_json()), 0..5),
    ) {
        let text = format!("{{{}}}", members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect::<Vec<_>>().join(","));
        let other = br#"{"paths":{"/a":{"get":1}},"components":{"schemas":{"A":1}},"definitions":{"A":1}}"#;
        for generation in [Generation::V2, Generation::V3] {
            let checked = generation.check(Encoding::Json, text.as_bytes()).is_ok();
            let united = generation.unite(Encoding::Json, &[text.as_bytes(), other]);
            prop_assert!(!checked || united.is_ok(), "{}", text);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), Just(json!([])), Just(json!({}))];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let names = prop::sample::select(vec!["/a", "schemas", "x-a", "A"]);
        prop::collection::vec((names, inner), 0..3).prop_map(|members| {
            members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
        })
    })
}

#[test]
fn names_are_each_there_once() {
    let twice = br#"{"paths":{},"definitions":{"A":1,"A":2}}"#;
    let united = Generation::V2.unite(Encoding::Json, &[twice, twice]).unwrap();
    assert_eq!(String::from_utf8(united).unwrap(), r#"{"paths":{},"definitions":{"A":1}}"#);
}
