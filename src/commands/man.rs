//! `man`: the manual pages, made of what `--help` knows.

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::{cli, plugin};

/// Prints the page of kube-peer-proxy, or writes those of all commands and of `kubectl peers` into a folder.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Folder for a file of each page; it is made if it is absent
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If a file can't be written.
pub fn run(args: &ManArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let command = cli::Arguments::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        out.write_all(&page)?;
        return Ok(());
    };
    let cannot = || format!("{}: the pages can't be written there", dir.display());
    fs::create_dir_all(dir).with_context(cannot)?;
    for command in [command, plugin::Arguments::command().bin_name("kubectl-peers")] {
        clap_mangen::generate_to(command, dir).with_context(cannot)?;
    }
    Ok(())
}
