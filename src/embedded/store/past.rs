//! How things were: the present, with what changed since undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Expired, Key, Scope, Store};

// === impl Store ===

impl Store {
    /// All objects of a scope in order of namespace and name, as they were at `revision`.
    pub(in super::super) fn list_at(&self, scope: &Scope, revision: u64) -> Result<Vec<Arc<Value>>, Expired> {
        let inner = self.lock();
        if revision < inner.compacted {
            return Err(Expired { oldest: inner.compacted });
        }
        let present = inner.objects.iter().filter(|(key, _)| scope.covers(key));
        let mut objects: BTreeMap<&Key, &Arc<Value>> = present.collect();
        let later = inner.events.iter().rev().take_while(|event| event.revision > revision);
        for event in later.filter(|event| scope.covers(&event.key)) {
            match &event.before {
                Some(before) => objects.insert(&event.key, before),
                None => objects.remove(&event.key),
            };
        }
        Ok(objects.into_values().cloned().collect())
    }
}
