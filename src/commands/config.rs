//! `config check` and `config print`: what would `serve` do with these flags, this environment and this file?

use std::{fs::File, io::Write, path::Path};

use clap::{Args, Subcommand};

use crate::config::{Config, ServeArgs};

/// Looks at the configuration without serving.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigCommand {
    /// Say "ok", or what is wrong: every fault with its key
    ///
    /// Reads the certificates and keys too. Exits with 64 if there is a fault.
    Check(ServeArgs),
    /// Print the effective configuration, defaults included, as a file for --config
    ///
    /// There are no secrets in it, only the paths of files. Exits with 64 if there is a fault.
    Print(ServeArgs),
}

/// Runs the command, writing to `out` what is asked for and to `err` what is worth a look.
///
/// # Errors
/// [`crate::config::Invalid`] if there is a fault, which makes exit code 64; others if nothing can be written.
pub fn run(args: &ConfigArgs, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<()> {
    let (ConfigCommand::Check(serve) | ConfigCommand::Print(serve)) = &args.command;
    let loaded = Config::load(serve)?;
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    if let (ConfigCommand::Check(_), Some(directory)) = (&args.command, &loaded.config.discovery_cache_dir)
        && let Err(error) = is_writable(directory)
    {
        writeln!(
            err,
            "warning: discoveryCacheDir: {}: cannot be written by this user ({error}), \
             so nothing of it would outlive the proxy",
            directory.display()
        )?;
    }
    match args.command {
        ConfigCommand::Check(_) => writeln!(out, "ok")?,
        ConfigCommand::Print(_) => write!(out, "{}", loaded.config.to_yaml())?,
    }
    Ok(())
}

/// Whether files can be made in a directory, or the directory where it is not there yet. Nothing stays behind.
fn is_writable(directory: &Path) -> std::io::Result<()> {
    let there = directory.ancestors().find(|parent| parent.exists()).unwrap_or(directory);
    let probe = there.join(format!(".kube-peer-proxy-check-{}", std::process::id()));
    File::create_new(&probe)?;
    std::fs::remove_file(probe)
}
