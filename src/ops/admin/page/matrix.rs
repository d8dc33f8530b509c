//! Resources × servers.

use std::collections::HashMap;

use crate::{
    discovery::skew::{Aspect, Cell, Row, Skew, State},
    limits,
    ops::admin::{
        debug::peculiar,
        html::{Html, put},
        page::counted,
        view::View,
    },
};

/// A line of the table.
struct Line<'a> {
    row: &'a Row,
    /// Of its subresources, those that are where it is, and nowhere else: they need no lines of their own.
    with: Vec<&'a str>,
}

pub(super) fn write(html: &mut Html, view: &View) {
    let skew = &view.skew;
    let lines = lines(skew, view.all);
    put!(html;
        "<section id=\"matrix\" aria-labelledby=\"matrix-title\">\n<h2 id=\"matrix-title\">"
        (if view.all { "Everything served" } else { "Differences" }) "</h2>\n<p class=\"legend\">");
    said(html, view);
    put!(html; "</p>\n");
    if !lines.is_empty() {
        table(html, skew, &lines);
    }
    put!(html; "</section>\n");
}

/// What the table is about, and where the other one is.
fn said(html: &mut Html, view: &View) {
    let summary = &view.skew.summary;
    let everything = summary.resources + summary.subresources;
    if view.skew.servers.is_empty() {
        put!(html; "There is nothing to compare.");
        return;
    }
    if view.all {
        put!(html; "<a id=\"which\" href=\"/\">Show differences only</a>");
        return;
    }
    match summary.differing {
        0 => put!(html; "None in " (counted(everything, "resource", "resources and subresources")) "."),
        many => {
            put!(html; (many) " of " (everything) " resources and subresources are not served alike by all.")
        }
    }
    if view.skew.incomplete {
        put!(html; " Not everything is known of every server.");
    }
    put!(html; " <a id=\"which\" href=\"/?all\">Show everything</a>");
}

fn table(html: &mut Html, skew: &Skew, lines: &[Line<'_>]) {
    put!(html;
        "<div class=\"scroll\" id=\"matrix-scroll\" role=\"region\" aria-labelledby=\"matrix-title\" tabindex=\"0\">\n"
        "<table class=\"matrix\">\n<thead>\n<tr><th scope=\"col\">Resource</th>");
    for server in &skew.servers {
        html.raw("<th scope=\"col\"><span>").name(&server.name);
        put!(html; "</span><small>" (server.version.as_deref().unwrap_or("–")) "</small></th>");
    }
    put!(html; "</tr>\n</thead>\n");
    let shown = &lines[..lines.len().min(limits::MAX_PAGE_LINES)];
    for group in shown.chunk_by(|a, b| a.row.group == b.row.group && a.row.version == b.row.version) {
        put!(html;
            "<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"" (skew.servers.len() + 1) "\"><span>"
            (group[0].row.group_version()) "</span></th></tr>\n");
        for line in group {
            put!(html; "<tr><th scope=\"row\">" (line.row.resource));
            if !line.with.is_empty() {
                let with: Vec<String> = line.with.iter().map(|sub| format!("/{sub}")).collect();
                put!(html; " <small>+ " (with.join(" ")) "</small>");
            }
            put!(html; "</th>");
            for server in &skew.servers {
                cell(html, line.row, line.row.cells.get(&server.name));
            }
            put!(html; "</tr>\n");
        }
        put!(html; "</tbody>\n");
    }
    put!(html; "</table>\n</div>\n<p class=\"legend\">");
    if lines.len() > shown.len() {
        put!(html;
            (lines.len() - shown.len()) " more lines are in <a href=\"/debug/discovery/diff?all\">the whole list</a>. ");
    }
    put!(html;
        "<b>✓</b> served, <b>–</b> not served, <b>✓?</b> served when it was last heard, <b>?</b> not known.</p>\n");
}

fn cell(html: &mut Html, row: &Row, cell: Option<&Cell>) {
    let state = cell.map_or(State::Unknown, |cell| cell.state);
    html.raw(match state {
        State::Served => "<td class=\"served\"><span aria-hidden=\"true\">✓</span><i>served</i>",
        State::Stale => {
            "<td class=\"stale\"><span aria-hidden=\"true\">✓?</span><i>served when last heard</i>"
        }
        State::NotServed => "<td class=\"absent\"><span aria-hidden=\"true\">–</span><i>not served</i>",
        State::Unknown => "<td class=\"unknown\"><span aria-hidden=\"true\">?</span><i>not known</i>",
    });
    for how in cell.iter().flat_map(|cell| peculiar(row, cell)) {
        put!(html; "<small>" (how) "</small>");
    }
    put!(html; "</td>");
}

/// The rows that have lines of their own.
fn lines(skew: &Skew, all: bool) -> Vec<Line<'_>> {
    let wanted = || skew.rows.iter().filter(|row| all || row.differs);
    let key = |row: &Row, resource: &str| (row.group.clone(), row.version.clone(), resource.to_owned());
    let resources = wanted().filter(|row| !row.is_subresource());
    let parents: HashMap<_, &Row> = resources.map(|row| (key(row, &row.resource), row)).collect();
    let mut folded = HashMap::<_, Vec<&str>>::new();
    let mut own = Vec::new();
    for row in wanted() {
        match row.resource.split_once('/') {
            Some((parent, sub)) => {
                let parent = key(row, parent);
                if parents.get(&parent).is_some_and(|resource| follows(row, resource)) {
                    folded.entry(parent).or_default().push(sub);
                } else {
                    own.push(row);
                }
            }
            None => own.push(row),
        }
    }
    let line = |row| Line { row, with: folded.remove(&key(row, &row.resource)).unwrap_or_default() };
    own.into_iter().map(line).collect()
}

/// A subresource is where its resource is, and alike wherever it is.
fn follows(sub: &Row, resource: &Row) -> bool {
    let state = |row: &Row| row.cells.values().map(|cell| cell.state).collect::<Vec<_>>();
    state(sub) == state(resource) && sub.differs_in.iter().all(|aspect| *aspect == Aspect::Presence)
}
