//! Which API servers there are, in the order of their names.
//!
//! Beside the list of the configuration there can be one *source*: identity leases ([`leases`]), endpoint slices
//! ([`endpoint_slices`]) or DNS ([`dns`]). What a source says is read into [`sighting`]s, none of which is outside of
//! the ranges that the operator allowed ([`allowed`]); the [`roster`] makes of them, over time, the list of servers that
//! there should be, and the [`registrar`] counts and tells.

use std::{
    fmt,
    iter::successors,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Server, health::Rank, pool::is_of_connection};
use crate::{body::BoxError, limits::PANIC_SHARE};

pub mod allowed;
pub mod dns;
pub mod endpoint_slices;
pub mod leases;
pub mod registrar;
pub mod roster;
pub mod sighting;
mod told;

/// The most API servers that one proxy stands before; [`ServerSet`] is one machine word.
pub const MAX_SERVERS: usize = 64;

/// All API servers, sorted by name. The position of a server is its number in a [`ServerSet`].
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    servers: Arc<[Arc<Server>]>,
    /// Those of each trust domain, in the order of their first.
    domains: Arc<[ServerSet]>,
}

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
        let domains = by_domain(servers.iter().map(|server| &*server.trust_domain)).into();
        Self { servers: servers.into(), domains }
    }

    /// The servers of each trust domain, in the order of their first.
    pub fn domains(&self) -> &[ServerSet] {
        &self.domains
    }

    /// The servers of the trust domain with this name.
    pub fn in_domain(&self, name: &str) -> ServerSet {
        let is_it = |domain: &&ServerSet| domain.iter().any(|index| &*self.get(index).trust_domain == name);
        self.domains.iter().find(is_it).copied().unwrap_or_default()
    }

    /// The servers that share a trust domain with this one, itself among them.
    pub fn domain_of(&self, index: usize) -> ServerSet {
        let domain = self.domains.iter().find(|domain| domain.contains(index));
        domain.copied().unwrap_or_else(|| ServerSet::one(index))
    }

    /// The server with this number.
    pub fn get(&self, index: usize) -> &Arc<Server> {
        &self.servers[index]
    }

    /// Every server, by number.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Server>> {
        self.servers.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The number of the server with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.servers.binary_search_by(|server| server.name.as_ref().cmp(name)).ok()
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

    /// Those that are asked first now: the healthy ones, if they are not too few.
    ///
    /// Where less than half of those that we have contact with are healthy, what ejected the others is more likely
    /// our own trouble, or everybody's, and the healthy ones could not carry the rest's load: so whoever is there
    /// and only said that it is not ready, or had failures, counts as healthy. That is so for each trust domain, for the
    /// servers of another one do not carry its load.
    pub fn healthy(&self) -> ServerSet {
        let of = |domain: &ServerSet| {
            asked_first(domain.iter().map(|index| (index, self.get(index).health.rank())))
        };
        self.domains.iter().map(of).fold(ServerSet::EMPTY, ServerSet::union)
    }

    /// Whether this one is asked first; see [`Fleet::healthy`].
    pub fn is_healthy(&self, index: usize) -> bool {
        self.get(index).health.rank() == Rank::Well || self.healthy().contains(index)
    }
}

/// The servers of each trust domain, in the order of their first; told is that of each server.
pub(crate) fn by_domain<'a>(trust_domains: impl Iterator<Item = &'a str>) -> Vec<ServerSet> {
    let mut domains: Vec<(&str, ServerSet)> = Vec::new();
    for (index, name) in trust_domains.enumerate() {
        match domains.iter_mut().find(|(known, _)| *known == name) {
            Some((_, domain)) => domain.insert(index),
            None => domains.push((name, ServerSet::one(index))),
        }
    }
    domains.into_iter().map(|(_, domain)| domain).collect()
}

fn asked_first(ranks: impl Iterator<Item = (usize, Rank)>) -> ServerSet {
    let (mut well, mut spared, mut there) = (ServerSet::EMPTY, ServerSet::EMPTY, 0);
    for (index, rank) in ranks {
        there += usize::from(rank != Rank::Away);
        match rank {
            Rank::Well => well.insert(index),
            Rank::Spared => spared.insert(index),
            Rank::There | Rank::Away => {}
        }
    }
    if well.len() * PANIC_SHARE < there { well.union(spared) } else { well }
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

    /// How many servers are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
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

    /// The answer broke off. A watch may: whoever ends connections after a time ends them so.
    pub fn broke_off(&self, error: &BoxError) {
        if !self.long_running && is_of_connection(error) {
            self.server.health.broke_off();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.load.counter(self.long_running).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::servers::{health::Word, nowhere::server_of};

    #[test]
    fn the_last_servers_are_never_all_ejected() {
        use Rank::{Away, Spared, There, Well};
        for (ranks, first) in [
            (&[Spared][..], &[0][..]),
            (&[Spared, Spared, Spared], &[0, 1, 2]),
            // Half of them is enough.
            (&[Well, Spared], &[0]),
            (&[Well, Well, Spared, Spared], &[0, 1]),
            (&[Well, Spared, Spared], &[0, 1, 2]),
            // Who is not there is not missed, and never comes back by this.
            (&[Well, Spared, Away, Away], &[0]),
            (&[Spared, Away, Away], &[0]),
            (&[There, Away], &[]),
            (&[Well, There, There], &[0]),
            (&[Well, There, Spared], &[0, 2]),
            (&[], &[]),
        ] {
            let found = asked_first(ranks.iter().copied().enumerate());
            assert_eq!(found.iter().collect::<Vec<_>>(), first, "{ranks:?}");
        }
    }

    #[test]
    fn a_domain_is_found_by_its_name_and_by_any_of_its_servers() {
        let server = |name: &str, domain: &str| server_of(name, "192.0.2.1", domain);
        let fleet = Fleet::new(vec![server("c", "x"), server("b", "y"), server("a", "x"), server("d", "z")]);
        let set = |numbers: &[usize]| numbers.iter().copied().collect::<ServerSet>();
        assert_eq!(fleet.domains(), [set(&[0, 2]), set(&[1]), set(&[3])]);
        assert_eq!((fleet.domain_of(2), fleet.in_domain("x")), (set(&[0, 2]), set(&[0, 2])));
        assert_eq!((fleet.domain_of(3), fleet.in_domain("w")), (set(&[3]), ServerSet::EMPTY));
    }

    #[test]
    fn i13_the_servers_of_another_domain_do_not_carry_its_load() {
        let fleet = |domain: &str| {
            let servers = ["a", "b", "c"].map(|name| server_of(name, "192.0.2.1", domain));
            let alone = server_of("d", "192.0.2.1", "d");
            for server in servers.iter().chain([&alone]) {
                server.health.contact();
                server.health.fetched(Ok(()));
                server.health.heard(Word::Ready, Instant::now());
                assert_eq!(server.health.rank(), Rank::Well);
            }
            alone.health.heard(Word::NotReady, Instant::now());
            alone.health.heard(Word::NotReady, Instant::now());
            assert_eq!(alone.health.rank(), Rank::Spared);
            Fleet::new(servers.into_iter().chain([alone]).collect())
        };
        assert!(!fleet("d").is_healthy(3), "three others are");
        assert!(fleet("x").is_healthy(3), "it is the only one of its domain");
    }

    #[test]
    fn the_numbers_in_a_set_are_those_that_were_put_in() {
        for numbers in [vec![], vec![0], vec![63], vec![0, 1, 7, 62, 63], (0..MAX_SERVERS).collect()] {
            let set: ServerSet = numbers.iter().copied().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), numbers);
        }
    }
}
