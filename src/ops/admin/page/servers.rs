//! A line for each API server. On a narrow screen each is a card, hence the roles and the labels.

use super::{
    ago,
    summary::{Mark, mark},
};
use crate::{
    discovery::catalog::Freshness,
    ops::admin::{
        html::{Html, put},
        view::{Seen, View},
    },
    servers::{health::State, pool::Stats},
};

/// Beside connections.
const COUNTED: [&str; 2] = ["requests", "watches"];

pub(super) fn write(html: &mut Html, view: &View) {
    put!(html;
        "<section id=\"servers\" aria-labelledby=\"servers-title\">\n"
        "<h2 id=\"servers-title\">API servers</h2>\n"
        "<table class=\"cards\" role=\"table\">\n<thead role=\"rowgroup\">\n<tr role=\"row\">");
    for head in ["Server", "Version", "Health", "What it serves"] {
        put!(html; "<th scope=\"col\" role=\"columnheader\" rowspan=\"2\">" (head) "</th>");
    }
    let classes: Vec<&str> = match view.servers.first() {
        Some(server) => server.connections.iter().map(|(class, _)| *class).collect(),
        None => Vec::new(),
    };
    for (head, columns) in [("Under way", COUNTED.len()), ("Connections", classes.len().max(1))] {
        put!(html; "<th scope=\"colgroup\" role=\"columnheader\" class=\"number over\" colspan=\"" (columns) "\">"
            (head) "</th>");
    }
    put!(html; "</tr>\n<tr role=\"row\">");
    for head in COUNTED.iter().chain(&classes) {
        put!(html; "<th scope=\"col\" role=\"columnheader\" class=\"number\">" (head) "</th>");
    }
    put!(html; "</tr>\n</thead>\n<tbody role=\"rowgroup\">\n");
    for server in &view.servers {
        line(html, server, view.home.as_ref() == Some(&server.name));
    }
    put!(html;
        "</tbody>\n</table>\n<p class=\"legend\">Connections by what they carry: a caller’s <em>identity</em> that we stamp, "
        "a proven <em>token</em>, what is <em>unproven</em>, our <em>own</em> requests, and one for each "
        "<em>upgrade</em>.</p>\n</section>\n");
}

fn line(html: &mut Html, server: &Seen, home: bool) {
    html.raw("<tr role=\"row\"><th scope=\"row\" role=\"rowheader\"><span class=\"name\">")
        .name(&server.name);
    put!(html; "</span>");
    if home {
        put!(html; " <span class=\"tag\">home</span>");
    }
    if server.departed {
        put!(html; " <span class=\"tag\">left</span>");
    }
    put!(html; "<small>" (server.address) "</small></th>");
    let version = server.version.as_deref().unwrap_or("–");
    put!(html; "<td role=\"cell\" data-label=\"Version\" class=\"version\">" (version) "</td>");

    put!(html; "<td role=\"cell\" data-label=\"Health\">");
    let (sign, word) = health(server);
    mark(html, sign);
    put!(html; (word));
    if let Some(error) = server.error.as_ref().filter(|_| !server.healthy) {
        put!(html; "<small class=\"error\">" (error) "</small>");
    }
    put!(html; "</td><td role=\"cell\" data-label=\"What it serves\">");
    mark(
        html,
        match server.freshness {
            Freshness::Fresh => Mark::Good,
            Freshness::Stale | Freshness::Unknown => Mark::Doubtful,
        },
    );
    put!(html; (server.freshness.as_str()) "<small>");
    match server.read {
        Some(since) => put!(html; "read " (ago(since)) " ago"),
        None => put!(html; "never read"),
    }
    match server.contact {
        Some(since) => put!(html; ", heard " (ago(since)) " ago"),
        None => put!(html; ", never heard"),
    }
    put!(html; "</small></td>");

    for (label, count) in COUNTED.into_iter().zip([server.requests, server.watches]) {
        put!(html; "<td role=\"cell\" data-label=\"" (label) "\" class=\"number\">" (count) "</td>");
    }
    for (class, stats) in &server.connections {
        connections(html, class, stats);
    }
    put!(html; "</tr>\n");
}

fn connections(html: &mut Html, class: &str, stats: &Stats) {
    put!(html; "<td role=\"cell\" data-label=\"" (class) "\" class=\"number\">" (stats.live));
    let besides = [(stats.opening, "opening"), (stats.draining, "draining"), (stats.waiting, "waiting")];
    for (count, what) in besides.into_iter().filter(|(count, _)| *count > 0) {
        put!(html; "<small>" (count) " " (what) "</small>");
    }
    put!(html; "</td>");
}

/// How a server stands, in words that `/debug/servers` has too.
fn health(server: &Seen) -> (Mark, String) {
    let why = server.reason.map(|reason| match reason {
        "connect" => "no connection",
        "not-ready" => "says it is not ready",
        "slow" => "slow to say whether it is ready",
        "passive" => "exchanges break off",
        "discovery" => "its discovery cannot be read",
        other => other,
    });
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    match server.state {
        _ if server.healthy => (Mark::Good, "healthy".to_owned()),
        State::Healthy => (Mark::Bad, format!("down{why}")),
        State::Ejected => (Mark::Bad, format!("ejected{why}")),
        State::HalfOpen => (Mark::Doubtful, format!("half-open{why}")),
    }
}
