//! Somebody who creates, changes and deletes objects at random, and remembers what he was promised.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::history::{Ack, Kind, Revision};
use super::line::Line;

/// Few, so that writers meet.
pub const NAMES: usize = 8;
/// Some objects are so big that an event is more than one frame and can be cut.
const PADDING: usize = 24 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);
const MERGE_PATCH: &str = "application/merge-patch+json";

/// A resource, and what its objects have beside metadata.
#[derive(Clone, Debug)]
pub struct Resource {
    pub path: String,
    pub object: Value,
}

pub struct Writer {
    resource: Resource,
    /// One of these is taken for each write.
    lines: Vec<Arc<Line>>,
    /// Between two writes, at most.
    pause: Duration,
    rng: StdRng,
    written: Written,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Written {
    pub acks: Vec<Ack>,
    /// Refused because of what is there or not: 404 and 409.
    pub beside: u64,
    /// Refused otherwise, 503 for instance.
    pub refused: u64,
    /// Nobody knows.
    pub unanswered: u64,
}

/// The names that writers use, by number.
pub fn name_of(number: usize) -> String {
    format!("o{number}")
}

/// A value that nobody else writes.
fn next_value() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

// === impl Resource ===

impl Resource {
    /// An object with this name and content.
    fn object(&self, name: &str, content: &Value) -> Value {
        let mut object = self.object.clone();
        object["metadata"] = json!({ "name": name, "annotations": content });
        object
    }

    /// Creates one more object, after which nothing is written; the revision of that.
    pub async fn last_word(&self, line: &Line) -> io::Result<(Ack, Revision)> {
        let name = format!("last-word-{}", next_value());
        let (status, at) = send(
            line,
            Method::POST,
            &self.path,
            Some(("application/json", self.object(&name, &json!({ "value": "0" })))),
        )
        .await?;
        let at = at.filter(|_| status == StatusCode::CREATED);
        let at = at.ok_or_else(|| io::Error::other(format!("{status} for the last word")))?;
        Ok((Ack { kind: Kind::Added, name, at: Some(at), value: 0 }, at))
    }
}

/// Sends, and reads the revision of the object that comes back, if one does.
async fn send(
    line: &Line,
    method: Method,
    path: &str,
    json: Option<(&str, Value)>,
) -> io::Result<(StatusCode, Option<Revision>)> {
    let json = json.map(|(media, value)| (media, value.to_string()));
    let response = line.open(method, path, json).await?;
    let status = response.status();
    let body = timeout(PATIENCE, response.into_body().collect()).await?.map_err(io::Error::other)?;
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let at = body["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    Ok((status, at))
}

// === impl Writer ===

impl Writer {
    pub fn new(resource: &Resource, lines: Vec<Arc<Line>>, pause: Duration, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { resource: resource.clone(), lines, pause, rng, written: Written::default() }
    }

    /// Writes until told to stop; the write under way is brought to its end.
    pub async fn run(mut self, stop: watch::Receiver<bool>) -> Written {
        while !*stop.borrow() {
            self.write().await;
            sleep(self.rng.random_range(Duration::ZERO..self.pause)).await;
        }
        self.written
    }

    async fn write(&mut self) {
        let name = name_of(self.rng.random_range(0..NAMES));
        let value = next_value();
        let one = format!("{}/{name}", self.resource.path);
        let line = &self.lines[self.rng.random_range(0..self.lines.len())];
        let big = self.rng.random_ratio(1, 12);
        let padding = "-".repeat(if big { self.rng.random_range(0..PADDING) } else { 0 });
        let content = json!({ "value": value.to_string(), "padding": padding });
        let (kind, sent) = match self.rng.random_range(0..6) {
            0 => (Kind::Deleted, send(line, Method::DELETE, &one, None).await),
            1 | 2 => {
                let object = self.resource.object(&name, &content);
                let path = &self.resource.path;
                (Kind::Added, send(line, Method::POST, path, Some(("application/json", object))).await)
            }
            _ => {
                let change = json!({ "metadata": { "annotations": content } });
                (Kind::Modified, send(line, Method::PATCH, &one, Some((MERGE_PATCH, change))).await)
            }
        };
        match sent {
            Ok((StatusCode::OK | StatusCode::CREATED, at)) => {
                let at = at.filter(|_| kind != Kind::Deleted);
                self.written.acks.push(Ack { kind, name, at, value });
            }
            Ok((StatusCode::NOT_FOUND | StatusCode::CONFLICT, _)) => self.written.beside += 1,
            Ok(_) => self.written.refused += 1,
            Err(_) => self.written.unanswered += 1,
        }
    }
}

// === impl Written ===

impl Written {
    pub fn add(&mut self, other: Self) {
        self.acks.extend(other.acks);
        self.beside += other.beside;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acks, beside, refused, unanswered } = self;
        write!(
            f,
            "{} writes done, {beside} answered 404 or 409, {refused} refused, {unanswered} unanswered",
            acks.len()
        )
    }
}
