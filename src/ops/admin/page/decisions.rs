//! What became lately of requests that did not simply stay at home.

use std::time::Duration;

use http::StatusCode;

use super::ago;
use crate::{
    metrics::recent::{Entry, Snapshot},
    ops::admin::html::{Html, put},
};

/// One of the two lists.
struct List {
    id: &'static str,
    title: &'static str,
    legend: &'static str,
    nothing: &'static str,
}

const REROUTED: List = List {
    id: "rerouted",
    title: "Rerouted lately",
    legend: "A peer answered. Requests that went alike share a line.",
    nothing: "No request was rerouted yet.",
};

const REFUSED: List = List {
    id: "refused",
    title: "Refused lately",
    legend: "This proxy refused them itself, or could not get an answer.",
    nothing: "No request was refused yet.",
};

/// With their classes.
const HEADS: [(&str, &str); 4] =
    [("Last", "number last"), ("Request", "request"), ("Way", "way"), ("Answer", "number answer")];

pub(super) fn write(html: &mut Html, recent: &Snapshot) {
    list(html, &REROUTED, &recent.rerouted);
    list(html, &REFUSED, &recent.refused);
}

fn list(html: &mut Html, list: &List, entries: &[Entry]) {
    let List { id, title, legend, nothing } = list;
    put!(html; "<section id=\"" (id) "\" aria-labelledby=\"" (id) "-title\">\n<h2 id=\"" (id) "-title\">" (title)
        "</h2>\n<p class=\"legend\">" (if entries.is_empty() { nothing } else { legend }) "</p>\n");
    if !entries.is_empty() {
        put!(html; "<table class=\"moves\" role=\"table\">\n<thead role=\"rowgroup\">\n<tr role=\"row\">");
        for (head, class) in HEADS {
            put!(html; "<th scope=\"col\" role=\"columnheader\" class=\"" (class) "\">" (head) "</th>");
        }
        put!(html; "</tr>\n</thead>\n<tbody role=\"rowgroup\">\n");
        for entry in entries {
            line(html, entry);
        }
        put!(html; "</tbody>\n</table>\n");
    }
    put!(html; "</section>\n");
}

fn line(html: &mut Html, entry: &Entry) {
    put!(html;
        "<tr role=\"row\"><td role=\"cell\" class=\"number last\">" (ago(entry.at.elapsed())) " ago<small>"
        (times(entry.times)) "</small></td><td role=\"cell\" class=\"request\">" (entry.verb));
    if !entry.resource.is_empty() {
        let slash = if entry.group.is_empty() { "" } else { "/" };
        put!(html; " <span class=\"name\">" (entry.resource) "</span><small>" (entry.group) (slash) (entry.version)
            "</small>");
    }
    put!(html; "</td><td role=\"cell\" class=\"way\">");
    match (&entry.home, &entry.server) {
        (Some(home), Some(server)) if home != server => {
            html.name(home).raw(" <span aria-hidden=\"true\">→</span><i> to </i> ").name(server);
        }
        (Some(server), _) | (None, Some(server)) => {
            html.name(server);
        }
        (None, None) => put!(html; "<span aria-hidden=\"true\">–</span><i>nobody was asked</i>"),
    }
    put!(html;
        "<small>" (why(entry)) "</small></td><td role=\"cell\" class=\"number answer\">" (entry.status)
        "<small>after " (took(entry.took)) "</small></td></tr>\n");
}

fn times(times: u64) -> String {
    match times {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

fn why(entry: &Entry) -> &str {
    if !entry.reason.is_empty() {
        return entry.reason;
    }
    let status = StatusCode::from_u16(entry.status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("–")
}

fn took(took: Duration) -> String {
    let ms = took.as_secs_f64() * 1e3;
    match ms {
        ..1.0 => format!("{ms:.1} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}
