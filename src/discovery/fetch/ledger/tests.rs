use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    api::discovery::GroupDiscoveryList,
    discovery::catalog::{Forms, Part},
};

const MAX_AGE: Duration = Duration::from_secs(600);

fn version(name: &str, stale: bool) -> serde_json::Value {
    json!({ "version": name, "freshness": if stale { "Stale" } else { "Current" } })
}

fn document(groups: &[(&str, serde_json::Value)]) -> Document {
    let items: Vec<_> = groups
        .iter()
        .map(|(group, version)| json!({ "metadata": { "name": group }, "versions": [version] }))
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items
    });
    let list = GroupDiscoveryList::parse(document.to_string().as_bytes()).unwrap();
    Document { apis: Part { list, etag: None }, ..Document::default() }
}

fn names(wanted: &[Wanted]) -> Vec<&str> {
    wanted.iter().map(|wanted| &*wanted.group_version).collect()
}

/// As read, each with a hash that is its name.
fn found(wanted: Vec<Wanted>) -> Vec<(Wanted, Option<Found>)> {
    let hash = |wanted: &Wanted| match &*wanted.group_version {
        "" => Found::Addresses(Vec::new()),
        name => Found::Hashes(HashMap::from([("things".to_owned(), name.to_owned())])),
    };
    wanted.into_iter().map(|wanted| (wanted.clone(), Some(hash(&wanted)))).collect()
}

#[test]
fn a_list_is_due_when_it_is_new_changed_or_old_and_not_otherwise() {
    let mut ledger = Ledger::new(MAX_AGE);
    let start = Instant::now();
    let old = document(&[("a.example", version("v1", false)), ("b.example", version("v1", false))]);
    let due = ledger.due(&old, false, start);
    assert_eq!(names(&due), ["", "a.example/v1", "b.example/v1"]);
    let lists = ledger.enter(found(due), &old, start);
    assert_eq!(lists.hashes.len(), 2);
    // Equal, but no object is the same.
    let same = document(&[("b.example", version("v1", false)), ("a.example", version("v1", false))]);
    assert!(ledger.due(&same, true, start).is_empty());

    let new = document(&[("a.example", version("v2", false)), ("b.example", version("v1", false))]);
    assert_eq!(names(&ledger.due(&new, false, start)), ["a.example/v2"]);

    assert!(ledger.due(&old, true, start + MAX_AGE / 2 - Duration::from_millis(1)).is_empty());
    assert_eq!(ledger.due(&old, false, start + MAX_AGE).len(), 3);
}

#[test]
fn lists_that_get_old_are_not_due_all_at_once() {
    let mut ledger = Ledger::new(MAX_AGE);
    let start = Instant::now();
    let names: Vec<_> = (0..1000).map(|n| format!("g{n}.example")).collect();
    let groups: Vec<_> = names.iter().map(|name| (&**name, version("v1", false))).collect();
    let document = document(&groups);
    ledger.enter(found(ledger.due(&document, false, start)), &document, start);
    let due = |share: f64| ledger.due(&document, false, start + MAX_AGE.mul_f64(share)).len();
    assert!((300..700).contains(&due(0.75)), "{}", due(0.75));
    assert_eq!((due(0.49), due(1.0)), (0, 1001));
}

#[test]
fn what_failed_is_due_only_again_and_behind_the_rest_unless_it_changed() {
    let mut ledger = Ledger::new(MAX_AGE);
    let start = Instant::now();
    let one = document(&[("a.example", version("v1", false))]);
    let failed = ledger.due(&one, false, start).into_iter().map(|wanted| (wanted, None)).collect();
    assert_eq!(ledger.enter(failed, &one, start), Lists::default());
    assert!(ledger.due(&one, false, start).is_empty());
    let two = document(&[("a.example", version("v1", false)), ("b.example", version("v1", false))]);
    assert_eq!(names(&ledger.due(&two, true, start)), ["b.example/v1", "", "a.example/v1"]);
    let mut changed = version("v1", false);
    changed["resources"] = json!([{ "resource": "things" }]);
    assert_eq!(names(&ledger.due(&document(&[("a.example", changed)]), false, start)), ["a.example/v1"]);
}

#[test]
fn what_is_gone_is_forgotten_and_what_cannot_be_asked_for_is_not() {
    let mut ledger = Ledger::new(MAX_AGE);
    let start = Instant::now();
    let two = document(&[("a.example", version("v1", false)), ("b.example", version("v1", false))]);
    let lists = ledger.enter(found(ledger.due(&two, false, start)), &two, start);
    let mut one = document(&[("b.example", version("v1", true))]);
    one.lists = Arc::new(lists);
    assert!(ledger.due(&one, true, start + MAX_AGE).iter().all(|wanted| wanted.version.is_none()), "stale");
    let lists = ledger.enter(Vec::new(), &one, start);
    assert_eq!(lists.hashes.keys().collect::<Vec<_>>(), ["b.example/v1"]);

    let mut plain = document(&[("a.example", version("v1", false))]);
    plain.forms = Forms { api: Form::Unaggregated, apis: Form::Unaggregated };
    assert!(Ledger::new(MAX_AGE).due(&plain, true, start).is_empty(), "read as it came");
    for group in ["../x", "a b", "a?b", "a/b", "%2e"] {
        let odd = document(&[(group, version("v1", false))]);
        assert_eq!(names(&Ledger::new(MAX_AGE).due(&odd, true, start)), [""], "{group}");
    }
}

#[test]
fn no_more_lists_are_due_than_a_server_is_asked_for() {
    let names: Vec<_> = (0..=limits::MAX_LISTS).map(|n| format!("g{n}.example")).collect();
    let groups: Vec<_> = names.iter().map(|name| (&**name, version("v1", false))).collect();
    let due = Ledger::new(MAX_AGE).due(&document(&groups), true, Instant::now());
    assert_eq!(due.len(), limits::MAX_LISTS);
}
