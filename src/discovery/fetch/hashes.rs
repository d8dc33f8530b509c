//! What only the unaggregated lists of a server say, from one that has the aggregated form as well: storage version
//! hashes, and the addresses of `/api`.
//!
//! They are read when the server's document is published already, and are no part of what it takes to serve it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use super::{
    FetchError, Fetcher,
    ask::{Budget, digest},
};
use crate::{
    api::discovery::{
        ParseError, VersionDiscovery,
        legacy::{ApiResourceList, ApiVersions, List, ServerAddress},
    },
    limits,
    servers::Server,
};

/// A list that is to be read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The group-version; empty for `/api` itself.
    pub group_version: String,
    /// What the server's aggregated document says of it.
    pub version: Option<Arc<VersionDiscovery>>,
}

/// What a list said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Of `/api`.
    Addresses(Vec<ServerAddress>),
    /// By resource.
    Hashes(HashMap<String, String>),
}

/// As much of an `APIResourceList` as is of interest.
#[derive(Deserialize)]
struct Hashes {
    #[serde(default)]
    resources: Option<Vec<Row>>,
}

impl List for Hashes {
    const KIND: &'static str = ApiResourceList::KIND;
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "storageVersionHash")]
    hash: String,
}

// === impl Fetcher ===

impl Fetcher {
    /// Reads lists. For each that was asked for, what it said, or `None` if it failed; when too many failed, or the
    /// server itself did, the rest is not asked for.
    pub async fn lists(&self, server: &Arc<Server>, wanted: Vec<Wanted>) -> Vec<(Wanted, Option<Found>)> {
        let at_once = if server.health.speaks_http2() { limits::HASH_LISTS_AT_ONCE } else { 1 };
        let budget = Budget::new(usize::MAX);
        let mut answers = stream::iter(wanted)
            .map(|wanted| async {
                let found = self.list_of(server, &wanted, &budget).await;
                (wanted, found)
            })
            .buffer_unordered(at_once);
        let (mut read, mut failed) = (Vec::new(), 0);
        while let Some((wanted, found)) = answers.next().await {
            match found {
                Ok(found) => read.push((wanted, Some(found))),
                Err(error) => {
                    tracing::debug!(server = %server.name, %error, "no storage version hashes");
                    failed += 1;
                    read.push((wanted, None));
                    if failed >= limits::MAX_FAILED_LISTS || is_of_the_server(&error) {
                        break;
                    }
                }
            }
        }
        read
    }

    async fn list_of(
        &self,
        server: &Arc<Server>,
        wanted: &Wanted,
        budget: &Budget,
    ) -> Result<Found, FetchError> {
        let path = wanted.path();
        let bytes = self.list(server, &path, budget).await?;
        let version = wanted.version.clone();
        let found = digest(&path, bytes, move |bytes| {
            let Some(version) = version else {
                return Ok::<_, ParseError>(Found::Addresses(ApiVersions::parse(bytes)?.addresses));
            };
            let rows = Hashes::parse(bytes)?.resources.unwrap_or_default();
            // What is in no document is not kept: the lists of a server can be far bigger than that.
            let listed: HashSet<&str> = version.resources.iter().map(|listed| &*listed.resource).collect();
            let is_wanted = |row: &Row| {
                let length = 1..=limits::MAX_STORAGE_VERSION_HASH;
                length.contains(&row.hash.len()) && listed.contains(&*row.name)
            };
            let hashes = rows.into_iter().filter(is_wanted);
            Ok(Found::Hashes(hashes.map(|row| (row.name, row.hash)).collect()))
        });
        found.await?.map_err(|error| FetchError::Rubbish { path, error })
    }
}

// === impl Wanted ===

impl Wanted {
    fn path(&self) -> String {
        match &*self.group_version {
            "" => "/api".to_owned(),
            core if !core.contains('/') => format!("/api/{core}"),
            named => format!("/apis/{named}"),
        }
    }
}

/// Whether the next list would fare no better.
fn is_of_the_server(error: &FetchError) -> bool {
    match error {
        FetchError::NoAnswer { .. }
        | FetchError::Silence { .. }
        | FetchError::Untrusted { .. }
        | FetchError::Refused { .. }
        | FetchError::Redirect { .. } => true,
        FetchError::Status { status, .. } => *status == http::StatusCode::TOO_MANY_REQUESTS,
        _ => false,
    }
}
