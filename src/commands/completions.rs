//! `completions`: scripts that have a shell complete commands and flags.

use std::io::Write;

use clap::{Args, CommandFactory as _, ValueEnum};

use super::{cli, plugin};

/// Prints a script for a shell, for `kube-peer-proxy` and `kubectl-peers`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = BELOW)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

const BELOW: &str = "\
bash:  kube-peer-proxy completions bash > /etc/bash_completion.d/kube-peer-proxy
zsh:   kube-peer-proxy completions zsh > \"${fpath[1]}/_kube-peer-proxy\"
fish:  kube-peer-proxy completions fish > ~/.config/fish/completions/kube-peer-proxy.fish

`kubectl peers` is completed by kubectl's own script, if kubectl finds a program named
kubectl_complete-peers on the PATH: a link of that name to kubectl-peers.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs the command.
///
/// # Errors
/// If nothing can be written.
pub fn run(args: &CompletionsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::Arguments::command(), "kube-peer-proxy", &mut script);
    let mut plugin = plugin::Arguments::command();
    if let Shell::Zsh = args.shell {
        // A zsh script for two names would need two functions in one file, of which the first line names one.
        out.write_all(&script)?;
        return Ok(());
    }
    plugin.set_bin_name("kubectl-peers");
    clap_complete::generate(shell, &mut plugin, "kubectl-peers", &mut script);
    out.write_all(&script)?;
    Ok(())
}
