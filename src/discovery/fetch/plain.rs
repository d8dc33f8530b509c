//! A tree of a server that has only unaggregated lists: of groups and versions, and then one of resources for each
//! group-version (before Kubernetes 1.26).
//!
//! API servers of one cluster share their `APIService` objects, so an old server's `/apis` also lists what only a
//! newer one serves; asked for that, it answers 404, and it does not serve it. A group-version whose extension server
//! is away answers 5xx, and one whose extension server does not know our user, 403; it is `Stale`, with what was last
//! known of it (upstream's aggregated discovery does the same).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;

use super::{
    FetchError, Fetcher, Origin,
    ask::{Budget, digest},
    share,
    tree::{Beside, Read},
};
use crate::{
    api::discovery::{
        Freshness, GroupDiscovery, GroupDiscoveryList, ParseError, Tree, VersionDiscovery,
        legacy::{self, ApiGroup, ApiGroupList, ApiResourceList, ApiVersions, List as _},
    },
    discovery::catalog::{Document, Form, Part},
    limits,
};

/// A group-version that is listed.
struct Listed {
    group: String,
    version: String,
}

/// What was found out about a group-version.
struct Known {
    listed: Listed,
    /// `None`: it is not served here.
    version: Option<Arc<VersionDiscovery>>,
    hashes: Option<Arc<HashMap<String, String>>>,
    /// Why it could not be read.
    failed: Option<FetchError>,
}

// === impl Fetcher ===

impl Fetcher {
    /// Reads the lists that `root` names.
    pub(super) async fn plain(
        &self,
        server: &impl Origin,
        tree: Tree,
        root: Bytes,
        known: Option<&Arc<Document>>,
    ) -> Result<Read, FetchError> {
        let path = tree.as_str();
        let budget = Budget::new(self.bounds.max_document);
        let (addresses, listed) = digest(path, root, move |bytes| listed(tree, bytes))
            .await?
            .map_err(|error| FetchError::Rubbish { path: path.to_owned(), error })?;
        let (count, limit) = (listed.len(), limits::MAX_LISTS);
        if count > limit {
            return Err(FetchError::TooMany { path: path.to_owned(), count, limit });
        }
        let at_once = if server.speaks_http2() { limits::LISTS_AT_ONCE } else { 1 };
        let versions = known.map(|known| share::by_name(&known.part(tree).list)).unwrap_or_default();
        let mut found = stream::iter(listed)
            .map(|listed| {
                let versions = versions.get(&*listed.group).copied().unwrap_or_default();
                let version = versions.iter().find(|version| version.version == listed.version).cloned();
                let hashes = known.and_then(|known| known.lists.hashes.get(&listed.name()).cloned());
                self.version_of(server, &budget, Known { listed, version, hashes, failed: None })
            })
            .buffered(at_once);

        let mut items: Vec<GroupDiscovery> = Vec::new();
        let mut beside = Beside { addresses, ..Beside::default() };
        let (mut any_read, mut refused) = (false, None);
        while let Some(Known { listed, version, hashes, failed }) = found.try_next().await? {
            any_read |= failed.is_none();
            if let Some(error @ FetchError::Refused { .. }) = failed {
                refused.get_or_insert(error);
            }
            let Some(version) = version else { continue };
            if let Some(hashes) = hashes {
                beside.hashes.insert(listed.name(), hashes);
            }
            match items.last_mut() {
                Some(group) if group.name() == listed.group => group.versions.push(version),
                _ => {
                    let mut group = legacy::group_discovery(&listed.group, Vec::new());
                    group.versions.push(version);
                    items.push(group);
                }
            }
        }
        // Everything refused is the doing of the server itself.
        if let Some(error) = refused.filter(|_| !any_read) {
            return Err(error);
        }
        let list = GroupDiscoveryList { items, ..GroupDiscoveryList::default() };
        Ok(Read { tree, part: Part { list, etag: None }, form: Form::Unaggregated, lists: Some(beside) })
    }

    /// Reads one list; `known` is what was known of it.
    async fn version_of(
        &self,
        server: &impl Origin,
        budget: &Budget,
        known: Known,
    ) -> Result<Known, FetchError> {
        let path = known.listed.path();
        let (name, old) = (known.listed.version.clone(), known.version.clone());
        let read = async {
            let bytes = self.list(server, &path, budget).await?;
            let read = digest(&path, bytes, move |bytes| {
                let list = ApiResourceList::parse(bytes)?;
                let version = legacy::version_discovery(&name, &list);
                let version = old.filter(|old| **old == version).unwrap_or_else(|| Arc::new(version));
                Ok::<_, ParseError>((version, hashes(list)))
            });
            read.await?.map_err(|error| FetchError::Rubbish { path: path.clone(), error })
        };
        match read.await {
            Ok((version, hashes)) => {
                // The same object where nothing changed.
                let same = |old: &Arc<_>| hashes.as_ref().is_some_and(|hashes| *hashes == **old);
                let hashes = known.hashes.filter(same).or_else(|| hashes.map(Arc::new));
                Ok(Known { version: Some(version), hashes, ..known })
            }
            Err(FetchError::Status { status: StatusCode::NOT_FOUND, .. }) => {
                Ok(Known { version: None, ..known })
            }
            Err(error) if !known.listed.group.is_empty() && is_of_an_extension(&error) => {
                tracing::debug!(server = server.name(), %error, "a group-version is stale");
                let version = known.version.map(stale).unwrap_or_else(|| unheard(&known.listed.version));
                Ok(Known { version: Some(version), failed: Some(error), ..known })
            }
            Err(error) => Err(error),
        }
    }
}

// === impl Listed ===

impl Listed {
    fn path(&self) -> String {
        let tree = Tree::of_group(&self.group).as_str();
        format!("{tree}/{}", self.name())
    }

    fn name(&self) -> String {
        legacy::group_version(&self.group, &self.version)
    }
}

/// Whether an error may be that of the one extension server that has the group-version.
fn is_of_an_extension(error: &FetchError) -> bool {
    match error {
        // Too many questions are the server's own affair.
        FetchError::Status { status, .. } => *status != StatusCode::TOO_MANY_REQUESTS,
        // One that does not know our user, say.
        FetchError::Refused { .. }
        | FetchError::Redirect { .. }
        | FetchError::Timeout(_)
        | FetchError::TooLarge { .. }
        | FetchError::Broken { .. }
        | FetchError::Rubbish { .. } => true,
        _ => false,
    }
}

fn stale(known: Arc<VersionDiscovery>) -> Arc<VersionDiscovery> {
    if known.freshness.is_stale() {
        return known;
    }
    Arc::new(VersionDiscovery { freshness: Freshness::Stale, ..VersionDiscovery::clone(&known) })
}

fn unheard(version: &str) -> Arc<VersionDiscovery> {
    let version = version.to_owned();
    Arc::new(VersionDiscovery { version, freshness: Freshness::Stale, ..VersionDiscovery::default() })
}

/// What `/api` or `/apis` lists, in its order, and each once.
fn listed(tree: Tree, bytes: &[u8]) -> Result<(Vec<legacy::ServerAddress>, Vec<Listed>), ParseError> {
    let (addresses, listed) = match tree {
        Tree::Api => {
            let list = ApiVersions::parse(bytes)?;
            let listed = list.versions.into_iter().map(|version| Listed { group: String::new(), version });
            (list.addresses, listed.collect())
        }
        Tree::Apis => {
            let list = ApiGroupList::parse(bytes)?;
            let groups = list.groups.into_iter().filter(|group| is_segment(&group.name));
            (Vec::new(), groups.flat_map(of_group).collect::<Vec<_>>())
        }
    };
    let mut seen = HashSet::new();
    let new = |listed: &Listed| is_segment(&listed.version) && seen.insert(listed.name());
    Ok((addresses, listed.into_iter().filter(new).collect()))
}

/// The versions of a group, the preferred one first.
fn of_group(group: ApiGroup) -> impl Iterator<Item = Listed> {
    let preferred = group.versions.iter().position(|version| *version == group.preferred);
    let mut versions = group.versions;
    if let Some(preferred) = preferred {
        versions[..=preferred].rotate_right(1);
    }
    versions.into_iter().map(move |version| Listed { group: group.name.clone(), version: version.version })
}

/// What can stand in a path as it is; nobody could ask for anything else.
pub(super) fn is_segment(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.'))
}

fn hashes(list: ApiResourceList) -> Option<HashMap<String, String>> {
    let rows = list.resources.into_iter().filter(|row| !row.storage_version_hash.is_empty());
    let hashes: HashMap<_, _> = rows.map(|row| (row.name, row.storage_version_hash)).collect();
    (!hashes.is_empty()).then_some(hashes)
}
