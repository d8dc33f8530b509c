//! Many reflectors and some writers at work, and the verdict at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::check::{Finding, check};
use super::counts::Counts;
use super::history::{Revision, Step, Truth};
use super::line::{Entrance, Line};
use super::reflector::{Manners, Record, Reflector};
use super::writer::{Resource, Writer, Written};
use crate::kit::say;

/// Reflectors that share an HTTP/2 connection.
const PER_CONNECTION: usize = 10;
/// Findings that are printed.
const SHOWN: usize = 10;

/// Reflectors of one resource through one proxy.
pub struct Crowd {
    what: String,
    lines: Vec<Arc<Line>>,
    seen: Vec<Arc<AtomicU64>>,
    reflectors: JoinSet<Record>,
    stop: watch::Sender<bool>,
}

/// Writers of one resource.
pub struct Writers {
    resource: Resource,
    writers: JoinSet<Written>,
    stop: watch::Sender<bool>,
}

/// What a crowd saw.
pub struct Seen {
    what: String,
    connections: u64,
    pub records: Vec<Record>,
    pub counts: Counts,
}

// === impl Crowd ===

impl Crowd {
    /// As many reflectors as `size`, spread over connections to the entrances.
    pub fn start(
        what: &str,
        path: &str,
        entrances: &[Entrance],
        size: usize,
        manners: Manners,
        seed: u64,
    ) -> Self {
        let stop = watch::Sender::new(false);
        let mut crowd = Self {
            what: what.to_owned(),
            lines: Vec::new(),
            seen: Vec::new(),
            reflectors: JoinSet::new(),
            stop,
        };
        let mut started = 0;
        for entrance in entrances.iter().cycle() {
            let line = Line::new(entrance.clone());
            let share = if entrance.is_http1() { 1 } else { PER_CONNECTION };
            for _ in 0..share.min(size - started) {
                let seed = seed.wrapping_add(started as u64);
                let reflector = Reflector::new(started, path, &line, manners, seed);
                crowd.seen.push(reflector.seen());
                crowd.reflectors.spawn(reflector.run(crowd.stop.subscribe()));
                started += 1;
            }
            crowd.lines.push(line);
            if started == size {
                break;
            }
        }
        crowd
    }

    /// How many know everything up to a revision.
    pub fn arrived(&self, at: Revision) -> usize {
        self.seen.iter().filter(|seen| seen.load(Relaxed) >= at).count()
    }

    /// Waits for all of them to arrive; gives up after `within`, for the check says who did not.
    pub async fn wait(&self, at: Revision, within: Duration) {
        let deadline = Instant::now() + within;
        while self.arrived(at) < self.seen.len() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn stop(mut self) -> Seen {
        self.stop.send_replace(true);
        let mut records = Vec::new();
        let mut counts = Counts::default();
        while let Some(record) = self.reflectors.join_next().await {
            let record = record.unwrap();
            counts.add(&record.counts);
            records.push(record);
        }
        let connections = self.lines.iter().map(|line| line.dials()).sum();
        Seen { what: self.what, connections, records, counts }
    }
}

// === impl Seen ===

impl Seen {
    pub const HEADINGS: &str = "watched through                 | reflectors | connections | watches |  events | bookmarks | lists |  410 | clean ends | broken ends | torn | left | refused, unanswered";

    /// All that is wrong with what they saw; the first of it is printed with what stood before.
    pub fn check(&self, truth: &Truth, end: Revision) -> usize {
        let mut wrong = 0;
        for Record { id, steps, .. } in &self.records {
            let findings = check(truth, steps, end);
            wrong += findings.len();
            for Finding { step, fault } in findings.iter().take(SHOWN) {
                let before: &[Step] = &steps[step.saturating_sub(4)..(step + 1).min(steps.len())];
                say!("{} reflector {id}, step {step}: {fault:?}\n    after {before:?}", self.what);
            }
        }
        wrong
    }

    pub fn print(&self) {
        let Counts { events, bookmarks, watches, lists, expired, left, .. } = &self.counts;
        let Counts { ended_cleanly, ended_broken, torn, refused, unanswered, .. } = &self.counts;
        let (what, size, connections) = (&self.what, self.records.len(), self.connections);
        say!(
            "{what:31} | {size:10} | {connections:11} | {watches:7} | {events:7} | {bookmarks:9} | {lists:5} | \
             {expired:4} | {ended_cleanly:10} | {ended_broken:11} | {torn:4} | {left:4} | {refused:?}, {unanswered}"
        );
    }
}

// === impl Writers ===

impl Writers {
    /// One writer for each set of ways to a server.
    pub fn start(resource: &Resource, ways: &[Vec<Entrance>], pause: Duration, seed: u64) -> Self {
        let stop = watch::Sender::new(false);
        let mut writers = JoinSet::new();
        for (number, entrances) in ways.iter().enumerate() {
            let lines = entrances.iter().cloned().map(Line::new).collect();
            let writer = Writer::new(resource, lines, pause, seed.wrapping_add(1000 + number as u64));
            writers.spawn(writer.run(stop.subscribe()));
        }
        Self { resource: resource.clone(), writers, stop }
    }

    /// Ends it with one last write through this entrance, and gives its revision.
    pub async fn stop(mut self, last: &Entrance) -> (Written, Revision) {
        self.stop.send_replace(true);
        let mut all = Written::default();
        while let Some(written) = self.writers.join_next().await {
            all.add(written.unwrap());
        }
        let (ack, at) = self.resource.last_word(&Line::new(last.clone())).await.unwrap();
        all.acks.push(ack);
        (all, at)
    }
}

/// What is there, and the revision as of which.
pub async fn list(path: &str, entrance: &Entrance) -> Step {
    let reflector = Reflector::new(0, path, &Line::new(entrance.clone()), MANNERLY, 0);
    reflector.one_list().await.unwrap()
}

const MANNERLY: Manners = Manners { pause: Duration::from_millis(20), watch_for: Duration::from_secs(3600) };

/// Sees everything: a reflector of a server that nothing happens to.
pub struct Witness {
    reflector: tokio::task::JoinHandle<Record>,
    seen: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
}

// === impl Witness ===

impl Witness {
    /// Comes back when it is watching.
    pub async fn start(path: &str, entrance: &Entrance) -> Self {
        let reflector = Reflector::new(0, path, &Line::new(entrance.clone()), MANNERLY, 0).steadfast();
        let (seen, stop) = (reflector.seen(), watch::Sender::new(false));
        let reflector = tokio::spawn(reflector.run(stop.subscribe()));
        let witness = Self { reflector, seen, stop };
        witness.until(1).await;
        witness
    }

    async fn until(&self, at: Revision) {
        crate::kit::eventually("the witness has seen it", || self.seen.load(Relaxed) >= at).await;
    }

    /// All that happened up to a revision.
    pub async fn truth(self, end: Revision) -> Truth {
        self.until(end).await;
        self.stop.send_replace(true);
        Truth::of_witness(&self.reflector.await.unwrap().steps)
    }
}

/// `KPP_SEED`, or another one each time; printed, so that a run can be had again as far as chance goes.
pub fn seed() -> u64 {
    let given = std::env::var("KPP_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    say!("KPP_SEED={seed}");
    seed
}
