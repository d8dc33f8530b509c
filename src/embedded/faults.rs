//! Faults that a test switches on and off while the server runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;

use super::document::Tree;
use crate::api::gvr::GroupVersionResource;

/// How `/api` and `/apis` are to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryFault {
    /// This status with a `Status` object.
    Status(StatusCode),
    /// 200 with something that is no JSON.
    Garbage,
    /// 200 with the first half of the document, ended properly.
    Truncated,
    /// 200 with the first half of the document, then the stream breaks.
    Aborted,
    /// 200 with a document that never ends.
    Endless,
    /// 200 with the right document, blanks before it to make it this many bytes long.
    Oversized(usize),
    /// 200 with the right document in pieces of 1 KiB, this long apart.
    Slow(Duration),
    /// 200 with something more than there is, another thing at each fetch. OpenAPI stays right.
    Changing,
}

/// How lists of a resource are to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFault {
    /// As documents do.
    Document(DiscoveryFault),
    /// 200 with items that are no objects among the right ones.
    Rubbish,
    /// 410: whatever version was asked for is too old.
    Expired,
}

/// How watches of a resource are to go wrong, those included that are open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// This status, such as 403. Open ones go on.
    Refused(StatusCode),
    /// Half of the next event, then the stream breaks.
    BreaksOff,
    /// Not a byte, no end either. What happened meanwhile comes when the fault is switched off.
    Silent,
    /// 410 as an event, then the end: at once.
    Expired,
}

/// How `/openapi/v2` and `/openapi/v3` are to go wrong: in the same ways.
pub type OpenApiFault = DiscoveryFault;

/// How a resource that discovery lists is to be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFault {
    /// `404 page not found` as plain text, as for an unknown group.
    PlainText,
    /// The `Status` with empty details, as for an unknown resource of a known group.
    Status,
}

/// What a server does with upgrades of `exec`, `attach`, `portforward`, `proxy` and of watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpgradeScript {
    /// Sends back what it reads, and ends when that has ended.
    #[default]
    Echo,
    /// So many bytes, then its end; then it reads until the client has ended, too.
    Say(usize),
    /// Reads until the client has ended, then says so many bytes and ends.
    Listen(usize),
    /// Neither reads nor writes nor ends.
    Silent,
    /// No 101 but this status: with a body of so many bytes, or for 0 with a `Status`.
    Refuse(StatusCode, usize),
    /// 302 to another place.
    Redirect,
    /// 101 to a protocol that nobody asked for.
    OtherProtocol,
}

/// The switches of one server. Cloning gives another handle on the same switches.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    settings: Mutex<Settings>,
    hanging: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
    watches: watch::Sender<HashMap<String, WatchFault>>,
    /// How many documents were made up.
    changes: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Settings {
    discovery: Option<DiscoveryFault>,
    discovery_of: HashMap<Tree, DiscoveryFault>,
    lists: HashMap<String, ListFault>,
    group_versions: HashMap<(String, String), StatusCode>,
    openapi: Option<OpenApiFault>,
    openapi_at: HashMap<String, OpenApiFault>,
    missing: HashMap<GroupVersionResource, RouteFault>,
    delay: Option<Duration>,
    status: Option<StatusCode>,
    not_ready: bool,
    not_alive: bool,
    upgrades: UpgradeScript,
}

// === impl Faults ===

impl Faults {
    /// How discovery goes wrong, or that it goes right again.
    pub fn discovery(&self, fault: Option<DiscoveryFault>) {
        self.lock().discovery = fault;
    }

    /// How one tree goes wrong (`/apis` while `/api` works), or that it goes right again.
    pub fn discovery_of(&self, tree: Tree, fault: Option<DiscoveryFault>) {
        let mut settings = self.lock();
        match fault {
            Some(fault) => settings.discovery_of.insert(tree, fault),
            None => settings.discovery_of.remove(&tree),
        };
    }

    /// How lists of a resource (its plural name; `*` for all) go wrong.
    pub fn list(&self, resource: &str, fault: Option<ListFault>) {
        let mut settings = self.lock();
        match fault {
            Some(fault) => settings.lists.insert(resource.to_owned(), fault),
            None => settings.lists.remove(resource),
        };
    }

    /// How watches of a resource (its plural name; `*` for all) go wrong.
    pub fn watch(&self, resource: &str, fault: Option<WatchFault>) {
        self.0.watches.send_modify(|watches| {
            match fault {
                Some(fault) => watches.insert(resource.to_owned(), fault),
                None => watches.remove(resource),
            };
        });
    }

    /// Lets the list of one group-version (`/apis/<group>/<version>`, `/api/<version>`) answer this status although
    /// `/apis` names it, or lets it answer right again. 503 is what an API server says of an extension server that is
    /// away, 404 what one says whose etcd holds the registration of a group-version that only others serve.
    pub fn group_version(&self, group: &str, version: &str, status: Option<StatusCode>) {
        let key = (group.to_owned(), version.to_owned());
        let mut settings = self.lock();
        match status {
            Some(status) => settings.group_versions.insert(key, status),
            None => settings.group_versions.remove(&key),
        };
    }

    /// How every OpenAPI document goes wrong, the index included, or that they go right again.
    pub fn openapi(&self, fault: Option<OpenApiFault>) {
        self.lock().openapi = fault;
    }

    /// How the OpenAPI document at this path (no query) goes wrong.
    pub fn openapi_at(&self, path: &str, fault: Option<OpenApiFault>) {
        let mut settings = self.lock();
        match fault {
            Some(fault) => settings.openapi_at.insert(path.to_owned(), fault),
            None => settings.openapi_at.remove(path),
        };
    }

    /// While on, a request is read and recorded but not answered; connections stay alive (PING is answered).
    /// Switching it off answers those that wait.
    pub fn hang(&self, on: bool) {
        self.0.hanging.send_replace(on);
    }

    /// While on, nothing is read or written at all, as if the process were stopped; the kernel still accepts.
    pub fn freeze(&self, on: bool) {
        self.0.frozen.send_replace(on);
    }

    /// Every request waits this long before it is looked at.
    pub fn delay(&self, delay: Option<Duration>) {
        self.lock().delay = delay;
    }

    /// Every request that is authenticated gets this status.
    pub fn answer_all(&self, status: Option<StatusCode>) {
        self.lock().status = status;
    }

    /// Makes a resource missing although discovery lists it, or found again.
    pub fn missing(&self, resource: GroupVersionResource, fault: Option<RouteFault>) {
        let mut settings = self.lock();
        match fault {
            Some(fault) => settings.missing.insert(resource, fault),
            None => settings.missing.remove(&resource),
        };
    }

    /// Whether `/readyz` answers 200.
    pub fn ready(&self, ready: bool) {
        self.lock().not_ready = !ready;
    }

    /// Whether `/livez` and `/healthz` answer 200.
    pub fn alive(&self, alive: bool) {
        self.lock().not_alive = !alive;
    }

    /// What becomes of upgrades that ask from now on.
    pub fn upgrade(&self, script: UpgradeScript) {
        self.lock().upgrades = script;
    }

    /// Everything right again.
    pub fn clear(&self) {
        *self.lock() = Settings::default();
        self.hang(false);
        self.freeze(false);
        self.0.watches.send_modify(HashMap::clear);
    }

    pub(super) fn of_discovery(&self, tree: Tree) -> Option<DiscoveryFault> {
        let settings = self.lock();
        settings.discovery_of.get(&tree).copied().or(settings.discovery)
    }

    pub(super) fn of_list(&self, resource: &str) -> Option<ListFault> {
        let settings = self.lock();
        settings.lists.get(resource).or_else(|| settings.lists.get("*")).copied()
    }

    pub(super) fn watches(&self) -> watch::Receiver<HashMap<String, WatchFault>> {
        self.0.watches.subscribe()
    }

    /// A number that was not given before.
    pub(super) fn next_change(&self) -> u64 {
        self.0.changes.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn of_group_version(&self, group: &str, version: &str) -> Option<StatusCode> {
        self.lock().group_versions.get(&(group.to_owned(), version.to_owned())).copied()
    }

    pub(super) fn of_openapi(&self, path: &str) -> Option<OpenApiFault> {
        let settings = self.lock();
        settings.openapi_at.get(path).copied().or(settings.openapi)
    }

    pub(super) fn of_resource(&self, resource: &GroupVersionResource) -> Option<RouteFault> {
        self.lock().missing.get(resource).copied()
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        self.lock().status
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.lock().not_ready
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.lock().not_alive
    }

    pub(super) fn upgrades(&self) -> UpgradeScript {
        self.lock().upgrades
    }

    pub(super) fn frozen(&self) -> watch::Receiver<bool> {
        self.0.frozen.subscribe()
    }

    /// Comes back when neither a delay nor a hang holds the request any longer.
    pub(super) async fn hold(&self) {
        let delay = self.lock().delay;
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        // The sender lives as long as `self`, so this ends only by the switch.
        let _ = self.0.hanging.subscribe().wait_for(|hanging| !hanging).await;
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
