//! What a configuration was made of: to make it anew, and to see whether that could give another one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::material::{self, Files};
use super::resolve::{self, Resolved};
use super::settings::variables;
use super::{Invalid, Loaded, ServeArgs};

/// Flags and environment, which stay the same as long as the process lives.
#[derive(Clone)]
pub struct Source {
    args: ServeArgs,
    env: BTreeMap<String, String>,
}

/// Digests of all files that were read, the configuration file among them; none of one that can't be.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Option<[u8; 32]>>);

/// What came of making a configuration.
#[derive(Debug)]
pub struct Attempt {
    /// The configuration, or every fault that was found.
    pub result: Result<Loaded, Invalid>,
    /// What was read for it.
    pub contents: Contents,
}

// === impl Source ===

impl Source {
    pub(super) fn new(args: &ServeArgs, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let env = variables().filter_map(|name| Some((env(&name)?, name))).map(|(value, name)| (name, value));
        Self { args: args.clone(), env: env.collect() }
    }

    /// Reads every file, and checks it all, as at the first time.
    #[must_use]
    pub fn load(&self) -> Attempt {
        let (result, files) = resolve::resolve(&self.args, &|name| self.env.get(name).cloned());
        let contents = Contents::of(&files);
        let result = result.map(|Resolved { config, material, warnings }| Loaded {
            config,
            material,
            warnings,
            source: self.clone(),
            contents: contents.clone(),
        });
        Attempt { result, contents }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("args", &self.args).finish_non_exhaustive()
    }
}

// === impl Contents ===

impl Contents {
    fn of(files: &Files) -> Self {
        let digest = |bytes: Option<&[u8]>| bytes.map(|bytes| Sha256::digest(bytes).into());
        Self(files.all().map(|(path, bytes)| (path.to_owned(), digest(bytes))).collect())
    }

    /// The same files as they are now. Blocks while it reads.
    #[must_use]
    pub fn now(&self) -> Self {
        let digest = |path: &Path| material::read(path).ok().map(|bytes| Sha256::digest(bytes).into());
        Self(self.0.keys().map(|path| (path.clone(), digest(path))).collect())
    }

    /// These, and those of `other` that are not among them.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (path, digest) in &other.0 {
            self.0.entry(path.clone()).or_insert(*digest);
        }
        self
    }

    /// Files that are not the same in `other`, or not there.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Path> {
        let differs = |(path, digest): &(&PathBuf, _)| other.0.get(*path) != Some(*digest);
        self.0.iter().filter(differs).map(|(path, _)| path.as_path())
    }

    /// Whether each of these files is the same in `other`.
    #[must_use]
    pub fn all_in(&self, other: &Self) -> bool {
        self.0.iter().all(|(path, digest)| other.0.get(path) == Some(digest))
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
