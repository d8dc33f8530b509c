use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    api::discovery::GroupDiscoveryList,
    discovery::catalog::{Document, Part},
    embedded::Recorded,
};

/// Groups as aggregated discovery has them; the core group stands under `/api`.
fn document(groups: &Value) -> Arc<Document> {
    let list = |core: bool| {
        let items = groups.as_array().unwrap().iter().filter(|g| g["metadata"]["name"].is_null() == core);
        let text = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
            "items": items.collect::<Vec<_>>(),
        });
        Part { list: GroupDiscoveryList::parse(text.to_string().as_bytes()).unwrap(), etag: None }
    };
    Arc::new(Document { api: list(true), apis: list(false), ..Document::default() })
}

/// `apps/v1=deployments,pods/log`, several of them; `!` behind the version marks it as stale.
fn serving(text: &str) -> Arc<Document> {
    let mut groups = Vec::new();
    for part in text.split_whitespace() {
        let (gv, names) = part.split_once('=').unwrap_or((part, ""));
        let (group, version) =
            gv.split_once('/').map_or((None, gv), |(group, version)| (Some(group), version));
        let freshness = if version.ends_with('!') { "Stale" } else { "Current" };
        let mut resources = Vec::<Value>::new();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            match name.split_once('/') {
                Some((_, sub)) => {
                    let subs = resources.last_mut().unwrap()["subresources"].as_array_mut().unwrap();
                    subs.push(json!({"subresource": sub, "verbs": ["get"]}));
                }
                None => resources.push(json!({
                    "resource": name, "scope": "Namespaced", "verbs": ["get", "list"], "subresources": [],
                    "responseKind": {"group": "", "version": "", "kind": name.to_uppercase()},
                })),
            }
        }
        groups.push(json!({"metadata": group.map_or(json!({}), |name| json!({"name": name})), "versions": [
            {"version": version.trim_end_matches('!'), "freshness": freshness, "resources": resources},
        ]}));
    }
    document(&json!(groups))
}

fn column(name: &str, document: Option<Arc<Document>>, freshness: Freshness) -> Column {
    Column { seen: ServerSeen { name: name.into(), freshness, ..ServerSeen::default() }, document }
}

fn fresh(name: &str, text: &str) -> Column {
    column(name, Some(serving(text)), Freshness::Fresh)
}

fn unknown(name: &str) -> Column {
    column(name, None, Freshness::Unknown)
}

/// `apps/v1 deployments` and a letter for each server's state; `*` if it differs.
fn short(skew: &Skew) -> Vec<String> {
    let letter = |state| match state {
        State::Served => 'y',
        State::NotServed => 'n',
        State::Unknown => '?',
        State::Stale => 's',
    };
    let row = |row: &Row| {
        let states: String = skew.servers.iter().map(|server| letter(row.state(&server.name))).collect();
        format!("{} {} {states}{}", row.group_version(), row.resource, if row.differs { "*" } else { "" })
    };
    skew.rows.iter().map(row).collect()
}

#[test]
fn what_one_serves_and_another_does_not_differs() {
    let skew = Skew::of(vec![
        fresh("new", "v1=pods,pods/log,pods/resize apps/v1=deployments"),
        fresh("old", "v1=pods,pods/log apps/v1=deployments"),
    ]);
    assert_eq!(
        short(&skew),
        ["v1 pods yy", "v1 pods/log yy", "v1 pods/resize yn*", "apps/v1 deployments yy"]
    );
    assert_eq!(skew.differing().next().unwrap().differs_in, [Aspect::Presence]);
    assert!(!skew.incomplete);
    let Summary { group_versions, resources, subresources, differing, only } = &skew.summary;
    assert_eq!((*group_versions, *resources, *subresources, *differing), (2, 2, 2, 1));
    assert!(only.is_empty(), "both list both group-versions");
}

#[test]
fn ignorance_is_not_absence_and_makes_the_matrix_incomplete() {
    let skew = Skew::of(vec![fresh("a", "v1=pods"), unknown("b"), fresh("c", "v1=pods")]);
    assert_eq!(short(&skew), ["v1 pods y?y"]);
    assert!(skew.incomplete && skew.differing().next().is_none());
    assert_eq!(skew.servers.iter().map(|server| server.known).collect::<Vec<_>>(), [true, false, true]);
    let alone = Skew::of(vec![fresh("a", "v1=pods"), unknown("b")]);
    assert!(alone.summary.only.is_empty(), "nobody knows what b serves");
    let nobody = Skew::of(vec![unknown("a")]);
    assert!(nobody.incomplete && nobody.rows.is_empty());
}

#[test]
fn a_stale_group_version_without_resources_is_not_known_and_one_with_them_is_stale() {
    let metrics = "metrics.k8s.io/v1beta1";
    let skew = Skew::of(vec![
        fresh("a", &format!("{metrics}=nodes,pods")),
        fresh("b", &format!("{metrics}!")),
        fresh("c", &format!("{metrics}!=nodes,pods")),
    ]);
    assert_eq!(short(&skew), [format!("{metrics} nodes y?s"), format!("{metrics} pods y?s")]);
    assert!(skew.incomplete);
}

#[test]
fn what_nobody_can_tell_makes_the_matrix_incomplete_though_it_has_no_row() {
    let metrics = "metrics.k8s.io/v1beta1";
    let (hollow, without) = (format!("v1=pods {metrics}!"), "v1=pods");
    for other in [hollow.as_str(), without] {
        let skew = Skew::of(vec![fresh("a", &hollow), fresh("b", other)]);
        assert_eq!(short(&skew), ["v1 pods yy"]);
        assert!(skew.incomplete && skew.diff("a", "b").unwrap().incomplete, "{other}");
        assert_eq!(skew.servers[0].stale_group_versions, [metrics]);
    }
    // What is said of it may have changed since.
    let old = format!("{metrics}!=nodes");
    assert!(Skew::of(vec![fresh("a", &old), fresh("b", &old)]).incomplete);
}

#[test]
fn what_a_stale_server_said_last_counts_and_makes_the_matrix_incomplete() {
    let stale = column("b", Some(serving("v1=pods")), Freshness::Stale);
    let skew = Skew::of(vec![fresh("a", "v1=pods,services"), stale]);
    assert_eq!(short(&skew), ["v1 pods ys", "v1 services yn*"]);
    assert!(skew.incomplete);
}

#[test]
fn verbs_scope_and_kind_differ_and_are_named_and_their_order_does_not_matter() {
    let with = |kind: Value, scope: &str, verbs: &[&str]| {
        document(&json!([{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            {"resource": "things", "responseKind": kind, "scope": scope, "verbs": verbs},
        ]}]}]))
    };
    let short_kind = json!({"kind": "Thing"});
    let one = with(short_kind.clone(), "Cluster", &["get", "list"]);
    let full_kind = json!({"group": "apps", "version": "v1", "kind": "Thing"});
    for (other, differs_in) in [
        (with(full_kind, "Cluster", &["list", "get"]), vec![]),
        (with(short_kind.clone(), "Cluster", &["get"]), vec![Aspect::Verbs]),
        (with(short_kind.clone(), "Namespaced", &["get", "list"]), vec![Aspect::Scope]),
        (with(json!({"kind": "Thong"}), "Cluster", &["get", "list"]), vec![Aspect::Kind]),
        (
            with(json!({"group": "x", "version": "v1", "kind": "Thing"}), "Cluster", &["get"]),
            vec![Aspect::Verbs, Aspect::Kind],
        ),
    ] {
        let columns = vec![
            column("a", Some(Arc::clone(&one)), Freshness::Fresh),
            column("b", Some(other), Freshness::Fresh),
            unknown("c"),
        ];
        let skew = Skew::of(columns);
        assert_eq!(skew.rows[0].differs_in, differs_in);
        assert_eq!(skew.rows[0].differs, !differs_in.is_empty());
        assert_eq!((&*skew.rows[0].kind, &*skew.rows[0].scope), ("Thing", "Cluster"));
    }
}

#[test]
fn rows_stand_as_people_look_for_them() {
    let text = "z.io/v1=z apps/v1beta1=x apps/v1alpha1=x apps/v1=b,a apps/v2=x apps/v10=x v1=pods,nodes";
    let skew = Skew::of(vec![fresh("a", text)]);
    let rows: Vec<_> =
        skew.rows.iter().map(|row| format!("{} {}", row.group_version(), row.resource)).collect();
    assert_eq!(
        rows,
        [
            "v1 nodes",
            "v1 pods",
            "apps/v10 x",
            "apps/v2 x",
            "apps/v1 a",
            "apps/v1 b",
            "apps/v1beta1 x",
            "apps/v1alpha1 x",
            "z.io/v1 z",
        ]
    );
}

#[test]
fn group_versions_of_one_server_alone_are_named() {
    let skew = Skew::of(vec![
        fresh("a", "v1=pods apps/v1=x"),
        fresh("b", "v1=pods apps/v1=x batch/v1=jobs batch/v2alpha1=jobs"),
        unknown("c"),
    ]);
    assert_eq!(skew.summary.only.keys().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(skew.summary.only["b"], ["batch/v1", "batch/v2alpha1"]);
}

#[test]
fn two_servers_side_by_side_show_only_what_they_differ_in() {
    let skew = Skew::of(vec![
        fresh("a", "v1=pods,pods/resize,nodes"),
        fresh("b", "v1=pods,services"),
        fresh("c", "v1=pods,secrets"),
    ]);
    let diff = skew.diff("b", "a").unwrap();
    let only = |name: &str| diff.only_in[name].iter().map(|row| &*row.resource).collect::<Vec<_>>();
    assert_eq!(only("a"), ["nodes", "pods/resize"]);
    assert_eq!(only("b"), ["services"]);
    assert!(diff.different.is_empty() && !diff.incomplete);
    assert_eq!((diff.len(), diff.is_empty()), (3, false));
    assert!(diff.only_in["b"].iter().all(|row| row.cells.len() == 2), "c has no part in it");
    assert!(skew.diff("a", "nobody").unwrap_err().contains("a, b, c"));
    assert!(skew.diff("a", "a").is_err());
}

#[test]
fn a_diff_with_an_unknown_server_shows_nothing_and_says_so() {
    let skew = Skew::of(vec![fresh("a", "v1=pods"), unknown("b")]);
    let diff = skew.diff("a", "b").unwrap();
    assert!(diff.is_empty() && diff.incomplete);
}

#[test]
fn its_json_is_read_back_as_it_was_and_names_states_as_documented() {
    let skew = Skew::of(vec![fresh("a", "v1=pods"), fresh("b", ""), unknown("c")]);
    let value = serde_json::to_value(&skew).unwrap();
    let cells = &value["rows"][0]["cells"];
    let states = ["a", "b", "c"].map(|name| cells[name]["state"].as_str().unwrap().to_owned());
    assert_eq!(states, ["served", "notServed", "unknown"]);
    assert_eq!(cells["a"]["kind"], "v1 PODS");
    assert_eq!(value["rows"][0]["differsIn"], json!(["presence"]));
    assert_eq!(value["servers"][2]["freshness"], "unknown");
    assert_eq!(serde_json::from_value::<Skew>(value).unwrap(), skew);
}

#[test]
fn real_versions_differ_in_what_is_known_of_them() {
    let of = |name: &str, recorded: Recorded| {
        let part = |value: Value| {
            let list = GroupDiscoveryList::parse(value.to_string().as_bytes()).unwrap();
            Part { list, etag: None }
        };
        let document =
            Document { api: part(recorded.api()), apis: part(recorded.apis()), ..Document::default() };
        column(name, Some(Arc::new(document)), Freshness::Fresh)
    };
    let skew = Skew::of(vec![of("new", Recorded::V1_36), of("old", Recorded::V1_32)]);
    let rows = short(&skew);
    assert!(rows.contains(&"v1 pods/resize yn*".to_owned()), "{rows:#?}");
    assert!(rows.contains(&"apps/v1 deployments yy".to_owned()));
    let same = Skew::of(vec![of("one", Recorded::V1_36), of("other", Recorded::V1_36)]);
    assert_eq!(same.differing().count(), 0);
    assert!(same.rows.len() > 100 && !same.incomplete);
}
