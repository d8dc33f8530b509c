//! What a server says that it serves, and what it therefore serves: one mutable document per tree.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::document::{Document, Lookup, Tree, group_name};
use super::legacy::StorageVersions;
use super::openapi::Specs;
use super::registered::{Addition, Extensions};
use super::resource_spec::ResourceSpec;
use super::store::Store;

/// A handle on what one server serves; changes are seen by the next request.
#[derive(Clone, Debug)]
pub struct Discovery(Arc<Mutex<Trees>>);

#[derive(Debug)]
struct Trees {
    api: Arc<Document>,
    /// Without what was registered.
    own: Arc<Document>,
    apis: Arc<Document>,
    registered: Registered,
    /// Such as `1.36`: OpenAPI says it.
    release: String,
    /// Storage versions that were set by hand.
    stored: Arc<StorageVersions>,
    /// Made when first asked for, gone with every change.
    specs: Option<Arc<Specs>>,
}

/// What a server knows of the CRDs and APIServices in its store.
#[derive(Debug)]
struct Registered {
    store: Arc<Store>,
    crds: bool,
    lag: Duration,
    extensions: Extensions,
    /// The revision up to which `additions` are right.
    seen: Option<u64>,
    additions: Vec<Addition>,
}

// === impl Discovery ===

impl Discovery {
    pub(super) fn new(api: Value, apis: Value, release: String, store: Arc<Store>) -> Self {
        let (api, apis) = (Arc::new(Document::new(api)), Arc::new(Document::new(apis)));
        let (crds, lag, extensions) = (true, Duration::ZERO, Extensions::new());
        let registered = Registered { store, crds, lag, extensions, seen: None, additions: Vec::new() };
        let own = Arc::clone(&apis);
        let trees = Trees { api, own, apis, registered, release, stored: Arc::default(), specs: None };
        Self(Arc::new(Mutex::new(trees)))
    }

    /// Whether the custom resources whose definitions are in the store are served (default: yes).
    pub fn serve_crds(&self, on: bool) {
        self.edit_registered(|registered| registered.crds = on);
    }

    /// How long it takes from a change of a CRD or an APIService to its effect on what is served (default: zero);
    /// [`Duration::MAX`] for ever.
    pub fn set_crd_lag(&self, lag: Duration) {
        self.edit_registered(|registered| registered.lag = lag);
    }

    /// What the extension server of a group-version answers. `None` (default): it is away. It counts while an
    /// APIService with `spec.service` registers the group-version; objects are kept as any other.
    pub fn extension(&self, group: &str, version: &str, resources: Option<Vec<ResourceSpec>>) {
        let key = (group.to_owned(), version.to_owned());
        self.edit_registered(|registered| match resources {
            Some(resources) => drop(registered.extensions.insert(key, resources)),
            None => drop(registered.extensions.remove(&key)),
        });
    }

    fn edit_registered(&self, edit: impl FnOnce(&mut Registered)) {
        let mut trees = self.lock();
        edit(&mut trees.registered);
        trees.registered.seen = None;
    }

    /// All group-versions that it serves of its own accord.
    pub(super) fn own_group_versions(&self) -> Vec<(String, String)> {
        let trees = self.lock();
        let both = [&trees.api, &trees.own];
        let groups = both.into_iter().filter_map(|tree| tree.value["items"].as_array()).flatten();
        let mut all = Vec::new();
        for group in groups {
            for version in group["versions"].as_array().into_iter().flatten() {
                let version = version["version"].as_str().unwrap_or_default();
                all.push((group_name(group).to_owned(), version.to_owned()));
            }
        }
        all
    }

    /// The document as it is now, in its v2 form, with what was registered.
    pub fn document(&self, tree: Tree) -> Value {
        self.snapshot(tree).value.clone()
    }

    /// Puts another document in place of a tree; what was registered is added to it.
    pub fn replace(&self, tree: Tree, document: Value) {
        self.edit_tree(tree, |value| *value = document);
    }

    /// Stops serving a whole group-version. True if it was there.
    pub fn remove_group_version(&self, group: &str, version: &str) -> bool {
        self.edit_versions(group, |versions| remove(versions, "version", version))
    }

    /// Stops serving a resource; its group-version goes with the last one. True if it was there.
    pub fn remove_resource(&self, group: &str, version: &str, resource: &str) -> bool {
        self.edit_version(group, version, |value| {
            list(value, "resources").is_some_and(|all| remove(all, "resource", resource))
        })
    }

    /// Stops serving a subresource. True if it was there.
    pub fn remove_subresource(&self, group: &str, version: &str, resource: &str, subresource: &str) -> bool {
        self.edit_version(group, version, |value| {
            list(value, "resources")
                .and_then(|all| find(all, "resource", resource))
                .and_then(|parent| list(parent, "subresources"))
                .is_some_and(|all| remove(all, "subresource", subresource))
        })
    }

    /// Serves a resource from now on, with its group-version if that is new (behind all others).
    pub fn add_resource(&self, group: &str, version: &str, spec: &ResourceSpec) {
        let resource = spec.to_value(group, version);
        self.edit_tree(tree_of(group), |document| {
            let group = find_or_add(
                document,
                "items",
                |item| group_name(item) == group,
                || {
                    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
                    json!({ "metadata": metadata, "versions": [] })
                },
            );
            let version = find_or_add(
                group,
                "versions",
                |item| item["version"] == version,
                || json!({ "version": version, "resources": [], "freshness": "Current" }),
            );
            let old =
                find_or_add(version, "resources", |item| item["resource"] == spec.resource, || json!({}));
            *old = resource;
        });
    }

    /// Marks a group-version `Stale` (requests for it answer 503 from now on) or `Current`.
    pub fn set_stale(&self, group: &str, version: &str, stale: bool) -> bool {
        self.edit_version(group, version, |value| {
            value["freshness"] = json!(if stale { "Stale" } else { "Current" });
            true
        })
    }

    /// Says in which version the objects of a resource are stored, such as `v1beta1`, or `apps/v1` for one of
    /// another group: the unaggregated lists show a hash of it. Until then: the version that lists the resource,
    /// but for the few where kube-apiserver is known to store another one.
    pub fn set_storage_version(&self, group: &str, version: &str, resource: &str, storage_version: &str) {
        let key = (group.to_owned(), version.to_owned(), resource.to_owned());
        Arc::make_mut(&mut self.lock().stored).insert(key, storage_version.to_owned());
    }

    pub(super) fn storage_versions(&self) -> Arc<StorageVersions> {
        Arc::clone(&self.lock().stored)
    }

    /// The OpenAPI documents of what is served now.
    pub(super) fn specs(&self) -> Arc<Specs> {
        let mut trees = self.lock();
        trees.refresh();
        if let Some(specs) = &trees.specs {
            return Arc::clone(specs);
        }
        let specs = Arc::new(Specs::of(&trees.api, &trees.apis, &trees.release));
        trees.specs = Some(Arc::clone(&specs));
        specs
    }

    fn lock(&self) -> MutexGuard<'_, Trees> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self, tree: Tree) -> Arc<Document> {
        let mut trees = self.lock();
        trees.refresh();
        Arc::clone(match tree {
            Tree::Api => &trees.api,
            Tree::Apis => &trees.apis,
        })
    }

    pub(super) fn lookup(&self, group: &str, version: &str, resource: &str, sub: Option<&str>) -> Lookup {
        self.snapshot(tree_of(group)).lookup(group, version, resource, sub)
    }

    fn edit_tree<T>(&self, tree: Tree, edit: impl FnOnce(&mut Value) -> T) -> T {
        let mut trees = self.lock();
        trees.specs = None;
        let place = match tree {
            Tree::Api => &mut trees.api,
            Tree::Apis => &mut trees.own,
        };
        let mut value = place.value.clone();
        let result = edit(&mut value);
        *place = Arc::new(Document::new(value));
        trees.merge();
        result
    }

    fn edit_versions(&self, group: &str, edit: impl FnOnce(&mut Vec<Value>) -> bool) -> bool {
        self.edit_tree(tree_of(group), |document| {
            let Some(groups) = list(document, "items") else { return false };
            let Some(found) = groups.iter_mut().find(|item| group_name(item) == group) else { return false };
            let changed = list(found, "versions").is_some_and(edit);
            groups.retain(|item| !is_empty(item, "versions"));
            changed
        })
    }

    fn edit_version(&self, group: &str, version: &str, edit: impl FnOnce(&mut Value) -> bool) -> bool {
        self.edit_versions(group, |versions| {
            let changed = find(versions, "version", version).is_some_and(edit);
            versions.retain(|item| !is_empty(item, "resources"));
            changed
        })
    }
}

// === impl Trees ===

impl Trees {
    /// Takes in what has been registered since.
    fn refresh(&mut self) {
        let registered = &mut self.registered;
        let revision = registered.store.registered_revision(registered.lag);
        if registered.seen.replace(revision) == Some(revision) {
            return;
        }
        let found = registered.store.registered(revision);
        let additions = Addition::all(&found, registered.crds, &registered.extensions);
        if additions != registered.additions {
            registered.additions = additions;
            self.merge();
        }
    }

    fn merge(&mut self) {
        self.specs = None;
        let additions = &self.registered.additions;
        if additions.is_empty() {
            self.apis = Arc::clone(&self.own);
            return;
        }
        let mut value = self.own.value.clone();
        additions.iter().for_each(|addition| addition.add_to(&mut value));
        self.apis = Arc::new(Document::new(value));
    }
}

/// Which tree a group stands in.
pub(super) fn tree_of(group: &str) -> Tree {
    if group.is_empty() { Tree::Api } else { Tree::Apis }
}

fn list<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Vec<Value>> {
    value.get_mut(key)?.as_array_mut()
}

fn find<'a>(list: &'a mut [Value], key: &str, name: &str) -> Option<&'a mut Value> {
    list.iter_mut().find(|item| item[key] == name)
}

fn remove(list: &mut Vec<Value>, key: &str, name: &str) -> bool {
    let before = list.len();
    list.retain(|item| item[key] != name);
    list.len() < before
}

fn is_empty(item: &Value, key: &str) -> bool {
    item[key].as_array().is_none_or(Vec::is_empty)
}

fn find_or_add<'a>(
    parent: &'a mut Value,
    key: &str,
    matches: impl Fn(&Value) -> bool,
    make: impl FnOnce() -> Value,
) -> &'a mut Value {
    if !parent[key].is_array() {
        parent[key] = json!([]);
    }
    let items = parent[key].as_array_mut().expect("made an array just now");
    let at = items.iter().position(matches).unwrap_or_else(|| {
        items.push(make());
        items.len() - 1
    });
    &mut items[at]
}
