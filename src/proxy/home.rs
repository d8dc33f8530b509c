//! Which server is home.

use crate::{
    discovery::catalog::Catalog,
    servers::{
        pick,
        source::{Fleet, ServerSet},
    },
};

/// How home is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Always this one.
    Sidecar(usize),
    /// Chosen among these, which are of one trust domain, for each client connection and kept while healthy, as
    /// balancers in TCP mode do.
    Front(Preference, ServerSet),
}

/// Among which servers a front chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// All.
    #[default]
    Any,
    /// Those of the lowest version.
    Oldest,
    /// Those of the highest version.
    Newest,
}

// === impl Home ===

impl Home {
    /// The home of a connection whose last one was `last`.
    pub fn choose(self, last: Option<usize>, fleet: &Fleet, catalog: &Catalog) -> usize {
        let (preference, among) = match self {
            Self::Sidecar(home) => return home,
            Self::Front(preference, among) => (preference, among),
        };
        if let Some(last) = last
            && among.contains(last)
            && fleet.is_healthy(last)
        {
            return last;
        }
        let random = |below: usize| rand::random_range(0..below);
        let preferred = preference.of(among.intersection(fleet.healthy()), catalog);
        let home = pick::least_of_two(fleet, preferred, random);
        home.filter(|home| fleet.is_healthy(*home))
            .or_else(|| pick::least_of_two(fleet, among, random))
            .unwrap_or_default()
    }
}

// === impl Preference ===

impl Preference {
    fn of(self, healthy: ServerSet, catalog: &Catalog) -> ServerSet {
        let version = |index: usize| catalog.servers[index].document.as_ref().and_then(|known| known.version);
        let versions = || healthy.iter().filter_map(version);
        let wanted = match self {
            Self::Any => return healthy,
            Self::Oldest => versions().min(),
            Self::Newest => versions().max(),
        };
        healthy.iter().filter(|index| version(*index) == wanted).collect()
    }
}
