//! Random fleets over time: servers and informers come, go and lag, custom resources are made and deleted, and all the
//! while it is known what there really is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube_peer_proxy::api::discovery::{
    Freshness as Mark, GroupDiscovery, GroupDiscoveryList, ObjectMeta, ResourceDiscovery, VersionDiscovery,
};
use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::discovery::catalog::ghosts::{Memory, judge};
use kube_peer_proxy::discovery::catalog::{Document, Fetch, Freshness, Knowledge, Part, Serving};
use kube_peer_proxy::discovery::merge::{Source, merge};
use kube_peer_proxy::proxy::route::{Decision, Reason, Situation, route};
use kube_peer_proxy::servers::source::ServerSet;
use kube_peer_proxy::servers::watched::{ApiService, Custom, Maker, Name};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::vectors::json_and_etag;

const SERVERS: usize = 4;
/// Group, version and resource of what may be registered; the last one's group-version is an extension server's.
const CUSTOM: [[&str; 3]; 4] =
    [["c", "v1", "things"], ["c", "v1", "parts"], ["c", "v2", "things"], ["agg", "v1", "nodes"]];
/// What is built into servers of some age: each has those up to a number.
const BUILT_IN: [[&str; 3]; 4] =
    [["", "v1", "pods"], ["apps", "v1", "deployments"], ["apps", "v2", "deployments"], ["new", "v1", "jobs"]];

type Gvr = [&'static str; 3];

#[derive(Clone, Copy, Debug)]
enum Event {
    Register(usize),
    Delete(usize),
    Fetch(usize),
    /// The fetch fails.
    Fail(usize),
    Doubt(usize),
    /// Informers come in step, or a bit less.
    Watch(usize, u64),
    Unwatch(usize),
    Lose(usize),
    Return(usize),
    Depart(usize, bool),
}

/// Where servers lag: what they prove something by has to be more than one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lag {
    Informers,
    Discovery,
}

/// What is registered, with the revisions of the object and of its APIService.
type Registered = BTreeMap<usize, u64>;

#[derive(Clone, Debug)]
struct World {
    lag: Lag,
    /// What was registered at each revision.
    history: Vec<Registered>,
    /// By server, how much is built in, and whether it is there.
    ages: Vec<usize>,
    there: Vec<bool>,
    watched: Vec<bool>,
    /// At which revision each server's document was read, which may be of an earlier one.
    read: Vec<usize>,
    servers: Vec<Knowledge>,
    memory: Memory,
    fetches: u64,
}

fn event() -> impl Strategy<Value = Event> {
    let server = 0..SERVERS;
    prop_oneof![
        3 => (0..CUSTOM.len()).prop_map(Event::Register),
        3 => (0..CUSTOM.len()).prop_map(Event::Delete),
        6 => server.clone().prop_map(Event::Fetch),
        1 => server.clone().prop_map(Event::Fail),
        1 => server.clone().prop_map(Event::Doubt),
        5 => (server.clone(), 0..3_u64).prop_map(|(server, lag)| Event::Watch(server, lag)),
        1 => server.clone().prop_map(Event::Unwatch),
        3 => server.clone().prop_map(Event::Lose),
        2 => server.clone().prop_map(Event::Return),
        1 => (server, any::<bool>()).prop_map(|(server, departed)| Event::Depart(server, departed)),
    ]
}

fn lag() -> impl Strategy<Value = Lag> {
    prop_oneof![Just(Lag::Informers), Just(Lag::Discovery)]
}

fn name(group: &str, name: &str) -> Name {
    (group.to_owned(), name.to_owned())
}

fn key([group, version, resource]: Gvr) -> GroupVersionResource {
    GroupVersionResource { group: group.into(), version: version.into(), resource: resource.into() }
}

fn part(listed: &[Gvr]) -> Part {
    let mut list = GroupDiscoveryList::default();
    for [group, version, resource] in listed {
        let at = list.items.iter().position(|known| known.name() == *group).unwrap_or_else(|| {
            let metadata = ObjectMeta { name: (*group).to_owned(), ..ObjectMeta::default() };
            list.items.push(GroupDiscovery { metadata, ..GroupDiscovery::default() });
            list.items.len() - 1
        });
        let versions = &mut list.items[at].versions;
        let at = versions.iter().position(|known| known.version == *version).unwrap_or_else(|| {
            let freshness = Mark::Current;
            let version =
                VersionDiscovery { version: (*version).to_owned(), freshness, ..VersionDiscovery::default() };
            versions.push(version.into());
            versions.len() - 1
        });
        let resource = (*resource).to_owned();
        let resource = ResourceDiscovery { resource, ..ResourceDiscovery::default() };
        Arc::make_mut(&mut versions[at]).resources.push(resource);
    }
    Part { list, etag: None }
}

fn listed(document: &Document) -> BTreeSet<[String; 3]> {
    let mut all = BTreeSet::new();
    for group in document.api.list.items.iter().chain(&document.apis.list.items) {
        for version in &group.versions {
            for resource in &version.resources {
                all.insert([group.name().into(), version.version.clone(), resource.resource.clone()]);
            }
        }
    }
    all
}

fn has(document: Option<&Arc<Document>>, wanted: Gvr) -> bool {
    document.is_some_and(|document| listed(document).contains(&wanted.map(str::to_owned)))
}

// === impl World ===

impl World {
    fn new(lag: Lag, ages: Vec<usize>) -> Self {
        Self {
            lag,
            history: vec![Registered::new(), Registered::new()],
            ages,
            there: vec![true; SERVERS],
            watched: vec![false; SERVERS],
            read: vec![0; SERVERS],
            servers: vec![Knowledge::default(); SERVERS],
            memory: Memory::default(),
            fetches: 0,
        }
    }

    fn now(&self) -> usize {
        self.history.len() - 1
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Register(what) => {
                let revision = self.history.len() as u64;
                self.register(|registered| {
                    registered.insert(what, revision);
                });
            }
            Event::Delete(what) => self.register(|registered| {
                registered.remove(&what);
            }),
            Event::Fetch(server) if self.there[server] => {
                // Two servers' discovery may be behind, each by another bit.
                let behind = if self.lag == Lag::Discovery { (self.fetches % 3) as usize } else { 0 };
                let at = self.now().saturating_sub(behind).max(self.read[server]);
                self.read[server] = at;
                let (core, mut rest): (Vec<Gvr>, Vec<Gvr>) =
                    BUILT_IN.into_iter().take(self.ages[server]).partition(|[group, ..]| group.is_empty());
                rest.extend(self.history[at].keys().map(|what| CUSTOM[*what]));
                let document = Document { api: part(&core), apis: part(&rest), ..Document::default() };
                self.fetches += 1;
                self.servers[server].fetched(Some(Arc::new(document)), true);
                self.servers[server].set_fetched_at(self.fetches);
            }
            Event::Fetch(server) | Event::Fail(server) => self.servers[server].fetch_failed(),
            Event::Doubt(server) => self.servers[server].doubt(),
            Event::Watch(server, behind) if self.there[server] => {
                let behind = if self.lag == Lag::Informers { behind as usize } else { 0 };
                self.watched[server] = true;
                self.look(server, self.now().saturating_sub(behind));
            }
            Event::Watch(server, _) | Event::Unwatch(server) => self.unwatch(server),
            Event::Lose(server) => {
                self.there[server] = false;
                self.servers[server].contact_lost();
                self.unwatch(server);
            }
            Event::Return(server) => {
                self.there[server] = true;
                self.servers[server].contact_back();
            }
            Event::Depart(server, departed) => self.servers[server].departed = departed,
        }
        judge(&mut self.servers, &self.memory);
    }

    fn register(&mut self, change: impl FnOnce(&mut Registered)) {
        let mut registered = self.history[self.now()].clone();
        change(&mut registered);
        self.history.push(registered);
        if self.lag == Lag::Discovery {
            for server in 0..SERVERS {
                if self.watched[server] {
                    self.look(server, self.now());
                }
            }
        }
    }

    /// The informers of a server are as far as this, or farther if they have been.
    fn look(&mut self, server: usize, revision: usize) {
        let until = (revision as u64).max(self.servers[server].board().crds_until);
        let mut board = Custom {
            storage: Some("one".into()),
            crds_until: until,
            apiservices_until: until,
            synced: true,
            ..Custom::default()
        };
        let built_in = ApiService { maker: Maker::BuiltIn, revision: 1 };
        for [group, version, _] in BUILT_IN {
            board.apiservices.insert(name(group, version), built_in);
        }
        for (what, revision) in &self.history[until as usize] {
            let [group, version, resource] = CUSTOM[*what];
            let maker = if group == "agg" { Maker::Aggregation } else { Maker::Definitions };
            if maker == Maker::Definitions {
                let known = board.crds.entry(name(group, resource)).or_default();
                *known = (*known).max(*revision);
            }
            let service = ApiService { maker, revision: *revision };
            let known = board.apiservices.entry(name(group, version)).or_insert(service);
            known.revision = known.revision.max(*revision);
        }
        self.memory.learn(&board);
        self.servers[server].watched(Arc::new(board));
    }

    fn unwatch(&mut self, server: usize) {
        self.watched[server] = false;
        let board = Custom { synced: false, ..Custom::clone(self.servers[server].board()) };
        self.servers[server].watched(Arc::new(board));
    }

    /// Whether it was not registered at some time since a server's document was read.
    fn was_deleted_since(&self, what: usize, server: usize) -> bool {
        self.history[self.read[server]..].iter().any(|registered| !registered.contains_key(&what))
    }

    fn decide(&self, wanted: Gvr, home: usize) -> Decision {
        let with = |is: &dyn Fn(&Knowledge) -> bool| -> ServerSet {
            (0..SERVERS).filter(|server| is(&self.servers[*server])).collect()
        };
        let serving =
            Serving { current: with(&|known| has(known.counts(), wanted)), stale: ServerSet::EMPTY };
        let all: ServerSet = (0..SERVERS).collect();
        let gone = with(&|known| known.gone().contains_key(&key(wanted)));
        let situation = Situation {
            is_resource: true,
            home_only: false,
            peer_proxied: false,
            reroute: true,
            home,
            all,
            healthy: (0..SERVERS).filter(|server| self.there[*server]).collect(),
            fresh: with(&|known| known.freshness() == Freshness::Fresh),
            unknown: with(&|known| known.freshness() == Freshness::Unknown).without(gone),
            unheard: with(&|known| known.document.is_none()),
            incomplete: false,
            denied: ServerSet::EMPTY,
            having: ServerSet::EMPTY,
            domains: &[],
            reach: all,
        };
        route(serving, situation)
    }

    fn sources<'a>(&'a self, documents: &'a [(usize, Arc<Document>)], core: bool) -> Vec<Source<'a>> {
        const IDS: [&str; SERVERS] = ["a", "b", "c", "d"];
        let sources = documents.iter().map(|(server, document)| Source {
            id: IDS[*server],
            document: if core { &document.api.list } else { &document.apis.list },
            fresh: is_believed(&self.servers[*server]),
        });
        sources.collect()
    }
}

fn is_believed(known: &Knowledge) -> bool {
    !known.lost && !known.departed && matches!(known.fetch, Fetch::Good | Fetch::Due)
}

fn worlds() -> impl Strategy<Value = (World, Vec<Event>)> {
    (lag(), vec(1..=BUILT_IN.len(), SERVERS), vec(event(), 1..60))
        .prop_map(|(lag, ages, events)| (World::new(lag, ages), events))
}

/// As [`worlds`], and at least once what the rule is for.
fn fates() -> impl Strategy<Value = (World, Vec<Event>)> {
    (worlds(), 0..CUSTOM.len(), 0..SERVERS, 0..SERVERS - 1, vec(event(), 0..8)).prop_map(
        |((world, mut events), what, away, here, after)| {
            let here = (away + 1 + here) % SERVERS;
            events.extend([
                Event::Return(here),
                Event::Return(away),
                Event::Depart(here, false),
                Event::Register(what),
                Event::Watch(here, 0),
                Event::Fetch(away),
                Event::Lose(away),
                Event::Delete(what),
                Event::Watch(here, 0),
                Event::Fetch(here),
                Event::Fetch(here),
                Event::Fetch(here),
            ]);
            events.extend(after);
            (world, events)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    /// I8: what any server's last document lists is a 404 only if it is custom, and was deleted since.
    #[test]
    fn i8_nothing_that_exists_is_a_404((mut world, events) in fates()) {
        for event in events {
            world.happen(event);
            for (server, known) in world.servers.iter().enumerate() {
                for gone in known.gone().keys() {
                    let what = CUSTOM.iter().position(|it| key(*it) == *gone);
                    let what = what.expect("only what is custom can be gone");
                    prop_assert!(world.was_deleted_since(what, server), "{gone} of {server} after {event:?}");
                }
            }
            for wanted in CUSTOM.into_iter().chain(BUILT_IN) {
                let lists = |server: &usize| has(world.servers[*server].document.as_ref(), wanted);
                let listing: Vec<usize> = (0..SERVERS).filter(lists).collect();
                for home in 0..SERVERS {
                    if world.decide(wanted, home) == Decision::Home(Reason::NobodyServes) {
                        let all_gone = listing.iter().all(|server| {
                            world.servers[*server].gone().contains_key(&key(wanted))
                        });
                        prop_assert!(all_gone, "{wanted:?} at {home} after {event:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn whoever_is_fresh_is_believed_whatever_informers_say((mut world, events) in fates()) {
        for event in events {
            world.happen(event);
            for known in &world.servers {
                let fresh = known.freshness() == Freshness::Fresh;
                prop_assert!(!fresh || known.gone().is_empty(), "after {event:?}");
            }
        }
    }

    #[test]
    fn a_group_version_is_stale_only_if_no_fresh_server_lists_it_and_is_whole((mut world, events) in fates()) {
        for event in events {
            world.happen(event);
        }
        let numbered = world.servers.iter().enumerate();
        let documents: Vec<(usize, Arc<Document>)> =
            numbered.filter_map(|(server, known)| Some((server, Arc::clone(known.counts()?)))).collect();
        let any_fresh = documents.iter().any(|(server, _)| is_believed(&world.servers[*server]));
        for core in [true, false] {
            let sources = world.sources(&documents, core);
            let merged = merge(&sources);
            for group in &merged.items {
                for version in &group.versions {
                    let of = |source: &&Source<'_>| {
                        let groups = source.document.items.iter().filter(|it| it.name() == group.name());
                        groups.flat_map(|it| &it.versions).any(|it| it.version == version.version)
                    };
                    let fresh = sources.iter().filter(of).any(|source| source.fresh);
                    let vouched = fresh || (core && any_fresh);
                    prop_assert_eq!(version.freshness.is_stale(), !vouched, "{}", group.name());
                }
            }
            let merged = Document { api: Part { list: merged, etag: None }, ..Document::default() };
            let whole: BTreeSet<_> = documents
                .iter()
                .flat_map(|(_, document)| listed(document))
                .filter(|[group, ..]| group.is_empty() == core)
                .collect();
            prop_assert_eq!(listed(&merged), whole);
        }
    }

    #[test]
    fn i6_which_server_stands_first_decides_nothing((mut world, events) in fates(), by in 1..SERVERS) {
        for event in events {
            world.happen(event);
        }
        let mut turned = world.clone();
        turned.servers.rotate_left(by);
        judge(&mut turned.servers, &turned.memory);
        turned.servers.rotate_right(by);
        judge(&mut world.servers, &world.memory);
        prop_assert_eq!(&world.servers, &turned.servers);
        let documents = |world: &World| -> Vec<(usize, Arc<Document>)> {
            let numbered = world.servers.iter().enumerate();
            numbered.filter_map(|(server, known)| Some((server, Arc::clone(known.counts()?)))).collect()
        };
        let (one, mut other) = (documents(&world), documents(&turned));
        other.reverse();
        let bytes = |world: &World, documents: &[_]| json_and_etag(&merge(&world.sources(documents, false)));
        prop_assert_eq!(bytes(&world, &one), bytes(&turned, &other));
    }
}

/// The rule does something: in worlds without a lag what is deleted is gone as soon as it can be known.
#[test]
fn what_is_deleted_while_a_server_is_away_is_a_404_in_every_world_without_a_lag() {
    for (what, wanted) in CUSTOM.into_iter().enumerate() {
        let mut world = World::new(Lag::Informers, vec![2; SERVERS]);
        for server in 0..SERVERS {
            world.happen(Event::Fetch(server));
        }
        world.happen(Event::Register(what));
        for event in [Event::Watch(0, 0), Event::Watch(1, 0), Event::Fetch(1), Event::Lose(1)] {
            world.happen(event);
        }
        assert_eq!(world.decide(wanted, 0), Decision::Peers(ServerSet::one(1), Reason::PeersServe), "{what}");
        for event in [Event::Delete(what), Event::Watch(0, 0), Event::Fetch(0)] {
            world.happen(event);
        }
        assert_eq!(world.decide(wanted, 0), Decision::Home(Reason::NobodyServes), "{what}");
    }
}
