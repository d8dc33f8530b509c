//! Which API servers there should be, over time: the configuration's, and those that a source named lately.
//!
//! - A server of the configuration stays, and its address counts, whatever a source says about its name. A sighting
//!   that has a configured server's address is that server.
//! - A server that the source no longer names has *departed*: it stays for as long as the operator said
//!   (`--forget-after`), by a clock that nobody can set, and comes back by its name.
//! - An address that another server has by now leads to that one: if the former one is not named as being there, it was
//!   renamed, and is forgotten at once.
//! - A source that can't be asked changes nothing.
//! - There is room for so many. Who is there goes before who departed, for where addresses rotate those of yesterday
//!   would take the places of today's; of them who is named now before who was not asked for; then who is known before
//!   who is new, then who departed last, then the lesser name.
//! - Changes are published at most once in [`Settings::settle`], so that a server that comes and goes costs no more.
//!
//! Everything here is a function of what it is given; nothing is asked, no clock is read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::MAX_SERVERS;
use super::allowed::Allowed;
use super::sighting::{Address, Reason, Refused, Sighting, Sightings};
use crate::limits;

#[cfg(test)]
mod tests;

/// Every server that there should be, by name.
pub type Members = BTreeMap<Arc<str>, Member>;

/// One server that there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it is.
    pub address: Address,
    /// Why it is there.
    pub state: State,
    /// Which process it is, if the source tells that: another one after a restart.
    pub holder: Option<Arc<str>>,
}

/// Why a server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The configuration has it.
    Static,
    /// The source names it.
    Seen,
    /// The source does not name it any more, or names it as one that left. To be taken for stale.
    Departed,
}

/// Another list than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The whole list.
    pub members: Arc<Members>,
    /// In what it differs from the last one, by name.
    pub news: Vec<(Arc<str>, News)>,
}

/// What became of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is new.
    Added(Address),
    /// It is forgotten.
    Removed,
    /// It is somewhere else now: it keeps its name, and nothing that was connected to the former address is it.
    Moved(Address),
    /// Its source does not name it any more.
    Departed,
    /// Its source names it again.
    Returned,
    /// Another process holds its lease: it was restarted.
    Restarted,
    /// The configuration has it now.
    Adopted,
    /// The configuration does not have it any more, but its source names it.
    Released,
}

/// What a roster goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A departed server is forgotten after this long.
    pub forget_after: Duration,
    /// The shortest time between two changes.
    pub settle: Duration,
    /// The most servers.
    pub most: usize,
}

/// The list of servers over time. See the module.
#[derive(Clone, Debug)]
pub struct Roster {
    settings: Settings,
    fixed: BTreeMap<Arc<str>, Address>,
    /// The addresses in `fixed`.
    fixed_addresses: BTreeSet<Address>,
    /// From the source; also those that are in `fixed`, which has their names or addresses.
    found: BTreeMap<Arc<str>, Found>,
    published: Arc<Members>,
    published_at: Option<Instant>,
    turned_away: Vec<Refused>,
}

/// A server of the source.
#[derive(Clone, Debug)]
struct Found {
    ip: IpAddr,
    address: Address,
    holder: Option<Arc<str>>,
    /// Since when it is not there.
    departed: Option<Instant>,
    /// The last look named it. A look at a part of the source departs nobody.
    named: bool,
    /// Since when it is not named, not even as one that left.
    unnamed: Option<Instant>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { forget_after: limits::FORGET_AFTER, settle: limits::ROSTER_SETTLE, most: MAX_SERVERS }
    }
}

// === impl Roster ===

impl Roster {
    /// Begins with the configuration's servers.
    pub fn new(fixed: impl IntoIterator<Item = (Arc<str>, Address)>, settings: Settings) -> Self {
        let mut roster = Self {
            settings,
            fixed: BTreeMap::new(),
            fixed_addresses: BTreeSet::new(),
            found: BTreeMap::new(),
            published: Arc::default(),
            published_at: None,
            turned_away: Vec::new(),
        };
        roster.fix(fixed);
        roster.published = Arc::new(roster.members());
        roster
    }

    /// The list as it was published last; at first the configuration's servers.
    pub fn published(&self) -> &Arc<Members> {
        &self.published
    }

    /// What the last update named and is not taken: there is no room, or the name or the address is another's.
    pub fn turned_away(&self) -> &[Refused] {
        &self.turned_away
    }

    /// Another configuration: it counts at once. A server that it no longer has is gone, unless its source names it as
    /// being there; one outside of the ranges that are now allowed is gone, too.
    pub fn configure(
        &mut self,
        fixed: impl IntoIterator<Item = (Arc<str>, Address)>,
        settings: Settings,
        allowed: &Allowed,
        now: Instant,
    ) -> Option<Change> {
        let before: BTreeSet<_> = self.fixed.keys().cloned().collect();
        self.settings = settings;
        self.fix(fixed);
        let gone = |name: &Arc<str>| before.contains(name) && !self.fixed.contains_key(name);
        self.found.retain(|name, found| allowed.permits(found.ip) && (found.is_live() || !gone(name)));
        self.forget(now);
        self.trim(&BTreeSet::new());
        self.publish(now, true)
    }

    /// Takes in what the source says now. A change that comes too soon after the last one waits for [`Roster::due`].
    pub fn update(&mut self, sightings: Sightings, now: Instant) -> Option<Change> {
        self.turned_away.clear();
        match sightings {
            Sightings::All(all) => self.take(all, true, now),
            Sightings::Some(some) => self.take(some, false, now),
            Sightings::Unknown => {}
        }
        self.tick(now)
    }

    /// What time alone changes.
    pub fn tick(&mut self, now: Instant) -> Option<Change> {
        self.forget(now);
        self.publish(now, false)
    }

    /// When [`Roster::tick`] may have a change; none: not by time alone.
    pub fn due(&self) -> Option<Instant> {
        let waiting = (*self.published != self.members()).then_some(self.published_at).flatten();
        let settled = waiting.and_then(|at| at.checked_add(self.settings.settle));
        let unnamed = self.found.values().filter_map(|found| found.unnamed);
        unnamed.filter_map(|at| at.checked_add(self.settings.forget_after)).chain(settled).min()
    }

    fn fix(&mut self, fixed: impl IntoIterator<Item = (Arc<str>, Address)>) {
        self.fixed = fixed.into_iter().collect();
        self.fixed_addresses = self.fixed.values().cloned().collect();
    }

    /// Who is not among them is no longer named, if they are `all`.
    fn take(&mut self, sightings: Vec<Sighting>, all: bool, now: Instant) {
        let accepted = self.accept(sightings);
        for found in self.found.values_mut() {
            found.named = false;
            if all {
                found.departed.get_or_insert(now);
                found.unnamed.get_or_insert(now);
            }
        }
        let holders: BTreeMap<_, _> =
            accepted.iter().map(|sighting| (sighting.address(), Arc::clone(sighting.name()))).collect();
        self.found.retain(|name, found| holders.get(&found.address).is_none_or(|holder| holder == name));
        let mut new = BTreeSet::new();
        for sighting in accepted {
            let known = self.found.get(sighting.name());
            if known.is_none() {
                new.insert(Arc::clone(sighting.name()));
            }
            let departed = known.and_then(|known| known.departed).unwrap_or(now);
            let found = Found::new(&sighting, (!sighting.is_live()).then_some(departed));
            self.found.insert(Arc::clone(sighting.name()), found);
        }
        self.trim(&new);
    }

    /// One sighting for each name and each address: those first that are there, then by name.
    fn accept(&mut self, mut sightings: Vec<Sighting>) -> Vec<Sighting> {
        sightings.sort_by(|a, b| {
            let key =
                |s: &Sighting| (!s.is_live(), Arc::clone(s.name()), s.ip(), s.port(), s.holder().cloned());
            key(a).cmp(&key(b))
        });
        let mut taken: BTreeMap<Arc<str>, Address> = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        sightings.retain(|sighting| {
            let address = sighting.address();
            if taken.get(sighting.name()) == Some(&address) {
                return false;
            }
            if taken.contains_key(sighting.name()) || !addresses.insert(address.clone()) {
                self.turned_away.push(Refused::new(sighting.name(), Reason::Duplicate));
                return false;
            }
            taken.insert(Arc::clone(sighting.name()), address);
            true
        });
        sightings
    }

    fn is_fixed(&self, name: &str, address: &Address) -> bool {
        self.fixed.contains_key(name) || self.fixed_addresses.contains(address)
    }

    /// Those of the source that are not the configuration's as well.
    fn own(&self) -> impl Iterator<Item = (&Arc<str>, &Found)> {
        self.found.iter().filter(|(name, found)| !self.is_fixed(name, &found.address))
    }

    /// How many of them there can be.
    fn most_own(&self) -> usize {
        self.settings.most.saturating_sub(self.fixed.len())
    }

    /// Lets go of whoever there is no room for; see the module.
    fn trim(&mut self, new: &BTreeSet<Arc<str>>) {
        let rank = |(name, found): (&Arc<str>, &Found)| {
            let doubtful = found.is_live() && !found.named;
            let departed = found.departed.map(Reverse);
            (!found.is_live(), doubtful, new.contains(name), departed, Arc::clone(name))
        };
        let mut own: Vec<_> = self.own().map(rank).collect();
        own.sort();
        for (.., name) in own.into_iter().skip(self.most_own()) {
            let gone = self.found.remove(&name);
            if gone.is_some_and(|gone| gone.named) {
                self.turned_away.push(Refused::new(&name, Reason::TooMany));
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        let forget_after = self.settings.forget_after;
        self.found.retain(|_, found| {
            found.unnamed.is_none_or(|since| now.saturating_duration_since(since) < forget_after)
        });
    }

    fn members(&self) -> Members {
        let fixed = self.fixed.iter().map(|(name, address)| {
            let there = |found: &&Found| found.address == *address;
            let found = self.found.get(name).or_else(|| self.found.values().find(there));
            let holder = found.and_then(|found| found.holder.clone());
            (Arc::clone(name), Member { address: address.clone(), state: State::Static, holder })
        });
        let own = self.own().map(|(name, found)| {
            let state = if found.is_live() { State::Seen } else { State::Departed };
            let (address, holder) = (found.address.clone(), found.holder.clone());
            (Arc::clone(name), Member { address, state, holder })
        });
        fixed.chain(own).collect()
    }

    fn publish(&mut self, now: Instant, at_once: bool) -> Option<Change> {
        let settle = self.settings.settle;
        let too_soon = |at: Instant| now.saturating_duration_since(at) < settle;
        if !at_once && self.published_at.is_some_and(too_soon) {
            return None;
        }
        let members = self.members();
        if *self.published == members {
            return None;
        }
        let news = news(&self.published, &members);
        self.published = Arc::new(members);
        self.published_at = Some(now);
        Some(Change { members: Arc::clone(&self.published), news })
    }
}

fn news(old: &Members, new: &Members) -> Vec<(Arc<str>, News)> {
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    let mut news: Vec<_> = removed.map(|name| (Arc::clone(name), News::Removed)).collect();
    for (name, now) in new {
        let mut add = |what| news.push((Arc::clone(name), what));
        let Some(before) = old.get(name) else {
            add(News::Added(now.address.clone()));
            continue;
        };
        if before.address != now.address {
            add(News::Moved(now.address.clone()));
        }
        match (before.state, now.state) {
            (State::Seen, State::Departed) => add(News::Departed),
            (State::Departed, State::Seen) => add(News::Returned),
            (State::Seen | State::Departed, State::Static) => add(News::Adopted),
            (State::Static, State::Seen | State::Departed) => add(News::Released),
            (State::Static, State::Static)
            | (State::Seen, State::Seen)
            | (State::Departed, State::Departed) => {}
        }
        // Not to know who holds it is no other holder.
        if before.holder.is_some() && now.holder.is_some() && before.holder != now.holder {
            add(News::Restarted);
        }
    }
    news
}

// === impl Found ===

impl Found {
    fn new(sighting: &Sighting, departed: Option<Instant>) -> Self {
        Self {
            ip: sighting.ip(),
            address: sighting.address(),
            holder: sighting.holder().cloned(),
            departed,
            named: true,
            unnamed: None,
        }
    }

    fn is_live(&self) -> bool {
        self.departed.is_none()
    }
}
