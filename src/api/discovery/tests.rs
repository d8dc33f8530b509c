use serde_json::json;

use super::{Freshness, GroupDiscoveryList, ParseError, to_go_json, to_go_json_pretty};

/// Every field that upstream's types have, in upstream's order.
const WHOLE: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":{"name":"apps","uid":"u"},"versions":[{"version":"v1","resources":[{"resource":"deployments","responseKind":{"group":"","version":"","kind":"Deployment"},"scope":"Namespaced","singularResource":"deployment","verbs":["create","get"],"shortNames":["deploy"],"categories":["all"],"subresources":[{"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},"acceptedTypes":[{"group":"autoscaling","version":"v1","kind":"Scale"}],"verbs":["get"]},{"subresource":"log","verbs":null}]}],"freshness":"Current"},{"version":"v1beta1","freshness":"Stale"}]},{"metadata":{}}]}"#;

fn parse(text: &str) -> GroupDiscoveryList {
    GroupDiscoveryList::parse(text.as_bytes()).unwrap()
}

fn written(document: &GroupDiscoveryList) -> String {
    String::from_utf8(to_go_json(document)).unwrap()
}

fn with_items(items: &str) -> String {
    format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{{}},"items":{items}}}"#
    )
}

#[test]
fn a_whole_document_is_written_as_it_was_read() {
    assert_eq!(written(&parse(WHOLE)), WHOLE);
    let document = parse(WHOLE);
    assert_eq!(document.items[0].name(), "apps");
    assert!(document.items[0].versions[1].freshness.is_stale());
    assert_eq!(document.items[0].versions[0].resources[0].verbs(), ["create", "get"]);
    assert_eq!(document.items[1].name(), "");
}

#[test]
fn unknown_fields_survive_at_every_level() {
    let text = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{"m":1},"items":[{"metadata":{"name":"g","b":[true,null],"a":"<"},"versions":[{"version":"v1","resources":[{"resource":"r","responseKind":{"group":"","version":"","kind":"R","k":1.5},"scope":"","singularResource":"","verbs":[],"subresources":[{"subresource":"s","acceptedTypes":[{"group":"","version":"","kind":"","t":{}}],"verbs":null,"u":-1}],"x":{"y":"z"}}],"v":null}],"g":18446744073709551615}],"l":"list"}"#;
    assert_eq!(written(&parse(text)), text.replace('<', "\\u003c"));
}

#[test]
fn numbers_in_unknown_fields_keep_their_last_digit() {
    for number in ["4.143139993007743e-10", "1.2088995980580641", "9364405.867994597", "0.1", "-0.0"] {
        let items = with_items(&format!(r#"[{{"metadata":{{}},"x":{number}}}]"#));
        assert_eq!(written(&parse(&items)), items);
    }
}

#[test]
fn null_and_missing_read_as_go_reads_them() {
    let nulls = with_items(
        r#"[{"metadata":null,"versions":[{"version":null,"resources":[{"resource":null,"responseKind":null,"scope":null,"singularResource":null,"verbs":null,"shortNames":null,"categories":null,"subresources":null}],"freshness":null}]},{"metadata":{"name":null},"versions":null}]"#,
    );
    let bare = with_items(r#"[{"versions":[{"resources":[{}]}]},{}]"#);
    let expected = with_items(
        r#"[{"metadata":{},"versions":[{"version":"","resources":[{"resource":"","scope":"","singularResource":"","verbs":null}]}]},{"metadata":{}}]"#,
    );
    assert_eq!(written(&parse(&nulls)), expected);
    assert_eq!(written(&parse(&bare)), expected);
    assert_eq!(
        written(&parse(
            r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":null}"#
        )),
        with_items("[]")
    );
}

/// API servers up to 1.33 write the unset time; a 1.36 that passes their document on doesn't.
#[test]
fn an_unset_creation_timestamp_is_left_out() {
    let old = with_items(
        r#"[{"metadata":{"name":"apps","creationTimestamp":null}},{"metadata":{"creationTimestamp":null}}]"#,
    );
    assert_eq!(written(&parse(&old)), with_items(r#"[{"metadata":{"name":"apps"}},{"metadata":{}}]"#));
    let set = with_items(r#"[{"metadata":{"name":"apps","creationTimestamp":"2026-01-01T00:00:00Z"}}]"#);
    assert_eq!(written(&parse(&set)), set);
}

#[test]
fn freshness_keeps_words_that_upstream_does_not_define() {
    let words = r#"[{"metadata":{},"versions":[{"version":"a"},{"version":"b","freshness":"Current"},{"version":"c","freshness":"Stale"},{"version":"d","freshness":"stale"}]}]"#;
    let document = parse(&with_items(words));
    let read: Vec<_> = document.items[0].versions.iter().map(|version| version.freshness.clone()).collect();
    let expected = [Freshness::Unset, Freshness::Current, Freshness::Stale, Freshness::Other("stale".into())];
    assert_eq!(read, expected);
    assert_eq!(written(&document), with_items(words));
}

#[test]
fn what_is_no_document_is_refused_by_name() {
    for (text, expected) in [
        (r#"{"kind":"Status","apiVersion":"v1","code":406}"#, r#"got kind "Status" of "v1""#),
        (r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#, r#"got kind "APIGroupList" of "v1""#),
        (
            r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2beta1","items":[]}"#,
            r#"of "apidiscovery.k8s.io/v2beta1""#,
        ),
        ("{}", r#"got kind "" of """#),
        ("", "not an APIGroupDiscoveryList"),
        ("<html>", "not an APIGroupDiscoveryList"),
        (r#"{"kind":"APIGroupDiscoveryList","items":{}}"#, "not an APIGroupDiscoveryList"),
    ] {
        let error = GroupDiscoveryList::parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    let cut = &WHOLE[..WHOLE.len() - 1];
    assert!(matches!(GroupDiscoveryList::parse(cut.as_bytes()), Err(ParseError::Json(_))));
    assert!(matches!(GroupDiscoveryList::parse(format!("{WHOLE}x").as_bytes()), Err(ParseError::Json(_))));
}

#[test]
fn deep_nesting_is_refused_instead_of_exhausting_the_stack() {
    let deep = with_items("[]").replacen(
        "\"items\"",
        &format!("\"x\":{}{},\"items\"", "[".repeat(1000), "]".repeat(1000)),
        1,
    );
    assert!(matches!(GroupDiscoveryList::parse(deep.as_bytes()), Err(ParseError::Json(_))));
}

#[test]
fn strings_are_escaped_as_go_escapes_them() {
    let text = "<a>&\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}\u{2027}\u{2028}\u{2029}\u{202a}é😀";
    assert_eq!(
        String::from_utf8(to_go_json(&json!({ text: text }))).unwrap(),
        concat!(
            r#"{"\u003ca\u003e\u0026\"\\/\b\f\n\r\t\u0000\u001f"#,
            "\u{7f}\u{2027}",
            r"\u2028\u2029",
            "\u{202a}é😀\":",
            r#""\u003ca\u003e\u0026\"\\/\b\f\n\r\t\u0000\u001f"#,
            "\u{7f}\u{2027}",
            r"\u2028\u2029",
            "\u{202a}é😀\"}",
        )
    );
}

#[test]
fn pretty_json_is_that_of_marshal_indent() {
    let value = json!({"a": [], "b": {}, "c": [1, "<"], "d": {"e": null}});
    let expected = "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    \"\\u003c\"\n  ],\n  \"d\": {\n    \"e\": null\n  }\n}";
    assert_eq!(String::from_utf8(to_go_json_pretty(&value)).unwrap(), expected);
}
