//! Trust domains and the identity map, as an operator writes them (I13).

use kube_peer_proxy::config::{Config, IdentityRule, Loaded, MappedName};
use kube_peer_proxy::pki::{Authority, Leaf};

use super::Place;
use super::refused::only_fault;

/// Two clusters with a CA of their own each; more stands behind.
const TWO_CLUSTERS: &str = "\
home: a
trustDomain: demo
apiServers:
- name: a
  url: https://10.0.0.1:6443
  trustDomain: a
- name: b
  url: https://10.0.0.2:6443
  trustDomain: b
  caFile: b-ca.crt
  proxyClientCertFile: b.crt
  proxyClientKeyFile: b.key
";

/// Callers of `demo` are somebody in both.
const MAP: &str = "\
identityMap:
- trustDomain: a
  users: ['*']
  asUserPrefix: 'demo:'
- trustDomain: b
  users: [alice]
  groups: [ops, 'a team']
  asUser: visitor
  asGroups: [viewers, 'b team']
";

fn place() -> Place {
    let place = Place::new();
    let other = Authority::new("kubernetes").unwrap();
    let client = other.issue(&Leaf::client("front-proxy-client")).unwrap();
    place.write("b-ca.crt", other.cert_pem());
    place.write("b.crt", client.cert_pem);
    place.write("b.key", client.key_pem);
    place
}

fn loaded(place: &Place, text: &str) -> Loaded {
    place.load_file(text).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn config(place: &Place, text: &str) -> Config {
    loaded(place, text).config
}

#[test]
fn i13_two_clusters_and_callers_of_neither() {
    let place = place();
    let Loaded { config, warnings, .. } = loaded(&place, &format!("{TWO_CLUSTERS}{MAP}"));
    assert_eq!((&*config.trust_domain, config.home_domain()), ("demo", "a"));
    assert_eq!(config.identity_map[0].user, MappedName::Prefixed("demo:".into()));
    assert!(config.identity_map[0].as_groups.is_empty());
    let strings = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
    assert_eq!(
        config.identity_map[1],
        IdentityRule {
            trust_domain: "b".into(),
            users: vec!["alice".into()],
            groups: strings(["ops", "a team"]),
            user: MappedName::Literal("visitor".into()),
            as_groups: strings(["viewers", "b team"]),
        }
    );
    assert!(!warnings.iter().any(|warning| warning.contains("identityMap")), "{warnings:?}");
    // What is printed is the same again.
    let printed = place.write("printed.yaml", config.to_yaml());
    let again = place.load(&["--config", &printed]).unwrap().config;
    assert_eq!(again, config);
    assert_eq!(again.to_yaml(), config.to_yaml());
}

#[test]
fn i13_callers_are_of_the_servers_domain_unless_it_is_said_otherwise() {
    let place = place();
    let one = |domain: &str| format!("apiServers:\n- name: a\n  url: https://10.0.0.1:6443\n{domain}");
    for (text, callers, home) in [
        (one(""), "default", "default"),
        (one("  trustDomain: x\n"), "x", "x"),
        (one("trustDomain: demo\n"), "demo", "default"),
    ] {
        let config = config(&place, &text);
        assert_eq!((&*config.trust_domain, config.home_domain()), (callers, home), "{text}");
    }
    let without = TWO_CLUSTERS.replace("trustDomain: demo\n", "");
    let message = only_fault(place.load_file(&without), "trustDomain");
    assert!(message.contains("a, b") && message.contains("--client-ca-file"), "{message}");
}

#[test]
fn i13_a_front_chooses_its_homes_in_one_domain() {
    let place = place();
    let front = TWO_CLUSTERS.replace("home: a\n", "");
    let message = only_fault(place.load_file(&front), "--home");
    assert!(message.contains("no API server is of the callers' trust domain (demo)"), "{message}");
    let of_b = front.replace("trustDomain: demo", "trustDomain: b");
    assert_eq!(config(&place, &of_b).home_domain(), "b");
    let one = front.replace("trustDomain: b", "trustDomain: a") + "allowSharedIdentity: true\n";
    assert_eq!(config(&place, &one).home_domain(), "a", "there is no other");
}

#[test]
fn i13_servers_of_a_source_are_in_homes_domain() {
    let place = place();
    let source = "peerSource: leases\npeerAllowedCidrs: [10.0.0.0/8]\n";
    for (home, domain) in [("a", "a"), ("b", "b")] {
        let text = TWO_CLUSTERS.replace("home: a", &format!("home: {home}"));
        let text = format!("{text}{source}allowSharedIdentity: true\n");
        let config = config(&place, &text);
        let like = config.peers.unwrap().server("c".into(), &config.servers[0].address()).unwrap();
        assert_eq!(&*like.trust_domain, domain);
    }
    // Those have everybody's CA, and home has another one.
    let text = TWO_CLUSTERS.replace("home: a", "home: b");
    only_fault(place.load_file(&format!("{text}{source}")), "allowSharedIdentity");
}

#[test]
fn i13_whoever_is_nobody_there_is_warned_of() {
    let place = place();
    let warnings = loaded(&place, TWO_CLUSTERS).warnings;
    for domain in ["a", "b"] {
        let wanted = format!("no rule for trust domain {domain}");
        assert!(warnings.iter().any(|warning| warning.contains(&wanted)), "{warnings:?}");
    }
    let own = TWO_CLUSTERS.replace("trustDomain: demo", "trustDomain: a");
    let warnings = loaded(&place, &own).warnings;
    assert!(!warnings.iter().any(|warning| warning.contains("trust domain a")), "{warnings:?}");
}

#[test]
fn i13_two_domains_with_a_ca_in_common_are_warned_of() {
    let place = place();
    let warning =
        |text: &str| loaded(&place, text).warnings.into_iter().find(|warning| warning.contains("in common"));
    assert_eq!(warning(TWO_CLUSTERS), None);
    let same_ca = TWO_CLUSTERS.replace("  caFile: b-ca.crt\n", "");
    let both = std::fs::read_to_string(place.path("ca.crt")).unwrap()
        + &std::fs::read_to_string(place.path("b-ca.crt")).unwrap();
    place.write("both.crt", both);
    let overlapping = TWO_CLUSTERS.replace("b-ca.crt", "both.crt");
    for text in [same_ca, overlapping] {
        let found = warning(&text).expect("a warning");
        assert!(found.contains("a (a) and b (b)"), "{found}");
    }
}

#[test]
fn i13_servers_of_one_domain_among_several_still_have_one_ca() {
    let place = place();
    let third = "- name: c\n  url: https://10.0.0.3:6443\n  trustDomain: a\n";
    let text = TWO_CLUSTERS.replace("- name: b\n", &format!("{third}- name: b\n"));
    assert!(place.load_file(&text).is_ok());
    let other_ca = text.replace("10.0.0.3:6443\n", "10.0.0.3:6443\n  caFile: b-ca.crt\n");
    let message = only_fault(place.load_file(&other_ca), "allowSharedIdentity");
    assert!(message.contains("a and c"), "{message}");
}

/// What is wrong with one rule for `b`, by the key that is named.
#[track_caller]
fn faulty(rule: &str, key: &str) -> String {
    let text = format!("{TWO_CLUSTERS}identityMap:\n- trustDomain: b\n{rule}");
    only_fault(place().load_file(&text), &format!("identityMap[0].{key}"))
}

#[test]
fn i13_nobody_is_made_a_master_nor_one_of_kubernetes_own() {
    for groups in ["system:masters", "dev, 'system:masters'"] {
        let message = faulty(&format!("  users: ['*']\n  asUser: x\n  asGroups: [{groups}]\n"), "asGroups");
        assert!(message.contains("system:masters may do everything"), "{message}");
    }
    for group in
        ["system:nodes", "system:unauthenticated", "system:serviceaccounts", "'system:'", "'*'", "' ops'"]
    {
        faulty(&format!("  users: ['*']\n  asUser: x\n  asGroups: [{group}]\n"), "asGroups");
    }
    for user in
        ["system:masters", "system:admin", "system:anonymous", "system:node:n", "'*'", "' x'", "\"x\\ny\""]
    {
        faulty(&format!("  users: ['*']\n  asUser: {user}\n"), "asUser");
    }
    // With a name behind it, each could become that.
    for prefix in ["''", "s", "sys", "'system:'", "'system:node:'", "' x'"] {
        faulty(&format!("  users: ['*']\n  asUserPrefix: {prefix}\n"), "asUserPrefix");
    }
    // Whoever was authenticated is in that one anyway.
    let fine =
        "identityMap:\n- trustDomain: b\n  users: ['*']\n  asUser: x\n  asGroups: ['system:authenticated']\n";
    assert!(place().load_file(&format!("{TWO_CLUSTERS}{fine}")).is_ok());
}

#[test]
fn i13_kubeadms_masters_are_warned_of() {
    let text =
        "identityMap:\n- trustDomain: b\n  users: [a]\n  asUser: x\n  asGroups: ['kubeadm:cluster-admins']\n";
    let warnings = loaded(&place(), &format!("{TWO_CLUSTERS}{text}")).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("may do everything")), "{warnings:?}");
}

#[test]
fn i13_a_rule_says_for_whom_and_what_he_is_called() {
    assert!(faulty("  asUser: x\n", "users").contains("users: ['*']"));
    assert!(faulty("  users: [alice]\n", "asUser").contains("asUserPrefix"));
    faulty("  users: [alice]\n  asUser: x\n  asUserPrefix: 'x:'\n", "asUser");
    faulty("  users: ['al*']\n  asUser: x\n", "users");
    assert!(faulty("  groups: ['*']\n  asUser: x\n", "groups").contains("users: ['*']"));
    faulty("  groups: ['system:authenticated']\n  asUser: x\n", "groups");
    faulty("  users: [alice, alice]\n  asUser: x\n", "users");
    faulty("  users: [alice]\n  asUser: x\n  asGroup: [y]\n", "asGroup");
}

#[test]
fn i13_a_rule_is_for_a_domain_that_there_is_and_that_is_not_the_callers_own() {
    let place = place();
    for (domain, words) in
        [("trustDomain: c", "no API server is of trust domain c"), ("trustDomain: demo", "own trust domain")]
    {
        let text = format!("{TWO_CLUSTERS}identityMap:\n- {domain}\n  users: ['*']\n  asUser: x\n");
        let message = only_fault(place.load_file(&text), "identityMap[0].trustDomain");
        assert!(message.contains(words), "{message}");
    }
    let text = format!("{TWO_CLUSTERS}identityMap:\n- users: ['*']\n  asUser: x\n");
    only_fault(place.load_file(&text), "identityMap[0].trustDomain");
}

#[test]
fn i13_a_rule_that_could_never_count_is_a_mistake() {
    let place = place();
    let rule = |domain: &str, whom: &str| format!("- trustDomain: {domain}\n  {whom}\n  asUser: x\n");
    for (first, second, key) in [
        ("users: ['*']", "users: [alice]", "trustDomain"),
        ("users: [alice, bob]", "users: [bob, carl]", "users"),
        ("groups: [ops]", "groups: [ops]", "groups"),
    ] {
        let both = |second_domain: &str| {
            format!("{TWO_CLUSTERS}identityMap:\n{}{}", rule("b", first), rule(second_domain, second))
        };
        let message = only_fault(place.load_file(&both("b")), &format!("identityMap[1].{key}"));
        assert!(message.contains("identityMap[0]"), "{message}");
        assert!(place.load_file(&both("a")).is_ok(), "each domain has its own");
    }
    let last =
        format!("{TWO_CLUSTERS}identityMap:\n{}{}", rule("b", "users: [a]"), rule("b", "users: ['*']"));
    assert!(place.load_file(&last).is_ok());
}
