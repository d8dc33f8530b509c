use std::sync::Arc;

use tokio::time::Instant;

use super::*;
use crate::{
    discovery::{
        catalog::Freshness,
        skew::{Aspect, Cell, Row, ServerSeen, Skew, State, Summary},
    },
    limits,
    metrics::recent::{Entry, Snapshot},
    ops::admin::view::Seen,
    servers::{self, pool::Stats},
};

const RUBBISH: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;";

fn server(name: &str) -> Seen {
    let stats = Stats { live: 3, opening: 0, draining: 1, in_use: 2, capacity: 9, waiting: 0 };
    Seen {
        name: name.into(),
        address: "10.0.0.1:6443".to_owned(),
        version: Some("1.36".to_owned()),
        healthy: true,
        state: servers::health::State::Healthy,
        reason: None,
        freshness: Freshness::Fresh,
        departed: false,
        contact: Some(Duration::from_secs(1)),
        read: Some(Duration::from_secs(200)),
        error: None,
        requests: 17,
        watches: 4,
        connections: vec![("identity", stats), ("token", Stats { draining: 0, ..stats })],
    }
}

fn row(resource: &str, states: &[(&str, State)]) -> Row {
    let cell = |state| Cell { state, verbs: vec!["get".to_owned()], ..Cell::default() };
    Row {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        kind: String::new(),
        scope: String::new(),
        differs: true,
        differs_in: vec![Aspect::Presence],
        cells: states.iter().map(|(name, state)| ((*name).into(), cell(*state))).collect(),
    }
}

fn view(servers: Vec<Seen>, rows: Vec<Row>) -> View {
    let seen = |server: &Seen| ServerSeen {
        name: server.name.clone(),
        version: server.version.clone(),
        freshness: server.freshness,
        known: true,
        ..ServerSeen::default()
    };
    let summary = Summary { resources: rows.len(), differing: rows.len(), ..Summary::default() };
    let servers_seen = servers.iter().map(seen).collect();
    let skew = Arc::new(Skew { servers: servers_seen, incomplete: false, summary, rows });
    let recent = Snapshot { seconds: vec![0; limits::RATE_HISTORY], ..Snapshot::default() };
    View { home: None, pending: Vec::new(), servers, skew, recent, all: false }
}

/// The text of the only element of a kind.
fn inside<'a>(html: &'a str, tag: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("<{tag}>")).unwrap();
    let (inside, rest) = rest.split_once(&format!("</{tag}>")).unwrap();
    assert!(!rest.contains(&format!("<{tag}")), "one {tag} only");
    inside
}

#[test]
fn whatever_comes_from_elsewhere_is_text() {
    let mut odd = server(RUBBISH);
    odd.healthy = false;
    odd.departed = true;
    (odd.address, odd.version, odd.error) = (RUBBISH.into(), Some(RUBBISH.into()), Some(RUBBISH.into()));
    let mut differing = row(RUBBISH, &[(RUBBISH, State::Served), ("a", State::Stale)]);
    differing.group = RUBBISH.to_owned();
    differing.version = RUBBISH.to_owned();
    differing.differs_in = vec![Aspect::Verbs, Aspect::Scope, Aspect::Kind];
    for cell in differing.cells.values_mut() {
        (cell.kind, cell.scope) = (RUBBISH.to_owned(), RUBBISH.to_owned());
    }
    differing.cells.get_mut(RUBBISH).unwrap().verbs = vec![RUBBISH.to_owned()];
    let mut view = view(vec![odd, server("a")], vec![differing]);
    view.home = Some(RUBBISH.into());
    let entry = Entry {
        verb: "list",
        group: RUBBISH.into(),
        version: RUBBISH.into(),
        resource: RUBBISH.into(),
        home: Some(RUBBISH.into()),
        server: Some("a".into()),
        reason: "peers-serve",
        status: 200,
        times: 1,
        at: Instant::now(),
        took: Duration::from_millis(3),
    };
    (view.recent.rerouted, view.recent.refused) = (vec![entry.clone()], vec![entry]);
    for pending in [vec![], vec![RUBBISH.into()]] {
        view.pending = pending;
        let html = render(&view);
        assert_eq!(html.matches("<script").count(), 1, "our own");
        assert!(!html.contains("<img") && !html.contains("\"'>"), "{html}");
        assert!(html.matches("&lt;img src=x onerror=alert(1)&gt;&amp;amp;").count() >= 15, "{html}");
        inside(&html, "title");
    }
}

#[test]
fn the_policy_allows_the_script_and_the_style_that_are_there_and_nothing_else() {
    let view = view(vec![server("a")], Vec::new());
    let reply = reply(&view);
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    let html = render(&view);
    for (tag, kind) in [("script", "script-src"), ("style", "style-src")] {
        let hash = base64(&Sha256::digest(inside(&html, tag)));
        assert!(policy.contains(&format!("{kind} 'sha256-{hash}';")), "{policy}");
    }
    assert!(
        policy.starts_with("default-src 'none';") && policy.ends_with("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(reply.headers()["x-frame-options"], "DENY");
    assert!(!html.contains(" style=") && !html.contains(" onclick"), "the policy would forbid it");
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing comes from elsewhere");
}

#[test]
fn a_table_has_a_limit_and_says_what_it_leaves_out() {
    let states = [("a", State::Served), ("b", State::NotServed)];
    let rows = (0..limits::MAX_PAGE_LINES + 2).map(|number| row(&format!("r{number}"), &states)).collect();
    let html = render(&view(vec![server("a"), server("b")], rows));
    assert_eq!(html.matches("<tr><th scope=\"row\">").count(), limits::MAX_PAGE_LINES);
    assert!(html.contains("2 more lines are in"), "{html}");
}

#[test]
fn a_subresource_has_a_line_of_its_own_only_where_it_is_not_where_its_resource_is() {
    let (only_a, both) =
        ([("a", State::Served), ("b", State::NotServed)], [("a", State::Served), ("b", State::Served)]);
    let rows = vec![
        row("things", &only_a),
        row("things-too", &only_a),
        row("things/scale", &both),
        row("things/status", &only_a),
        row("others/log", &only_a),
    ];
    let html = render(&view(vec![server("a"), server("b")], rows));
    let lines: Vec<&str> = html
        .split("<tr><th scope=\"row\">")
        .skip(1)
        .map(|line| line.split("</th>").next().unwrap())
        .collect();
    assert_eq!(lines, ["things <small>+ /status</small>", "things-too", "things/scale", "others/log"]);
}

#[test]
fn what_is_wrong_is_said_in_words_first() {
    let sick =
        || Seen { healthy: false, reason: Some("connect"), error: Some("refused".into()), ..server("b") };
    let said = |servers: Vec<Seen>, pending: Vec<std::sync::Arc<str>>| {
        let html = render(&View { pending, ..view(servers, Vec::new()) });
        let (_, rest) = html.split_once("<p class=\"state\">").unwrap();
        let sentence = rest.split("</p>").next().unwrap().rsplit('>').next().unwrap().to_owned();
        (inside(&html, "title").split(" · ").next().unwrap().to_owned(), sentence)
    };
    let expected = |word: &str, sentence: &str| (word.to_owned(), sentence.to_owned());
    let unknown = || Seen { freshness: Freshness::Unknown, ..server("c") };
    assert_eq!(
        said(vec![server("a"), sick()], vec![]),
        expected("1 not healthy", "1 of 2 API servers is not healthy: b.")
    );
    assert_eq!(
        said(vec![server("a"), unknown()], vec![]),
        expected("1 not fresh", "What these serve is not known for sure: c.")
    );
    assert_eq!(
        said(vec![server("a")], vec!["discovery".into()]),
        expected("Not ready", "This proxy is not ready: discovery.")
    );
    assert_eq!(said(vec![], vec![]), expected("No API server", "No API server is known yet."));
    assert_eq!(
        said(vec![server("a"), server("b")], vec![]),
        expected("All well", "All 2 API servers are healthy, and what they serve is known.")
    );
    let html = render(&view(vec![sick()], Vec::new()));
    assert!(html.contains("down: no connection<small class=\"error\">refused</small>"), "{html}");
}

#[test]
fn ages_are_said_in_the_largest_unit_that_fits() {
    for (seconds, said) in
        [(0, "0 s"), (99, "99 s"), (100, "1 min"), (5_999, "99 min"), (6_000, "1 h"), (172_800, "2 d")]
    {
        assert_eq!(ago(Duration::from_secs(seconds)), said);
    }
}
