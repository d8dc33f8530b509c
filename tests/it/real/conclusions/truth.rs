//! What exists, whatever servers say of it.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

/// Group, version, resource.
pub(super) type Resource = (String, String, String);

/// What a document, read as client-go reads it, must not fail to show; and whether the policy is known to exist.
#[derive(Default)]
pub(super) struct Truth {
    resources: Mutex<BTreeSet<Resource>>,
    policy: Mutex<bool>,
    edition: AtomicU64,
}

// === impl Truth ===

impl Truth {
    pub(super) fn now_exist(&self, resources: BTreeSet<Resource>) {
        *self.resources.lock().unwrap() = resources;
        self.edition.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn policy_exists(&self) {
        *self.policy.lock().unwrap() = true;
    }

    pub(super) fn has_policy(&self) -> bool {
        *self.policy.lock().unwrap()
    }

    /// Changes with everything that is told here.
    pub(super) fn edition(&self) -> u64 {
        self.edition.load(Ordering::SeqCst)
    }

    /// What a document of this tree (core or not) hides: neither there nor in a group-version that is Stale.
    pub(super) fn hidden_by(&self, document: &Value, core: bool) -> Vec<Resource> {
        let (listed, stale) = (read(document), stale(document));
        let exist = self.resources.lock().unwrap();
        let of_tree = exist.iter().filter(|(group, ..)| group.is_empty() == core);
        of_tree
            .filter(|(group, version, _)| !stale.contains(&(group.clone(), version.clone())))
            .filter(|resource| !listed.contains(*resource))
            .cloned()
            .collect()
    }
}

/// Every resource of an aggregated document.
pub(super) fn read(document: &Value) -> BTreeSet<Resource> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = BTreeSet::new();
    for (group, version) in versions(document) {
        for resource in version["resources"].as_array().into_iter().flatten() {
            all.insert((group.clone(), text(&version["version"]), text(&resource["resource"])));
        }
    }
    all
}

fn stale(document: &Value) -> BTreeSet<(String, String)> {
    let stale = versions(document).into_iter().filter(|(_, version)| version["freshness"] == "Stale");
    stale
        .map(|(group, version)| (group, version["version"].as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn versions(document: &Value) -> Vec<(String, &Value)> {
    let groups = document["items"].as_array().into_iter().flatten();
    groups
        .flat_map(|group| {
            let name = group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            group["versions"].as_array().into_iter().flatten().map(move |version| (name.clone(), version))
        })
        .collect()
}
