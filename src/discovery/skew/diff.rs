//! Two servers of a matrix.

use std::{collections::BTreeMap, sync::Arc};

use super::{Aspect, Diff, Row, ServerSeen, Skew, State};

// === impl Skew ===

impl Skew {
    /// Two of its servers side by side.
    ///
    /// # Errors
    /// A name that none of them has, or the same one twice, in a sentence.
    pub fn diff(&self, a: &str, b: &str) -> Result<Diff, String> {
        let names: Vec<Arc<str>> = self.servers.iter().map(|server| Arc::clone(&server.name)).collect();
        Self::check_names(&names, a, b)?;
        let both: Vec<&ServerSeen> = [a, b].into_iter().filter_map(|name| self.server(name)).collect();
        let [a, b] = both[..] else { return Err("two servers have the same name".to_owned()) };
        Ok(self.diff_of([a, b]))
    }

    /// Whether two of these can be compared.
    ///
    /// # Errors
    /// As [`Self::diff`].
    pub fn check_names(names: &[Arc<str>], a: &str, b: &str) -> Result<(), String> {
        if let Some(name) = [a, b].into_iter().find(|name| !names.iter().any(|one| **one == **name)) {
            return Err(format!("there is no server {name:?}; the servers are {}", names.join(", ")));
        }
        if a == b {
            return Err(format!("{a:?} is compared with itself; name two servers"));
        }
        Ok(())
    }

    fn diff_of(&self, both: [&ServerSeen; 2]) -> Diff {
        let servers = both.map(|server| Arc::clone(&server.name));
        let mut only_in: BTreeMap<Arc<str>, Vec<Row>> =
            servers.iter().map(|name| (Arc::clone(name), Vec::new())).collect();
        let mut different = Vec::new();
        let incomplete = both.iter().any(|server| server.is_doubtful());
        for row in &self.rows {
            let cells: BTreeMap<_, _> = row
                .cells
                .iter()
                .filter(|(name, _)| servers.contains(name))
                .map(|(name, cell)| (Arc::clone(name), cell.clone()))
                .collect();
            let Some((owner, first)) = servers
                .iter()
                .filter_map(|name| Some((name, cells.get(name)?)))
                .find(|(_, cell)| cell.is_listed())
            else {
                // Neither has it.
                continue;
            };
            let kind = first.kind.rsplit(' ').next().unwrap_or_default().to_owned();
            let (owner, scope) = (Arc::clone(owner), first.scope.clone());
            let row = Self::restricted(row, kind, scope, cells);
            if row.differs_in.contains(&Aspect::Presence) {
                only_in.entry(owner).or_default().push(row);
            } else if row.differs {
                different.push(row);
            }
        }
        Diff { servers, incomplete, only_in, different }
    }

    fn restricted(row: &Row, kind: String, scope: String, cells: BTreeMap<Arc<str>, super::Cell>) -> Row {
        let Row { group, version, resource, .. } = row.clone();
        Row::new(Row { group, version, resource, kind, scope, differs: false, differs_in: Vec::new(), cells })
    }
}

// === impl Diff ===

impl Diff {
    /// Whether nothing of what is known differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.different.is_empty() && self.only_in.values().all(Vec::is_empty)
    }

    /// How many rows differ.
    #[must_use]
    pub fn len(&self) -> usize {
        self.different.len() + self.only_in.values().map(Vec::len).sum::<usize>()
    }
}

// === impl State ===

impl State {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::NotServed => "notServed",
            Self::Unknown => "unknown",
            Self::Stale => "stale",
        }
    }
}
