//! The first thing to read: is all well, and how much is going on.

use crate::{
    discovery::catalog::Freshness,
    limits,
    ops::admin::{
        html::{Html, put},
        page::counted,
        view::View,
    },
};

/// In a word, for the title: it is read off a tab.
pub(super) fn word(view: &View) -> String {
    let sick = view.servers.iter().filter(|server| !server.healthy).count();
    let doubtful = view.servers.iter().filter(|server| server.freshness != Freshness::Fresh).count();
    match (view.servers.len(), sick, doubtful) {
        (0, ..) => "No API server".to_owned(),
        _ if !view.pending.is_empty() => "Not ready".to_owned(),
        (_, 0, 0) => "All well".to_owned(),
        (_, 0, doubtful) => format!("{doubtful} not fresh"),
        (_, sick, _) => format!("{sick} not healthy"),
    }
}

/// In a sentence.
fn sentence(view: &View) -> String {
    let names = |wanted: fn(&&super::super::view::Seen) -> bool| -> Vec<&str> {
        view.servers.iter().filter(wanted).map(|server| &*server.name).collect()
    };
    if view.servers.is_empty() {
        return "No API server is known yet.".to_owned();
    }
    if !view.pending.is_empty() {
        return format!("This proxy is not ready: {}.", view.pending.join(", "));
    }
    let sick = names(|server| !server.healthy);
    if !sick.is_empty() {
        let verb = if sick.len() == 1 { "is" } else { "are" };
        let of = counted(view.servers.len(), "API server", "API servers");
        return format!("{} of {of} {verb} not healthy: {}.", sick.len(), sick.join(", "));
    }
    let doubtful = names(|server| server.freshness != Freshness::Fresh);
    if !doubtful.is_empty() {
        return format!("What these serve is not known for sure: {}.", doubtful.join(", "));
    }
    match view.servers.len() {
        1 => "The API server is healthy, and what it serves is known.".to_owned(),
        many => format!("All {many} API servers are healthy, and what they serve is known."),
    }
}

pub(super) fn write(html: &mut Html, view: &View) {
    let (total, summary) = (view.servers.len(), &view.skew.summary);
    let healthy = view.servers.iter().filter(|server| server.healthy).count();
    let fresh = view.servers.iter().filter(|server| server.freshness == Freshness::Fresh).count();
    let well = total > 0 && healthy == total && fresh == total && view.pending.is_empty();
    put!(html; "<section id=\"summary\" aria-label=\"Summary\">\n<p class=\"state\">");
    mark(html, if well { Mark::Good } else { Mark::Bad });
    put!(html; (sentence(view)) "</p>\n<p class=\"mode\">");
    match &view.home {
        Some(home) => put!(html; "Home is <strong>" (home) "</strong>."),
        None => put!(html; "Each client connection has a home of its own."),
    }
    put!(html; "</p>\n<dl class=\"tiles\">\n");
    put!(html;
        "<div><dt>Healthy</dt><dd>" (healthy) "<small> of " (total) "</small></dd></div>\n"
        "<div><dt>Fresh</dt><dd>" (fresh) "<small> of " (total) "</small></dd></div>\n"
        "<div><dt>Differences</dt><dd>" (summary.differing)
        "<small> of " (summary.resources + summary.subresources) "</small></dd></div>\n"
        "<div><dt>Rerouted per second</dt><dd>" (rate(view.recent.rate())) "</dd>");
    minute(html, &view.recent.seconds);
    put!(html; "</div>\n</dl>\n</section>\n");
}

/// As exact as it is worth.
fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// The last minute, a bar for each second.
fn minute(html: &mut Html, seconds: &[u32]) {
    let most = seconds.iter().copied().max().unwrap_or_default();
    put!(html;
        "<dd class=\"minute\"><svg viewBox=\"0 0 " (limits::RATE_HISTORY)
        " 12\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Rerouted in each second of the last minute, at most "
        (most) "\"><path d=\"");
    for (second, count) in seconds.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = 12.0 * f64::from(*count) / f64::from(most.max(1));
        put!(html; "M" (second) " 12v-" (format!("{height:.1}")) "h.8v" (format!("{height:.1}")) "z");
    }
    put!(html; "\"/></svg></dd>");
}

/// Said by shape as well as by colour.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Good,
    Doubtful,
    Bad,
}

/// What it stands for is said in words next to it.
pub(super) fn mark(html: &mut Html, mark: Mark) {
    html.raw(match mark {
        Mark::Good => "<span class=\"mark good\" aria-hidden=\"true\">✓</span>",
        Mark::Doubtful => "<span class=\"mark doubtful\" aria-hidden=\"true\">?</span>",
        Mark::Bad => "<span class=\"mark bad\" aria-hidden=\"true\">!</span>",
    });
}
