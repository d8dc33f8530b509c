//! The connections of a pool, who uses them, and which one the next request takes. No I/O here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::AbortHandle;
use futures_util::task::AtomicWaker;
use hyper::client::conn::http1;
use tokio::time::Instant;

use super::Settings;
use super::error::DialError;
use crate::{body::Body, limits};

/// How requests get onto a connection.
pub(super) enum Sender {
    H2(h2::client::SendRequest<Bytes>),
    /// `None` while its one request is under way, or forever if that one broke it.
    H1(Option<http1::SendRequest<Body>>),
}

/// How much a connection is used; shared with its task and its leases.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Requests outstanding, with those cancelled but not yet known to the server to be so.
    pub(super) in_use: AtomicUsize,
    /// Requests ever.
    pub(super) taken: AtomicU64,
    /// Requests cancelled ever, on HTTP/2; of each of which the task is to hear.
    pub(super) cancelled: AtomicUsize,
    /// No request is to begin on it any more.
    pub(super) retired: AtomicBool,
    /// Wakes the task for either.
    pub(super) on_change: AtomicWaker,
}

struct Slot {
    id: u64,
    sender: Sender,
    limit: usize,
    load: Arc<Load>,
    /// Order of last return, for HTTP/1.1.
    returned: u64,
}

struct Member {
    abort: AbortHandle,
    /// Whether it is HTTP/2, and how much it is used; nothing while it is being opened.
    open: Option<(bool, Arc<Load>)>,
}

/// A connection taken for one request.
pub(super) struct Taken {
    pub(super) id: u64,
    pub(super) load: Arc<Load>,
    pub(super) sender: TakenSender,
    /// The connections fill up: one more should be opened in the background.
    pub(super) open_ahead: bool,
}

pub(super) enum TakenSender {
    H2(h2::client::SendRequest<Bytes>),
    H1(http1::SendRequest<Body>),
}

pub(super) struct State {
    /// Connections that take requests, oldest first.
    slots: Vec<Slot>,
    /// Every connection there is, be it opening, live or draining.
    members: HashMap<u64, Member>,
    opening: usize,
    next_id: u64,
    /// Connections below this number were opened with other certificates.
    first_current: u64,
    returns: u64,
    /// Streams that a new connection is expected to bring.
    expected_streams: usize,
    /// Failed dials ever, and the last one's error.
    pub(super) failures: u64,
    pub(super) last_failure: Option<(Instant, DialError)>,
}

impl State {
    pub(super) fn new(expected_streams: usize) -> Self {
        Self {
            slots: Vec::new(),
            members: HashMap::new(),
            opening: 0,
            next_id: 0,
            first_current: 0,
            returns: 0,
            expected_streams: expected_streams.max(1),
            failures: 0,
            last_failure: None,
        }
    }

    /// A connection with room for one more request.
    pub(super) fn take(&mut self, settings: &Settings) -> Option<Taken> {
        let rooms = self.slots.iter().map(|s| match s.sender {
            Sender::H2(_) => (s.limit, s.load.in_use.load(Ordering::SeqCst)),
            Sender::H1(_) => (0, 0),
        });
        let (h2, ahead) = choose(rooms, settings.open_ahead);
        let index = h2.or_else(|| {
            // Last in, first out: the others get their idle time, and this one is likeliest alive.
            let free = |s: &Slot| matches!(&s.sender, Sender::H1(Some(sender)) if !sender.is_closed());
            let last = self.slots.iter().enumerate().filter(|(_, s)| free(s)).max_by_key(|(_, s)| s.returned);
            last.map(|(index, _)| index)
        })?;
        let open_ahead = ahead && h2.is_some() && self.may_open_ahead(settings);
        let slot = &mut self.slots[index];
        let sender = match &mut slot.sender {
            Sender::H2(sender) => TakenSender::H2(sender.clone()),
            Sender::H1(sender) => TakenSender::H1(sender.take()?),
        };
        slot.load.in_use.fetch_add(1, Ordering::SeqCst);
        slot.load.taken.fetch_add(1, Ordering::Relaxed);
        Some(Taken { id: slot.id, load: Arc::clone(&slot.load), sender, open_ahead })
    }

    /// One at a time, and not right after a failure: nobody is in need yet.
    fn may_open_ahead(&self, settings: &Settings) -> bool {
        let failed = self.last_failure.as_ref().is_some_and(|(at, _)| at.elapsed() < limits::AHEAD_PAUSE);
        self.opening == 0 && self.slots.len() < settings.max_connections && !failed
    }

    /// How many connections to open now for so many waiting requests.
    pub(super) fn missing(&self, waiting: usize, settings: &Settings) -> usize {
        let wanted = waiting.div_ceil(self.expected_streams).saturating_sub(self.opening);
        wanted.min(settings.max_connections.saturating_sub(self.slots.len() + self.opening))
    }

    pub(super) fn opening(&self) -> usize {
        self.opening
    }

    /// A new connection begins to be opened.
    pub(super) fn enter(&mut self, abort: AbortHandle) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.opening += 1;
        self.members.insert(id, Member { abort, open: None });
        id
    }

    /// It is open.
    pub(super) fn admit(&mut self, id: u64, sender: Sender, limit: usize) -> Arc<Load> {
        self.opening -= 1;
        self.expected_streams = limit.max(1);
        let load = Arc::<Load>::default();
        if let Some(member) = self.members.get_mut(&id) {
            member.open = Some((matches!(sender, Sender::H2(_)), Arc::clone(&load)));
        }
        if id < self.first_current {
            load.retired.store(true, Ordering::SeqCst);
        } else {
            self.slots.push(Slot { id, sender, limit, load: Arc::clone(&load), returned: 0 });
        }
        load
    }

    /// It could not be opened.
    pub(super) fn fail(&mut self, id: u64, error: DialError) {
        self.opening -= 1;
        self.failures += 1;
        self.last_failure = Some((Instant::now(), error));
        self.members.remove(&id);
    }

    pub(super) fn set_limit(&mut self, id: u64, limit: usize) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.id == id) {
            slot.limit = limit;
        }
    }

    /// Puts an HTTP/1.1 connection back after its request.
    pub(super) fn give_back(&mut self, id: u64, sender: http1::SendRequest<Body>) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.id == id) {
            self.returns += 1;
            slot.returned = self.returns;
            slot.sender = Sender::H1(Some(sender));
        }
    }

    /// It takes no more requests; those that it has go on. Whether it took any until now.
    pub(super) fn retire(&mut self, id: u64) -> bool {
        let before = self.slots.len();
        self.slots.retain(|s| s.id != id);
        self.slots.len() < before
    }

    /// As `retire`; what ends it is returned.
    pub(super) fn remove(&mut self, id: u64) -> Option<AbortHandle> {
        self.retire(id);
        self.members.get(&id).map(|member| member.abort.clone())
    }

    /// As `retire`, unless somebody uses it.
    pub(super) fn retire_unused(&mut self, id: u64) -> bool {
        let unused = |s: &Slot| s.id == id && s.load.in_use.load(Ordering::SeqCst) == 0;
        let found = self.slots.iter().any(unused);
        found && self.retire(id)
    }

    /// No connection that is open, or being opened, takes requests any more. Those that are open are returned.
    pub(super) fn retire_all(&mut self) -> Vec<Arc<Load>> {
        self.first_current = self.next_id;
        self.slots.drain(..).map(|slot| slot.load).collect()
    }

    /// It is closed.
    pub(super) fn leave(&mut self, id: u64) {
        self.retire(id);
        self.members.remove(&id);
    }

    /// No connection takes requests any more. What ends all their exchanges is returned.
    pub(super) fn clear(&mut self) -> Vec<AbortHandle> {
        self.slots.clear();
        self.members.values().map(|member| member.abort.clone()).collect()
    }

    /// Connections that no PING looks after take no more requests: those of HTTP/1.1, and those that nobody uses. What
    /// ends them is returned.
    pub(super) fn clear_unwatched(&mut self) -> Vec<AbortHandle> {
        let unwatched = |member: &Member| {
            let load = member.open.as_ref();
            load.is_some_and(|(http2, load)| !http2 || load.in_use.load(Ordering::SeqCst) == 0)
        };
        let ending: HashMap<u64, AbortHandle> = self
            .members
            .iter()
            .filter(|(_, member)| unwatched(member))
            .map(|(id, member)| (*id, member.abort.clone()))
            .collect();
        self.slots.retain(|slot| !ending.contains_key(&slot.id));
        ending.into_values().collect()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            live: self.slots.len(),
            opening: self.opening,
            draining: self.members.len().saturating_sub(self.slots.len() + self.opening),
            in_use: self.slots.iter().map(|s| s.load.in_use.load(Ordering::SeqCst)).sum(),
            capacity: self.slots.iter().map(|s| s.limit).sum(),
            waiting: 0,
        }
    }
}

/// A pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that take requests.
    pub live: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Connections that finish their streams and take no new ones.
    pub draining: usize,
    /// Streams on live connections.
    pub in_use: usize,
    /// Streams that the live connections allow together.
    pub capacity: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
}

/// The room for the next stream, given each connection's `(limit, in use)`, oldest first; and
/// whether all of them together are fuller than the fraction `open_ahead`.
///
/// As few of the oldest connections as keep below that fraction share the load, each new stream
/// on the least loaded of them; so younger ones run empty when there is less to do, and are reaped.
pub(super) fn choose(
    rooms: impl Iterator<Item = (usize, usize)> + Clone,
    open_ahead: f64,
) -> (Option<usize>, bool) {
    let wanted = rooms.clone().map(|(_, in_use)| in_use).sum::<usize>() as f64 + 1.0;
    let mut covered = 0.0;
    let mut best: Option<(usize, (usize, usize))> = None;
    for (index, (limit, in_use)) in rooms.enumerate() {
        if best.is_some() && covered >= wanted {
            break;
        }
        covered += limit as f64 * open_ahead;
        let emptier = |(l, u): (usize, usize)| in_use * l < u * limit;
        if in_use < limit && best.is_none_or(|(_, room)| emptier(room)) {
            best = Some((index, (limit, in_use)));
        }
    }
    (best.map(|(index, _)| index), covered < wanted)
}
