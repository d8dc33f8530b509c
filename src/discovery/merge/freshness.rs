//! Which group-versions of a merged document are `Stale`.

use std::collections::HashMap;
use std::sync::Arc;

use super::Source;
use crate::api::discovery::{Freshness, GroupDiscovery};

/// Marks every group-version of `items`: as the first fresh source (in the order of `sources`) lists it that
/// doesn't list it as `Stale`; `Stale` if there is none.
///
/// The last word of a server that can't be asked counts for nothing: it may be the one that is right, but a client
/// that believes a `Stale` mark is careful, and one that believes a wrong `Current` deletes what it should keep.
/// Core `v1` is built into every server, so it is never `Stale` while any source is fresh.
pub(super) fn apply(items: &mut [GroupDiscovery], sources: &[&Source<'_>]) {
    let mut words: HashMap<(&str, &str), &Freshness> = HashMap::new();
    for source in sources.iter().filter(|source| source.fresh) {
        for group in &source.document.items {
            for version in group.versions.iter().filter(|version| !version.freshness.is_stale()) {
                words.entry((group.name(), &version.version)).or_insert(&version.freshness);
            }
        }
    }
    let any_fresh = sources.iter().any(|source| source.fresh);

    for GroupDiscovery { metadata, versions, .. } in items {
        for version in versions {
            let word = match words.get(&(metadata.name.as_str(), version.version.as_str())) {
                Some(word) => (*word).clone(),
                None if any_fresh && metadata.name.is_empty() && version.version == "v1" => {
                    Freshness::Current
                }
                None => Freshness::Stale,
            };
            if version.freshness != word {
                Arc::make_mut(version).freshness = word;
            }
        }
    }
}
