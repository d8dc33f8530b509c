//! Watches: a line of JSON for every change, bookmarks in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{self, Answer, Refusal};
use super::faults::WatchFault;
use super::selector::Selector;
use super::spoil::ABORT_PAUSE;
use super::store::{self, Event, Expired, Scope, Store};
use super::target::Query;
use super::view::View;
use crate::body::{Body, BoxError};

/// One open watch.
pub(super) struct Watch {
    pub(super) store: Arc<Store>,
    pub(super) scope: Scope,
    pub(super) selector: Selector,
    /// `apiVersion` and `kind` of the objects in the version that was asked for.
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) view: View,
    /// How often a client that allows bookmarks gets one while nothing happens.
    pub(super) bookmark_interval: Duration,
    pub(super) faults: watch::Receiver<HashMap<String, WatchFault>>,
}

struct State {
    watch: Watch,
    changes: watch::Receiver<u64>,
    /// Everything up to this revision was sent or is in `ready`.
    cursor: u64,
    ready: VecDeque<Bytes>,
    /// Whether an event was made already.
    begun: bool,
    next_bookmark: Option<Instant>,
    end: Option<Instant>,
    done: bool,
    /// Half an event went out: nothing but an error can follow.
    broken: bool,
}

// === impl Watch ===

impl Watch {
    /// Answers 200 at once; what goes wrong later is an event of type `ERROR`, as upstream does it.
    pub(super) fn answer(self, query: &Query) -> Result<Answer, Refusal> {
        if let Some(WatchFault::Refused(status)) = self.fault() {
            let reason = if status == StatusCode::FORBIDDEN { "Forbidden" } else { "InternalError" };
            return Err(Refusal::new(status, reason, "the watch is refused because it was told to be"));
        }
        let version = query.filled("resourceVersion").unwrap_or("0");
        let from: u64 = version.parse().map_err(|_| {
            Refusal::bad_request(format!("invalid resource version {version:?}: it is not a number"))
        })?;
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial = from == 0 || query.flag("sendInitialEvents");
        let mut state = State {
            changes: self.store.subscribe(),
            cursor: from,
            ready: VecDeque::new(),
            begun: false,
            next_bookmark: bookmarks.then(|| Instant::now() + self.bookmark_interval),
            end: query.number("timeoutSeconds").map(|secs| Instant::now() + Duration::from_secs(secs)),
            done: false,
            broken: false,
            watch: self,
        };
        if initial {
            state.send_present(query.flag("sendInitialEvents"));
        }
        let frames = stream::unfold(state, |mut state| async move {
            let frame = state.frame().await?;
            Some((frame.map(Frame::data), state))
        });
        let body: Body = StreamBody::new(frames).boxed_unsync();
        Ok(answer::streaming(StatusCode::OK, "application/json", body))
    }

    /// How the change looks to somebody who sees only what the selector lets through.
    fn change(&self, event: &Event) -> Option<(&'static str, Value)> {
        let was = event.before.as_ref().is_some_and(|before| self.selector.matches(before));
        let is = !event.deleted && self.selector.matches(&event.after);
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some((kind, self.typed(&event.after)))
    }

    fn fault(&self) -> Option<WatchFault> {
        let faults = self.faults.borrow();
        faults.get(&self.scope.resource).or_else(|| faults.get("*")).copied()
    }

    fn typed(&self, object: &Value) -> Value {
        store::typed(object, &self.api_version, &self.kind)
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        json!({ "kind": self.kind, "apiVersion": self.api_version, "metadata": metadata })
    }
}

// === impl State ===

impl State {
    /// Everything that is there now, as if it were added at this moment.
    fn send_present(&mut self, end_mark: bool) {
        let (objects, revision) = self.watch.store.list(&self.watch.scope);
        for object in &objects {
            if self.watch.selector.matches(object) {
                let line = self.line("ADDED", self.watch.typed(object));
                self.ready.push_back(line);
            }
        }
        if end_mark {
            let line = self.line("BOOKMARK", self.watch.bookmark(revision, true));
            self.ready.push_back(line);
        }
        self.cursor = revision;
    }

    fn line(&mut self, kind: &str, object: Value) -> Bytes {
        let first = !std::mem::replace(&mut self.begun, true);
        event_line(kind, &self.watch.view.event(object, first))
    }

    /// The next line, whole or not, or the error that ends it all.
    async fn frame(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.broken {
            // A reset overtakes what is still to be sent; this lets the half go out first.
            tokio::time::sleep(ABORT_PAUSE).await;
            (self.broken, self.done) = (false, true);
            self.ready.clear();
            return Some(Err("the watch breaks off because it was told to".into()));
        }
        let line = self.next().await?;
        if self.watch.fault() == Some(WatchFault::BreaksOff) {
            self.broken = true;
            return Some(Ok(line.slice(..line.len() / 2)));
        }
        Some(Ok(line))
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.watch.faults.mark_unchanged();
            match self.watch.fault() {
                Some(WatchFault::Silent) => {
                    // The server is gone if its switches are.
                    self.watch.faults.changed().await.ok()?;
                    continue;
                }
                Some(WatchFault::Expired) if !self.done => {
                    self.done = true;
                    self.ready.clear();
                    return Some(event_line(
                        "ERROR",
                        &too_old(self.cursor, &Expired { oldest: self.cursor }),
                    ));
                }
                _ => {}
            }
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.done {
                return None;
            }
            self.changes.mark_unchanged();
            self.collect();
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                changed = self.changes.changed() => self.done = changed.is_err(),
                changed = self.watch.faults.changed() => self.done |= changed.is_err(),
                () = at(self.end) => self.done = true,
                () = at(self.next_bookmark) => {
                    self.next_bookmark = Some(Instant::now() + self.watch.bookmark_interval);
                    return Some(self.line("BOOKMARK", self.watch.bookmark(self.cursor, false)));
                }
            }
        }
    }

    fn collect(&mut self) {
        match self.watch.store.since(self.cursor, &self.watch.scope) {
            Ok((events, revision)) => {
                for event in &events {
                    if let Some((kind, object)) = self.watch.change(event) {
                        let line = self.line(kind, object);
                        self.ready.push_back(line);
                    }
                }
                self.cursor = self.cursor.max(revision);
            }
            Err(expired) => {
                self.ready.push_back(event_line("ERROR", &too_old(self.cursor, &expired)));
                self.done = true;
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn event_line(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({ "type": kind, "object": object }).to_string();
    line.push('\n');
    line.into()
}

fn too_old(asked: u64, expired: &Expired) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("too old resource version: {asked} ({})", expired.oldest),
        "reason": "Expired", "code": 410,
    })
}
