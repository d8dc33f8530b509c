//! What custom resources and extension servers leave in the store, and since when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Inner, Key, Scope, Store, dressed};

/// How many changes of CRDs and APIServices are remembered with their time: whoever lags further behind sees them
/// early.
const REMEMBERED: usize = 10_000;
const CRDS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");
const SERVICES: (&str, &str) = ("apiregistration.k8s.io", "apiservices");
/// Says who made an APIService: `onstart` is a server for what it serves itself, `true` goes with a CRD.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// When the CRDs and APIServices changed, by revision.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    changes: VecDeque<(Instant, u64)>,
    /// CRDs have changed, and the APIServices that go with them not yet.
    unsettled: bool,
}

/// The CRDs and APIServices of one moment.
#[derive(Debug, Default)]
pub(in super::super) struct Registered {
    pub(in super::super) crds: Vec<Arc<Value>>,
    pub(in super::super) services: Vec<Arc<Value>>,
}

// === impl Registrations ===

impl Registrations {
    pub(super) fn changed(&mut self, key: &Key, revision: u64) {
        let crd = key.is_of(CRDS);
        if crd || key.is_of(SERVICES) {
            self.changes.push_back((Instant::now(), revision));
            self.unsettled |= crd;
            if self.changes.len() > REMEMBERED {
                self.changes.pop_front();
            }
        }
    }
}

// === impl Store ===

impl Store {
    /// The revision of the latest change of CRDs or APIServices that somebody sees who learns of each so much
    /// later; 0 before any.
    pub(in super::super) fn registered_revision(&self, lag: Duration) -> u64 {
        let inner = self.lock();
        let now = Instant::now();
        let seen = |(at, _): &(Instant, u64)| at.checked_add(lag).is_some_and(|at| at <= now);
        let seen = inner.registrations.changes.partition_point(seen);
        seen.checked_sub(1).map_or(0, |last| inner.registrations.changes[last].1)
    }

    /// What was registered at a revision; what is registered now if that is forgotten.
    pub(in super::super) fn registered(&self, revision: u64) -> Registered {
        let all = |(group, resource): (&str, &str)| {
            if revision == 0 {
                return Vec::new();
            }
            let scope = Scope { group: group.into(), resource: resource.into(), namespace: None };
            self.list_at(&scope, revision).unwrap_or_else(|_| self.list(&scope).0)
        };
        Registered { crds: all(CRDS), services: all(SERVICES) }
    }

    /// Makes an APIService for each of these group-versions that has none, as a server does when it starts.
    pub(in super::super) fn register(&self, group_versions: &[(String, String)]) {
        let mut inner = self.lock();
        for (group, version) in group_versions {
            let key = service_key(group, version);
            if !inner.objects.contains_key(&key) {
                let service = dressed(&key, service(group, version, "onstart"));
                inner.put(key, service, self.history);
            }
        }
        self.publish(&mut inner);
    }
}

// === impl Inner ===

impl Inner {
    /// Makes and removes the APIServices that go with CRDs, if those have changed.
    pub(super) fn settle(&mut self, history: usize) {
        if !std::mem::take(&mut self.registrations.unsettled) {
            return;
        }
        let of = |wanted| self.objects.iter().filter(move |(key, _)| key.is_of(wanted));
        let wanted: BTreeSet<(String, String)> = of(CRDS).flat_map(|(_, crd)| served(crd)).collect();
        let wanted: BTreeMap<Key, (String, String)> =
            wanted.into_iter().map(|both| (service_key(&both.0, &both.1), both)).collect();
        let goes_with_crd = |service: &Value| service["metadata"]["labels"][AUTOMANAGED] == "true";
        let unwanted: Vec<Key> = of(SERVICES)
            .filter(|(key, service)| goes_with_crd(service) && !wanted.contains_key(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in unwanted {
            self.remove(&key, history);
        }
        for (key, (group, version)) in wanted {
            if !self.objects.contains_key(&key) {
                let service = dressed(&key, service(&group, &version, "true"));
                self.put(key, service, history);
            }
        }
    }

    /// The objects that go with the one at `key`: everything in a namespace, all objects of a CRD.
    pub(super) fn owned(&self, key: &Key, object: &Value) -> Vec<Key> {
        let spec = &object["spec"];
        let resource = spec["names"]["plural"].as_str().unwrap_or_default();
        let of = (spec["group"].as_str().unwrap_or_default(), resource);
        let (namespace, crd) = (*key == Key::namespace(&key.name), key.is_of(CRDS));
        let goes = |other: &&Key| (namespace && other.namespace == key.name) || (crd && other.is_of(of));
        self.objects.keys().filter(goes).cloned().collect()
    }
}

/// Fills in what servers add to a new CRD: default names, and that it is established.
pub(super) fn complete(key: &Key, object: &mut Value) {
    if !key.is_of(CRDS) || !object["spec"]["names"].is_object() {
        return;
    }
    let names = &mut object["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    for (name, default) in [("singular", kind.to_ascii_lowercase()), ("listKind", format!("{kind}List"))] {
        if names[name].as_str().is_none_or(str::is_empty) {
            names[name] = json!(default);
        }
    }
    let names = names.clone();
    let condition = |kind: &str, reason: &str| json!({ "type": kind, "status": "True", "reason": reason });
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let stored = versions.filter(|version| version["storage"] == true).map(|version| version["name"].clone());
    let stored: Vec<Value> = stored.collect();
    let conditions =
        [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")];
    object["status"] = json!({ "conditions": conditions, "acceptedNames": names, "storedVersions": stored });
}

/// The group-versions that a CRD serves.
fn served(crd: &Value) -> Vec<(String, String)> {
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
    let versions = versions.filter(|version| version["served"] == true);
    versions.filter_map(|version| Some((group.to_owned(), version["name"].as_str()?.to_owned()))).collect()
}

fn service_key(group: &str, version: &str) -> Key {
    let (of, resource) = SERVICES;
    let name = format!("{version}.{group}");
    Key { group: of.into(), resource: resource.into(), namespace: String::new(), name }
}

/// An APIService of a group-version that API servers serve themselves.
fn service(group: &str, version: &str, automanaged: &str) -> Value {
    let mut spec = json!({ "version": version, "groupPriorityMinimum": 1000, "versionPriority": 100 });
    if !group.is_empty() {
        spec["group"] = json!(group);
    }
    let condition = json!({
        "type": "Available", "status": "True", "reason": "Local",
        "message": "Local APIServices are always available",
    });
    json!({
        "metadata": { "labels": { AUTOMANAGED: automanaged } },
        "spec": spec, "status": { "conditions": [condition] },
    })
}
