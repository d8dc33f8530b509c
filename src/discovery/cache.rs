//! The last good document of each API server, kept in a directory over our own restart.
//!
//! What was loaded is what *was* known: until its server was heard, that stays unknown, its group-versions are listed
//! as Stale (unless a fresh server serves them), requests for them are tried, and nothing becomes a 404. The ETag of a
//! loaded document makes the first fetch a question whether it is still right.
//!
//! One [`file`](File) for each server. It is written whole under another name, brought to the disk and renamed, so that
//! there is an old one or a new one at any time. A file that is not what it should be is left out with a warning, and
//! overwritten when its server was heard. That of a server that we forget goes with it. Files of servers that we never
//! knew are left alone: they may be another proxy's.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::catalog::{Document, ghosts::Remembered};
use crate::{limits, metrics::CacheMetrics};

mod file;
mod keeper;
mod name;
mod place;
mod wire;

pub use file::{Fault, File};
pub use keeper::{Flush, Keeper};
pub use wire::Rubbish;

/// The directory with the files. Everything here blocks.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: Arc<Path>,
    /// Bytes of a file.
    limit: u64,
    metrics: CacheMetrics,
    /// What the files of servers hold.
    held: Arc<Mutex<HashMap<Arc<str>, Held>>>,
}

/// Where a server was, and what it said.
#[derive(Clone, Debug)]
struct Held {
    authority: Arc<str>,
    document: Arc<Document>,
    remembered: Arc<Remembered>,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it would be larger than {limit} bytes")]
    TooLarge { limit: u64 },
}

// === impl Cache ===

impl Cache {
    /// Makes the directory if there is none, sees whether it can be written, and clears away what was never finished.
    ///
    /// # Errors
    /// Whatever the file system says, in words for the operator.
    pub fn open(directory: &Path, metrics: CacheMetrics) -> Result<Self, String> {
        place::prepare(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let limit = limits::MAX_CACHE_FILE_BYTES;
        Ok(Self { directory: directory.into(), limit, metrics, held: Arc::default() })
    }

    /// Where a server's file is.
    pub fn path(&self, server: &str) -> PathBuf {
        self.directory.join(name::of(server))
    }

    /// What was known of a server at this address; `None` if there is no file, or none to be used, of which a warning
    /// tells.
    pub fn load(&self, server: &Arc<str>, authority: &str) -> Option<(Arc<Document>, Remembered)> {
        let path = self.path(server);
        let read = place::read(&path, self.limit).and_then(|bytes| match bytes {
            Some(bytes) => File::parse(&bytes, server, authority).map(Some),
            None => Ok(None),
        });
        let result = match &read {
            Ok(Some(_)) => "used",
            Ok(None) => "absent",
            Err(_) => "ignored",
        };
        self.metrics.loaded(server, result);
        match read {
            Ok(file) => {
                let File { document, remembered, written } = file?;
                tracing::info!(server = %server, written, "discovery of the last run is there until it is heard");
                let document = Arc::new(document);
                self.hold(server, authority, &document, &Arc::new(remembered.clone()));
                Some((document, remembered))
            }
            Err(fault) => {
                tracing::warn!(
                    server = %server, file = %path.display(), %fault,
                    "a file of the discovery cache is ignored",
                );
                None
            }
        }
    }

    /// Puts a document in the place of the one that was kept.
    ///
    /// # Errors
    /// If it could not be brought to the disk; what was kept before stays.
    fn store(
        &self,
        server: &Arc<str>,
        authority: &str,
        document: &Arc<Document>,
        remembered: &Arc<Remembered>,
    ) -> Result<(), WriteError> {
        let held = self.held().get(server).cloned();
        let same = |held: Held| {
            &*held.authority == authority && held.document == *document && held.remembered == *remembered
        };
        // The same again, as servers without ETags send it.
        if held.is_some_and(same) {
            self.hold(server, authority, document, remembered);
            return Ok(());
        }
        let bytes = File::write(document, remembered, server, authority, SystemTime::now())?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > self.limit) {
            return Err(WriteError::TooLarge { limit: self.limit });
        }
        place::replace(&self.directory, &name::of(server), &bytes)?;
        self.hold(server, authority, document, remembered);
        self.metrics.wrote(server, "ok");
        Ok(())
    }

    /// A server was forgotten. Where each newcomer has another name, their files would be more and more.
    fn remove(&self, server: &str) {
        let path = self.path(server);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(server, file = %path.display(), %error, "a file of the discovery cache stays");
        }
    }

    /// Whether a server's file has this very document, and all that is to be remembered with it.
    fn holds(
        &self,
        server: &str,
        authority: &str,
        document: &Arc<Document>,
        remembered: &Remembered,
    ) -> bool {
        let held = self.held();
        let held = held.get(server).filter(|held| &*held.authority == authority);
        held.is_some_and(|held| Arc::ptr_eq(&held.document, document) && *held.remembered == *remembered)
    }

    fn hold(
        &self,
        server: &Arc<str>,
        authority: &str,
        document: &Arc<Document>,
        remembered: &Arc<Remembered>,
    ) {
        let (document, remembered) = (Arc::clone(document), Arc::clone(remembered));
        let held = Held { authority: authority.into(), document, remembered };
        self.held().insert(Arc::clone(server), held);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Arc<str>, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
