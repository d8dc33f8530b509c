//! The documents of several servers as one matrix.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    Aspect, Cell, Column, Row, ServerSeen, Skew, State, Summary,
    listed::{GroupVersion, Listed, Names},
};
use crate::api::discovery::legacy;

/// A server, and what it lists if that is known.
type Known = (Arc<str>, Option<Listed>);

// === impl Skew ===

impl Skew {
    /// Puts servers side by side, in this order. Of two with the same name the last is in the cells.
    #[must_use]
    pub fn of(columns: Vec<Column>) -> Self {
        let mut names = Names::new();
        let (mut servers, mut known) = (Vec::new(), Vec::<Known>::new());
        for Column { seen, document } in columns {
            let listed = document.map(|document| Listed::of(&document, seen.freshness, &mut names));
            let name = Arc::clone(&seen.name);
            let stale_group_versions = listed.as_ref().map(Listed::stale).unwrap_or_default();
            servers.push(ServerSeen { known: listed.is_some(), stale_group_versions, ..seen });
            known.push((name, listed));
        }
        let only = only(&names, &known);
        let group_versions = names.len();
        let rows: Vec<Row> = names
            .into_iter()
            .flat_map(|(version, resources)| {
                let known = &known;
                resources.into_iter().map(move |resource| row(&version, resource, known)).collect::<Vec<_>>()
            })
            .collect();
        let subresources = rows.iter().filter(|row| row.is_subresource()).count();
        let summary = Summary {
            group_versions,
            resources: rows.len() - subresources,
            subresources,
            differing: rows.iter().filter(|row| row.differs).count(),
            only,
        };
        let incomplete = servers.iter().any(ServerSeen::is_doubtful);
        Self { servers, incomplete, summary, rows }
    }
}

fn row(version: &GroupVersion, resource: String, known: &[Known]) -> Row {
    let cell = |listed: &Option<Listed>| {
        listed.as_ref().map(|listed| listed.cell(version, &resource)).unwrap_or_default()
    };
    let cells: Vec<(Arc<str>, Cell)> =
        known.iter().map(|(name, listed)| (Arc::clone(name), cell(listed))).collect();
    let first = cells.iter().map(|(_, cell)| cell).find(|cell| cell.is_listed()).cloned().unwrap_or_default();
    let kind = first.kind.rsplit(' ').next().unwrap_or_default().to_owned();
    let (group, version) = (version.group.clone(), version.version.clone());
    Row::new(Row {
        group,
        version,
        resource,
        kind,
        scope: first.scope,
        differs: false,
        differs_in: Vec::new(),
        cells: cells.into_iter().collect(),
    })
}

impl Row {
    /// With what its cells differ in.
    pub(super) fn new(mut row: Self) -> Self {
        row.differs_in = differences(&row.cells);
        row.differs = !row.differs_in.is_empty();
        row
    }
}

fn differences(cells: &BTreeMap<Arc<str>, Cell>) -> Vec<Aspect> {
    let listed = || cells.values().filter(|cell| cell.is_listed());
    let differ =
        |of: fn(&Cell) -> &[String]| listed().any(|cell| of(cell) != listed().next().map_or(&[][..], of));
    let absent = cells.values().any(|cell| cell.state == State::NotServed);
    let checks = [
        (Aspect::Presence, absent && listed().next().is_some()),
        (Aspect::Verbs, differ(|cell| &cell.verbs)),
        (Aspect::Scope, differ(|cell| std::slice::from_ref(&cell.scope))),
        (Aspect::Kind, differ(|cell| std::slice::from_ref(&cell.kind))),
    ];
    checks.into_iter().filter(|(_, differs)| *differs).map(|(aspect, _)| aspect).collect()
}

/// The group-versions that only one of the known servers lists.
fn only(names: &Names, known: &[Known]) -> BTreeMap<Arc<str>, Vec<String>> {
    let known: Vec<_> = known.iter().filter_map(|(name, listed)| Some((name, listed.as_ref()?))).collect();
    let mut only = BTreeMap::<Arc<str>, Vec<String>>::new();
    if known.iter().map(|(name, _)| name).collect::<HashSet<_>>().len() < 2 {
        return only;
    }
    for version in names.keys() {
        let mut listing = known.iter().filter(|(_, listed)| listed.has(version));
        if let (Some((name, _)), None) = (listing.next(), listing.next()) {
            let gv = legacy::group_version(&version.group, &version.version);
            only.entry(Arc::clone(name)).or_default().push(gv);
        }
    }
    only
}
