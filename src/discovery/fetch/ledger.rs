//! Which of a server's unaggregated lists are to be read when.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::Instant;

use super::{
    hashes::{Found, Wanted},
    plain::is_segment,
};
use crate::{
    api::discovery::{Tree, VersionDiscovery, legacy},
    discovery::catalog::{Document, Form, Lists},
    limits,
};

/// What was read of one server, and when. A list is due when its group-version is new or changed, and when it is old.
pub struct Ledger {
    max_age: Duration,
    entries: HashMap<String, Entry>,
}

struct Entry {
    /// What the aggregated document said when the list was read.
    version: Option<Arc<VersionDiscovery>>,
    due: Instant,
    failed: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Nothing was read. No list gets much older than `max_age`.
    pub fn new(max_age: Duration) -> Self {
        Self { max_age, entries: HashMap::new() }
    }

    /// What is to be read now of a server with this document; with `again`, also what failed the last time, and that
    /// behind everything else.
    ///
    /// What is `Stale` is not asked for: the server cannot say. What was unaggregated in the first place has been read.
    pub fn due(&self, document: &Document, again: bool, now: Instant) -> Vec<Wanted> {
        let mut due = Vec::new();
        let mut failed = Vec::new();
        for wanted in wanted(document) {
            let known = self.entries.get(&wanted.group_version);
            let known = known.filter(|known| is_same(&known.version, &wanted.version));
            match known {
                Some(known) if known.failed && again => failed.push(wanted),
                Some(known) if known.failed || now < known.due => {}
                _ => due.push(wanted),
            }
        }
        due.append(&mut failed);
        due.truncate(limits::MAX_LISTS);
        due
    }

    /// Writes down what was read, and makes of it what is known now of a server with this document.
    pub fn enter(&mut self, read: Vec<(Wanted, Option<Found>)>, document: &Document, now: Instant) -> Lists {
        let mut lists = Lists::clone(&document.lists);
        let listed: HashMap<_, _> =
            all(document).map(|wanted| (wanted.group_version, wanted.version)).collect();
        for (Wanted { group_version, version }, found) in read {
            // Spread, so that they do not all come at once the next time.
            let due = now + self.max_age.mul_f64(rand::rng().random_range(0.5..=1.0));
            let failed = found.is_none();
            match found {
                Some(Found::Addresses(addresses)) => lists.addresses = addresses,
                Some(Found::Hashes(hashes)) if hashes.is_empty() => {
                    lists.hashes.remove(&group_version);
                }
                Some(Found::Hashes(hashes)) => {
                    let same = lists.hashes.get(&group_version).is_some_and(|known| **known == hashes);
                    if !same {
                        lists.hashes.insert(group_version.clone(), Arc::new(hashes));
                    }
                }
                None => {}
            }
            self.entries.insert(group_version, Entry { version, due, failed });
        }
        lists.hashes.retain(|name, _| listed.contains_key(name));
        self.entries.retain(|name, _| listed.contains_key(name));
        lists
    }
}

/// Everything that there is a list of, if the server could say.
fn wanted(document: &Document) -> impl Iterator<Item = Wanted> {
    let is_read = |tree| document.form(tree) == Form::Unaggregated;
    all(document).filter(move |wanted| {
        let name = &*wanted.group_version;
        let tree = if name.contains('/') { Tree::Apis } else { Tree::Api };
        let has_path = name.is_empty() || name.splitn(2, '/').all(is_segment);
        let is_stale = wanted.version.as_ref().is_some_and(|version| version.freshness.is_stale());
        has_path && !is_stale && !is_read(tree)
    })
}

fn all(document: &Document) -> impl Iterator<Item = Wanted> {
    let root = Wanted { group_version: String::new(), version: None };
    let groups = document.api.list.items.iter().chain(&document.apis.list.items);
    let versions = groups.flat_map(|group| {
        group.versions.iter().map(|version| Wanted {
            group_version: legacy::group_version(group.name(), &version.version),
            version: Some(Arc::clone(version)),
        })
    });
    std::iter::once(root).chain(versions)
}

/// Equal versions of two documents are one object, mostly.
fn is_same(a: &Option<Arc<VersionDiscovery>>, b: &Option<Arc<VersionDiscovery>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
