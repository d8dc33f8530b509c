//! `/debug/decisions`: what became lately of requests that did not simply stay at home.

use serde_json::{Value, json};

use crate::metrics::recent::{Entry, Snapshot};

pub(in crate::ops::admin) fn decisions(recent: &Snapshot) -> Value {
    let listed = |entries: &[Entry]| entries.iter().map(entry).collect::<Vec<_>>();
    json!({
        "reroutedPerSecond": recent.rate(),
        "rerouted": listed(&recent.rerouted),
        "refused": listed(&recent.refused),
    })
}

fn entry(entry: &Entry) -> Value {
    json!({
        "secondsAgo": entry.at.elapsed().as_secs_f64(),
        "times": entry.times,
        "verb": entry.verb,
        "group": entry.group,
        "version": entry.version,
        "resource": entry.resource,
        "home": entry.home.as_deref(),
        "server": entry.server.as_deref(),
        "reason": entry.reason,
        "status": entry.status,
        "seconds": entry.took.as_secs_f64(),
    })
}
