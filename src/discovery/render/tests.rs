use std::io::Read;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha512};

use super::{GZIP_THRESHOLD, Rendered};
use crate::api::discovery::{GroupDiscovery, GroupDiscoveryList};

fn with_groups(count: usize) -> GroupDiscoveryList {
    let mut document = GroupDiscoveryList::default();
    document.items.resize_with(count, GroupDiscovery::default);
    document
}

#[test]
fn the_body_is_typed_and_ends_with_a_newline() {
    let expected = "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/v2\",\"metadata\":{},\"items\":[]}\n";
    assert_eq!(Rendered::new(&with_groups(0)).json().body(), expected);
}

#[test]
fn the_etag_is_a_hash_of_the_list_without_its_type() {
    let rendered = Rendered::new(&with_groups(1));
    let hash = Sha512::digest(br#"{"metadata":{},"items":[{"metadata":{}}]}"#);
    let expected: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(rendered.etag(), expected);
    assert_eq!(expected.len(), 128);
}

#[test]
fn pretty_json_says_the_same_without_a_newline_at_its_end() {
    let document = with_groups(1);
    let rendered = Rendered::new(&document);
    let pretty = rendered.pretty().body();
    assert_eq!(GroupDiscoveryList::parse(pretty).unwrap(), document);
    assert!(pretty.starts_with(b"{\n  \"kind\": \"APIGroupDiscoveryList\",\n  \"apiVersion\""), "{pretty:?}");
    assert!(pretty.ends_with(b"]\n}"), "{pretty:?}");
}

#[test]
fn only_what_is_longer_than_the_threshold_is_compressed() {
    let one = Rendered::new(&with_groups(1)).json().body().len();
    let each = Rendered::new(&with_groups(2)).json().body().len() - one;
    let mut fitting = with_groups((GZIP_THRESHOLD - one) / each);
    // Fill up to the threshold exactly, then one byte more.
    let missing = GZIP_THRESHOLD - Rendered::new(&fitting).json().body().len();
    fitting.items[0].kind = "k".repeat(missing + each);
    let overhead = Rendered::new(&fitting).json().body().len() - GZIP_THRESHOLD;
    fitting.items[0].kind.truncate(missing + each - overhead);

    let rendered = Rendered::new(&fitting);
    assert_eq!(rendered.json().body().len(), GZIP_THRESHOLD);
    assert_eq!(rendered.json().gzip(), None);

    fitting.items[0].kind.push('k');
    let rendered = Rendered::new(&fitting);
    let mut unpacked = Vec::new();
    GzDecoder::new(&rendered.json().gzip().unwrap()[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(&unpacked[..], rendered.json().body());
    assert_eq!(unpacked.len(), GZIP_THRESHOLD + 1);
}

#[test]
fn a_second_call_shares_what_the_first_one_made() {
    let rendered = Rendered::new(&with_groups(20_000));
    let (first, second) = (rendered.json().gzip().unwrap(), rendered.json().gzip().unwrap());
    assert_eq!(first.as_ptr(), second.as_ptr());
}
