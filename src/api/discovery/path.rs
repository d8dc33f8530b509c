//! The paths under which an API server says what it serves.

/// The two trees of discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// `/api`: the core group.
    Api,
    /// `/apis`: all other groups.
    Apis,
}

/// A path that discovery answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiscoveryPath<'a> {
    /// `/api`, `/api/` or exactly `/apis`: aggregated or not, as the client asks.
    Root(Tree),
    /// `/apis/`: never aggregated, whatever the client asks; upstream has another handler there.
    Plain(Tree),
    /// `/apis/<group>`, with or without a slash at its end.
    Group(&'a str),
    /// `/apis/<group>/<version>`, or `/api/<version>` with an empty group.
    Version {
        /// The group; empty for the core group.
        group: &'a str,
        /// Such as `v1`.
        version: &'a str,
    },
}

// === impl Tree ===

impl Tree {
    /// The path itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "/api",
            Self::Apis => "/apis",
        }
    }

    /// Where a group stands.
    pub fn of_group(group: &str) -> Self {
        if group.is_empty() { Self::Api } else { Self::Apis }
    }
}

// === impl DiscoveryPath ===

impl<'a> DiscoveryPath<'a> {
    /// Reads a percent-decoded path; `None` if it is none of these.
    pub fn of(path: &'a str) -> Option<Self> {
        match path {
            "/api" | "/api/" => return Some(Self::Root(Tree::Api)),
            "/apis" => return Some(Self::Root(Tree::Apis)),
            "/apis/" => return Some(Self::Plain(Tree::Apis)),
            _ => {}
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
        let (second, third) = match rest.split_once('/') {
            Some((second, third)) => (second, Some(third)),
            None => (rest, None),
        };
        if second.is_empty() || third.is_some_and(|third| third.is_empty() || third.contains('/')) {
            return None;
        }
        match (first, third) {
            ("api", None) => Some(Self::Version { group: "", version: second }),
            ("apis", None) => Some(Self::Group(second)),
            ("apis", Some(version)) => Some(Self::Version { group: second, version }),
            _ => None,
        }
    }

    /// The tree that it belongs to.
    pub fn tree(self) -> Tree {
        match self {
            Self::Root(tree) | Self::Plain(tree) => tree,
            Self::Group(group) | Self::Version { group, .. } => Tree::of_group(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DiscoveryPath as Path, Tree};

    #[test]
    fn discovery_paths_are_told_from_all_others() {
        let version = |group, version| Some(Path::Version { group, version });
        for (path, wanted) in [
            ("/api", Some(Path::Root(Tree::Api))),
            ("/apis", Some(Path::Root(Tree::Apis))),
            ("/api/", Some(Path::Root(Tree::Api))),
            ("/apis/", Some(Path::Plain(Tree::Apis))),
            ("/api/v1", version("", "v1")),
            ("/api/v1/", version("", "v1")),
            ("/apis/apps", Some(Path::Group("apps"))),
            ("/apis/apps/", Some(Path::Group("apps"))),
            ("/apis/apps/v1", version("apps", "v1")),
            ("/apis/apps/v1/", version("apps", "v1")),
            ("/apis/apps/v1/deployments", None),
            ("/api/v1/pods", None),
            ("/apis//v1", None),
            ("/apis//", None),
            ("/apis/apps//", None),
            ("/apix/apps", None),
            ("/version", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(Path::of(path), wanted, "{path}");
        }
    }
}
