//! How the servers' OpenAPI is doing, for people.

use std::time::Duration;

use super::{super::index::Index, Library};

/// How one server's OpenAPI is doing, for people.
pub struct ServerState {
    /// `unasked`, `good`, `absent` or `failed`.
    pub state: &'static str,
    /// Of its index.
    pub entries: usize,
    /// Since its index was last known to be right.
    pub confirmed: Option<Duration>,
    /// Why the last fetch of its index failed.
    pub error: Option<String>,
    /// Of other documents: what failed, and why.
    pub document_errors: Vec<(String, String)>,
    /// Bytes of its documents that are kept.
    pub bytes: usize,
}

impl Library {
    /// How a server is doing.
    pub fn state(&self, server: usize) -> ServerState {
        let shown = self.indexes[server].shown();
        let entries = shown.good.as_ref().map(|good| good.index().map_or(0, Index::len));
        let state = match (&shown.error, &shown.good) {
            (Some(_), _) => "failed",
            (None, None) if shown.asked => "asked",
            (None, None) => "unasked",
            (None, Some(good)) if good.index().is_none() => "absent",
            (None, Some(_)) => "good",
        };
        let (mut document_errors, mut bytes) = (Vec::new(), 0);
        for (key, kept) in &self.documents {
            let (number, wanted) = &*key;
            if *number == server {
                let shown = kept.slot.shown();
                bytes += shown.good.map_or(0, |good| good.size());
                document_errors.extend(shown.error.map(|error| (wanted.path(), error)));
            }
        }
        document_errors.sort();
        ServerState {
            state,
            entries: entries.unwrap_or_default(),
            confirmed: shown.confirmed,
            error: shown.error,
            document_errors,
            bytes,
        }
    }
}
