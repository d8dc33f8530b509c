use serde_json::{Value, json};

use super::gnostic;
use super::schema::name_of;
use super::specs::Specs;
use crate::embedded::Recorded;
use crate::embedded::document::Document;

#[test]
fn schemas_are_named_as_upstream_names_them() {
    for (group, name) in [
        ("", "io.k8s.api.core.v1.Thing"),
        ("batch", "io.k8s.api.batch.v1.Thing"),
        ("apiregistration.k8s.io", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.Thing"),
        ("rbac.authorization.k8s.io", "io.k8s.api.rbac.v1.Thing"),
        ("stable.example.com", "com.example.stable.v1.Thing"),
    ] {
        assert_eq!(name_of(group, "v1", "Thing"), name);
    }
}

#[test]
fn protobuf_is_what_gnostic_writes() {
    // Written by hand from the field numbers: a name, a value and what is inside.
    let document = json!({ "swagger": "2.0", "info": { "title": "K", "version": "1" }, "paths": {},
        "definitions": { "a": { "type": "object", "x-k": [1] } } });
    let expected = b"\x0a\x032.0\x12\x06\x0a\x01K\x12\x011\x42\x00\x4a\x22\x0a\x20\x0a\x01a\x12\x1b\xb2\x01\x08\x0a\x06object\
        \xfa\x01\x0d\x0a\x03x-k\x12\x06\x12\x04[1]\n";
    assert_eq!(gnostic::v2::document(&document).into_bytes(), expected.as_slice());
}

#[test]
fn every_reference_leads_to_a_schema() {
    let (api, apis) = (Recorded::V1_36.api(), Recorded::V1_36.apis());
    let specs = Specs::of(&Document::new(api), &Document::new(apis), "1.36");
    for spec in specs.v3.values().chain([&specs.v2]) {
        let document: Value = serde_json::from_slice(&spec.json).unwrap();
        let mut references = 0;
        check(&document, &document, &mut references);
        let kinds = document.pointer("/components/schemas").or_else(|| document.get("definitions")).unwrap();
        assert_eq!(references == 0, kinds.as_object().unwrap().is_empty());
    }
}

fn check(value: &Value, document: &Value, references: &mut usize) {
    if let Some(reference) = value["$ref"].as_str() {
        *references += 1;
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for inner in value.as_object().into_iter().flat_map(|map| map.values()) {
        check(inner, document, references);
    }
    for inner in value.as_array().into_iter().flatten() {
        check(inner, document, references);
    }
}

#[test]
fn subresources_have_the_kinds_that_discovery_gives_them_and_tunnels_have_none() {
    let specs =
        Specs::of(&Document::new(Recorded::V1_36.api()), &Document::new(Recorded::V1_36.apis()), "1.36");
    let document: Value = serde_json::from_slice(&specs.v3["apis/apps/v1"].json).unwrap();
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["patch"];
    let expected = json!({ "group": "autoscaling", "kind": "Scale", "version": "v1" });
    assert_eq!(scale["x-kubernetes-group-version-kind"], expected);
    assert!(document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"].is_object());
    let document: Value = serde_json::from_slice(&specs.v3["api/v1"].json).unwrap();
    let exec = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["get"];
    assert_eq!(exec["x-kubernetes-action"], "connect");
}
