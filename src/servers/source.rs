//! Which API servers there are: the static list, in the order of their names.

use std::{
    fmt,
    iter::successors,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Server;

/// The most API servers that one proxy stands before; [`ServerSet`] is one machine word.
pub const MAX_SERVERS: usize = 64;

/// All API servers, sorted by name. The position of a server is its number in a [`ServerSet`].
#[derive(Clone, Debug, Default)]
pub struct Fleet(Arc<[Arc<Server>]>);

/// A set of servers of one [`Fleet`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ServerSet(u64);

/// What is under way to a server. Requests that end by themselves and those that last are counted apart.
#[derive(Debug, Default)]
pub struct Load {
    requests: AtomicUsize,
    watches: AtomicUsize,
}

/// Counts one request as long as it lives.
#[derive(Debug)]
pub struct InFlight {
    server: Arc<Server>,
    long_running: bool,
}

// === impl Fleet ===

impl Fleet {
    /// Sorts by name, so that every replica numbers alike.
    ///
    /// # Panics
    /// With more than [`MAX_SERVERS`]; configuration refuses that before.
    pub fn new(mut servers: Vec<Arc<Server>>) -> Self {
        assert!(servers.len() <= MAX_SERVERS, "at most {MAX_SERVERS} API servers");
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        Self(servers.into())
    }

    /// The server with this number.
    pub fn get(&self, index: usize) -> &Arc<Server> {
        &self.0[index]
    }

    /// Every server, by number.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Server>> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the server with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|server| server.name.as_ref().cmp(name)).ok()
    }

    /// The number of this very server, and not of another one that has its name.
    pub fn number(&self, server: &Arc<Server>) -> Option<usize> {
        self.position(&server.name).filter(|number| Arc::ptr_eq(self.get(*number), server))
    }

    /// Whether both are made of the same servers.
    pub fn is_same(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// All of them.
    pub fn all(&self) -> ServerSet {
        (0..self.len()).collect()
    }

    /// Those that are healthy now.
    pub fn healthy(&self) -> ServerSet {
        (0..self.len()).filter(|index| self.0[*index].health.is_healthy()).collect()
    }
}

// === impl ServerSet ===

impl ServerSet {
    /// No server.
    pub const EMPTY: Self = Self(0);

    /// One server.
    pub fn one(index: usize) -> Self {
        Self(1 << index)
    }

    /// Whether the server with this number is in it.
    pub fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// Whether no server is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Puts a server in.
    pub fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    /// In one or the other.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In this one and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers in it, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        // Without the lowest bit, again and again.
        let sets = successors(Some(self.0), |set| Some(set & set.checked_sub(1)?));
        sets.take_while(|set| *set != 0).map(|set| set.trailing_zeros() as usize)
    }
}

impl FromIterator<usize> for ServerSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        indexes.into_iter().fold(Self::EMPTY, |mut set, index| {
            set.insert(index);
            set
        })
    }
}

impl fmt::Debug for ServerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

// === impl Load ===

impl Load {
    /// Requests under way, those that last not among them.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Watches and the like under way.
    pub fn watches(&self) -> usize {
        self.watches.load(Ordering::Relaxed)
    }

    fn counter(&self, long_running: bool) -> &AtomicUsize {
        if long_running { &self.watches } else { &self.requests }
    }
}

// === impl InFlight ===

impl InFlight {
    /// Counts a request to a server from now on.
    pub fn new(server: &Arc<Server>, long_running: bool) -> Self {
        server.load.counter(long_running).fetch_add(1, Ordering::Relaxed);
        Self { server: Arc::clone(server), long_running }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.load.counter(self.long_running).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_in_a_set_are_those_that_were_put_in() {
        for numbers in [vec![], vec![0], vec![63], vec![0, 1, 7, 62, 63], (0..MAX_SERVERS).collect()] {
            let set: ServerSet = numbers.iter().copied().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), numbers);
        }
    }
}
