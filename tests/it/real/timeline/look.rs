//! What a client sees, second by second.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kube_peer_proxy::api::media_type::ACCEPT_V2;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::column::Column;
use crate::real::kit::{
    client::{Client, Dial, Reply},
    files::Who,
};

pub(super) const GROUP: &str = "batch";
pub(super) const VERSION: &str = "v1";
pub(super) const RESOURCE: &str = "cronjobs";
pub(super) const LIST: &str = "/apis/batch/v1/namespaces/default/cronjobs";
/// Without bookmarks: with an etcd that cannot report progress, kube-apiserver would end it at once.
const WATCH: &str = "/apis/batch/v1/cronjobs?watch=1&resourceVersion=0";

/// Between two requests, and between two looks at discovery.
const EVERY: Duration = Duration::from_millis(500);

/// An answer that takes longer is worth mentioning, in seconds.
pub(super) const SLOW: f32 = 2.;

/// What the request for B's resource was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Pending,
    Found,
    /// It exists.
    NotFound,
    /// 503 with Retry-After.
    Unavailable,
    /// 503 without: clients do not try again by themselves.
    Bare,
    /// The connection to A, or to us, broke.
    Broken,
    Other(u16),
}

/// What merged discovery says of B's resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Current,
    Stale,
    /// Not there, and nothing says that something is missing.
    Vanished,
    /// There is no document at all; clients try again.
    Refused(u16),
    Broken,
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchEnd {
    Open,
    Whole,
    Torn,
}

/// One observation, at a time since the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub(super) at: f32,
    pub(super) took: f32,
    pub(super) what: T,
}

/// What our metrics say of B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metered {
    pub(super) healthy: bool,
    pub(super) fresh: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) answers: Vec<At<Answer>>,
    pub(super) listed: Vec<At<Listed>>,
    /// Ours only.
    pub(super) freshness: Vec<At<&'static str>>,
    /// Ours only.
    pub(super) metered: Vec<At<Metered>>,
    pub(super) watch: Option<At<WatchEnd>>,
}

/// Looks until it is dropped.
pub(super) struct Look {
    notes: Arc<Mutex<Notes>>,
    begun: Instant,
    _tasks: JoinSet<()>,
}

/// One connection at a time, made anew when it ended.
struct Line {
    column: Arc<Column>,
    client: Option<Arc<Client>>,
}

// === impl Look ===

impl Look {
    /// Begins; with a watch, that is open when this comes back.
    pub(super) async fn start(column: &Arc<Column>, with_watch: bool) -> Self {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let mut tasks = JoinSet::new();
        let watch = if with_watch { Some(open_watch(column.dial()).await) } else { None };
        let begun = Instant::now();
        if let Some(watch) = watch {
            tasks.spawn(follow(watch, Arc::clone(&notes), begun));
        }
        tasks.spawn(ask(Arc::clone(column), Arc::clone(&notes), begun));
        tasks.spawn(discover(Arc::clone(column), Arc::clone(&notes), begun));
        tasks.spawn(freshness(Arc::clone(column), Arc::clone(&notes), begun));
        Self { notes, begun, _tasks: tasks }
    }

    /// At a watch of B itself, and nothing else.
    pub(super) async fn at_b(column: &Column) -> Self {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let dial = Dial::new(&column.cluster.files, column.b().addr, Who::Admin);
        let (watch, begun, mut tasks) = (open_watch(dial).await, Instant::now(), JoinSet::new());
        tasks.spawn(follow(watch, Arc::clone(&notes), begun));
        Self { notes, begun, _tasks: tasks }
    }

    /// Seconds since it began.
    pub(super) fn now(&self) -> f32 {
        self.begun.elapsed().as_secs_f32()
    }

    /// What was seen so far; requests without an answer took until now, and just sent ones do not count.
    pub(super) fn seen(&self) -> Notes {
        let (mut notes, now) = (self.notes.lock().unwrap().clone(), self.now());
        let pending = notes.answers.iter_mut().filter(|answer| answer.what == Answer::Pending);
        pending.for_each(|answer| answer.took = now - answer.at);
        notes.answers.retain(|answer| answer.what != Answer::Pending || answer.took > SLOW);
        notes
    }

    /// Until the watch has ended, for so long at most.
    pub(super) async fn until_watch_ends(&self, within: Duration) {
        let until = Instant::now() + within;
        while Instant::now() < until
            && self.notes.lock().unwrap().watch.is_some_and(|watch| watch.what == WatchEnd::Open)
        {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the last four answers and documents are as they should be, for so long at most: seconds it took.
    pub(super) async fn until_well(&self, within: Duration) -> Option<f32> {
        let begun = self.now();
        while self.now() - begun < within.as_secs_f32() {
            let notes = self.seen();
            let well_since = notes.well_since().max(begun);
            if self.now() - well_since > 3. {
                return Some(well_since - begun);
            }
            sleep(Duration::from_millis(100)).await;
        }
        None
    }
}

// === impl Notes ===

impl Notes {
    /// When it was last seen that something is not well.
    fn well_since(&self) -> f32 {
        let bad = self.answers.iter().rev().find(|answer| answer.what != Answer::Found);
        let unlisted = self.listed.iter().rev().find(|listed| listed.what != Listed::Current);
        let [bad, unlisted] =
            [bad.map(|bad| bad.at + bad.took), unlisted.map(|listed| listed.at + listed.took)];
        bad.unwrap_or(0.).max(unlisted.unwrap_or(0.))
    }
}

// === impl Line ===

impl Line {
    async fn client(&mut self) -> io::Result<Arc<Client>> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.has_ended()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.column.dial().connect().await?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }
}

async fn open_watch(dial: Dial<'_>) -> (Client, Incoming) {
    let client = dial.connect().await.unwrap();
    let reply = client.open(Method::GET, WATCH, &[], "".into()).await.unwrap();
    assert_eq!(reply.status(), 200);
    (client, reply.into_body())
}

/// Waits for the end of a watch.
async fn follow((_client, mut body): (Client, Incoming), notes: Arc<Mutex<Notes>>, begun: Instant) {
    notes.lock().unwrap().watch = Some(At { at: 0., took: 0., what: WatchEnd::Open });
    let end = loop {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(_)) => break WatchEnd::Torn,
            None => break WatchEnd::Whole,
        }
    };
    let at = begun.elapsed().as_secs_f32();
    notes.lock().unwrap().watch = Some(At { at, took: 0., what: end });
}

/// Each request goes out in time, whatever became of those before it.
async fn ask(column: Arc<Column>, notes: Arc<Mutex<Notes>>, begun: Instant) {
    let mut line = Line { column, client: None };
    let (mut tick, mut under_way) = (interval(EVERY), JoinSet::new());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let number = {
            let mut notes = notes.lock().unwrap();
            let at = begun.elapsed().as_secs_f32();
            notes.answers.push(At { at, took: 0., what: Answer::Pending });
            notes.answers.len() - 1
        };
        let client = line.client().await;
        let notes = Arc::clone(&notes);
        under_way.spawn(async move {
            let what = match client {
                Ok(client) => client.get(LIST).await.map_or(Answer::Broken, |reply| answer(&reply)),
                Err(_) => Answer::Broken,
            };
            let now = begun.elapsed().as_secs_f32();
            let mut notes = notes.lock().unwrap();
            let at = notes.answers[number].at;
            notes.answers[number] = At { at, took: now - at, what };
        });
    }
}

fn answer(reply: &Reply) -> Answer {
    match reply.status {
        200 => Answer::Found,
        404 => Answer::NotFound,
        503 if reply.headers.contains_key("retry-after") => Answer::Unavailable,
        503 => Answer::Bare,
        other => Answer::Other(other),
    }
}

async fn discover(column: Arc<Column>, notes: Arc<Mutex<Notes>>, begun: Instant) {
    let mut line = Line { column, client: None };
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let at = begun.elapsed().as_secs_f32();
        let reply = match line.client().await {
            Ok(client) => client.get_with("/apis", &[("accept", ACCEPT_V2)]).await,
            Err(error) => Err(error),
        };
        let what = reply.map_or(Listed::Broken, |reply| listed(&reply, GROUP, VERSION, RESOURCE));
        let took = begun.elapsed().as_secs_f32() - at;
        notes.lock().unwrap().listed.push(At { at, took, what });
    }
}

/// What a document says of one resource.
pub(super) fn listed(reply: &Reply, group: &str, version: &str, resource: &str) -> Listed {
    if reply.status != 200 {
        return Listed::Refused(reply.status);
    }
    let document = reply.json();
    let groups = document["items"].as_array().into_iter().flatten();
    let named = groups.filter(|item| item["metadata"]["name"] == *group);
    let mut versions = named.flat_map(|item| item["versions"].as_array().into_iter().flatten());
    match versions.find(|entry| entry["version"] == *version) {
        Some(entry) if entry["freshness"] == "Stale" => Listed::Stale,
        Some(_) if reply.lists(group, version, resource) => Listed::Current,
        _ => Listed::Vanished,
    }
}

/// What our own pages and metrics say about B.
async fn freshness(column: Arc<Column>, notes: Arc<Mutex<Notes>>, begun: Instant) {
    let Some(proxy) = &column.proxy else { return };
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let at = begun.elapsed().as_secs_f32();
        let page = proxy.admin("/debug/servers").await;
        let b = page["servers"].as_array().into_iter().flatten().find(|server| server["name"] == "b");
        let what = match b.and_then(|b| b["freshness"].as_str()) {
            Some("fresh") => "fresh",
            Some("stale") => "stale",
            Some("unknown") => "unknown",
            _ => "forgotten",
        };
        let is = async |metric: &str| proxy.metric(metric).await > 0.;
        let metered = Metered {
            healthy: is(r#"kube_peer_proxy_server_healthy{server="b"}"#).await,
            fresh: is(r#"kube_peer_proxy_server_freshness{server="b",state="fresh"}"#).await,
        };
        let mut notes = notes.lock().unwrap();
        notes.freshness.push(At { at, took: 0., what });
        notes.metered.push(At { at, took: 0., what: metered });
    }
}
