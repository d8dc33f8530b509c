//! Who answers for which document, of what is known at a time.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{
    document::Document,
    fetch::{Good, tag_of},
    index::group_version,
    plan::{Complete, Plan, Source},
};
use crate::{
    discovery::catalog::{Catalog, Freshness},
    servers::source::Fleet,
};

/// Who answers for which document with some server as home.
pub struct Planned {
    /// The decision.
    pub plan: Plan,
    /// The index as it is given out.
    pub document: Arc<Document>,
    /// What it was made of.
    generation: u64,
    indexes: Vec<Option<Arc<Good>>>,
}

// === impl Planned ===

impl Planned {
    /// Decides on what is known.
    pub(super) fn new(
        fleet: &Fleet,
        catalog: &Catalog,
        indexes: Vec<Option<Arc<Good>>>,
        home: usize,
    ) -> Self {
        let known = catalog.servers.iter().enumerate();
        let documents = known.filter_map(|(server, known)| Some((server, known.counts()?)));
        let complete = Complete::of(
            documents.map(|(server, document)| (server, [&document.api.list, &document.apis.list])),
        );
        let heard =
            indexes.iter().enumerate().filter_map(|(server, good)| Some((server, good.as_ref()?.index()?)));
        let sources: Vec<Source<'_>> = heard
            .map(|(server, index)| Source {
                server,
                id: &fleet.get(server).name,
                index,
                fresh: catalog.fresh.contains(server),
            })
            .collect();
        let plan = Plan::new(&sources, home, &complete);
        let body: Bytes = plan.index.to_json().into();
        let tag = tag_of(&body);
        let document = Arc::new(Document::new(tag, "application/json", body));
        Self { plan, document, generation: catalog.generation, indexes }
    }

    /// Whether this is still what would be decided.
    pub(super) fn is_of(&self, catalog: &Catalog, indexes: &[Option<Arc<Good>>]) -> bool {
        self.generation == catalog.generation && same(&self.indexes, indexes)
    }

    /// Whether a server's index is known.
    pub fn knows(&self, server: usize) -> bool {
        self.indexes.get(server).is_some_and(Option::is_some)
    }

    /// Whether any is.
    pub fn knows_any(&self) -> bool {
        self.indexes.iter().any(Option::is_some)
    }

    /// Whether any server has an index at all.
    pub fn lists_any(&self) -> bool {
        self.indexes.iter().flatten().any(|good| good.index().is_some())
    }
}

fn same(one: &[Option<Arc<Good>>], other: &[Option<Arc<Good>>]) -> bool {
    let alike = |one: &Option<Arc<Good>>, other: &Option<Arc<Good>>| match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
}

/// Whether a server may have a document, for all that its discovery says.
pub(super) fn may_have(catalog: &Catalog, server: usize, key: &str) -> bool {
    let known = &catalog.servers[server];
    let Some(document) = known.counts() else { return true };
    if known.freshness() == Freshness::Unknown {
        return true;
    }
    let mut groups = document.api.list.items.iter().chain(&document.apis.list.items);
    match (group_version(key), key.strip_prefix("apis/")) {
        (Some((group, version)), _) => groups.any(|listed| {
            listed.name() == group && listed.versions.iter().any(|listed| listed.version == version)
        }),
        (None, Some(group)) => groups.any(|listed| listed.name() == group),
        // Discovery does not speak of it.
        (None, None) => false,
    }
}
