//! `inspect`: what does each API server serve, and where do they differ?

use std::{
    io::{ErrorKind, Write},
    sync::Arc,
};

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::looking::{self, LookArgs, Place};
use crate::discovery::skew::{Diff, Skew};

mod markdown;
mod pair;
mod screen;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

pub use screen::Screen;

/// Shown below the flags.
const BELOW: &str = "\
Exit codes: 0; 1 if no server could be asked, or, with --fail-on-skew, if servers differ or that is not known \
of all; 64 if the arguments or the kubeconfig cannot be used.

Examples, which `kubectl peers inspect` takes, too:
  # three API servers of one control plane, with the credentials of the current context
  kube-peer-proxy inspect --server a=https://10.0.0.1:6443 --server b=https://10.0.0.2:6443
  # two clusters of the kubeconfig
  kube-peer-proxy inspect --diff blue green
  # what a proxy that runs knows
  kube-peer-proxy inspect --admin 127.0.0.1:8090
  # is the upgrade finished?
  kube-peer-proxy inspect --admin 127.0.0.1:8090 --fail-on-skew";

/// What each API server serves, and where they differ.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = BELOW)]
pub struct InspectArgs {
    /// Where to look.
    #[command(flatten)]
    pub look: LookArgs,
    /// Show everything, and not only what differs
    #[arg(long)]
    pub all: bool,
    /// Show what two servers differ in; without other arguments they are contexts of the kubeconfig
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "all")]
    pub diff: Vec<String>,
    /// How it is shown; json and yaml have the shape of the admin page /debug/discovery/diff
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Exit with 1 if servers differ, or if one could not be asked: what is not known is not finished
    #[arg(long)]
    pub fail_on_skew: bool,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs that people read.
    Yaml,
    /// For issues and wikis.
    Markdown,
}

/// What is shown, and judged.
enum Shown {
    /// All servers.
    Skew(Skew),
    /// Two of them.
    Diff(Skew, Diff),
}

/// Looks, and writes to `out` what there is to see.
///
/// # Errors
/// [`crate::config::Invalid`] if the arguments cannot be used, which makes exit code 64; others if no server could be
/// asked, or with `--fail-on-skew` if servers differ or one could not be asked, in a sentence.
pub fn run(args: &InspectArgs, out: &mut impl Write, screen: Screen) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shown = runtime.block_on(look(args));
    // A credential plugin that hangs is not waited for.
    runtime.shutdown_background();
    let shown = shown?;
    let text = match args.output {
        Output::Table => shown.table(args.all, screen),
        Output::Markdown => shown.markdown(args.all),
        Output::Json => {
            shown.serialized(args.all, |value| Ok(serde_json::to_string_pretty(value)? + "\n"))?
        }
        Output::Yaml => shown.serialized(args.all, |value| Ok(serde_saphyr::to_string(value)?))?,
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written?,
    }
    shown.judge(args)
}

async fn look(args: &InspectArgs) -> anyhow::Result<Shown> {
    let mut look = args.look.clone();
    let says_nothing = look.server.is_empty() && look.context.is_empty();
    if says_nothing && look.config.is_none() && look.admin.is_none() {
        look.context.clone_from(&args.diff);
        look.context.dedup();
    }
    let mut place = look.place().await?;
    let [a, b] = args.diff.as_slice() else {
        return Ok(Shown::Skew(place.skew(look.timeout).await?));
    };
    let bad = |fault: String| looking::invalid("--diff", fault);
    if let Place::Servers(targets) = &mut place {
        let names: Vec<Arc<str>> = targets.iter().map(|target| Arc::clone(&target.name)).collect();
        Skew::check_names(&names, a, b).map_err(bad)?;
        // The others have no part in it.
        targets.retain(|target| [a, b].into_iter().any(|name| **name == *target.name));
    }
    let skew = place.skew(look.timeout).await?;
    let diff = skew.diff(a, b).map_err(bad)?;
    Ok(Shown::Diff(skew, diff))
}

// === impl Shown ===

impl Shown {
    fn table(&self, all: bool, screen: Screen) -> String {
        match self {
            Self::Skew(skew) => table::render(skew, all, screen),
            Self::Diff(skew, diff) => pair::render(skew, diff, screen),
        }
    }

    fn markdown(&self, all: bool) -> String {
        match self {
            Self::Skew(skew) => markdown::of_skew(skew, all),
            Self::Diff(skew, diff) => markdown::of_diff(skew, diff),
        }
    }

    /// Rows that do not differ are left out unless `all` are wanted; the summary counts all of them.
    fn serialized<T>(
        &self,
        all: bool,
        write: impl FnOnce(&serde_json::Value) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        fn value(of: &impl Serialize) -> anyhow::Result<serde_json::Value> {
            Ok(serde_json::to_value(of)?)
        }
        let value = match self {
            Self::Skew(skew) if all => value(skew)?,
            Self::Skew(skew) => {
                let rows = skew.differing().cloned().collect();
                let (servers, summary) = (skew.servers.clone(), skew.summary.clone());
                value(&Skew { servers, incomplete: skew.incomplete, summary, rows })?
            }
            Self::Diff(_, diff) => value(diff)?,
        };
        write(&value)
    }

    /// Whether that was what was asked for.
    fn judge(&self, args: &InspectArgs) -> anyhow::Result<()> {
        let (Self::Skew(skew) | Self::Diff(skew, _)) = self;
        if skew.servers.iter().all(|server| !server.known) {
            match args.output {
                // The reasons stand there.
                Output::Table | Output::Markdown => bail!("no server could be asked"),
                Output::Json | Output::Yaml => bail!("no server could be asked: {}", verdict::reasons(skew)),
            }
        }
        if !args.fail_on_skew {
            return Ok(());
        }
        let (differ, incomplete) = match self {
            Self::Skew(skew) => (skew.summary.differing > 0, skew.incomplete),
            Self::Diff(_, diff) => (!diff.is_empty(), diff.incomplete),
        };
        match (differ, incomplete) {
            (true, _) => bail!("--fail-on-skew: {}", self.verdict()),
            (false, true) => bail!("--fail-on-skew: not everything is known. {}", self.verdict()),
            (false, false) if skew.servers.len() < 2 => {
                bail!("--fail-on-skew: one server cannot differ from any other; name at least two")
            }
            (false, false) => Ok(()),
        }
    }

    fn verdict(&self) -> String {
        match self {
            Self::Skew(skew) => verdict::of_skew(skew),
            Self::Diff(skew, diff) => verdict::of_diff(skew, diff),
        }
    }
}
