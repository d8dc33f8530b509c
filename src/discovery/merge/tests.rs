use super::{Source, merge};
use crate::api::discovery::{GroupDiscoveryList, to_go_json};

/// `g:v1=pods,jobs/v2! h:v1`: groups with their versions and resources; `!` marks a version as stale.
fn document(text: &str) -> GroupDiscoveryList {
    let list = |text: &str, separator: char, element: &dyn Fn(&str) -> String| {
        text.split(separator).filter(|part| !part.is_empty()).map(element).collect::<Vec<_>>().join(",")
    };
    let resource = |name: &str| format!(r#"{{"resource":"{name}","verbs":["get"]}}"#);
    let version = |text: &str| {
        let (name, resources) = text.split_once('=').unwrap_or((text, ""));
        let freshness = if name.ends_with('!') { "Stale" } else { "Current" };
        format!(
            r#"{{"version":"{}","resources":[{}],"freshness":"{freshness}"}}"#,
            name.trim_end_matches('!'),
            list(resources, ',', &resource)
        )
    };
    let group = |text: &str| {
        let (name, versions) = text.split_once(':').unwrap_or((text, ""));
        format!(r#"{{"metadata":{{"name":"{name}"}},"versions":[{}]}}"#, list(versions, '/', &version))
    };
    let items = list(text, ' ', &group);
    parse(&items)
}

fn parse(items: &str) -> GroupDiscoveryList {
    let text = format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{items}]}}"#
    );
    GroupDiscoveryList::parse(text.as_bytes()).unwrap()
}

/// The notation of [`document`].
fn short(document: &GroupDiscoveryList) -> String {
    let group = |group: &crate::api::discovery::GroupDiscovery| {
        let versions = group.versions.iter().map(|version| {
            let resources: Vec<_> = version.resources.iter().map(|r| r.resource.as_str()).collect();
            let stale = if version.freshness.is_stale() { "!" } else { "" };
            let equals = if resources.is_empty() { "" } else { "=" };
            format!("{}{stale}{equals}{}", version.version, resources.join(","))
        });
        format!("{}:{}", group.name(), versions.collect::<Vec<_>>().join("/"))
    };
    document.items.iter().map(group).collect::<Vec<_>>().join(" ")
}

/// Merges documents of servers a, b, c, ...; a leading `~` makes a server stale.
fn merged(texts: &[&str]) -> String {
    let documents: Vec<_> = texts.iter().map(|text| document(text.trim_start_matches('~'))).collect();
    let ids = ["a", "b", "c", "d"];
    let sources: Vec<_> = documents
        .iter()
        .zip(texts)
        .zip(ids)
        .map(|((document, text), id)| Source { id, document, fresh: !text.starts_with('~') })
        .collect();
    short(&merge(&sources))
}

#[test]
fn without_a_server_there_is_nothing() {
    assert_eq!(merge(&[]), GroupDiscoveryList::default());
}

#[test]
fn current_wins_over_stale_whichever_server_says_it() {
    assert_eq!(merged(&["g:v1!", "g:v1=pods"]), "g:v1=pods");
    assert_eq!(merged(&["g:v1=pods", "g:v1!"]), "g:v1=pods");
    assert_eq!(merged(&["g:v1!=pods", "g:v1!=jobs"]), "g:v1!=jobs,pods");
}

#[test]
fn what_only_a_stale_server_serves_stays_and_is_marked() {
    assert_eq!(merged(&["g:v1=pods", "~g:v1=pods h:v1=jobs"]), "g:v1=pods h:v1!=jobs");
    assert_eq!(merged(&["~g:v1/v2", "g:v2"]), "g:v1!/v2");
}

#[test]
fn a_resource_that_only_a_stale_server_has_leaves_its_group_version_current() {
    assert_eq!(merged(&["g:v1=pods", "~g:v1=pods,jobs"]), "g:v1=pods,jobs");
}

#[test]
fn the_last_word_of_a_stale_server_does_not_vouch_for_what_a_fresh_one_lists_as_stale() {
    assert_eq!(merged(&["g:v1!=pods", "~g:v1=pods"]), "g:v1!=pods");
}

#[test]
fn without_a_fresh_server_everything_is_stale() {
    assert_eq!(merged(&["~g:v1=pods", "~:v1=pods"]), ":v1!=pods g:v1!=pods");
}

#[test]
fn core_v1_is_never_stale_while_a_server_is_fresh() {
    assert_eq!(merged(&[":v1!=pods"]), ":v1=pods");
    assert_eq!(merged(&["~:v1=pods/v2", ""]), ":v1=pods/v2!");
    assert_eq!(merged(&["~:v1=pods", "~:v1=pods"]), ":v1!=pods");
}

#[test]
fn a_group_without_versions_is_left_out() {
    assert_eq!(merged(&["g:v1 e", "f e g:v1"]), "g:v1");
    assert_eq!(merged(&["e", "e:v1"]), "e:v1");
}

#[test]
fn the_core_group_merges_like_any_other() {
    assert_eq!(merged(&[":v1=pods,services", ":v1=pods,new,services"]), ":v1=pods,new,services");
}

#[test]
fn names_that_stand_twice_in_one_list_are_folded() {
    assert_eq!(merged(&["g:v1=pods,jobs,pods h:v1 g:v2"]), "g:v1=pods,jobs/v2 h:v1");
    assert_eq!(merged(&["g:v1=pods/v1=jobs"]), "g:v1=jobs,pods");
    assert_eq!(merged(&["g:v1=pods,pods", "g:v1=pods,pods"]), "g:v1=pods");
}

#[test]
fn what_two_servers_say_in_unknown_fields_is_united_and_the_smaller_id_wins() {
    let a = parse(
        r#"{"metadata":{"name":"g","m":1},"versions":[{"version":"v1","resources":[{"resource":"r","verbs":["watch","get"],"subresources":[{"subresource":"s","verbs":null,"k":"a","ka":1}],"x":"a"}],"freshness":"Current","v":"a"}],"g":1}"#,
    );
    let b = parse(
        r#"{"metadata":{"name":"g","n":2},"versions":[{"version":"v1","resources":[{"resource":"r","verbs":["watch","get"],"subresources":[{"subresource":"s","verbs":null,"k":"b","kb":2}],"x":"b","y":"b"}],"freshness":"Current","v":"b","w":"b"}],"h":2}"#,
    );
    let source = |id, document| Source { id, document, fresh: true };
    let expected = r#"[{"metadata":{"name":"g","m":1,"n":2},"versions":[{"version":"v1","resources":[{"resource":"r","scope":"","singularResource":"","verbs":["watch","get"],"subresources":[{"subresource":"s","verbs":null,"k":"a","ka":1,"kb":2}],"x":"a","y":"b"}],"freshness":"Current","v":"a","w":"b"}],"g":1,"h":2}]"#;
    let merged = merge(&[source("b", &b), source("a", &a)]);
    assert_eq!(String::from_utf8(to_go_json(&merged.items)).unwrap(), expected);
}

#[test]
fn a_later_server_replaces_a_subresource_but_not_its_unknown_fields() {
    let with = |subresource: &str| {
        parse(&format!(
            r#"{{"versions":[{{"version":"v1","resources":[{{"resource":"r","subresources":[{subresource}]}}]}}]}}"#
        ))
    };
    let a = with(r#"{"subresource":"s","responseKind":{"kind":"A"},"verbs":["get"],"x":"a","y":"a"}"#);
    let b = with(r#"{"subresource":"s","responseKind":{"kind":"B","k":"b"},"verbs":["patch"],"x":"b"}"#);
    let source = |id, document| Source { id, document, fresh: true };
    let merged = merge(&[source("a", &a), source("b", &b)]);
    let expected = r#"[{"subresource":"s","responseKind":{"group":"","version":"","kind":"B","k":"b"},"verbs":["patch"],"x":"b","y":"a"}]"#;
    let resource = &merged.items[0].versions[0].resources[0];
    assert_eq!(String::from_utf8(to_go_json(&resource.subresources)).unwrap(), expected);
}
