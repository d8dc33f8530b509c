//! `/debug/decisions`: what became lately of requests that did not simply stay at home.

use std::time::Duration;

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
        "secondsAgo": seconds(entry.at.elapsed()),
        "times": entry.times,
        "verb": entry.verb,
        "group": entry.group,
        "version": entry.version,
        "resource": entry.resource,
        "home": entry.home.as_deref(),
        "server": entry.server.as_deref(),
        "reason": entry.reason,
        "status": entry.status,
        "seconds": seconds(entry.took),
    })
}

/// To the microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
