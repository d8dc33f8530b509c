use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Servers `a`, `b`, `c`; of each, its documents with their hashes.
fn index(entries: &[(&str, &str)]) -> Index {
    let hash = |hash: &&str| (!hash.is_empty()).then(|| Arc::from(*hash));
    entries.iter().map(|(key, named)| (Arc::from(*key), hash(named))).collect()
}

fn sources<'a>(indexes: &'a [Index], fresh: &[bool]) -> Vec<Source<'a>> {
    const IDS: [&str; 4] = ["a", "b", "c", "d"];
    let source =
        |(server, index): (usize, &'a Index)| Source { server, id: IDS[server], index, fresh: fresh[server] };
    indexes.iter().enumerate().map(source).collect()
}

/// What servers list of `apis/g/v1`: resources, or subresources with a slash.
fn listing(resources: &[&str]) -> GroupDiscoveryList {
    let resources: Vec<_> = resources
        .iter()
        .filter(|name| !name.contains('/'))
        .map(|name| {
            let subs = resources.iter().filter_map(|sub| sub.strip_prefix(name)?.strip_prefix('/'));
            let subs: Vec<_> = subs.map(|sub| json!({ "subresource": sub, "verbs": ["get"] })).collect();
            json!({ "resource": name, "scope": "Namespaced", "verbs": ["get"], "subresources": subs })
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": [{ "metadata": { "name": "g" }, "versions": [{ "version": "v1", "resources": resources }] }],
    });
    GroupDiscoveryList::parse(list.to_string().as_bytes()).unwrap()
}

fn complete(listings: &[&[&str]]) -> Complete {
    let empty = GroupDiscoveryList::default();
    let lists: Vec<_> = listings.iter().map(|resources| listing(resources)).collect();
    Complete::of(lists.iter().enumerate().map(|(server, list)| (server, [&empty, list])))
}

fn planned(indexes: &[Index], fresh: &[bool], home: usize, complete: &Complete) -> Plan {
    Plan::new(&sources(indexes, fresh), home, complete)
}

const KEY: &str = "apis/g/v1";

#[test]
fn home_answers_for_what_it_serves_completely() {
    let indexes = [index(&[(KEY, "A")]), index(&[(KEY, "B")])];
    let complete = complete(&[&["x", "y"], &["x", "y"]]);
    for (home, hash) in [(0, "A"), (1, "B")] {
        let plan = planned(&indexes, &[true, true], home, &complete);
        assert_eq!(plan.answerer(KEY), Some(&Answerer::Servers(vec![home, 1 - home])));
        assert_eq!(plan.index.hash(KEY).map(|hash| &**hash), Some(hash));
    }
}

#[test]
fn a_peer_that_serves_more_answers_for_home() {
    let indexes = [index(&[(KEY, "A")]), index(&[(KEY, "B")])];
    let with_more = complete(&[&["x"], &["x", "y"]]);
    let plan = planned(&indexes, &[true, true], 0, &with_more);
    assert_eq!(plan.answerer(KEY), Some(&Answerer::Servers(vec![1, 0])));
    assert_eq!(plan.index.hash(KEY).map(|hash| &**hash), Some("B"));
    let with_a_subresource = complete(&[&["x"], &["x", "x/status"]]);
    let plan = planned(&indexes, &[true, true], 0, &with_a_subresource);
    assert_eq!(plan.answerer(KEY), Some(&Answerer::Servers(vec![1, 0])));
}

#[test]
fn fresh_peers_come_before_stale_ones_and_names_decide_the_rest() {
    let indexes = [index(&[]), index(&[(KEY, "B")]), index(&[(KEY, "C")]), index(&[(KEY, "D")])];
    let complete = complete(&[&[], &["x"], &["x"], &["x"]]);
    let plan = planned(&indexes, &[true, false, true, true], 0, &complete);
    assert_eq!(plan.answerer(KEY), Some(&Answerer::Servers(vec![2, 3, 1])));
}

#[test]
fn what_nobody_serves_completely_is_united_under_a_hash_of_its_own() {
    let indexes = [index(&[(KEY, "A")]), index(&[(KEY, "B")])];
    let complete = complete(&[&["x"], &["y"]]);
    let plans = [0, 1].map(|home| planned(&indexes, &[true, true], home, &complete));
    assert_eq!(plans[0].answerer(KEY), Some(&Answerer::Merged(vec![0, 1])));
    assert_eq!(plans[0], plans[1], "equal for every home");
    let hash = plans[0].index.hash(KEY).unwrap();
    assert_eq!(hash.len(), 128);
    let changed = [index(&[(KEY, "A")]), index(&[(KEY, "B2")])];
    assert_ne!(planned(&changed, &[true, true], 0, &complete).index.hash(KEY).unwrap(), hash);
}

#[test]
fn a_part_without_a_hash_leaves_the_united_document_without_one() {
    let indexes = [index(&[(KEY, "A")]), index(&[(KEY, "")])];
    let plan = planned(&indexes, &[true, true], 0, &complete(&[&["x"], &["y"]]));
    assert_eq!(plan.answerer(KEY), Some(&Answerer::Merged(vec![0, 1])));
    assert_eq!(plan.index.hash(KEY), None);
}

#[test]
fn documents_with_the_same_hash_need_no_uniting() {
    let indexes = [index(&[(KEY, "A")]), index(&[(KEY, "A")])];
    let plan = planned(&indexes, &[true, true], 1, &complete(&[&["x"], &["y"]]));
    assert_eq!(plan.answerer(KEY), Some(&Answerer::Servers(vec![1, 0])));
}

#[test]
fn what_is_no_group_version_is_homes_or_the_first_servers() {
    let indexes =
        [index(&[("logs", "A")]), index(&[("logs", "B"), ("apis/g", "B")]), index(&[("apis/g", "C")])];
    let plan = planned(&indexes, &[true, false, true], 2, &complete(&[&[], &["x"], &[]]));
    assert_eq!(plan.answerer("logs"), Some(&Answerer::Servers(vec![0, 1])));
    assert_eq!(plan.answerer("apis/g"), Some(&Answerer::Servers(vec![2, 1])));
    let plan = planned(&indexes, &[true, false, true], 0, &complete(&[&[], &["x"], &[]]));
    assert_eq!(plan.answerer("apis/g"), Some(&Answerer::Servers(vec![1, 2])), "freshness has no say");
}

#[test]
fn what_discovery_lists_and_no_index_has_is_left_out() {
    let plan = planned(&[index(&[])], &[true], 0, &complete(&[&["x"]]));
    assert_eq!(plan.answerer(KEY), None);
    assert!(plan.index.is_empty());
}

fn any_index() -> impl Strategy<Value = Index> {
    let keys = prop::sample::subsequence(vec!["api/v1", KEY, "apis/g", "apis/h/v1", "version"], 0..=5);
    let hashes = prop::collection::vec(prop::sample::select(vec!["", "1", "2", "3"]), 5);
    (keys, hashes).prop_map(|(keys, hashes)| index(&keys.into_iter().zip(hashes).collect::<Vec<_>>()))
}

fn any_listing() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["x", "x/status", "y", "z"], 0..=4)
}

proptest! {
    #[test]
    fn every_entry_of_the_index_resolves(
        indexes in prop::collection::vec(any_index(), 3),
        listings in prop::collection::vec(any_listing(), 3),
        fresh in prop::collection::vec(any::<bool>(), 3),
        home in 0..3usize,
    ) {
        let listings: Vec<&[&str]> = listings.iter().map(Vec::as_slice).collect();
        let plan = planned(&indexes, &fresh, home, &complete(&listings));
        for key in plan.index.keys() {
            let named = plan.index.hash(key);
            match plan.answerer(key) {
                Some(Answerer::Servers(servers)) => {
                    prop_assert!(servers.iter().all(|server| indexes[*server].contains(key)));
                    prop_assert_eq!(named, indexes[servers[0]].hash(key));
                }
                Some(Answerer::Merged(servers)) => {
                    prop_assert!(servers.len() > 1);
                    prop_assert!(servers.iter().all(|server| indexes[*server].contains(key)));
                }
                None => prop_assert!(false, "{} leads nowhere", key),
            }
        }
        for (server, index) in indexes.iter().enumerate() {
            prop_assert!(index.keys().all(|key| plan.answerer(key).is_some()), "{}", server);
        }
        prop_assert_eq!(plan.iter().count(), plan.index.len());
    }

    #[test]
    fn the_order_of_sources_has_no_say(
        indexes in prop::collection::vec(any_index(), 3),
        listings in prop::collection::vec(any_listing(), 3),
        fresh in prop::collection::vec(any::<bool>(), 3),
        order in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let listings: Vec<&[&str]> = listings.iter().map(Vec::as_slice).collect();
        let complete = complete(&listings);
        let sources = sources(&indexes, &fresh);
        let shuffled: Vec<_> = order.into_iter().map(|at| sources[at]).collect();
        prop_assert_eq!(Plan::new(&sources, 0, &complete), Plan::new(&shuffled, 0, &complete));
    }

    #[test]
    fn home_wins_wherever_it_is_complete(
        indexes in prop::collection::vec(any_index(), 3),
        listings in prop::collection::vec(any_listing(), 3),
        home in 0..3usize,
    ) {
        let listings: Vec<&[&str]> = listings.iter().map(Vec::as_slice).collect();
        let complete = complete(&listings);
        let plan = planned(&indexes, &[true; 3], home, &complete);
        for key in indexes[home].keys().filter(|key| complete.contains(key, home)) {
            let Some(Answerer::Servers(servers)) = plan.answerer(key) else {
                return Err(TestCaseError::fail("home is not asked"));
            };
            prop_assert_eq!(servers[0], home);
        }
    }
}
