//! The effective configuration: plain, validated types, and how they come about.
//!
//! ```text
//! flags > environment > file > default   settings: what was said, and where
//!                  │
//!            read, values                 text becomes types; files are opened, once
//!                  │
//!          resolve, servers               the parts, and whether they fit together
//!                  │
//!        Loaded { config, material } or Invalid { faults }: all of them, each with its key
//! ```
//!
//! Nothing here opens a socket, and nothing after here opens a file. [`Source`] makes the same configuration anew,
//! [`Contents`] tells whether that is worth while, and [`Config::changes`] what came of it.

mod changes;
mod document;
mod domains;
mod duration;
mod expiry;
mod flags;
mod listening;
mod material;
mod peers;
mod print;
mod read;
mod resolve;
mod servers;
mod settings;
mod source;
mod types;
mod values;

use std::fmt;

pub use changes::Change;
pub use duration::parse as parse_duration;
pub use expiry::Expiry;
pub use flags::ServeArgs;
pub use material::{Certificates, KeyPair, Material, ServerMaterial};
pub use source::{Attempt, Contents, Source};
pub use types::{
    Callers, ClientLimits, Config, Connections, Discovery, FrontProxy, Health, Home, HomePreference,
    IdentityRule, Listen, LogFormat, MappedName, MinVersion, Operating, PeerSource, Peers, Reroute,
    ServerConfig, Shutdown, SniCertificate, UserHeaders,
};

/// A configuration without a fault, and what its files hold.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the proxy is to do.
    pub config: Config,
    /// Certificates and keys, read once.
    pub material: Material,
    /// What is allowed, but maybe not meant; for the log.
    pub warnings: Vec<String>,
    /// To do it again.
    pub source: Source,
    /// What was read.
    pub contents: Contents,
}

/// Why a configuration is refused: bad usage, exit code 64.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// At least one, in the order of the settings.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting as the operator knows it: `--stale-after`, `KUBE_PEER_PROXY_STALE_AFTER`, or
    /// `staleAfter (proxy.yaml:12)`.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

// === impl Config ===

impl Config {
    /// Brings flags, this process's environment, the file and the defaults together, reads the certificates,
    /// and checks it all.
    ///
    /// # Errors
    /// Every fault that could be found.
    pub fn load(args: &ServeArgs) -> Result<Loaded, Invalid> {
        // A value that is no UTF-8 can't be any that we know.
        Self::load_with(args, &|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// As [`Config::load`], with another environment.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(args: &ServeArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Invalid> {
        Source::new(args, env).load().result
    }

    /// The configuration as a file that [`Config::load`] reads back to the same. It holds paths and no secrets.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        print::to_yaml(self)
    }
}

// === impl Invalid ===

impl fmt::Display for Invalid {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{fault}")?;
        }
        Ok(())
    }
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
