//! A configuration that is made a second time, and what has changed by then.

use std::collections::BTreeSet;
use std::time::Duration;

use kube_peer_proxy::config::{Config, Reroute};

use super::{BASIC_FILE, Place, TWO_SERVERS};

#[test]
fn the_same_source_gives_what_the_files_say_by_then() {
    let place = Place::new().env("KUBE_PEER_PROXY_MERGE", "off").env("KUBE_PEER_PROXY_STALE_AFTER", "1m");
    let first = place.load_file(TWO_SERVERS).unwrap();
    assert_eq!(first.contents.now(), first.contents);
    place.write("proxy.yaml", format!("{BASIC_FILE}{TWO_SERVERS}merge: on\nreroute: off\nstaleAfter: 50s\n"));
    assert_ne!(first.contents.now(), first.contents);
    let second = first.source.load().result.unwrap().config;
    assert_eq!(second.reroute, Reroute::Off);
    assert!(!second.discovery.merge, "the environment still beats the file");
    assert_eq!(second.discovery.stale_after, Duration::from_secs(60));
}

#[test]
fn every_file_that_is_named_is_among_the_contents() {
    let place = Place::new();
    let more =
        "requestheaderClientCaFile: front-proxy-ca.crt\ntlsSniCertKey: ['admin.crt,admin.key:a.example']\n";
    let loaded = place.load_file(&format!("{TWO_SERVERS}{more}")).unwrap();
    for name in [
        "proxy.yaml",
        "proxy.crt",
        "proxy.key",
        "ca.crt",
        "front-proxy-client.crt",
        "front-proxy-client.key",
        "front-proxy-ca.crt",
        "admin.crt",
        "admin.key",
    ] {
        let before = std::fs::read(place.path(name)).unwrap();
        place.write(name, "other");
        assert_ne!(loaded.contents.now(), loaded.contents, "{name}");
        place.write(name, before);
        assert_eq!(loaded.contents.now(), loaded.contents, "{name}");
    }
    std::fs::remove_file(place.path("ca.crt")).unwrap();
    assert_ne!(loaded.contents.now(), loaded.contents);
}

#[test]
fn changes_are_named_by_the_keys_of_the_file() {
    let place = Place::new();
    place.write("ca-b.crt", std::fs::read(place.path("ca.crt")).unwrap());
    let changes = |servers: &str, more: &str| -> Vec<String> {
        let before = place.load_file(TWO_SERVERS).unwrap().config;
        let after = place.load_file(&format!("{servers}{more}")).unwrap().config;
        before.changes(&after).iter().map(ToString::to_string).collect()
    };
    assert_eq!(changes(TWO_SERVERS, "# the same\nstaleAfter: 30s\n"), [""; 0], "by its effect");
    assert_eq!(changes(TWO_SERVERS, "home: a\nreroute: off\n"), ["homePreference", "reroute", "home"]);
    assert_eq!(
        changes(TWO_SERVERS, "requestheaderClientCaFile: front-proxy-ca.crt\n")[..2],
        ["requestheaderClientCaFile", "requestheaderAllowedNames"]
    );
    let b = TWO_SERVERS.replace("10.0.0.2", "10.0.0.3");
    assert_eq!(changes(&b, "  caFile: ca-b.crt\n"), ["apiServers[b].url", "apiServers[b].caFile"]);
    assert_eq!(changes(TWO_SERVERS, "- name: c\n  url: https://10.0.0.3:6443\n"), ["apiServers"]);
    assert_eq!(changes(&TWO_SERVERS.replace("name: b", "name: c"), ""), ["apiServers"]);
}

#[test]
fn whatever_changes_is_taken_over_or_waits_for_a_restart() {
    const TAKEN: &str = "clientCaFile: admin.crt\ntlsMinVersion: VersionTLS13\ntrustedProxyCidrs: [10.0.0.0/8]\n\
        reroute: off\nmerge: off\nrequestTimeout: 59s\nforgetAfter: 1h\nreloadCheckInterval: 7s\nhome: a\n";
    const WAITING: &str = "maxHandshakes: 7\nproxyUser: somebody\nstaleAfter: 50s\ndeadAfter: 11s\n\
        healthProbeInterval: 4s\nlogLevel: debug\nshutdownTimeout: 50s\nadminBindAddress: 127.0.0.1:9999\n";
    let place = Place::new();
    let before = place.load_file(TWO_SERVERS).unwrap();
    let file = BASIC_FILE.lines().filter(|line| !line.starts_with("clientCaFile"));
    let file: String = file.map(|line| format!("{line}\n")).collect();
    place.write("proxy.yaml", format!("{file}{TWO_SERVERS}{TAKEN}{WAITING}"));
    let after = before.source.load().result.unwrap();
    let taken = before.config.taking(&after.config);
    let names = |one: &Config, other: &Config| -> BTreeSet<String> {
        one.changes(other).iter().map(ToString::to_string).collect()
    };
    let keys = |text: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
    };
    let mut of_taken = names(&before.config, &taken);
    // Which is not said beside home.
    of_taken.remove("homePreference");
    assert_eq!(of_taken, keys(TAKEN));
    assert_eq!(names(&taken, &after.config), keys(WAITING));
    let loaded = after.with(&taken).unwrap();
    assert_eq!(loaded.config, taken);
    assert!(loaded.material.client_ca.is_some());
}

#[test]
fn certificates_for_servers_that_a_source_names_are_among_those_that_expire() {
    let place = Place::new();
    let of_nobody = |flags: &[&str]| {
        let all = place.load_basic(flags).unwrap().expiries();
        let ours = all.into_iter().filter(|expiry| expiry.server.is_empty());
        ours.map(|expiry| expiry.certificate).collect::<Vec<_>>()
    };
    assert_eq!(of_nobody(&[]), ["serving", "client-ca"]);
    let leases = ["--peer-source=leases", "--peer-allowed-cidrs=10.0.0.0/8"];
    assert_eq!(of_nobody(&leases), ["serving", "client-ca", "peer-ca", "proxy-client"]);
}
