use std::{collections::BTreeMap, sync::Arc};

use super::{
    screen::{age, short_etag},
    *,
};
use crate::{
    api::discovery::GroupDiscoveryList,
    discovery::{
        catalog::{Document, Freshness, Part},
        skew::{Column, ServerSeen},
    },
    embedded::Recorded,
};

fn screen(width: usize) -> Screen {
    Screen { width, colour: false }
}

fn column(name: &str, recorded: Recorded) -> Column {
    let part = |value: serde_json::Value| {
        let list = GroupDiscoveryList::parse(value.to_string().as_bytes()).unwrap();
        Part { list, etag: None }
    };
    let document = Document { api: part(recorded.api()), apis: part(recorded.apis()), ..Document::default() };
    let seen = ServerSeen {
        name: name.into(),
        address: Some(format!("https://{name}.example:6443")),
        version: Some(format!("v1.{}.0", recorded.minor())),
        freshness: Freshness::Fresh,
        age_seconds: Some(12.3),
        etags: BTreeMap::from([("/apis".to_owned(), "\"0123456789ABCDEF\"".to_owned())]),
        ..ServerSeen::default()
    };
    Column { seen, document: Some(Arc::new(document)) }
}

fn dead(name: &str) -> Column {
    let error =
        Some("nobody answers there, which is told in a long sentence that has to be broken".to_owned());
    let seen = ServerSeen { name: name.into(), error, ..ServerSeen::default() };
    Column { seen, document: None }
}

fn three() -> Skew {
    Skew::of(vec![column("new", Recorded::V1_36), column("old", Recorded::V1_32), dead("gone")])
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn it_fits_80_columns_with_the_group_version_above_its_resources() {
    for all in [false, true] {
        let text = table::render(&three(), all, screen(80));
        assert!(widest(&text) <= 80, "{}\n{text}", widest(&text));
        assert!(text.contains("\nadmissionregistration.k8s.io/v1\n"), "{text}");
        assert!(text.lines().all(|line| line == line.trim_end()), "no blanks at the end");
        let line = text.lines().find(|line| line.starts_with("  mutatingadmissionpolicies ")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["mutatingadmissionpolicies", "✓", "–", "?"]);
    }
}

#[test]
fn a_wide_terminal_has_all_of_a_row_in_one_line() {
    let text = table::render(&three(), false, screen(200));
    assert!((120..=200).contains(&widest(&text)), "{}\n{text}", widest(&text));
    let line = text.lines().find(|line| line.contains(" mutatingadmissionpolicies ")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        [
            "admissionregistration.k8s.io/v1",
            "mutatingadmissionpolicies",
            "MutatingAdmissionPolicy",
            "Cluster",
            "✓",
            "–",
            "?",
        ]
    );
}

#[test]
fn servers_show_version_freshness_age_etag_and_address_and_why_they_are_unknown() {
    let text = table::render(&three(), false, screen(80));
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    for part in ["v1.36.0", "fresh", "12s", "01234567…", "https://new.example:6443"] {
        assert!(line("new").contains(part), "{part} in {text}");
    }
    assert!(line("gone ").contains("unknown"));
    assert!(line("gone: ").starts_with("gone: nobody answers there"), "{text}");
    assert!(text.contains("gone is not known."), "{text}");
}

#[test]
fn names_that_leave_no_room_become_numbers_that_the_list_of_servers_explains() {
    let names = ["control-plane-1.example", "control-plane-2.example", "control-plane-3.example"];
    let columns =
        names.iter().map(|name| column(name, Recorded::V1_36)).chain([column("x", Recorded::V1_32)]);
    let text = table::render(&Skew::of(columns.collect()), false, screen(80));
    assert!(widest(&text) <= 80, "{text}");
    let heading = text.lines().find(|line| line.starts_with("RESOURCE")).unwrap();
    assert_eq!(heading.split_whitespace().collect::<Vec<_>>(), ["RESOURCE", "1", "2", "3", "4"]);
    assert!(text.starts_with("#  SERVER"), "{text}");
    let line = text.lines().find(|line| line.starts_with("2  ")).unwrap();
    assert!(line.contains("control-plane-2.example  v1.36.0  fresh"), "no name is broken: {text}");
    assert!(!text.contains("ADDRESS"), "that is what there was no room for: {text}");
}

#[test]
fn what_does_not_differ_is_said_in_a_sentence() {
    let same = |name: &str| column(name, Recorded::V1_36);
    let skew = Skew::of(vec![same("a"), same("b"), same("c")]);
    let text = table::render(&skew, false, screen(80));
    assert!(text.contains("3 servers serve the same: 6") && text.contains("in 22 group-versions."), "{text}");
    assert!(!text.contains("RESOURCE"), "{text}");
    let alone = table::render(&Skew::of(vec![same("a")]), false, screen(200));
    assert!(alone.contains("There is no other server"), "{alone}");
    let doubtful = Skew::of(vec![same("a"), same("b"), dead("c")]);
    let text = table::render(&doubtful, false, screen(200));
    assert!(text.contains("a and b serve the same") && text.contains("c is not known."), "{text}");
}

#[test]
fn verbs_that_a_server_lacks_stand_in_its_cell_and_in_words_in_a_diff() {
    let mut other = column("b", Recorded::V1_36);
    let mut document = Document::clone(other.document.as_ref().unwrap());
    let version = Arc::make_mut(&mut document.api.list.items[0].versions[0]);
    let pods = version.resources.iter_mut().find(|resource| resource.resource == "pods").unwrap();
    pods.verbs.as_mut().unwrap().retain(|verb| verb != "patch" && verb != "watch");
    other.document = Some(Arc::new(document));
    let skew = Skew::of(vec![column("a", Recorded::V1_36), other]);
    let text = table::render(&skew, false, screen(200));
    assert!(text.contains("✓ without patch, watch"), "{text}");
    let diff = skew.diff("a", "b").unwrap();
    let text = pair::render(&skew, &diff, screen(80));
    assert!(text.contains("Different (1)") && text.contains("b lacks patch, watch"), "{text}");
    assert!(text.ends_with("1 different.\n"), "{text}");
}

#[test]
fn a_diff_names_what_only_one_has_and_fits_80_columns() {
    let skew = three();
    let text = pair::render(&skew, &skew.diff("new", "old").unwrap(), screen(80));
    assert!(text.contains("Only in new (") && text.contains("    mutatingadmissionpolicies "), "{text}");
    assert!(widest(&text) <= 80 && !text.contains("gone"), "{text}");
    let unknown = pair::render(&skew, &skew.diff("new", "gone").unwrap(), screen(80));
    assert!(unknown.contains("They cannot be compared. gone is not known."), "{unknown}");
}

#[test]
fn markdown_is_a_table_whatever_stands_in_names() {
    let columns = vec![column("a|b", Recorded::V1_36), column("c", Recorded::V1_32)];
    let text = markdown::of_skew(&Skew::of(columns), false);
    assert!(text.contains("| Group/version | Resource | a\\|b | c |\n| --- | --- | :-: | :-: |\n"), "{text}");
    assert!(text.contains("| `v1` | `pods/resize` | ✓ | – |"), "{text}");
}

#[test]
fn colours_are_shown_only_where_they_are_seen() {
    let plain = table::render(&three(), true, screen(80));
    assert!(!plain.contains('\x1b'));
    let coloured = table::render(&three(), true, Screen { width: 80, colour: true });
    assert!(coloured.contains("\x1b["));
}

#[test]
fn what_a_terminal_would_obey_is_not_written() {
    let mut skew = three();
    skew.servers[2].error = Some("\x1b]0;owned\x07 and\r\nmore".to_owned());
    for text in [table::render(&skew, false, screen(80)), markdown::of_skew(&skew, false)] {
        assert!(!text.contains(['\x1b', '\x07', '\r']), "{text:?}");
    }
}

#[test]
fn ages_and_etags_are_short() {
    let ages = [0.2, 1.0, 119.9, 120.0, 7_199.0, 7_200.0, 172_800.0].map(age);
    assert_eq!(ages, ["now", "1s", "119s", "2m", "119m", "2h", "2d"]);
    assert_eq!(short_etag("W/\"abc\""), "abc");
    assert_eq!(short_etag("\"0123456789\""), "01234567…");
}

#[test]
fn long_lines_are_broken_at_blanks_and_indented() {
    assert_eq!(screen(40).wrap(&"seven77 ".repeat(6), 2).lines().map(str::len).max(), Some(39));
    assert!(screen(40).wrap(&"seven77 ".repeat(6), 2).lines().nth(1).unwrap().starts_with("  s"));
}
