//! What a crowd's table is made of.

use std::collections::BTreeMap;

/// How often what happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub bookmarks: u64,
    pub watches: u64,
    pub lists: u64,
    pub expired: u64,
    /// Watches that the client left.
    pub left: u64,
    pub ended_cleanly: u64,
    pub ended_broken: u64,
    /// Of those, in the midst of a line.
    pub torn: u64,
    /// Answers that were neither 200 nor 410.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
}

// === impl Counts ===

impl Counts {
    pub fn add(&mut self, other: &Self) {
        let Self { events, bookmarks, watches, lists, expired, left, .. } = other;
        self.events += events;
        self.bookmarks += bookmarks;
        self.watches += watches;
        self.lists += lists;
        self.expired += expired;
        self.left += left;
        self.ended_cleanly += other.ended_cleanly;
        self.ended_broken += other.ended_broken;
        self.torn += other.torn;
        self.unanswered += other.unanswered;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
    }
}
