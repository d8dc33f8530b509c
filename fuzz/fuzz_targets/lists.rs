//! What a server without aggregated discovery says (unaggregated lists), and its errors in protobuf.
//!
//! Input: bytes that begin with `k8s\0` are an error, any others a list of whatever kind they name.
#![no_main]

use std::collections::HashSet;

use http::HeaderValue;
use kube_peer_proxy::api::discovery::legacy::{
    ApiGroup, ApiGroupList, ApiResource, ApiResourceList, ApiVersions, List, group_discovery, group_list,
    resource_list, version_discovery,
};
use kube_peer_proxy::api::discovery::{GroupDiscoveryList, VersionDiscovery};
use kube_peer_proxy::api::encoding::{Object, encode};
use kube_peer_proxy::api::media_type::{AggregatedVersion, Media};
use kube_peer_proxy::api::status::is_route_not_found;
use libfuzzer_sys::fuzz_target;

const MESSAGE: &[u8] = b"the server could not find the requested resource";

fuzz_target!(|input: &[u8]| {
    if input.starts_with(b"k8s\0") {
        let protobuf = HeaderValue::from_static("application/vnd.kubernetes.protobuf");
        let said = |word: &[u8]| input.windows(word.len()).any(|at| at == word);
        if is_route_not_found(Some(&protobuf), input) {
            assert!(said(MESSAGE) && said(b"Status"), "nobody said so");
        }
        return;
    }
    if let Ok(list) = ApiVersions::parse(input) {
        in_every_encoding(Object::Versions(&list));
    }
    if let Ok(list) = ApiGroupList::parse(input) {
        in_every_encoding(Object::Groups(&list));
    }
    if let Ok(group) = ApiGroup::parse(input) {
        in_every_encoding(Object::Group(&group));
    }
    if let Ok(list) = ApiResourceList::parse(input) {
        in_every_encoding(Object::Resources(&list));
        resources(&list);
    }
});

/// Made into a document and back, a list says what it said, odd rows aside.
fn resources(list: &ApiResourceList) {
    let listed = version_discovery("v1", list);
    let names: Vec<_> = named(&listed).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "nothing is listed twice");
    assert!(names.iter().all(|(resource, sub)| !resource.is_empty() && *sub != Some("")));

    let rows = sorted(resource_list("g", &listed, |_| None));
    for row in &rows {
        assert!(list.resources.iter().any(|said| said.name == row.name && said.verbs == row.verbs), "{row:?}");
    }
    let again = version_discovery("v1", &ApiResourceList { resources: rows.clone(), ..list.clone() });
    assert_eq!(sorted(resource_list("g", &again, |_| None)), rows);

    let items = vec![group_discovery("g", vec![listed])];
    let document = GroupDiscoveryList { items, ..GroupDiscoveryList::default() };
    assert_eq!(group_list(&document).groups.len(), 1);
    in_every_encoding(Object::Aggregated(&document, AggregatedVersion::V2));
    let json = encode(Object::Aggregated(&document, AggregatedVersion::V2), Media::Json, true);
    assert_eq!(GroupDiscoveryList::parse(&json).expect("we wrote it ourselves"), document);
}

fn named(listed: &VersionDiscovery) -> impl Iterator<Item = (&str, Option<&str>)> {
    listed.resources.iter().flat_map(|resource| {
        let subresources = resource.subresources.iter().map(|sub| Some(sub.subresource.as_str()));
        [None].into_iter().chain(subresources).map(|sub| (resource.resource.as_str(), sub))
    })
}

fn sorted(list: ApiResourceList) -> Vec<ApiResource> {
    let mut rows = list.resources;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// Each begins or ends as it must; what they say is what unit tests compare.
fn in_every_encoding(object: Object<'_>) {
    let of = |media| encode(object, media, false);
    let json: serde_json::Value = serde_json::from_slice(&of(Media::Json)).expect("we wrote it ourselves");
    assert!(json.is_object());
    assert!(of(Media::Protobuf).starts_with(b"k8s\0\x0a"));
    assert!(of(Media::Cbor).starts_with(&[0xd9, 0xd9, 0xf7]));
    assert!(of(Media::Yaml).ends_with(b"\n"));
}
