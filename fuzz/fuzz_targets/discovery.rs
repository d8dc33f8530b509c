//! Bytes of a discovery document → read, merged with recorded ones, rendered (I6, I7).
//!
//! Input: one byte that says what the rest is (a document as it stands, cuts into the text of a recorded one, or
//! changes of that one's tree) and who is fresh.
#![no_main]

#[path = "discovery/mutate.rs"]
mod mutate;

use std::sync::LazyLock;

use kube_peer_proxy::api::discovery::GroupDiscoveryList;
use kube_peer_proxy::api::encoding::{Object, encode};
use kube_peer_proxy::api::media_type::{AggregatedVersion, Media};
use kube_peer_proxy::discovery::catalog::{Document, Part};
use kube_peer_proxy::discovery::merge::{Source, merge};
use kube_peer_proxy::discovery::render::Etag;
use kube_peer_proxy::embedded::Recorded;
use libfuzzer_sys::fuzz_target;

static OLD: LazyLock<GroupDiscoveryList> = LazyLock::new(|| recorded(Recorded::V1_32));
static NEW: LazyLock<GroupDiscoveryList> = LazyLock::new(|| recorded(Recorded::V1_36));

fn recorded(version: Recorded) -> GroupDiscoveryList {
    let text = version.apis().to_string();
    GroupDiscoveryList::parse(text.as_bytes()).expect("recorded documents are documents")
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let text = match mode & 3 {
        0 | 3 => rest.to_vec(),
        1 => mutate::text(rest),
        _ => mutate::tree(rest),
    };
    let Ok(document) = GroupDiscoveryList::parse(&text) else { return };
    read_back(&document);

    let fresh = |bit: u8| mode & bit != 0;
    let sources = [
        Source { id: "a", document: &OLD, fresh: fresh(4) },
        Source { id: "b", document: &document, fresh: fresh(8) },
        Source { id: "c", document: &NEW, fresh: fresh(16) },
    ];
    let [a, b, c] = sources;
    let merged = merge(&sources);
    for order in [[c, b, a], [b, a, c]] {
        assert_eq!(merge(&order), merged, "I6: the order of arrival decides nothing");
    }
    read_back(&merged);
    for source in sources {
        let (said, all) = (whole(source.document), whole(&merged));
        assert_eq!(said.dropped_by(&all), None, "I7: nothing that server {} lists is lost", source.id);
        assert_eq!(said.dropped_by(&said), None);
        if source.fresh {
            nothing_current_is_stale(source.document, &merged);
        }
    }
    if sources.iter().any(|source| source.fresh) {
        let alone = Source { id: "d", document: &merged, fresh: true };
        assert_eq!(merge(&[alone]), merged, "a merged document is as good as any");
        assert_eq!(merge(&[alone, Source { id: "e", ..alone }]), merged);
    }
});

/// What was written is read again as it was, and has the same tag.
fn read_back(document: &GroupDiscoveryList) {
    let json = written(document, Media::Json, false);
    let etag = Etag::of(&json);
    for bytes in [&json, &written(document, Media::Json, true)] {
        let read = GroupDiscoveryList::parse(bytes).expect("we wrote it ourselves");
        assert_eq!(&read, document);
        assert_eq!(Etag::of(&written(&read, Media::Json, false)).digits(), etag.digits());
    }
    for media in [Media::Yaml, Media::Protobuf, Media::Cbor] {
        assert!(!written(document, media, false).is_empty());
    }
}

fn written(document: &GroupDiscoveryList, media: Media, pretty: bool) -> Vec<u8> {
    encode(Object::Aggregated(document, AggregatedVersion::V2), media, pretty)
}

fn whole(document: &GroupDiscoveryList) -> Document {
    Document { apis: Part { list: document.clone(), etag: None }, ..Document::default() }
}

fn nothing_current_is_stale(said: &GroupDiscoveryList, merged: &GroupDiscoveryList) {
    for group in &said.items {
        for version in group.versions.iter().filter(|version| !version.freshness.is_stale()) {
            let found = merged.items.iter().filter(|other| other.name() == group.name());
            let found =
                found.flat_map(|other| &other.versions).find(|other| other.version == version.version);
            assert!(
                found.is_some_and(|found| !found.freshness.is_stale()),
                "{}/{} is Current on a fresh server",
                group.name(),
                version.version
            );
        }
    }
}
