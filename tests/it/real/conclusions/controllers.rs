//! What the garbage collector and the namespace controller ask all the time, and what they would conclude.
//!
//! - A 404 for an owner means that it is gone: its dependents are deleted. A 503 is tried again.
//! - A group-version that discovery marks as Stale keeps its monitors; one that is just not there loses them.
//! - A 404 or 405 to a list or to the deletion of a collection means that a namespace has none of that kind, and that it
//!   may be finished.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use tokio::{task::JoinSet, time::sleep};

use super::{POLICIES, truth::Truth};
use crate::real::kit::{
    client::{Client, Dial, Reply},
    files::{Files, Who},
};

/// What client-go asks for.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const CLIENTS: [Who; 2] = [Who::Admin, Who::AdminToken];
/// Between two rounds of a client, so that two cores are enough.
const PAUSE: Duration = Duration::from_millis(40);
/// Rounds until a client connects anew, so that it meets every server behind a balancer.
const ROUNDS_PER_CONNECTION: u32 = 12;

/// Owners that exist, and lists in a namespace that hold them; those of policies only once there are any.
const OWNERS: [&str; 2] = [
    "/api/v1/namespaces/default/configmaps/one",
    "/apis/stories.example.com/v1/namespaces/default/tales/one",
];
const LISTS: [&str; 3] = [
    "/api/v1/namespaces/default/configmaps",
    "/apis/stories.example.com/v1/namespaces/default/tales",
    "/apis/apps/v1/namespaces/default/deployments",
];
const NOTHING: &str = "?labelSelector=nobody%3Dhas-this";

#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) rounds: u32,
    pub(super) lookups: u32,
    pub(super) documents: u32,
    pub(super) lists: u32,
    /// 404 for an owner that exists.
    pub(super) owners_denied: u32,
    /// Discovery without something that exists, and without a Stale mark.
    pub(super) hidden: u32,
    /// 404 or 405 for what is in the namespace, or a list without it.
    pub(super) emptied: u32,
    /// 503: tried again.
    pub(super) unavailable: u32,
    /// The connection broke: tried again.
    pub(super) broken: u32,
    /// Any other answer, and how often.
    pub(super) odd: BTreeMap<String, u32>,
    /// What was hidden, and how often.
    pub(super) what: BTreeMap<String, u32>,
}

/// The controllers of one way in. They stop when this is dropped.
pub(super) struct Controllers {
    pub(super) name: &'static str,
    pub(super) truth: Arc<Truth>,
    counts: Arc<Mutex<Counts>>,
    _clients: JoinSet<()>,
}

struct One {
    truth: Arc<Truth>,
    counts: Arc<Mutex<Counts>>,
    /// Documents found good, by path, and by which edition of the truth.
    good: BTreeMap<&'static str, (u64, Bytes)>,
}

// === impl Counts ===

impl Counts {
    pub(super) const HEADINGS: &str = "| owners looked up | denied | documents | hiding something | lists | emptied \
                                       | 503 | broken | other |";

    pub(super) fn wrong(&self) -> u32 {
        self.owners_denied + self.hidden + self.emptied
    }

    pub(super) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.rounds, other.rounds),
            (&mut self.lookups, other.lookups),
            (&mut self.documents, other.documents),
            (&mut self.lists, other.lists),
            (&mut self.owners_denied, other.owners_denied),
            (&mut self.hidden, other.hidden),
            (&mut self.emptied, other.emptied),
            (&mut self.unavailable, other.unavailable),
            (&mut self.broken, other.broken),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
        for (mine, others) in [(&mut self.odd, &other.odd), (&mut self.what, &other.what)] {
            for (what, count) in others {
                *mine.entry(what.clone()).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lookups, documents, lists, owners_denied, hidden, emptied, unavailable, broken, .. } =
            self;
        let odd: u32 = self.odd.values().sum();
        write!(
            f,
            "| {lookups} | {owners_denied} | {documents} | {hidden} | {lists} | {emptied} | {unavailable} | {broken} \
             | {odd} |"
        )
    }
}

// === impl Controllers ===

impl Controllers {
    pub(super) fn start(name: &'static str, files: &'static Files, to: SocketAddr) -> Self {
        let (truth, counts) = (Arc::<Truth>::default(), Arc::<Mutex<Counts>>::default());
        let mut clients = JoinSet::new();
        for who in CLIENTS {
            let one =
                One { truth: Arc::clone(&truth), counts: Arc::clone(&counts), good: BTreeMap::default() };
            clients.spawn(one.work(files, to, who));
        }
        Self { name, truth, counts, _clients: clients }
    }

    /// What was counted since the last time.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap())
    }
}

// === impl One ===

impl One {
    async fn work(mut self, files: &'static Files, to: SocketAddr, who: Who) {
        loop {
            if let Ok(client) = Dial::new(files, to, who).connect().await {
                for _ in 0..ROUNDS_PER_CONNECTION {
                    if client.has_ended() {
                        break;
                    }
                    self.round(&client).await;
                    sleep(PAUSE).await;
                }
            } else {
                self.counts.lock().unwrap().broken += 1;
                sleep(PAUSE).await;
            }
        }
    }

    async fn round(&mut self, client: &Client) {
        for path in ["/api", "/apis"] {
            self.discover(client, path).await;
        }
        let policy = format!("{POLICIES}/one");
        let policies = self.truth.has_policy();
        for path in OWNERS.into_iter().chain(policies.then_some(&*policy)) {
            let reply = self.ask(client, Method::GET, path).await;
            let mut counts = self.counts.lock().unwrap();
            counts.lookups += 1;
            counts.owners_denied += u32::from(reply.is_some_and(|reply| reply.status == 404));
        }
        for path in LISTS.into_iter().chain(policies.then_some(POLICIES)) {
            for method in [Method::GET, Method::DELETE] {
                let nothing = if method == Method::DELETE { NOTHING } else { "" };
                let reply = self.ask(client, method.clone(), &format!("{path}{nothing}")).await;
                let empty = reply.is_some_and(|reply| match reply.status {
                    200 if method == Method::GET => {
                        reply.json()["items"].as_array().is_none_or(|items| items.is_empty())
                    }
                    status => status == 404 || status == 405,
                });
                let mut counts = self.counts.lock().unwrap();
                counts.lists += 1;
                counts.emptied += u32::from(empty);
            }
        }
        self.counts.lock().unwrap().rounds += 1;
    }

    async fn discover(&mut self, client: &Client, path: &'static str) {
        let edition = self.truth.edition();
        let reply = client.get_with(path, &[("accept", ACCEPT)]).await;
        let Some(reply) = self.note(path, reply) else { return };
        self.counts.lock().unwrap().documents += 1;
        if reply.status != 200 || self.good.get(path) == Some(&(edition, reply.body.clone())) {
            return;
        }
        if !reply.header("content-type").contains("as=APIGroupDiscoveryList") {
            *self.counts.lock().unwrap().odd.entry(format!("{path} is not aggregated")).or_default() += 1;
            return;
        }
        let hidden = self.truth.hidden_by(&reply.json(), path == "/api");
        if self.truth.edition() != edition {
            return;
        }
        if hidden.is_empty() {
            self.good.insert(path, (edition, reply.body));
            return;
        }
        let mut counts = self.counts.lock().unwrap();
        counts.hidden += 1;
        for (group, version, resource) in hidden {
            *counts.what.entry(format!("{group}/{version}/{resource}")).or_default() += 1;
        }
    }

    async fn ask(&self, client: &Client, method: Method, path: &str) -> Option<Reply> {
        let reply = client.call(method, path, &[], Bytes::new()).await;
        self.note(path, reply)
    }

    /// Notes what makes a controller try again.
    fn note(&self, path: &str, reply: std::io::Result<Reply>) -> Option<Reply> {
        let mut counts = self.counts.lock().unwrap();
        let Ok(reply) = reply else {
            counts.broken += 1;
            return None;
        };
        match reply.status {
            200 | 404 | 405 => {}
            503 => counts.unavailable += 1,
            status => *counts.odd.entry(format!("{status} {path}")).or_default() += 1,
        }
        Some(reply)
    }
}
