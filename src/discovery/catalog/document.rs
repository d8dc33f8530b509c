//! What one server said that it serves.

use super::index;
use crate::api::discovery::GroupDiscoveryList;

/// What one server said that it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `/api`: the core group.
    pub api: Part,
    /// `/apis`: every other group.
    pub apis: Part,
    /// `major.minor` of `/version`.
    pub version: Option<(u32, u32)>,
}

/// One of the two discovery documents of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Groups, versions, resources.
    pub list: GroupDiscoveryList,
    /// The server's own `ETag`, quotes included, to ask for changes with.
    pub etag: Option<String>,
}

/// The two paths of aggregated discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiscoveryPath {
    /// The core group.
    Api,
    /// All other groups.
    Apis,
}

// === impl DiscoveryPath ===

impl DiscoveryPath {
    /// Exactly `/api` or `/apis`, as upstream: with a trailing slash it is another handler.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/api" => Some(Self::Api),
            "/apis" => Some(Self::Apis),
            _ => None,
        }
    }

    /// The path itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "/api",
            Self::Apis => "/apis",
        }
    }
}

// === impl Document ===

impl Document {
    /// The part for a path.
    pub fn part(&self, path: DiscoveryPath) -> &Part {
        match path {
            DiscoveryPath::Api => &self.api,
            DiscoveryPath::Apis => &self.apis,
        }
    }

    /// The first thing that this document lists and `newer` does not: a group-version, resource, subresource
    /// or verb.
    pub fn dropped_by(&self, newer: &Self) -> Option<String> {
        index::dropped(&self.api.list, &newer.api.list)
            .or_else(|| index::dropped(&self.apis.list, &newer.apis.list))
    }
}
