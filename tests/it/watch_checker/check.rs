//! Proves of one client's history that it is true: no gap, no duplicate, no reorder.

use std::collections::HashSet;

use super::history::{Change, Kind, Revision, State, Step, Truth};

/// What is wrong with a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write happened in a range that the watch has passed, and was not told.
    Gap(Change),
    /// A write was told again.
    Duplicate,
    /// A write was told after a later one, or was before the watch's beginning.
    Reordered,
    /// There was no such write.
    Phantom,
    /// There was a write at that revision: another one.
    Other(Change),
    /// The kind does not fit what the client knew of the object: added twice, or gone before.
    Impossible,
    /// A list is not what was there at its revision.
    WrongList { expected: State },
    /// A list or bookmark is older than what the client has seen.
    Backwards { seen: Revision },
    /// The client itself went on somewhere else than where it had been.
    Astray { seen: Revision },
    /// A watch ended as if it were complete, in the midst of a line.
    Torn,
    /// What happened up to the end never arrived.
    Behind { end: Revision },
    /// At the end the client's view is not what is there.
    WrongEnd { expected: State },
}

/// Where in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub step: usize,
    pub fault: Fault,
}

/// A client's view while its history is gone through.
struct View<'a> {
    truth: &'a Truth,
    state: State,
    /// Everything up to here is known.
    seen: Revision,
    /// Writes that were told.
    told: HashSet<Revision>,
    step: usize,
    findings: Vec<Finding>,
}

/// All that is wrong with a history, which should know everything up to `end`.
pub fn check(truth: &Truth, history: &[Step], end: Revision) -> Vec<Finding> {
    let mut view =
        View { truth, state: State::new(), seen: 0, told: HashSet::new(), step: 0, findings: Vec::new() };
    for (number, step) in history.iter().enumerate() {
        view.step = number;
        view.take(step);
    }
    view.step = history.len();
    if view.seen < end {
        view.found(Fault::Behind { end });
    } else {
        let expected = truth.state_at(view.seen);
        if view.state != expected {
            view.found(Fault::WrongEnd { expected });
        }
    }
    view.findings
}

// === impl View ===

impl View<'_> {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Listed { at, objects } => {
                if *at < self.seen {
                    self.found(Fault::Backwards { seen: self.seen });
                }
                let expected = self.truth.state_at(*at);
                if *objects != expected {
                    self.found(Fault::WrongList { expected });
                }
                self.state.clone_from(objects);
                self.seen = *at;
            }
            Step::Watching { from } => {
                if *from != self.seen {
                    self.found(Fault::Astray { seen: self.seen });
                }
            }
            Step::Event(change) => self.event(change),
            Step::Bookmark { at } => {
                if *at < self.seen {
                    self.found(Fault::Backwards { seen: self.seen });
                } else {
                    self.pass(at + 1);
                    self.seen = *at;
                }
            }
            Step::Ended { cleanly: true, torn: true } => self.found(Fault::Torn),
            Step::Ended { .. } | Step::Expired => {}
        }
    }

    fn event(&mut self, change: &Change) {
        let again = !self.told.insert(change.at);
        match self.truth.at(change.at) {
            None => return self.found(Fault::Phantom),
            Some(real) => {
                let same_value = real.value.is_none() || change.value == real.value;
                if (&real.name, real.kind) != (&change.name, change.kind) || !same_value {
                    self.found(Fault::Other(real.clone()));
                }
            }
        }
        if change.at <= self.seen {
            return self.found(if again { Fault::Duplicate } else { Fault::Reordered });
        }
        self.pass(change.at);
        if self.state.contains_key(&change.name) == (change.kind == Kind::Added) {
            self.found(Fault::Impossible);
        }
        change.apply(&mut self.state);
        self.seen = change.at;
    }

    /// Everything before this revision should have been told by now.
    fn pass(&mut self, before: Revision) {
        for missing in self.truth.between(self.seen, before) {
            self.findings.push(Finding { step: self.step, fault: Fault::Gap(missing.clone()) });
        }
    }

    fn found(&mut self, fault: Fault) {
        self.findings.push(Finding { step: self.step, fault });
    }
}

#[cfg(test)]
mod tests;
