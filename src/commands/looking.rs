//! Where to look: the arguments that commands share which look at API servers without being a proxy.
//!
//! There are three places. API servers themselves, as a kubeconfig names them, with that user's credentials (several
//! `--context`, or several `--server` with the credentials of one); those of a proxy's `--config` file, asked as that
//! proxy would; and the `--admin` address of a proxy that runs, for what it knows. The first two ask now, all servers at
//! once, and one that is slow or away keeps none of the others from being seen.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    app,
    config::{self, Fault, Invalid, ServeArgs},
    discovery::skew::Skew,
};

mod admin;
mod kubeconfig;
mod progress;
mod target;
mod why;

pub use admin::Admin;
pub use target::{Target, ask_all};

const PLACE: &str = "Where to look";

/// Where to look.
#[derive(Args, Clone, Debug, Default)]
pub struct LookArgs {
    /// API server to ask, with the credentials of the kubeconfig; can be repeated. NAME is how it is shown
    #[arg(long, value_name = "[NAME=]URL", help_heading = PLACE)]
    pub server: Vec<String>,
    /// Context of the kubeconfig; can be repeated: each is a server, shown by the context's name. Without any of
    /// these, the current one
    #[arg(long, value_name = "NAME", help_heading = PLACE)]
    pub context: Vec<String>,
    /// Kubeconfig file [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = PLACE)]
    pub kubeconfig: Option<PathBuf>,
    /// Name that the serving certificates are checked for, instead of the URLs' hosts
    #[arg(long, value_name = "NAME", help_heading = PLACE)]
    pub tls_server_name: Option<String>,
    /// Configuration file of a proxy: the API servers that it names are asked as the proxy would ask them
    #[arg(long, value_name = "FILE", help_heading = PLACE,
          conflicts_with_all = ["server", "context", "kubeconfig", "tls_server_name"])]
    pub config: Option<PathBuf>,
    /// Admin address of a proxy that runs: what it knows is shown, and no API server is asked
    #[arg(long, value_name = "HOST:PORT", help_heading = PLACE,
          conflicts_with_all = ["server", "context", "kubeconfig", "tls_server_name", "config"])]
    pub admin: Option<String>,
    /// A server that has not answered by then is shown as unknown
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::parse_duration,
          help_heading = PLACE)]
    pub timeout: Duration,
}

/// Where to look, as the arguments say it.
pub enum Place {
    /// API servers, to be asked now.
    Servers(Vec<Target>),
    /// A proxy that knows.
    Admin(Admin),
}

// === impl LookArgs ===

impl LookArgs {
    /// Reads the kubeconfig or the configuration; asks nobody yet.
    ///
    /// # Errors
    /// [`Invalid`] if the arguments, the kubeconfig or the configuration cannot be used, in sentences.
    pub async fn place(&self) -> anyhow::Result<Place> {
        if let Some(admin) = &self.admin {
            return Ok(Place::Admin(Admin::new(admin).map_err(|fault| invalid("--admin", fault))?));
        }
        let targets = match &self.config {
            Some(file) => {
                let loaded =
                    config::Config::load(&ServeArgs { config: Some(file.clone()), ..ServeArgs::default() })?;
                let (fetcher, servers) = app::servers(&loaded)?;
                servers.into_iter().map(|server| Target::ours(server, fetcher.clone())).collect()
            }
            None => kubeconfig::targets(self).await?,
        };
        if targets.is_empty() {
            return Err(invalid(
                "--config",
                "names no API server; those of a source are known to a proxy that runs: \
                 look there with --admin",
            )
            .into());
        }
        Ok(Place::Servers(targets))
    }
}

// === impl Place ===

impl Place {
    /// What is served there. Servers that cannot be asked are unknown in it, with the reason.
    ///
    /// If it takes more than a second and standard error is a terminal, a line there says for whom we wait.
    ///
    /// # Errors
    /// If a proxy's admin address does not answer as one.
    pub async fn skew(&self, timeout: Duration) -> anyhow::Result<Skew> {
        match self {
            Self::Servers(targets) => {
                let columns = progress::watching(targets, |done| ask_all(targets, timeout, done)).await;
                Ok(Skew::of(columns))
            }
            Self::Admin(admin) => admin.skew(timeout).await,
        }
    }
}

/// One thing that is wrong with the arguments.
pub(super) fn invalid(key: &str, message: impl Into<String>) -> Invalid {
    Invalid { faults: vec![Fault { key: key.to_owned(), message: message.into() }] }
}
