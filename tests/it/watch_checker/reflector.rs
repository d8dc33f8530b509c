//! A client that keeps up with a resource as client-go's reflectors do, and writes down all that it sees.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::counts::Counts;
use super::history::{Change, Kind, Revision, State, Step};
use super::line::Line;

/// For a list's body.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a reflector does beside keeping up.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Before another attempt, at most.
    pub pause: Duration,
    /// How long a watch lasts that the server is asked to end, or that the client leaves; at most.
    pub watch_for: Duration,
}

pub struct Reflector {
    pub id: usize,
    pub path: String,
    pub line: Arc<Line>,
    pub manners: Manners,
    /// Its watches last as long as they may.
    steadfast: bool,
    rng: StdRng,
    /// Everything up to here is known; 0 for nothing.
    seen: Arc<AtomicU64>,
    /// From where the next watch goes on, or that a list is due.
    from: Option<Revision>,
    steps: Vec<Step>,
    counts: Counts,
}

/// What a reflector saw until it was stopped.
pub struct Record {
    pub id: usize,
    pub steps: Vec<Step>,
    pub counts: Counts,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    /// Of a `Status`.
    code: Option<u16>,
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    #[serde(default)]
    items: Vec<Object>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

/// How a watch is left behind.
enum End {
    Continue,
    Relist,
}

// === impl Metadata ===

impl Metadata {
    fn at(&self) -> Revision {
        self.resource_version.parse().unwrap_or_else(|_| panic!("no revision: {:?}", self.resource_version))
    }
}

// === impl Reflector ===

impl Reflector {
    pub fn new(id: usize, path: &str, line: &Arc<Line>, manners: Manners, seed: u64) -> Self {
        Self {
            id,
            path: path.to_owned(),
            line: Arc::clone(line),
            manners,
            steadfast: false,
            rng: StdRng::seed_from_u64(seed),
            seen: Arc::default(),
            from: None,
            steps: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Never ends a watch itself.
    pub fn steadfast(self) -> Self {
        Self { steadfast: true, ..self }
    }

    /// Lists once.
    pub async fn one_list(mut self) -> Option<Step> {
        self.list().await.ok()?;
        self.steps.pop()
    }

    /// Shows how far it has come.
    pub fn seen(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.seen)
    }

    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Record {
        let work = async {
            loop {
                let done = match self.from {
                    None => self.list().await,
                    Some(from) => self.watch(from).await,
                };
                if done.is_err() {
                    self.counts.unanswered += 1;
                    self.pause().await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            // An error says that whoever could tell is gone, which means the same.
            _ = stop.wait_for(|stop| *stop) => {}
        }
        Record { id: self.id, steps: self.steps, counts: self.counts }
    }

    async fn pause(&mut self) {
        let longest = self.manners.pause;
        sleep(self.rng.random_range(longest / 4..longest)).await;
    }

    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    fn at(&mut self, revision: Revision) {
        self.from = Some(revision);
        self.seen.store(revision, Relaxed);
    }

    async fn refused(&mut self, status: StatusCode) {
        *self.counts.refused.entry(status.as_u16()).or_default() += 1;
        self.pause().await;
    }

    async fn list(&mut self) -> io::Result<()> {
        let response = self.line.open(Method::GET, &self.path, None).await?;
        if response.status() != StatusCode::OK {
            self.refused(response.status()).await;
            return Ok(());
        }
        let body = timeout(PATIENCE, response.into_body().collect()).await?.map_err(io::Error::other)?;
        let list: List = serde_json::from_slice(&body.to_bytes())?;
        let at = list.metadata.at();
        let objects = list.items.into_iter().map(|one| (one.metadata.name.clone(), one.metadata.at()));
        let objects: State = objects.collect();
        self.counts.lists += 1;
        self.step(Step::Listed { at, objects });
        self.at(at);
        Ok(())
    }

    async fn watch(&mut self, from: Revision) -> io::Result<()> {
        let mut target = format!("{}?watch=1&resourceVersion={from}&allowWatchBookmarks=true", self.path);
        let longest = self.manners.watch_for;
        let lasts = self.rng.random_range(longest / 4..longest);
        let (mut leave_at, mut end) = (None, End::Continue);
        match self.rng.random_range(0..4) {
            _ if self.steadfast => {}
            0 => target += &format!("&timeoutSeconds={}", lasts.as_secs().max(1)),
            1 => {
                leave_at = Some(Instant::now() + lasts);
                end = if self.rng.random() { End::Relist } else { End::Continue };
            }
            _ => {}
        }
        let response = self.line.open(Method::GET, &target, None).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GONE => {
                self.expired();
                return Ok(());
            }
            status => {
                self.refused(status).await;
                return Ok(());
            }
        }
        self.counts.watches += 1;
        self.step(Step::Watching { from });
        let until = async {
            match leave_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let left = tokio::select! {
            () = self.follow(response.into_body()) => false,
            () = until => true,
        };
        if left {
            self.counts.left += 1;
            if matches!(end, End::Relist) {
                self.from = None;
            }
        }
        Ok(())
    }

    /// Reads a watch to its end. What was taken from the stream is written down before more is waited for, so
    /// that it can be left at any time.
    async fn follow(&mut self, mut body: Incoming) {
        let mut rest = BytesMut::new();
        loop {
            let cleanly = match body.frame().await {
                Some(Ok(frame)) => {
                    let data: Bytes = frame.into_data().unwrap_or_default();
                    rest.extend_from_slice(&data);
                    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                        let line = rest.split_to(end);
                        rest.advance(1);
                        self.line_of(&line);
                    }
                    continue;
                }
                Some(Err(_)) => false,
                None => true,
            };
            let torn = !rest.is_empty();
            let count = if cleanly { &mut self.counts.ended_cleanly } else { &mut self.counts.ended_broken };
            *count += 1;
            self.counts.torn += u64::from(torn);
            return self.step(Step::Ended { cleanly, torn });
        }
    }

    fn line_of(&mut self, line: &[u8]) {
        let event: Event = serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
        let metadata = event.object.metadata;
        if let Some(kind) = Kind::of(&event.kind) {
            let value = metadata.annotations.get("value").and_then(|value| value.parse().ok());
            let at = metadata.at();
            self.counts.events += 1;
            self.step(Step::Event(Change { at, kind, name: metadata.name, value }));
            return self.at(at);
        }
        match (&*event.kind, event.object.code) {
            ("BOOKMARK", _) => {
                let at = metadata.at();
                self.counts.bookmarks += 1;
                self.step(Step::Bookmark { at });
                self.at(at);
            }
            ("ERROR", Some(410)) => self.expired(),
            ("ERROR", code) => *self.counts.refused.entry(code.unwrap_or(0)).or_default() += 1,
            (other, _) => panic!("an event of type {other:?}"),
        }
    }

    fn expired(&mut self) {
        self.counts.expired += 1;
        self.step(Step::Expired);
        self.from = None;
    }
}
