//! `/debug/discovery/diff`: where servers differ in what they serve, as text for terminals or as JSON.

use std::fmt::Write as _;

use crate::{
    discovery::{
        catalog::Freshness,
        skew::{Aspect, Cell, Diff, Row, Skew, State},
    },
    printable::clean,
};

/// No column is wider, in characters.
const WIDEST: usize = 120;

/// All servers, a column for each: what differs, or everything.
pub(in crate::ops::admin) fn matrix(skew: &Skew, all: bool) -> String {
    let mut text = String::new();
    let mut head = vec!["GROUP-VERSION".to_owned(), "RESOURCE".to_owned()];
    head.extend(skew.servers.iter().map(|server| server.name.to_string()));
    let versions = skew.servers.iter().map(|server| server.version.clone().unwrap_or_else(|| "?".to_owned()));
    let mut lines = vec![head, [String::new(), String::new()].into_iter().chain(versions).collect()];
    for row in skew.rows.iter().filter(|row| all || row.differs) {
        let mut line = vec![row.group_version(), row.resource.clone()];
        line.extend(skew.servers.iter().map(|server| cell(row, row.cells.get(&server.name))));
        lines.push(line);
    }
    let summary = &skew.summary;
    let resources = summary.resources + summary.subresources;
    let _ = match summary.differing {
        0 => writeln!(text, "No difference in {resources} resources and subresources."),
        differing => writeln!(text, "{differing} of {resources} resources and subresources differ."),
    };
    for server in skew.servers.iter().filter(|server| server.freshness != Freshness::Fresh) {
        let shown = if server.known { "what it said last is shown" } else { "nothing is known of it" };
        let _ = writeln!(text, "{} is {}: {shown}.", server.name, server.freshness.as_str());
    }
    if lines.len() > 2 {
        text.push('\n');
        text += &columns(&lines);
    }
    text
}

/// Two servers.
pub(in crate::ops::admin) fn pair(diff: &Diff) -> String {
    let [a, b] = &diff.servers;
    let mut text = match diff.len() {
        0 => format!("{a} and {b} do not differ.\n"),
        many => format!("{a} and {b} differ in {many}.\n"),
    };
    if diff.incomplete {
        text += "Not everything is known of both.\n";
    }
    for (name, rows) in [a, b].into_iter().filter_map(|name| Some((name, diff.only_in.get(name)?))) {
        if !rows.is_empty() {
            let lines: Vec<_> =
                rows.iter().map(|row| vec![row.group_version(), row.resource.clone()]).collect();
            let _ = write!(text, "\nOnly in {name}:\n{}", columns(&lines));
        }
    }
    if !diff.different.is_empty() {
        let mut lines = vec![vec![String::new(), String::new(), a.to_string(), b.to_string()]];
        lines.extend(diff.different.iter().map(|row| {
            let told = |name| cell(row, row.cells.get(name));
            vec![row.group_version(), row.resource.clone(), told(a), told(b)]
        }));
        let _ = write!(text, "\nIn both, not alike:\n{}", columns(&lines));
    }
    text
}

/// Whether it is served, and if servers differ in how, how.
fn cell(row: &Row, cell: Option<&Cell>) -> String {
    let state = cell.map_or(State::Unknown, |cell| cell.state);
    let mark = match state {
        State::Served => "yes",
        State::Stale => "stale",
        State::NotServed => "-",
        State::Unknown => "?",
    };
    let mut text = mark.to_owned();
    for how in cell.iter().flat_map(|cell| peculiar(row, cell)) {
        let _ = write!(text, " ({how})");
    }
    text
}

/// What a cell has of that in which the row's servers differ, beside whether it is served at all.
pub(in crate::ops::admin) fn peculiar(row: &Row, cell: &Cell) -> Vec<String> {
    if !cell.is_listed() {
        return Vec::new();
    }
    let in_which = |aspect: &Aspect| match aspect {
        Aspect::Presence => None,
        Aspect::Verbs => {
            let lacking = row.lacking(cell);
            (!lacking.is_empty()).then(|| format!("no {}", lacking.join(", ")))
        }
        Aspect::Scope => Some(cell.scope.clone()),
        Aspect::Kind => Some(if cell.kind.is_empty() { "no object".to_owned() } else { cell.kind.clone() }),
    };
    row.differs_in.iter().filter_map(in_which).collect()
}

/// Lines in columns, two blanks apart, without blanks at the ends of lines. A name that is longer than any column is wide
/// stands out, and costs the other lines nothing.
fn columns(lines: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, text) in widths.iter_mut().zip(line) {
            *width = text.chars().count().min(WIDEST).max(*width);
        }
    }
    let mut all = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).map(|(text, width)| format!("{:<width$}", clean(text)));
        all += padded.collect::<Vec<_>>().join("  ").trim_end();
        all.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endless_name_does_not_widen_every_line() {
        let line = |name: &str| vec![name.to_owned(), "yes".to_owned()];
        let mut lines = vec![line(&"x".repeat(100_000))];
        lines.extend((0..100).map(|_| line("pods")));
        let text = columns(&lines);
        assert!(text.len() < 100_000 + 101 * 2 * WIDEST, "{}", text.len());
        assert!(text.ends_with("yes\n"));
    }
}
