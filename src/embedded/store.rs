//! The objects: what etcd is to real API servers. Several embedded servers share one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::answer::Refusal;

mod past;
mod registrations;

pub(super) use registrations::Registered;
use registrations::Registrations;

/// How many changes a watch may lag behind before it is told to list again (410 Gone).
pub const HISTORY: usize = 10_000;

/// Objects of all kinds with one line of revisions, and the latest changes for watches.
///
/// Objects are kept by group and resource, without `apiVersion` and `kind`: every version shows the same object.
#[derive(Debug)]
pub struct Store {
    inner: Mutex<Inner>,
    /// The latest revision; a change wakes all watches.
    revision: watch::Sender<u64>,
    history: usize,
}

#[derive(Debug)]
struct Inner {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    events: VecDeque<Event>,
    /// Changes up to this revision are no longer in `events`.
    compacted: u64,
    registrations: Registrations,
}

/// Where an object lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) group: String,
    pub(super) resource: String,
    /// Empty for objects without one.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A resource, in one namespace or in all.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) key: Key,
    /// `None` before its creation.
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Arc<Value>,
    pub(super) deleted: bool,
}

/// The changes asked for have been forgotten.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) oldest: u64,
}

// === impl Store ===

impl Store {
    /// A store with the namespaces that every cluster has.
    pub fn new() -> Arc<Self> {
        Self::with_history(HISTORY)
    }

    /// A store that remembers only `history` changes for watches.
    pub fn with_history(history: usize) -> Arc<Self> {
        let inner = Inner {
            revision: 0,
            objects: BTreeMap::new(),
            events: VecDeque::new(),
            compacted: 0,
            registrations: Registrations::default(),
        };
        let store = Self { inner: Mutex::new(inner), revision: watch::Sender::new(0), history };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let namespace = json!({ "metadata": { "name": name } });
            store.create(Key::namespace(name), namespace, false).expect("the store is empty");
        }
        Arc::new(store)
    }

    /// The revision of the latest change.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Wakes at every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// All objects of a scope in order of namespace and name, and the revision at which that is true.
    pub(super) fn list(&self, scope: &Scope) -> (Vec<Arc<Value>>, u64) {
        let inner = self.lock();
        let objects = inner.objects.iter().filter(|(key, _)| scope.covers(key));
        (objects.map(|(_, object)| Arc::clone(object)).collect(), inner.revision)
    }

    /// Stores a new object, with the metadata that a server fills in; in a dry run, gives back what would be stored.
    pub(super) fn create(&self, key: Key, object: Value, dry: bool) -> Result<Arc<Value>, Refusal> {
        let mut inner = self.lock();
        if inner.objects.contains_key(&key) {
            return Err(Refusal::already_exists(&key.group, &key.resource, &key.name));
        }
        if !key.namespace.is_empty() && !inner.objects.contains_key(&Key::namespace(&key.namespace)) {
            return Err(Refusal::no_such_object("", "namespaces", &key.namespace));
        }
        let object = dressed(&key, object);
        if dry {
            return Ok(Arc::new(object));
        }
        let object = inner.put(key, object, self.history);
        self.publish(&mut inner);
        Ok(object)
    }

    /// Exchanges an object for what `change` makes of it, all at once. A change of nothing is no change, and nor is
    /// a dry run.
    pub(super) fn update(
        &self,
        key: &Key,
        change: impl FnOnce(&Value) -> Result<Value, Refusal>,
        dry: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let mut inner = self.lock();
        let Some(old) = inner.objects.get(key).cloned() else { return Err(key.not_found()) };
        let mut new = change(&old)?;
        remove_type(&mut new);
        for kept in ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"] {
            match old["metadata"].get(kept) {
                Some(value) => new["metadata"][kept] = value.clone(),
                None => {
                    new["metadata"].as_object_mut().and_then(|metadata| metadata.shift_remove(kept));
                }
            }
        }
        if new == *old {
            return Ok(old);
        }
        if !same_spec(&new, &old) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = json!(generation);
        }
        if dry {
            return Ok(Arc::new(new));
        }
        let object = inner.put(key.clone(), new, self.history);
        self.publish(&mut inner);
        Ok(object)
    }

    /// Removes an object if `allowed` says so; with a namespace goes everything in it, with a CRD all its objects.
    pub(super) fn delete(
        &self,
        key: &Key,
        allowed: impl FnOnce(&Value) -> Result<(), Refusal>,
        dry: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let mut inner = self.lock();
        let Some(object) = inner.objects.get(key).cloned() else { return Err(key.not_found()) };
        allowed(&object)?;
        if dry {
            return Ok(object);
        }
        for other in inner.owned(key, &object) {
            inner.remove(&other, self.history);
        }
        inner.remove(key, self.history);
        self.publish(&mut inner);
        Ok(object)
    }

    /// The changes of a scope after `revision`, and the revision up to which they are complete.
    pub(super) fn since(&self, revision: u64, scope: &Scope) -> Result<(Vec<Event>, u64), Expired> {
        let inner = self.lock();
        if revision < inner.compacted {
            return Err(Expired { oldest: inner.compacted });
        }
        let first = inner.events.partition_point(|event| event.revision <= revision);
        let events = inner.events.iter().skip(first).filter(|event| scope.covers(&event.key));
        Ok((events.cloned().collect(), inner.revision))
    }

    fn publish(&self, inner: &mut Inner) {
        inner.settle(self.history);
        self.revision.send_replace(inner.revision);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn put(&mut self, key: Key, mut object: Value, history: usize) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let after = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&after));
        self.remember(key, before, Arc::clone(&after), false, history);
        after
    }

    fn remove(&mut self, key: &Key, history: usize) {
        let Some(before) = self.objects.remove(key) else { return };
        self.revision += 1;
        let mut last = Value::clone(&before);
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.remember(key.clone(), Some(before), Arc::new(last), true, history);
    }

    fn remember(
        &mut self,
        key: Key,
        before: Option<Arc<Value>>,
        after: Arc<Value>,
        deleted: bool,
        history: usize,
    ) {
        self.registrations.changed(&key, self.revision);
        self.events.push_back(Event { revision: self.revision, key, before, after, deleted });
        while self.events.len() > history {
            if let Some(forgotten) = self.events.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
    }
}

// === impl Key ===

impl Key {
    fn namespace(name: &str) -> Self {
        Self {
            group: String::new(),
            resource: "namespaces".into(),
            namespace: String::new(),
            name: name.into(),
        }
    }

    fn is_of(&self, (group, resource): (&str, &str)) -> bool {
        self.group == group && self.resource == resource
    }

    pub(super) fn not_found(&self) -> Refusal {
        Refusal::no_such_object(&self.group, &self.resource, &self.name)
    }
}

// === impl Scope ===

impl Scope {
    fn covers(&self, key: &Key) -> bool {
        key.group == self.group
            && key.resource == self.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }
}

/// Now, as Kubernetes writes times: whole seconds, UTC.
pub(super) fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a number of nanoseconds");
    now.format(&Rfc3339).expect("the present year has four digits")
}

/// A new object with the metadata that a server fills in.
fn dressed(key: &Key, mut object: Value) -> Value {
    remove_type(&mut object);
    let metadata = &mut object["metadata"];
    metadata["name"] = json!(key.name);
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(key.namespace);
    }
    metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
    metadata["creationTimestamp"] = json!(now());
    metadata["generation"] = json!(1);
    if *key == Key::namespace(&key.name) {
        metadata["labels"]["kubernetes.io/metadata.name"] = json!(key.name);
        object["spec"] = json!({ "finalizers": ["kubernetes"] });
        object["status"] = json!({ "phase": "Active" });
    }
    registrations::complete(key, &mut object);
    object
}

fn remove_type(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
    }
}

/// The object as one version shows it.
pub(super) fn typed(object: &Value, api_version: &str, kind: &str) -> Value {
    let mut fields = Map::new();
    fields.insert("apiVersion".into(), api_version.into());
    fields.insert("kind".into(), kind.into());
    fields.extend(object.as_object().cloned().unwrap_or_default());
    fields.into()
}

fn same_spec(a: &Value, b: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.shift_remove("metadata");
            fields.shift_remove("status");
        }
        object
    };
    strip(a) == strip(b)
}
