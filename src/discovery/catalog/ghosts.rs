//! The last word of a server that is not heard does not bring back what was deleted since.
//!
//! What custom resource definitions and APIServices make servers serve lives in the storage that servers share. So of a
//! resource that a *fresh* server's informers prove to be gone from there, what a server that is away said last counts
//! no longer: it is not listed, and no request goes there for it. Whatever else that server said stays as it is, for it
//! may be the only one that serves it.
//!
//! A proof takes all of this, and without it nothing changes; a wrong one would be a 404 for something that exists:
//!
//! - The resource was registered: some informer named its definition and the APIService that goes with it, or the
//!   aggregated APIService of its group-version. What is built in is never judged.
//! - The server's own informers were in step behind its last fetch: so its storage is known, and what it listed was seen
//!   at its latest revision. Whoever can't be watched may be of another cluster, where the same name is another thing.
//! - A *witness* is fresh, has the same storage, and both of its informers are in step.
//! - The witness's informers have come as far as the revisions at which the definition and the APIService were last
//!   seen, and it does not have one of them: so that was deleted later. Where one was made anew, its revision is a later
//!   one.
//! - The witness's own discovery, read after that of the server in question, does not list the resource.
//!
//! What was proven stays so without witnesses, and over our own restart, until that server's discovery was read again
//! or a later revision of the same thing was seen.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{Document, Freshness, Knowledge};
use crate::{
    api::{
        discovery::{GroupDiscoveryList, VersionDiscovery},
        gvr::GroupVersionResource,
    },
    limits,
    servers::watched::{Custom, Maker, Name},
};

#[cfg(test)]
mod tests;

/// What informers ever named, by storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<String, Named>);

/// What informers ever named of one storage, with the latest revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Definitions by group and plural name.
    pub definitions: BTreeMap<Name, u64>,
    /// APIServices by group and version; none of those that are there for what is built in.
    pub services: BTreeMap<Name, NamedService>,
}

/// An APIService that was there once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedService {
    /// The latest revision that was seen.
    pub revision: u64,
    /// It was there because of definitions.
    pub of_definitions: bool,
    /// It was there because of an extension server.
    pub aggregated: bool,
}

/// Why a resource is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What is no longer there.
    pub lost: Lost,
    /// At this revision it was not there.
    pub revision: u64,
}

/// What made a resource one that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// Its definition.
    Definition,
    /// The APIService of its group-version.
    Service,
}

/// Resources that a server listed and that are gone. A group-version of which it listed no resource is an empty one.
pub type Gone = BTreeMap<GroupVersionResource, Proof>;

/// What has to outlive us of what is known of one server, beside its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// See [`Custom::storage`].
    pub storage: Option<String>,
    /// Of what the server listed.
    pub named: Named,
    /// See [`Gone`].
    pub gone: Gone,
}

/// Decides anew which last words are void. Pure, and the same for every order of servers.
pub fn judge(servers: &mut [Knowledge], memory: &Memory) {
    let verdicts: Vec<Gone> = servers.iter().map(|known| verdict(known, servers, memory)).collect();
    for (known, gone) in servers.iter_mut().zip(verdicts) {
        if *known.gone() != gone {
            known.set_gone(gone);
        }
    }
}

fn verdict(known: &Knowledge, servers: &[Knowledge], memory: &Memory) -> Gone {
    let Some(document) = &known.document else { return Gone::new() };
    if known.gone().is_empty() && known.is_believed_in_documents() {
        return Gone::new();
    }
    let Some(storage) = known.storage() else { return known.gone().clone() };
    let Some(named) = memory.0.get(storage) else { return known.gone().clone() };
    // It is being asked, or was: its own word counts, but for what it does not bring back before it has answered.
    let may_judge = !known.is_believed_in_documents();
    let mut gone = Gone::new();
    let is_in_step = |board: &Custom| board.synced && board.storage.as_deref() == Some(storage);
    let is_witness = |other: &&Knowledge| {
        other.freshness() == Freshness::Fresh
            && is_in_step(other.board())
            && other.fetched_at() > known.fetched_at()
    };
    let witnesses: Vec<Witness<'_>> =
        servers.iter().filter(|_| may_judge).filter(is_witness).map(Witness::of).collect();
    if witnesses.is_empty() && known.gone().is_empty() {
        return gone;
    }
    for (group, version) in versions(document) {
        let name = (group.to_owned(), version.version.clone());
        let Some(service) = named.services.get(&name) else { continue };
        let built_in = || {
            let mut boards = servers.iter().map(Knowledge::board).filter(|board| is_in_step(board));
            boards.any(|board| board.apiservices.get(&name).is_some_and(|it| it.maker == Maker::BuiltIn))
        };
        if group.is_empty() || built_in() {
            continue;
        }
        for resource in resources(version) {
            let key = GroupVersionResource {
                group: group.to_owned(),
                version: version.version.clone(),
                resource: resource.to_owned(),
            };
            let thing = Thing { key: &key, service, name: &name, named };
            let before = known.gone().get(&key).copied().filter(|proof| thing.is_still_proven(proof));
            // The latest, whoever stands first.
            let proofs = witnesses.iter().filter_map(|witness| thing.proof(witness)).chain(before);
            if let Some(proof) = proofs.max_by_key(|proof| (proof.revision, proof.lost)) {
                gone.insert(key, proof);
            }
        }
    }
    gone
}

/// A server that may say what is gone.
struct Witness<'a> {
    board: &'a Custom,
    document: Option<&'a Document>,
    /// What it lists, by group, version and resource; it is asked for little of it, or for much.
    listed: OnceCell<HashSet<(&'a str, &'a str, &'a str)>>,
}

impl<'a> Witness<'a> {
    fn of(known: &'a Knowledge) -> Self {
        Self { board: known.board(), document: known.document.as_deref(), listed: OnceCell::new() }
    }

    /// Whether it lists a resource, or for an empty one the group-version.
    fn lists(&self, key: &GroupVersionResource) -> bool {
        let listed = self.listed.get_or_init(|| {
            let mut listed = HashSet::new();
            for (group, version) in self.document.into_iter().flat_map(versions) {
                let names = resources(version).chain([""]);
                listed.extend(names.map(|name| (group, version.version.as_str(), name)));
            }
            listed
        });
        listed.contains(&(key.group.as_str(), key.version.as_str(), key.resource.as_str()))
    }
}

/// A resource that may be gone.
struct Thing<'a> {
    key: &'a GroupVersionResource,
    /// Group and version.
    name: &'a Name,
    service: &'a NamedService,
    named: &'a Named,
}

impl Thing<'_> {
    /// The revision of its definition, if it is known to have come from one.
    fn definition(&self) -> Option<u64> {
        let name = (self.key.group.clone(), self.key.resource.clone());
        self.named.definitions.get(&name).copied().filter(|_| self.service.of_definitions)
    }

    fn proof(&self, witness: &Witness<'_>) -> Option<Proof> {
        // Last, for what is there is seen sooner by its registration.
        self.registration_lost(witness.board)
            .filter(|_| witness.document.is_some() && !witness.lists(self.key))
    }

    fn registration_lost(&self, board: &Custom) -> Option<Proof> {
        // Who has the group-version now decides what is in it.
        let service = board.apiservices.get(self.name);
        let is_another = service.is_some_and(|service| service.maker != Maker::Definitions);
        if is_another || board.apiservices_until < self.service.revision {
            return None;
        }
        let lost_service = Proof { lost: Lost::Service, revision: board.apiservices_until };
        let lost_service = service.is_none().then_some(lost_service);
        let Some(seen) = self.definition() else {
            return lost_service.filter(|_| self.service.aggregated);
        };
        let name = (self.key.group.clone(), self.key.resource.clone());
        let lost = !board.crds.contains_key(&name) && board.crds_until >= seen;
        let proof = Proof { lost: Lost::Definition, revision: board.crds_until };
        lost.then_some(proof).or(lost_service)
    }

    /// Whether nothing was seen since that is later.
    fn is_still_proven(&self, proof: &Proof) -> bool {
        match proof.lost {
            Lost::Definition => self.definition().is_some_and(|seen| seen <= proof.revision),
            Lost::Service => self.service.revision <= proof.revision,
        }
    }
}

/// The same document without what is gone; none if it would be the same.
pub(super) fn without(document: &Document, gone: &Gone) -> Option<Document> {
    if gone.is_empty() {
        return None;
    }
    let mut document = document.clone();
    filter(&mut document.api.list, gone);
    filter(&mut document.apis.list, gone);
    Some(document)
}

fn filter(list: &mut GroupDiscoveryList, gone: &Gone) {
    for group in &mut list.items {
        let name = group.metadata.name.clone();
        let is_gone = |version: &VersionDiscovery, resource: &str| {
            let key = GroupVersionResource {
                group: name.clone(),
                version: version.version.clone(),
                resource: resource.to_owned(),
            };
            gone.contains_key(&key)
        };
        group.versions.retain_mut(|version| {
            let left = resources(version).filter(|resource| !is_gone(version, resource)).count();
            if left > 0 && left < version.resources.len() {
                let kept: Vec<_> =
                    version.resources.iter().map(|it| !is_gone(version, &it.resource)).collect();
                let mut kept = kept.into_iter();
                Arc::make_mut(version).resources.retain(|_| kept.next().unwrap_or(true));
            }
            left > 0
        });
    }
    list.items.retain(|group| !group.versions.is_empty());
}

/// The names of what a group-version lists; an empty one if that is nothing.
fn resources(version: &VersionDiscovery) -> impl Iterator<Item = &str> {
    let none = version.resources.is_empty().then_some("");
    version.resources.iter().map(|listed| listed.resource.as_str()).chain(none)
}

/// Each group-version, with the name of its group.
fn versions(document: &Document) -> impl Iterator<Item = (&str, &VersionDiscovery)> {
    let groups = document.api.list.items.iter().chain(&document.apis.list.items);
    groups.flat_map(|group| group.versions.iter().map(|version| (group.name(), &**version)))
}

// === impl Memory ===

impl Memory {
    /// Takes in what informers say; whether anything is new in it but revisions.
    pub fn learn(&mut self, custom: &Custom) -> bool {
        let Some(storage) = &custom.storage else { return false };
        let mut news = Named::default();
        news.definitions.clone_from(&custom.crds);
        for (name, service) in &custom.apiservices {
            let named = NamedService {
                revision: service.revision,
                of_definitions: service.maker == Maker::Definitions,
                aggregated: service.maker == Maker::Aggregation,
            };
            if named.of_definitions || named.aggregated {
                news.services.insert(name.clone(), named);
            }
        }
        self.recall(storage, news)
    }

    /// Takes in what was known of a storage; whether anything is new in it but revisions.
    pub fn recall(&mut self, storage: &str, news: Named) -> bool {
        let named = self.0.entry(storage.to_owned()).or_default();
        let mut new = false;
        for (name, revision) in news.definitions {
            let known = named.definitions.entry(name).or_insert_with(|| {
                new = true;
                revision
            });
            *known = revision.max(*known);
        }
        for (name, service) in news.services {
            let known = named.services.entry(name).or_default();
            let before = (known.of_definitions, known.aggregated);
            known.revision = service.revision.max(known.revision);
            known.of_definitions |= service.of_definitions;
            known.aggregated |= service.aggregated;
            new |= before != (known.of_definitions, known.aggregated);
        }
        new
    }

    /// Forgets what no server has or lists, if there is too much.
    pub fn bound(&mut self, servers: &[Knowledge]) {
        let count = |named: &Named| named.definitions.len() + named.services.len();
        if self.0.values().map(count).sum::<usize>() <= limits::MAX_REMEMBERED_REGISTRATIONS {
            return;
        }
        let (mut definitions, mut services) = (BTreeSet::new(), BTreeSet::new());
        for known in servers {
            definitions.extend(known.board().crds.keys().cloned());
            services.extend(known.board().apiservices.keys().cloned());
            let Some(document) = &known.document else { continue };
            for (group, version) in versions(document) {
                services.insert((group.to_owned(), version.version.clone()));
                definitions.extend(resources(version).map(|name| (group.to_owned(), name.to_owned())));
            }
        }
        self.0.retain(|storage, named| {
            named.definitions.retain(|name, _| definitions.contains(name));
            named.services.retain(|name, _| services.contains(name));
            servers.iter().any(|known| known.storage() == Some(storage))
        });
    }

    /// What has to outlive us of what is known of a server.
    pub fn of(&self, known: &Knowledge) -> Remembered {
        let mut named = Named::default();
        let storage = known.storage().map(str::to_owned);
        let all = storage.as_ref().and_then(|storage| self.0.get(storage));
        if let (Some(all), Some(document)) = (all, &known.document) {
            for (group, version) in versions(document) {
                let name = (group.to_owned(), version.version.clone());
                let Some(service) = all.services.get(&name) else { continue };
                named.services.insert(name, *service);
                for resource in resources(version) {
                    let name = (group.to_owned(), resource.to_owned());
                    if let Some(revision) = all.definitions.get(&name) {
                        named.definitions.insert(name, *revision);
                    }
                }
            }
        }
        Remembered { storage, named, gone: known.gone().clone() }
    }
}
