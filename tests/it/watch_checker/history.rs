//! What happened, and what one client saw of it. Revisions are the resource versions of one etcd.

use std::collections::BTreeMap;

/// One line of time for all objects.
pub type Revision = u64;

/// What a write did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One accepted write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub at: Revision,
    pub kind: Kind,
    pub name: String,
    /// What the writer put into the object, as far as that is known.
    pub value: Option<u64>,
}

/// Objects by name, each with the revision of its last write.
pub type State = BTreeMap<String, Revision>;

/// What a reflector did and saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything that is there, as of a revision.
    Listed { at: Revision, objects: State },
    /// A watch was answered 200.
    Watching { from: Revision },
    /// It told of a write.
    Event(Change),
    /// It told that there was nothing else up to here.
    Bookmark { at: Revision },
    /// The server no longer knows what happened since; the next step is a list.
    Expired,
    /// The watch ended by itself: as if it were complete or not, and in the midst of a line or not.
    Ended { cleanly: bool, torn: bool },
}

/// A write of which the writer was told that it was done.
#[derive(Clone, Debug)]
pub struct Ack {
    pub kind: Kind,
    pub name: String,
    /// Deleting is answered without one.
    pub at: Option<Revision>,
    pub value: u64,
}

/// All accepted writes of one resource after a revision at which its state is known.
#[derive(Clone, Debug)]
pub struct Truth {
    before: State,
    changes: Vec<Change>,
}

// === impl Kind ===

impl Kind {
    /// Of a watch event's type.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "ADDED" => Some(Self::Added),
            "MODIFIED" => Some(Self::Modified),
            "DELETED" => Some(Self::Deleted),
            _ => None,
        }
    }
}

// === impl Change ===

impl Change {
    pub fn apply(&self, state: &mut State) {
        match self.kind {
            Kind::Deleted => drop(state.remove(&self.name)),
            Kind::Added | Kind::Modified => drop(state.insert(self.name.clone(), self.at)),
        }
    }
}

// === impl Truth ===

impl Truth {
    /// Changes in the order in which they happened.
    pub fn new(before: State, changes: Vec<Change>) -> Self {
        assert!(changes.is_sorted_by(|one, next| one.at < next.at), "{changes:?}");
        Self { before, changes }
    }

    /// What somebody saw who listed once and whose one watch never ended.
    pub fn of_witness(steps: &[Step]) -> Self {
        let Some((Step::Listed { objects, .. }, [Step::Watching { .. }, seen @ ..])) = steps.split_first()
        else {
            panic!("no witness: {:?}", steps.first());
        };
        let changes = seen.iter().filter_map(|step| match step {
            Step::Event(change) => Some(change.clone()),
            Step::Bookmark { .. } => None,
            other => panic!("the witness was disturbed: {other:?}"),
        });
        Self::new(objects.clone(), changes.collect())
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    pub fn at(&self, revision: Revision) -> Option<&Change> {
        let found = self.changes.binary_search_by_key(&revision, |change| change.at).ok()?;
        Some(&self.changes[found])
    }

    /// After `first` and before `last`.
    pub fn between(&self, first: Revision, last: Revision) -> &[Change] {
        let begin = self.changes.partition_point(|change| change.at <= first);
        let end = self.changes.partition_point(|change| change.at < last);
        &self.changes[begin..end.max(begin)]
    }

    pub fn state_at(&self, revision: Revision) -> State {
        let mut state = self.before.clone();
        self.changes.iter().take_while(|change| change.at <= revision).for_each(|one| one.apply(&mut state));
        state
    }

    /// What a writer was told to be done and is not among the changes, or differs there; and learns of the
    /// values that were written.
    pub fn reconcile(&mut self, acks: &[Ack]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut deletions: BTreeMap<&str, isize> = BTreeMap::new();
        for ack in acks {
            let Some(at) = ack.at else {
                *deletions.entry(&ack.name).or_default() += 1;
                continue;
            };
            match self.changes.binary_search_by_key(&at, |change| change.at) {
                Ok(found) => {
                    let change = &mut self.changes[found];
                    if (&change.name, change.kind) != (&ack.name, ack.kind) {
                        wrong.push(format!("{ack:?} is {change:?}"));
                    }
                    if change.value.replace(ack.value).is_some_and(|value| value != ack.value) {
                        wrong.push(format!("{ack:?} has another value: {change:?}"));
                    }
                }
                Err(_) => wrong.push(format!("{ack:?} never happened")),
            }
        }
        for change in self.changes.iter().filter(|change| change.kind == Kind::Deleted) {
            *deletions.entry(&change.name).or_default() -= 1;
        }
        let missing = deletions.into_iter().filter(|(_, count)| *count > 0);
        wrong.extend(missing.map(|(name, count)| format!("{count} deletions of {name} never happened")));
        wrong
    }
}
