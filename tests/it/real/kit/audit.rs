//! What a server wrote down about a request.

use std::fs;

use serde_json::Value;

use super::{eventually, server::ApiServer};

/// Every entry of a server about one request, which may be none; the log is written after the answer.
pub(crate) fn entries(server: &ApiServer, audit_id: &str) -> Vec<Value> {
    let log = fs::read_to_string(server.dir.join("audit.log")).unwrap_or_default();
    log.lines()
        .filter(|line| line.contains(audit_id))
        // The last line may be half written.
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["auditID"] == audit_id)
        .collect()
}

/// Every entry of a server about requests to paths with `marker` in them.
pub(crate) fn about(server: &ApiServer, marker: &str) -> Vec<Value> {
    let log = fs::read_to_string(server.dir.join("audit.log")).unwrap_or_default();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(|entry| entry["requestURI"].as_str().is_some_and(|uri| uri.contains(marker))).collect()
}

/// The one entry about a request that has ended.
pub(crate) async fn entry(server: &ApiServer, audit_id: &str) -> Value {
    assert_ne!(audit_id, "");
    let found = eventually(&format!("{} writes about {audit_id}", server.name), async || {
        let entries = entries(server, audit_id);
        (!entries.is_empty()).then_some(entries)
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}
