use super::super::merge_and_compare;
use super::*;

/// One resource `things` of `example.com/v1`: its scope, its kind, and the kind of its subresource `scale`.
fn document(scope: &str, kind: &str, scale: &str) -> GroupDiscoveryList {
    let named = |kind: &str| match kind.split_once(' ') {
        Some((group_version, kind)) => {
            let (group, version) = group_version.split_once('/').unwrap();
            format!(r#"{{"group":"{group}","version":"{version}","kind":"{kind}"}}"#)
        }
        None => format!(r#"{{"group":"","version":"","kind":"{kind}"}}"#),
    };
    let text = format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[
        {{"metadata":{{"name":"example.com"}},"versions":[{{"version":"v1","resources":[
        {{"resource":"things","responseKind":{},"scope":"{scope}","singularResource":"","verbs":["get"],
        "subresources":[{{"subresource":"scale","responseKind":{},"verbs":["get"]}}]}}]}}]}}]}}"#,
        named(kind),
        named(scale)
    );
    GroupDiscoveryList::parse(text.as_bytes()).unwrap()
}

/// What servers a, b, c, ... contradict each other in, in words.
fn conflicts(documents: &[GroupDiscoveryList]) -> Vec<String> {
    let ids = ["a", "b", "c"];
    let sources: Vec<_> =
        documents.iter().zip(ids).map(|(document, id)| Source { id, document, fresh: true }).collect();
    let reversed: Vec<_> = sources.iter().rev().copied().collect();
    let found = merge_and_compare(&sources).1;
    assert_eq!(found, merge_and_compare(&reversed).1, "the order of arrival decides nothing");
    found.iter().map(Conflict::to_string).collect()
}

#[test]
fn servers_that_say_the_same_do_not_contradict_each_other() {
    let one = document("Namespaced", "Thing", "autoscaling/v1 Scale");
    assert!(conflicts(&[one.clone(), one.clone()]).is_empty());
    let mut other = one.clone();
    let version = std::sync::Arc::make_mut(&mut other.items[0].versions[0]);
    version.resources[0].verbs = Some(vec!["list".into()]);
    version.resources[0].short_names = vec!["t".into()];
    version.resources[0].subresources.clear();
    assert!(conflicts(&[one, other]).is_empty(), "what can be united is no conflict");
}

#[test]
fn the_scope_and_the_kind_are_those_of_the_first_server() {
    let found = conflicts(&[
        document("Namespaced", "Thing", "autoscaling/v1 Scale"),
        document("Cluster", "Thing", "autoscaling/v1 Scale"),
        document("Namespaced", "Other", "autoscaling/v1 Scale"),
    ]);
    assert_eq!(
        found,
        [
            "scope of example.com/v1 things: Namespaced on a, Cluster on b, Namespaced on c, taken as Namespaced",
            "kind of example.com/v1 things: example.com/v1 Thing on a, example.com/v1 Thing on b, \
             example.com/v1 Other on c, taken as example.com/v1 Thing",
        ]
    );
}

#[test]
fn the_kind_of_a_subresource_is_that_of_the_last_server() {
    let found = conflicts(&[
        document("Cluster", "Thing", "autoscaling/v1 Scale"),
        document("Cluster", "Thing", "autoscaling/v2 Scale"),
    ]);
    assert_eq!(
        found,
        ["kind of example.com/v1 things/scale: autoscaling/v1 Scale on a, autoscaling/v2 Scale on b, \
          taken as autoscaling/v2 Scale"]
    );
}

#[test]
fn no_kind_contradicts_none_and_the_lists_own_group_version_may_be_left_out() {
    let explicit = document("Cluster", "example.com/v1 Thing", "autoscaling/v1 Scale");
    assert!(conflicts(&[document("Cluster", "Thing", "autoscaling/v1 Scale"), explicit]).is_empty());
    assert!(
        conflicts(&[document("Cluster", "Thing", ""), document("Cluster", "", "autoscaling/v1 Scale")])
            .is_empty()
    );
    assert!(conflicts(&[document("", "Thing", ""), document("Cluster", "Thing", "")]).is_empty());
}

#[test]
fn servers_that_contradict_each_other_in_everything_are_compared_in_no_time() {
    let many = |scope: &str| {
        let mut list = document(scope, "Thing", "Scale");
        let one = list.items.remove(0);
        list.items.extend((0..10_000).map(|number| {
            let mut group = one.clone();
            group.metadata.name = format!("g{number}.example");
            group
        }));
        list
    };
    let began = std::time::Instant::now();
    assert_eq!(conflicts(&[many("Namespaced"), many("Cluster")]).len(), 10_000);
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}
