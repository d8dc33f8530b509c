//! What is known of one server, and how far it may be trusted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    document::Document,
    ghosts::{self, Gone},
};
use crate::servers::watched::Custom;

/// How far what we know of a server may be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// Never heard since start, or reconnected after a loss and not fetched yet.
    #[default]
    Unknown,
    /// Contact is confirmed, and nothing said that the document changed since the last good fetch.
    Fresh,
    /// Contact is lost, the last fetch failed, or the server left and was not forgotten yet.
    Stale,
}

/// What we know of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// The last good document; a failure never removes it (I7).
    pub document: Option<Arc<Document>>,
    /// Contact is lost.
    pub lost: bool,
    /// Whoever says which servers there are no longer names it: it left, for its upgrade maybe.
    pub departed: bool,
    /// How the last fetch ended, if what it brought is still to be believed.
    pub fetch: Fetch,
    /// What its informers said last.
    board: Arc<Custom>,
    /// The storage that the document is made of, if informers were in step since it was fetched.
    storage: Option<Arc<str>>,
    /// Of what it said last, what is gone.
    gone: Arc<Gone>,
    /// The document without that; `None`: it is whole.
    rest: Option<Arc<Document>>,
    /// Counts successful fetches of all servers of a book: that of the last one of this server; 0 before.
    fetched_at: u64,
    /// Counts successful fetches of this server.
    fetches: u64,
}

/// How far the last fetch is to be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// There was none.
    #[default]
    Never,
    /// Something said since that the document may have changed, and another fetch is on its way.
    Due,
    /// The same, and the other fetch failed.
    Overdue,
    /// It succeeded.
    Good,
    /// It failed, after one that succeeded.
    Failed,
}

// === impl Knowledge ===

impl Knowledge {
    /// How far to trust it.
    pub fn freshness(&self) -> Freshness {
        match (self.fetch, self.is_away()) {
            (Fetch::Never, _) => Freshness::Unknown,
            // Whatever became of it since: it is not there to be asked, and on its return it is.
            _ if self.departed => Freshness::Stale,
            (Fetch::Due | Fetch::Overdue, _) => Freshness::Unknown,
            (Fetch::Good, false) => Freshness::Fresh,
            (Fetch::Good, true) | (Fetch::Failed, _) => Freshness::Stale,
        }
    }

    /// Whether its group-versions are Current in documents. A server that is only being asked again stays so
    /// until that fails: clients drop a Stale group-version whole, and a moment's doubt is no reason for that.
    pub(super) fn is_believed_in_documents(&self) -> bool {
        !self.is_away() && matches!(self.fetch, Fetch::Good | Fetch::Due)
    }

    /// Whether the other would make the same catalog.
    pub(super) fn shows_as(&self, other: &Self) -> bool {
        (self.has_document_of(other) || self.document == other.document)
            && self.freshness() == other.freshness()
            && self.departed == other.departed
            && self.is_believed_in_documents() == other.is_believed_in_documents()
            && self.gone == other.gone
    }

    /// Whether the document is the same one in memory. Quick.
    pub(super) fn has_document_of(&self, other: &Self) -> bool {
        match (&self.document, &other.document) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether the same conclusions are drawn from the other ([`ghosts::judge`]). Quick.
    pub(super) fn judges_as(&self, other: &Self) -> bool {
        self.has_document_of(other)
            && Arc::ptr_eq(&self.board, &other.board)
            && Arc::ptr_eq(&self.gone, &other.gone)
            && self.storage == other.storage
            && self.fetched_at == other.fetched_at
            && self.freshness() == other.freshness()
            && self.is_believed_in_documents() == other.is_believed_in_documents()
    }

    /// The document without what is gone ([`ghosts`]): what of it counts.
    pub fn counts(&self) -> Option<&Arc<Document>> {
        self.rest.as_ref().or(self.document.as_ref())
    }

    /// Of what it said last, what is gone.
    pub fn gone(&self) -> &Gone {
        &self.gone
    }

    pub(super) fn set_gone(&mut self, gone: Gone) {
        self.gone = Arc::new(gone);
        self.filter();
    }

    /// After the document changed.
    pub(super) fn filter(&mut self) {
        let rest = self.document.as_ref().and_then(|document| ghosts::without(document, &self.gone));
        self.rest = rest.map(Arc::new);
    }

    /// What its informers said last.
    pub fn board(&self) -> &Arc<Custom> {
        &self.board
    }

    /// The storage that the document is made of, if informers were in step since it was fetched.
    pub fn storage(&self) -> Option<&str> {
        self.storage.as_deref()
    }

    /// Whether fetches of one server came after those of another.
    pub(super) fn fetched_at(&self) -> u64 {
        self.fetched_at
    }

    pub(super) fn fetches(&self) -> u64 {
        self.fetches
    }

    /// When the last fetch succeeded, by a count that all servers share.
    pub fn set_fetched_at(&mut self, count: u64) {
        self.fetched_at = count;
    }

    /// Informers say this now.
    pub fn watched(&mut self, board: Arc<Custom>) {
        if let Some(storage) = board.storage.as_ref().filter(|_| board.synced)
            && self.storage.as_deref() != Some(storage)
        {
            self.storage = Some(storage.as_str().into());
        }
        self.board = board;
    }

    /// It was so when we last ran.
    pub fn recall(&mut self, document: Arc<Document>, storage: Option<&str>, gone: Gone) {
        self.document = Some(document);
        self.storage = storage.map(Into::into);
        self.set_gone(gone);
    }

    fn is_away(&self) -> bool {
        self.lost || self.departed
    }

    /// What is known of a server when another process may answer in its place: it may serve the same. `elsewhere`, that
    /// may be of another storage, where nothing is proven to be gone.
    pub(super) fn of_somebody_else(self, elsewhere: bool) -> Self {
        let Self { document, departed, storage, gone, rest, fetched_at, .. } = self;
        if elsewhere {
            return Self { document, departed, fetched_at, ..Self::default() };
        }
        Self { document, departed, storage, gone, rest, fetched_at, ..Self::default() }
    }

    /// Contact is lost: nothing is confirmed any more.
    pub fn contact_lost(&mut self) {
        self.lost = true;
    }

    /// Contact is back, maybe with another process.
    pub fn contact_back(&mut self) {
        self.lost = false;
        self.doubt();
    }

    /// The document may have changed.
    pub fn doubt(&mut self) {
        if self.fetch != Fetch::Never {
            self.fetch = Fetch::Due;
        }
    }

    /// A fetch succeeded; `document` if it brought another one. `settled` says that nothing happened meanwhile
    /// that makes the answer an old one, and that the server was ready.
    pub fn fetched(&mut self, document: Option<Arc<Document>>, settled: bool) {
        if document.is_some() {
            self.document = document;
        }
        self.lost = false;
        // It says so itself, now.
        self.gone = Arc::default();
        self.rest = None;
        if !self.board.synced {
            self.storage = None;
        }
        self.fetches += 1;
        self.fetch = if settled { Fetch::Good } else { Fetch::Due };
    }

    /// A fetch failed.
    pub fn fetch_failed(&mut self) {
        self.fetch = match self.fetch {
            Fetch::Never => Fetch::Never,
            Fetch::Due | Fetch::Overdue => Fetch::Overdue,
            Fetch::Good | Fetch::Failed => Fetch::Failed,
        };
    }
}

// === impl Freshness ===

impl Freshness {
    /// As in metrics and admin pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_is_stale_whatever_became_of_it_and_who_was_never_heard_is_unknown() {
        for fetch in [Fetch::Due, Fetch::Overdue, Fetch::Good, Fetch::Failed] {
            for lost in [false, true] {
                let left = Knowledge { fetch, lost, departed: true, ..Knowledge::default() };
                assert_eq!(left.freshness(), Freshness::Stale, "{left:?}");
                assert!(!left.is_believed_in_documents());
                let mut back = Knowledge { departed: false, ..left };
                back.doubt();
                assert_eq!(back.freshness(), Freshness::Unknown, "{back:?}");
            }
        }
        let never = Knowledge { departed: true, ..Knowledge::default() };
        assert_eq!(never.freshness(), Freshness::Unknown);
    }

    #[test]
    fn that_somebody_left_shows_even_if_he_was_lost_before() {
        let lost = Knowledge { fetch: Fetch::Good, lost: true, ..Knowledge::default() };
        assert!(!lost.shows_as(&Knowledge { departed: true, ..lost.clone() }));
    }
}
