//! What is refused, and in which words.

use kube_peer_proxy::pki::{Authority, Leaf};

use super::{Place, TWO_SERVERS};
use kube_peer_proxy::config::{Invalid, Loaded};

/// The fault under a key that begins with `key`, which has to be the only fault.
#[track_caller]
pub(super) fn only_fault(loaded: Result<Loaded, Invalid>, key: &str) -> String {
    let faults = loaded.expect_err("there is a fault").faults;
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].key.starts_with(key), "{} does not begin with {key}", faults[0].key);
    faults[0].message.clone()
}

#[test]
fn all_faults_are_told_at_once_each_with_its_key() {
    let place =
        Place::new().env("KUBE_PEER_PROXY_SECURE_PORT", "70000").env("KUBE_PEER_PROXY_REROUTE", "maybe");
    let invalid = place
        .load_file(
            "stale_after: 3
forgetAfter: 1 day
home: c
apiServers:
- name: a
  url: http://10.0.0.1:6443
  tokenFile: x
- url: https://10.0.0.2:6443
  caFile: missing.crt
",
        )
        .unwrap_err();
    let file = place.shown("proxy.yaml");
    let shown = invalid.to_string();
    let keys: Vec<_> = invalid.faults.iter().map(|fault| fault.key.clone()).collect();
    assert_eq!(
        keys,
        [
            format!("stale_after ({file}:7)"),
            "KUBE_PEER_PROXY_SECURE_PORT".to_owned(),
            format!("apiServers[0].tokenFile ({file}:13)"),
            format!("apiServers[0].url ({file}:12)"),
            "apiServers[1].name".to_owned(),
            format!("apiServers[1].caFile ({file}:15)"),
            format!("home ({file}:9)"),
            format!("forgetAfter ({file}:8)"),
            "KUBE_PEER_PROXY_REROUTE".to_owned(),
        ],
        "{shown}"
    );
    assert_eq!(shown.lines().count(), invalid.faults.len(), "one line each: {shown}");
}

#[test]
fn nothing_at_all_names_everything_that_is_needed() {
    let keys: Vec<_> =
        Place::new().load(&[]).unwrap_err().faults.into_iter().map(|fault| fault.key).collect();
    assert_eq!(keys, ["--tls-cert-file", "--tls-private-key-file", "--api-server"]);
    let place = Place::new();
    let (cert, key) = (place.shown("proxy.crt"), place.shown("proxy.key"));
    let flags = ["--tls-cert-file", &cert, "--tls-private-key-file", &key, "--api-server=a=https://10.0.0.1"];
    let keys: Vec<_> = place.load(&flags).unwrap_err().faults.into_iter().map(|fault| fault.key).collect();
    assert_eq!(keys, ["--peer-ca-file", "--proxy-client-cert-file", "--proxy-client-key-file"]);
}

#[test]
fn a_flag_with_a_wrong_value_is_named() {
    let place = Place::new();
    for (flag, value) in [
        ("--bind-address", "localhost"),
        ("--bind-address", "10.0.0.9,10.0.0.9"),
        ("--bind-address", "0.0.0.0,10.0.0.9"),
        ("--bind-address", "::,0.0.0.0"),
        ("--secure-port", "-1"),
        ("--tls-min-version", "VersionTLS11"),
        ("--tls-min-version", "1.2"),
        ("--tls-cipher-suites", "TLS_RSA_WITH_RC4_128_SHA"),
        ("--tls-cipher-suites", "TLS_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256"),
        ("--tls-sni-cert-key", "one"),
        ("--tls-sni-cert-key", "one,two,three"),
        ("--proxy-protocol-from", "balancer"),
        ("--max-connections", "0"),
        ("--max-connections-per-source", "-1"),
        ("--http2-max-streams-per-connection", "0"),
        ("--goaway-chance", "0.03"),
        ("--goaway-chance", "NaN"),
        ("--max-requests-inflight", "some"),
        ("--upgrade-idle-timeout", "1ms"),
        ("--shutdown-delay-duration", "2h"),
        ("--shutdown-timeout", "4s"),
        ("--requestheader-username-headers", "X User"),
        ("--requestheader-uid-headers", "Authorization"),
        ("--requestheader-extra-headers-prefix", "X Extra"),
        ("--requestheader-extra-headers-prefix", "X-"),
        ("--trusted-proxy-cidrs", "10.0.0.0/33"),
        ("--home", "b"),
        ("--home-preference", "youngest"),
        ("--peer-server-name", "a_b c"),
        ("--proxy-user", "system:anonymous"),
        ("--peer-source", "etcd"),
        ("--peer-allowed-cidrs", "10.0.0.0/8"),
        ("--peer-dns-name", "api.example"),
        ("--discovery-refresh", "events"),
        ("--discovery-refresh-interval", "30"),
        ("--stale-after", "1ms"),
        ("--stale-after", "5s"),
        ("--forget-after", "10s"),
        ("--discovery-authorization-ttl", "1h"),
        ("--discovery-cache-dir", ""),
        ("--discovery-cache-dir", "/dev/null"),
        ("--merge", "yes"),
        ("--reroute", "dryrun"),
        ("--request-timeout", "0"),
        ("--admin-bind-address", "0.0.0.0:8090"),
        ("--admin-bind-address", "10.0.0.9:8090"),
        ("--admin-bind-address", "[::]:8090"),
        ("--admin-bind-address", "localhost:8090"),
        ("--admin-bind-address", "127.0.0.1:6443"),
        ("--metrics-bind-address", "0.0.0.0:8090"),
        ("--metrics-bind-address", ":9090"),
        ("--log-level", "inof"),
        ("--log-format", "xml"),
        ("--access-log", "maybe"),
        ("--tls-cert-file", ""),
    ] {
        let message = only_fault(place.load_basic_but(flag, value), flag);
        assert!(message.len() > 10, "{flag}={value}: {message}");
    }
}

#[test]
fn i11_servers_from_elsewhere_need_networks_that_are_allowed() {
    let place = Place::new();
    for source in ["leases", "endpointslices"] {
        let message = only_fault(place.load_basic_but("--peer-source", source), "--peer-allowed-cidrs");
        assert!(message.contains("is missing"), "{message}");
    }
    let flags = ["--peer-source=dns", "--peer-dns-name=api.example"];
    only_fault(place.load_basic(&flags), "--peer-allowed-cidrs");
    let flags = ["--peer-source=leases", "--peer-allowed-cidrs=10.0.0.0/33"];
    only_fault(place.load_basic(&flags), "--peer-allowed-cidrs");
    let message =
        only_fault(place.load_file(&format!("{TWO_SERVERS}peerSource: leases\n")), "--peer-allowed-cidrs");
    assert!(message.contains("10.0.0.0/24"), "{message}");
}

#[test]
fn a_source_that_cannot_work_is_told_with_what_it_needs() {
    let place = Place::new();
    let cidrs = "--peer-allowed-cidrs=10.0.0.0/8";
    only_fault(place.load_basic(&["--peer-source=dns", cidrs]), "--peer-dns-name");
    only_fault(
        place.load_basic(&["--peer-source=leases", cidrs, "--peer-dns-name=a.example"]),
        "--peer-dns-name",
    );
    for name in
        ["", "a b", "10.0.0.1", "fd00::1", "a.example:0", "a.example:x", "_a._tcp.b:1", "a..b", "-.\u{7}"]
    {
        let flag = format!("--peer-dns-name={name}");
        only_fault(place.load_basic(&["--peer-source=dns", cidrs, &flag]), "--peer-dns-name");
    }
    let mut flags = place.basic();
    flags.retain(|flag| !flag.starts_with("--api-server="));
    flags.extend(["--peer-source=endpointslices".to_owned(), cidrs.to_owned()]);
    only_fault(place.load_all(&flags), "--api-server");
}

#[test]
fn i13_servers_from_elsewhere_are_in_the_trust_domain_of_the_configured_ones() {
    let place = Place::new();
    let other = Authority::new("kubernetes").unwrap();
    place.write("b-ca.crt", other.cert_pem());
    let file = "peerSource: leases\npeerAllowedCidrs: [10.0.0.0/8]\napiServers:\n- name: a\n  \
                url: https://10.0.0.1:6443\n  caFile: b-ca.crt\n";
    let message = only_fault(place.load_file(file), "allowSharedIdentity");
    assert!(message.contains("of --peer-source"), "{message}");
    assert!(place.load_file(&format!("{file}allowSharedIdentity: true\n")).is_ok());
    let file = file.replace("caFile: b-ca.crt", "trustDomain: other");
    let config = place.load_file(&file).unwrap().config;
    let like = config.peers.unwrap().server("b".into(), &config.servers[0].address()).unwrap();
    assert_eq!(&*like.trust_domain, "other");
}

#[test]
fn a_setting_of_the_file_out_of_range_is_named_with_its_line() {
    let place = Place::new();
    for line in [
        "discoveryMaxBytes: 2Gi",
        "discoveryMaxBytes: big",
        "discoveryFetchTimeout: 0",
        "healthProbeInterval: 1h",
        "healthProbeTimeout: -1s",
        "connectTimeout: 2m",
        "deadAfter: 1h",
        "poolIdleTimeout: 0",
        "maxIdentityConnections: 0",
        "maxTokenConnections: 10001",
        "maxUnprovenConnections: many",
        "allowSharedIdentity: perhaps",
        "maxUpgradeConnections: 0",
        "maxHeaderBytes: 4Ki",
        "maxHeaderBytes: 2Mi",
        "headerReadTimeout: 0",
        "tlsHandshakeTimeout: 1h",
        "maxHandshakes: 0",
        "reloadCheckInterval: 0",
    ] {
        let loaded = place.load_file(&format!("{TWO_SERVERS}{line}\n"));
        let key = format!("{} ({}:12)", line.split(':').next().unwrap(), place.shown("proxy.yaml"));
        only_fault(loaded, &key);
    }
}

#[test]
fn retired_versions_and_weak_suites_are_refused_with_the_reason() {
    let place = Place::new();
    let old = only_fault(place.load_basic(&["--tls-min-version=VersionTLS10"]), "--tls-min-version");
    assert!(old.contains("retired") && old.contains("VersionTLS12"), "{old}");
    let weak = "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256";
    let weak = only_fault(place.load_basic(&[weak]), "--tls-cipher-suites");
    assert!(weak.contains("weak") && weak.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), "{weak}");
}

#[test]
fn certificates_for_names_are_read_and_checked() {
    let place = Place::new();
    let (cert, key) = (place.shown("proxy.crt"), place.shown("proxy.key"));
    let nameless = Authority::new("kubernetes").unwrap().issue(&Leaf::client("a user")).unwrap();
    let nameless =
        [place.write("user.crt", nameless.cert_pem), place.write("user.key", nameless.key_pem)].join(",");
    for (pair, wanted) in [
        (format!("{cert},{key}:"), "no DNS name"),
        (format!("{cert},{key}:10.0.0.1"), "is an address"),
        (format!("{cert},{key}:a.*.example"), "no DNS name"),
        (format!("{cert},{}", place.shown("admin.key")), "does not belong"),
        (format!("{},{key}", place.shown("absent")), "can't be read"),
        (nameless.clone(), "behind a colon"),
    ] {
        let flag = format!("--tls-sni-cert-key={pair}");
        let message = only_fault(place.load_basic(&[&flag]), "--tls-sni-cert-key");
        assert!(message.contains(wanted), "{pair}: {message}");
    }
    assert!(place.load_basic(&[&format!("--tls-sni-cert-key={nameless}:a.example")]).is_ok());
    let flag = format!("--tls-sni-cert-key={cert},{key}");
    only_fault(place.load_basic(&[&flag, &flag]), "--tls-sni-cert-key");
}

#[test]
fn watches_end_no_sooner_than_clients_are_turned_away() {
    let loaded = Place::new().load_basic(&["--shutdown-delay-duration=30s"]);
    let message = only_fault(loaded, "--shutdown-timeout");
    assert!(message.contains("25s is shorter than --shutdown-delay-duration (30s)"), "{message}");
}

#[test]
fn keys_written_as_flags_are_refused_with_the_right_spelling() {
    let place = Place::new();
    let message = only_fault(place.load_file(&format!("{TWO_SERVERS}stale-after: 30s\n")), "stale-after (");
    assert!(message.contains("staleAfter"), "{message}");
}

#[test]
fn servers_that_can_not_be_told_apart_are_refused() {
    let place = Place::new();
    let twice = place.load_basic(&["--api-server=a=https://10.0.0.2:6443"]);
    assert!(only_fault(twice, "--api-server").contains("named a"));
    let same = place.load_basic(&["--api-server=b=https://10.0.0.1:6443/"]);
    assert!(only_fault(same, "--api-server").contains("b and a"));
}

#[test]
fn more_servers_than_there_can_be_are_refused() {
    let place = Place::new();
    let more = |last: usize| -> Vec<String> {
        (2..=last).map(|number| format!("--api-server=s{number}=https://10.0.1.{number}:6443")).collect()
    };
    let load = |flags: &[String]| place.load_basic(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(load(&more(64)).is_ok());
    assert!(only_fault(load(&more(65)), "--api-server").contains("64"));
}

#[test]
fn a_server_without_an_equals_sign_is_not_repeated() {
    let place = Place::new();
    let message =
        only_fault(place.load_basic(&["--api-server=https://me:canary-7f3a@10.0.0.2"]), "--api-server");
    assert!(!message.contains("canary"), "{message}");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let place = Place::new();
    let garbage = place.write("garbage", "nothing to see");
    let broken = place.write("broken", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    let cut = place.write("cut", "-----BEGIN CERTIFICATE-----\nMIIB");
    let huge = place.write("huge", vec![b'x'; (1 << 20) + 1]);
    let (absent, folder) = (place.shown("absent"), place.dir.path().display().to_string());
    for flag in ["--tls-cert-file", "--client-ca-file", "--peer-ca-file", "--requestheader-client-ca-file"] {
        for file in [&garbage, &broken, &cut, &huge, &absent, &folder] {
            let message = only_fault(place.load_basic_but(flag, file), flag);
            assert!(message.contains(file.as_str()), "{message}");
        }
    }
    for flag in ["--tls-private-key-file", "--proxy-client-key-file"] {
        for file in [&garbage, &huge, &absent, &folder, &place.shown("ca.crt")] {
            only_fault(place.load_basic_but(flag, file), flag);
        }
    }
    assert!(only_fault(place.load(&["--config", &absent]), "--config").contains("absent"));
}

#[test]
fn a_file_that_can_not_be_read_is_the_only_fault() {
    let place = Place::new();
    for content in [
        &b"\xff\xfe\xfd"[..],
        b"home: [a\n",
        b"home: a\nhome: b\n",
        b"bindAddress: a\n",
        b"apiServers: [a]\n",
    ] {
        let file = place.write("proxy.yaml", content);
        let message = only_fault(place.load(&["--config", &file]), "--config");
        assert!(message.contains(&file), "{message}");
    }
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let place = Place::new();
    for (flag, file) in [("--tls-private-key-file", "admin.key"), ("--proxy-client-key-file", "proxy.key")] {
        let message = only_fault(place.load_basic_but(flag, &place.shown(file)), flag);
        assert!(message.contains("does not belong"), "{message}");
    }
}

#[test]
fn a_servers_own_client_certificate_is_never_joined_with_everybodys_key() {
    let place = Place::new();
    let one =
        "apiServers:\n- name: a\n  url: https://10.0.0.1\n  proxyClientCertFile: front-proxy-client.crt\n";
    only_fault(place.load_file(one), "apiServers[0].proxyClientKeyFile");
}

#[test]
fn i13_servers_whose_cas_differ_need_a_word_from_the_operator() {
    let place = Place::new();
    place.write("other-ca.crt", Authority::new("kubernetes").unwrap().cert_pem());
    let differ = format!("{TWO_SERVERS}  caFile: other-ca.crt\n");
    let message = only_fault(place.load_file(&differ), "allowSharedIdentity");
    assert!(message.contains("a and b") && message.contains("CA files"), "{message}");
    assert!(place.load_file(&format!("{differ}allowSharedIdentity: true\n")).is_ok());

    let other = Authority::new("front-proxy-ca").unwrap().issue(&Leaf::client("front-proxy-client")).unwrap();
    place.write("b.crt", other.cert_pem);
    place.write("b.key", other.key_pem);
    let differ = format!("{TWO_SERVERS}  proxyClientCertFile: b.crt\n  proxyClientKeyFile: b.key\n");
    let message = only_fault(place.load_file(&differ), "allowSharedIdentity");
    assert!(message.contains("proxy client certificates"), "{message}");
}

#[test]
fn i13_the_same_certificates_in_another_file_are_no_difference() {
    let place = Place::new();
    let ca = std::fs::read_to_string(place.path("ca.crt")).unwrap();
    place.write("copy.crt", format!("# a comment\n{ca}"));
    assert!(place.load_file(&format!("{TWO_SERVERS}  caFile: copy.crt\n")).is_ok());
}

#[test]
fn one_ca_for_clients_and_front_proxies_needs_allowed_names() {
    let place = Place::new();
    let ca = format!("--requestheader-client-ca-file={}", place.shown("ca.crt"));
    only_fault(place.load_basic(&[&ca]), "--requestheader-allowed-names");
    assert!(place.load_basic(&[&ca, "--requestheader-allowed-names=front-proxy-client"]).is_ok());
    let own = format!("--requestheader-client-ca-file={}", place.shown("front-proxy-ca.crt"));
    assert!(place.load_basic(&[&own]).is_ok());
}

#[test]
fn a_proxy_that_would_call_itself_is_refused() {
    let place = Place::new();
    for (bind, server) in [
        ("0.0.0.0", "https://127.0.0.1:6443"),
        ("::", "https://[::1]:6443"),
        ("10.0.0.1", "https://10.0.0.1:6443"),
    ] {
        let (bind, server) = (format!("--bind-address={bind}"), format!("--api-server=self={server}"));
        let mut flags = place.basic();
        flags.retain(|flag| !flag.starts_with("--api-server="));
        flags.extend([bind, server]);
        assert!(only_fault(place.load_all(&flags), "--bind-address").contains("self"));
    }
    let beside = ["--bind-address=10.0.0.7", "--api-server=home=https://127.0.0.1:6443"];
    assert!(place.load_basic(&beside).is_ok(), "a sidecar on the node's address");
}

#[test]
fn home_and_a_preference_exclude_each_other() {
    let place = Place::new();
    only_fault(place.load_basic(&["--home=a", "--home-preference=oldest"]), "--home-preference");
}
