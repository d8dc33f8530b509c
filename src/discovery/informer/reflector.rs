//! List, then watch, then watch again.

use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::{
    ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use rand::RngExt as _;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::{
    Key, Seen,
    end::End,
    kinds::{Change, Kind, Object},
};
use crate::{
    discovery::refresh::jitter,
    limits,
    metrics::InformerMetrics,
    servers::{Server, watched::InformerState},
};

/// To whom an informer reports, beside those who see what it saw.
pub struct Listener {
    server: Arc<Server>,
    resource: &'static str,
    metrics: InformerMetrics,
}

struct Reflector<'a, K, F> {
    listener: Listener,
    kind: &'a Kind<K>,
    seen: watch::Sender<Arc<Seen<K>>>,
    changed: F,
    /// Watch from here; `None`: list first.
    from: Option<String>,
    /// Watches in a row that failed behind the same list.
    failed_watches: u32,
    refusals: u32,
    backoff: Duration,
    /// Failures are said once, until something works again.
    complained: bool,
}

/// Shows in `seen` what there is of `kind`, and tells `changed` of each change that matters: what a list brought, too,
/// even the first. Never ends by itself.
pub async fn reflect<K: Object>(
    listener: Listener,
    kind: Kind<K>,
    seen: watch::Sender<Arc<Seen<K>>>,
    changed: impl FnMut(Change<'_, K>) + Send,
) where
    K::DynamicType: Default,
{
    let reflector = Reflector {
        listener,
        kind: &kind,
        seen,
        changed,
        from: None,
        failed_watches: 0,
        refusals: 0,
        backoff: limits::INFORMER_BACKOFF,
        complained: false,
    };
    reflector.run().await;
}

// === impl Listener ===

impl Listener {
    /// Of the informer of `resource` on `server`.
    pub fn new(server: Arc<Server>, resource: &'static str, metrics: InformerMetrics) -> Self {
        Self { server, resource, metrics }
    }

    fn event(&self, kind: &'static str) {
        self.server.health.contact();
        self.metrics.event(&self.server.name, self.resource, kind);
    }
}

// === impl Reflector ===

impl<K: Object, F: FnMut(Change<'_, K>) + Send> Reflector<'_, K, F> {
    async fn run(mut self) {
        loop {
            let (end, lasted) = self.round().await;
            let steady = lasted >= limits::WATCH_STEADY;
            if steady {
                self.backoff = limits::INFORMER_BACKOFF;
                self.failed_watches = 0;
            }
            let wait = self.conclude(end, steady);
            time::sleep(wait).await;
        }
    }

    /// Lists if it has to, and watches until that ends; returns why and how long the watch lasted.
    async fn round(&mut self) -> (End, Duration) {
        let from = match self.from.take() {
            Some(from) => from,
            None => match time::timeout(limits::INFORMER_LIST_TIMEOUT, self.list()).await {
                Ok(Ok(listed)) => self.replace(listed),
                Ok(Err(end)) => return (end, Duration::ZERO),
                Err(_) => return (End::Failed("the list takes too long".to_owned()), Duration::ZERO),
            },
        };
        self.from = Some(from);
        let mut connected = None;
        let end = match self.watch(&mut connected).await {
            Ok(()) => End::Over,
            Err(end) => end,
        };
        (end, connected.map_or(Duration::ZERO, |since: Instant| since.elapsed()))
    }

    /// Draws the conclusions from an end; returns how long to wait before the next round.
    fn conclude(&mut self, end: End, steady: bool) -> Duration {
        let Listener { server, resource, metrics } = &self.listener;
        let name = &server.name;
        let refusal = matches!(end, End::Refused(_) | End::TooMany);
        // A server that is not ready refuses what it allows a moment later.
        self.refusals = if refusal { self.refusals + u32::from(server.health.is_ready()) } else { 0 };
        match &end {
            End::Over => {}
            End::Gone => {
                self.from = None;
                metrics.relisted(name, resource, "gone");
            }
            End::Failed(error) => {
                metrics.failed(name, resource, "failed");
                // That a server went away is said once, and not by each of its watches.
                if self.complained || self.failed_watches == 0 || !server.health.is_ready() {
                    tracing::debug!(server = %name, resource, %error, "cannot watch");
                } else {
                    tracing::warn!(server = %name, resource, %error, "cannot watch; tried again");
                    self.complained = true;
                }
                self.failed_watches += 1;
                if self.from.is_some() && self.failed_watches >= limits::MAX_FAILED_WATCHES {
                    self.from = None;
                    self.failed_watches = 0;
                    metrics.relisted(name, resource, "failures");
                }
                server.health.look();
            }
            End::Refused(_) => metrics.failed(name, resource, "refused"),
            End::TooMany => metrics.failed(name, resource, "too-many"),
        }
        if refusal {
            self.from = None;
        }
        let believed = end == End::TooMany || self.refusals >= limits::REFUSALS_BELIEVED;
        if believed && let Some(why) = end.refusal(self.kind) {
            if self.seen.borrow().refused.is_none() {
                tracing::warn!(
                    server = %name, resource, why, needed = self.kind.permission,
                    "cannot be watched here; tried again from time to time",
                );
            }
            self.publish(|seen| {
                seen.live = false;
                seen.refused = Some(why);
            });
            return jitter(limits::REFUSED_RETRY);
        }
        // A watch that came to its end in good order is not missed before the next one fails.
        if !(steady && end == End::Over) {
            self.publish(|seen| seen.live = false);
        }
        if steady && matches!(end, End::Over | End::Gone) {
            return Duration::ZERO;
        }
        let wait = jitter(self.backoff);
        self.backoff = (self.backoff * 2).min(limits::MAX_INFORMER_BACKOFF);
        wait
    }

    /// Everything, and the resource version that it is of.
    async fn list(&mut self) -> Result<(BTreeMap<Key, Arc<K>>, String), End> {
        let mut objects = BTreeMap::new();
        let mut params = ListParams::default().limit(limits::INFORMER_PAGE);
        params.label_selector = self.kind.labels.map(str::to_owned);
        loop {
            let page = self.kind.api.list(&params).await.map_err(End::of)?;
            self.listener.server.health.contact();
            if page.items.len() + objects.len() > self.kind.max_objects {
                return Err(End::TooMany);
            }
            for mut object in page.items {
                (self.kind.slim)(&mut object);
                objects.insert(key(&object), Arc::new(object));
            }
            // All pages are of one resource version.
            match (page.metadata.continue_, page.metadata.resource_version) {
                (Some(more), _) if !more.is_empty() => params.continue_token = Some(more),
                (_, Some(version)) if !version.is_empty() => return Ok((objects, version)),
                _ => return Err(End::Failed("the list has no resource version".to_owned())),
            }
        }
    }

    /// Shows what a list brought in the place of all that was seen before.
    fn replace(&mut self, (objects, version): (BTreeMap<Key, Arc<K>>, String)) -> String {
        let before = Arc::clone(&self.seen.borrow());
        let from = version.clone();
        let after = objects.clone();
        self.publish(move |seen| {
            seen.objects = objects;
            seen.resource_version = version;
        });
        for (key, object) in &after {
            match before.objects.get(key) {
                Some(known) if same(&**known, &**object) => {}
                known => self.tell(known.map(|known| &**known), Some(object)),
            }
        }
        for (key, object) in &before.objects {
            if !after.contains_key(key) {
                self.tell(Some(object), None);
            }
        }
        from
    }

    /// Watches from `self.from`, which goes along; sets `connected` when the server agreed.
    async fn watch(&mut self, connected: &mut Option<Instant>) -> Result<(), End> {
        let seconds = rand::rng().random_range(limits::WATCH_SECONDS);
        let overdue = Duration::from_secs(seconds.into()) + limits::WATCH_OVERDUE;
        let params =
            WatchParams { label_selector: self.kind.labels.map(str::to_owned), ..WatchParams::default() };
        let params = params.timeout(seconds);
        let from = self.from.clone().unwrap_or_default();
        let events = self.kind.api.watch(&params, &from).await.map_err(End::of)?;
        let mut events = pin!(events.into_stream());
        let started = *connected.insert(Instant::now());
        self.listener.server.health.contact();
        self.refusals = 0;
        if std::mem::take(&mut self.complained) || self.seen.borrow().refused.is_some() {
            let Listener { server, resource, .. } = &self.listener;
            tracing::info!(server = %server.name, resource, "is watched again");
        }
        self.publish(|seen| {
            seen.live = true;
            seen.refused = None;
        });
        loop {
            let next = next(events.as_mut(), started + overdue).await?;
            match next {
                None => return Ok(()),
                Some(event) => self.take(event.map_err(End::of)?)?,
            }
        }
    }

    /// One event.
    fn take(&mut self, event: WatchEvent<K>) -> Result<(), End> {
        match event {
            WatchEvent::Added(object) => self.apply(object, "added"),
            WatchEvent::Modified(object) => self.apply(object, "modified"),
            WatchEvent::Deleted(object) => {
                self.listener.event("deleted");
                let version = version(&object)?;
                let mut gone = None;
                self.publish(|seen| {
                    gone = seen.objects.remove(&key(&object));
                    seen.resource_version.clone_from(&version);
                });
                self.from = Some(version);
                if let Some(gone) = gone {
                    self.tell(Some(&gone), None);
                }
                Ok(())
            }
            WatchEvent::Bookmark(bookmark) => {
                self.listener.event("bookmark");
                let version = bookmark.metadata.resource_version;
                if version.is_empty() {
                    return Err(End::Failed("a bookmark has no resource version".to_owned()));
                }
                self.publish(|seen| seen.resource_version.clone_from(&version));
                self.from = Some(version);
                Ok(())
            }
            WatchEvent::Error(status) => {
                self.listener.event("error");
                Err(End::of(kube::Error::Api(status)))
            }
        }
    }

    fn apply(&mut self, mut object: K, event: &'static str) -> Result<(), End> {
        self.listener.event(event);
        let version = version(&object)?;
        let key = key(&object);
        (self.kind.slim)(&mut object);
        let object = Arc::new(object);
        {
            let seen = self.seen.borrow();
            if seen.objects.len() >= self.kind.max_objects && !seen.objects.contains_key(&key) {
                return Err(End::TooMany);
            }
        }
        let mut before = None;
        self.publish(|seen| {
            before = seen.objects.insert(key, Arc::clone(&object));
            seen.resource_version.clone_from(&version);
        });
        self.from = Some(version);
        if !before.as_ref().is_some_and(|before| same(&**before, &*object)) {
            self.tell(before.as_deref(), Some(&object));
        }
        Ok(())
    }

    /// Changes what is seen, in one step.
    fn publish(&self, change: impl FnOnce(&mut Seen<K>)) {
        self.seen.send_modify(|seen| change(Arc::make_mut(seen)));
        let Listener { server, resource, metrics } = &self.listener;
        let seen = self.seen.borrow();
        metrics.at(&server.name, resource, &seen.resource_version, seen.objects.len(), seen.live);
        let state = InformerState {
            resource_version: seen.resource_version.clone(),
            live: seen.live,
            objects: seen.objects.len(),
            refused: seen.refused.clone(),
        };
        server.watched.set_informer(resource, state);
    }

    fn tell(&mut self, before: Option<&K>, after: Option<&K>) {
        if let (Some(before), Some(after)) = (before, after)
            && !(self.kind.matters)(before, after)
        {
            return;
        }
        (self.changed)(Change { before, after });
    }
}

/// The next event, if it comes before the watch is overdue.
async fn next<S: futures_util::Stream>(
    mut events: Pin<&mut S>,
    overdue: Instant,
) -> Result<Option<S::Item>, End> {
    time::timeout_at(overdue, events.next())
        .await
        .map_err(|_| End::Failed("the server did not end the watch when it should have".to_owned()))
}

fn key<K: Object>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn version<K: Object>(object: &K) -> Result<String, End> {
    let version = object.resource_version().filter(|version| !version.is_empty());
    version.ok_or_else(|| End::Failed("an object has no resource version".to_owned()))
}

fn same<K: Object>(one: &K, other: &K) -> bool {
    one.uid() == other.uid() && one.resource_version() == other.resource_version()
}
