use std::{collections::HashMap, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    api::discovery::{GroupDiscoveryList, legacy::ServerAddress},
    api::gvr::GroupVersionResource,
    discovery::catalog::{
        Form, Forms, Lists, Part,
        ghosts::{Lost, Named, NamedService, Proof},
    },
};

const AT: &str = "10.0.0.1:6443";

fn list(group: &str) -> GroupDiscoveryList {
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {"new": 1.5},
        "items": [{"metadata": {"name": group, "labels": {"x": "y"}}, "newer": [1, {"a": null}], "versions": [
            {"version": "v1", "freshness": "Current", "future": true, "resources": [
                {"resource": "things", "scope": "Cluster", "singularResource": "thing", "verbs": null, "unheard": "of",
                 "responseKind": {"group": "", "version": "", "kind": "Thing", "more": {}},
                 "subresources": [{"subresource": "status", "verbs": [], "odd": 18446744073709551615u64}]},
            ]},
            {"version": "v2", "freshness": "Perhaps", "resources": []},
        ]}],
        "beside": "them",
    });
    GroupDiscoveryList::parse(document.to_string().as_bytes()).unwrap()
}

/// A document with something in each field, and fields that we don't know at each level.
fn document() -> Document {
    let hashes = HashMap::from([("things".to_owned(), "aGFzaA==".to_owned())]);
    let address = ServerAddress { client_cidr: "0.0.0.0/0".into(), server_address: AT.into() };
    Document {
        api: Part { list: list(""), etag: Some("\"AB12\"".into()) },
        apis: Part { list: list("far.example"), etag: None },
        version: Some((1, 36)),
        lists: Arc::new(Lists {
            addresses: vec![address],
            hashes: HashMap::from([("far.example/v1".to_owned(), Arc::new(hashes))]),
        }),
        forms: Forms { api: Form::V2Beta1, apis: Form::Unaggregated },
        cbor: true,
    }
}

fn remembered() -> Remembered {
    let name = |name: &str| ("far.example".to_owned(), name.to_owned());
    let service = NamedService { revision: 7, of_definitions: true, aggregated: false };
    let key =
        GroupVersionResource { group: "far.example".into(), version: "v1".into(), resource: "things".into() };
    Remembered {
        storage: Some("one".into()),
        named: Named {
            definitions: [(name("things"), u64::MAX)].into(),
            services: [(name("v1"), service)].into(),
        },
        gone: [(key, Proof { lost: Lost::Definition, revision: 9 })].into(),
    }
}

#[test]
fn a_file_from_before_ghosts_were_remembered_is_read_and_a_newer_ones_additions_are_overlooked() {
    let payload = wire::write(&document(), &remembered()).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    value["stillLater"] = json!({"a": 1});
    let read = wire::read(value.to_string().as_bytes()).unwrap();
    assert_eq!(read, (document(), remembered()));
    value.as_object_mut().unwrap().remove("custom");
    let read = wire::read(value.to_string().as_bytes()).unwrap();
    assert_eq!(read, (document(), Remembered::default()));
}

fn bytes() -> Vec<u8> {
    File::write(&document(), &remembered(), "a", AT, SystemTime::UNIX_EPOCH).unwrap()
}

fn open(directory: &Path) -> Cache {
    Cache::open(directory, CacheMetrics::default()).unwrap()
}

#[test]
fn what_is_written_is_read_back_with_all_that_we_do_not_know() {
    let file = File::parse(&bytes(), "a", AT).unwrap();
    assert_eq!(file.document, document());
    assert_eq!(file.remembered, remembered());
    assert_eq!(file.written, "1970-01-01T00:00:00Z");
    assert_eq!(bytes(), bytes(), "the same document is the same file");
}

#[test]
fn a_file_that_is_another_servers_or_another_formats_is_refused_with_the_reason() {
    let text = String::from_utf8(bytes()).unwrap();
    let with = |old: &str, new: &str| text.replacen(old, new, 1).into_bytes();
    let long_line =
        format!("kube-peer-proxy-discovery {}", " ".repeat(limits::MAX_CACHE_HEADER_BYTES) + &text);
    for (bytes, server, at, fault) in [
        (text.clone().into_bytes(), "b", AT, "it is of API server \"a\""),
        (
            text.clone().into_bytes(),
            "a",
            "10.0.0.2:6443",
            "an API server at 10.0.0.1:6443, and now that is at 10.0.0.2",
        ),
        (with("\"format\":1", "\"format\":0"), "a", AT, "its format is 0; this version reads 1"),
        (with("\"format\":1", "\"format\":2"), "a", AT, "its format is 2; this version reads 1"),
        (with("{\"format\"", "[\"format\""), "a", AT, "first line is damaged"),
        (with("things", "thongs"), "a", AT, "checksum"),
        (text.as_bytes()[..text.len() - 1].to_vec(), "a", AT, "checksum"),
        (text.as_bytes()[..40].to_vec(), "a", AT, "does not begin"),
        (Vec::new(), "a", AT, "does not begin"),
        (b"#!/bin/sh\n".to_vec(), "a", AT, "does not begin"),
        (long_line.into_bytes(), "a", AT, "does not begin"),
    ] {
        let refused = File::parse(&bytes, server, at).unwrap_err().to_string();
        assert!(refused.contains(fault), "{refused}, not {fault}");
    }
}

#[test]
fn a_payload_of_another_shape_is_refused_even_if_its_checksum_is_right() {
    let deep = "[".repeat(100_000);
    for payload in [
        "",
        "{}",
        "null",
        "[]",
        &deep,
        r#"{"api":{"form":"v2","list":{}},"apis":{"form":"v2","list":{}},"addresses":[],"hashes":{},"cbor":false}"#,
    ] {
        assert!(wire::read(payload.as_bytes()).is_err(), "{payload:.40}");
    }
}

proptest! {
    #[test]
    fn no_damage_is_read_as_a_document(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let mut damaged = bytes();
        let at = at.index(damaged.len());
        if cut { damaged.truncate(at) } else { damaged[at] ^= 1 << bit }
        // Only the time is for people and may read as something else.
        if let Ok(file) = File::parse(&damaged, "a", AT) {
            prop_assert_eq!(file.document, document());
        }
    }
}

#[test]
fn directory_and_files_are_ours_alone() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("made/for/it");
    let cache = open(&directory);
    cache.store(&"a".into(), AT, &Arc::new(document()), &Arc::new(remembered())).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&cache.path("a"))), (0o700, 0o600));
    let names: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.discovery"], "nothing else is left there");
}

#[test]
fn what_cannot_be_read_is_as_if_it_were_not_there_and_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let (path, server) = (cache.path("a"), Arc::from("a"));
    assert!(cache.load(&server, AT).is_none(), "absent");
    std::fs::write(&path, b"rubbish").unwrap();
    assert!(cache.load(&server, AT).is_none(), "rubbish");
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(limits::MAX_CACHE_FILE_BYTES + 1).unwrap();
    assert!(matches!(place::read(&path, cache.limit), Err(Fault::TooLarge { .. })));
    assert!(cache.load(&server, AT).is_none(), "too large");
    cache.store(&"a".into(), AT, &Arc::new(document()), &Arc::new(remembered())).unwrap();
    assert_eq!(cache.load(&server, AT), Some((Arc::new(document()), remembered())));
    let cache = open(folder.path());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(matches!(place::read(&path, cache.limit), Err(Fault::NoFile)));
    cache.store(&"a".into(), AT, &Arc::new(document()), &Arc::new(remembered())).unwrap();
    assert_eq!(cache.load(&server, AT), Some((Arc::new(document()), remembered())));
}

#[test]
fn a_document_that_is_too_large_is_not_written_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = open(folder.path());
    cache.store(&"a".into(), AT, &Arc::default(), &Arc::default()).unwrap();
    let before = std::fs::read(cache.path("a")).unwrap();
    cache.limit = 1000;
    let refused = cache.store(&"a".into(), AT, &Arc::new(document()), &Arc::new(remembered())).unwrap_err();
    assert_eq!(refused.to_string(), "it would be larger than 1000 bytes");
    assert_eq!(std::fs::read(cache.path("a")).unwrap(), before);
}

#[test]
fn what_was_never_finished_is_cleared_away_when_it_is_old_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let old = SystemTime::now() - limits::CACHE_UNFINISHED_AGE * 2;
    for (name, age) in [
        (".a.discovery.0123.tmp", Some(old)),
        (".b.discovery.0123.tmp", None),
        (".other.tmp", Some(old)),
        ("c.discovery", Some(old)),
    ] {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        age.into_iter().for_each(|age| file.set_modified(age).unwrap());
    }
    open(folder.path());
    let names = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: std::collections::BTreeSet<_> = names.collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [".b.discovery.0123.tmp", ".other.tmp", "c.discovery"]);
}

#[test]
fn only_a_number_of_entries_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let old = SystemTime::now() - limits::CACHE_UNFINISHED_AGE * 2;
    let more = 5;
    for number in 0..limits::MAX_CACHE_ENTRIES + more {
        let file = std::fs::File::create(folder.path().join(format!(".a.discovery.{number}.tmp"))).unwrap();
        file.set_modified(old).unwrap();
    }
    open(folder.path());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), more);
}

#[test]
fn a_directory_that_cannot_be_made_or_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    // Not even root makes files in the first two.
    for directory in [Path::new("/proc/cache"), Path::new("/proc"), &file.join("below")] {
        let fault = Cache::open(directory, CacheMetrics::default()).unwrap_err();
        assert!(fault.starts_with(&directory.display().to_string()), "{fault}");
    }
}
