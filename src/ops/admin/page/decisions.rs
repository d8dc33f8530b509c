//! What became lately of requests that did not simply stay at home.

use std::time::Duration;

use http::StatusCode;

use super::{ago, counted};
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
    legend: "A peer answered. Requests that went alike share a line; the latest are on top.",
    nothing: "No request was rerouted yet.",
};

const REFUSED: List = List {
    id: "refused",
    title: "Refused lately",
    legend: "This proxy refused them itself; “to” is the server that was tried last.",
    nothing: "No request was refused yet.",
};

const HEADS: [&str; 8] = ["Last", "Times", "Verb", "Resource", "From", "To", "Why", "Answer"];

pub(super) fn write(html: &mut Html, recent: &Snapshot) {
    list(html, &REROUTED, &recent.rerouted);
    list(html, &REFUSED, &recent.refused);
}

fn list(html: &mut Html, list: &List, entries: &[Entry]) {
    let List { id, title, legend, nothing } = list;
    put!(html; "<section id=\"" (id) "\" aria-labelledby=\"" (id) "-title\">\n<h2 id=\"" (id) "-title\">" (title)
        "</h2>\n<p class=\"legend\">" (if entries.is_empty() { nothing } else { legend }) "</p>\n");
    if !entries.is_empty() {
        put!(html; "<table class=\"cards\" role=\"table\">\n<thead role=\"rowgroup\">\n<tr role=\"row\">");
        for head in HEADS {
            let class = if matches!(head, "Last" | "Times" | "Answer") { "number" } else { "" };
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
        "<tr role=\"row\"><td role=\"cell\" data-label=\"Last\" class=\"number\">" (ago(entry.at.elapsed())) " ago</td>"
        "<td role=\"cell\" data-label=\"Times\" class=\"number\" title=\""
        (counted(entry.times as usize, "request", "requests")) "\">" (entry.times) "</td>"
        "<td role=\"cell\" data-label=\"Verb\">" (entry.verb) "</td>"
        "<td role=\"cell\" data-label=\"Resource\" class=\"resource\">");
    if entry.resource.is_empty() {
        put!(html; "–");
    } else {
        let slash = if entry.group.is_empty() { "" } else { "/" };
        put!(html; "<span class=\"name\">" (entry.resource) "</span><small>" (entry.group) (slash) (entry.version) "</small>");
    }
    put!(html;
        "</td><td role=\"cell\" data-label=\"From\">" (entry.home.as_deref().unwrap_or("–"))
        "</td><td role=\"cell\" data-label=\"To\">" (entry.server.as_deref().unwrap_or("–"))
        "</td><td role=\"cell\" data-label=\"Why\">" (why(entry))
        "</td><td role=\"cell\" data-label=\"Answer\" class=\"number\">" (entry.status)
        "<small>after " (took(entry.took)) "</small></td></tr>\n");
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
