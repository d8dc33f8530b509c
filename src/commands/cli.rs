//! The command line: which commands there are, and what their ends mean to a shell.

use std::{fmt, process::ExitCode};

use clap::{Parser, Subcommand};

use super::{certs, completions, config, demo, explain, healthz, inspect, man, serve};
use crate::{config::Invalid, printable::clean_lines, version};

/// Bad usage or configuration, as BSD's `sysexits.h` has it.
pub const EX_USAGE: u8 = 64;

/// A TLS reverse proxy for Kubernetes control planes whose API servers run different versions.
#[derive(Parser)]
#[command(name = "kube-peer-proxy", version = version::LONG, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy
    Serve(Box<crate::config::ServeArgs>),
    /// Try it: API servers of three versions in memory and the proxy before them, in one process
    Demo(demo::DemoArgs),
    /// What does each API server serve, and where do they differ?
    Inspect(Box<inspect::InspectArgs>),
    /// Say which API server would answer a request, by which rule, and who the caller would be there
    Explain(Box<explain::ExplainArgs>),
    /// Write a demo PKI: two CAs, serving and client certificates
    Certs(certs::CertsArgs),
    /// Look at a configuration without running it
    Config(Box<config::ConfigArgs>),
    /// Ask a proxy whether it is ready, for the health check of a container: exit code 0 or 1
    Healthz(healthz::HealthzArgs),
    /// Print a script that has a shell complete commands and flags
    Completions(completions::CompletionsArgs),
    /// Write the manual pages
    Man(man::ManArgs),
}

/// What was asked for can't be answered: a sentence for whoever asked.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Reads the arguments of this process and does what they say.
pub fn main() -> ExitCode {
    run("kube-peer-proxy", |arguments: Arguments| match arguments.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Inspect(args) => inspect::run(&args, &mut std::io::stdout(), inspect::Screen::of_stdout()),
        Command::Explain(args) => explain::run(&args, explain::Usual::Proxy, &mut std::io::stdout()),
        Command::Certs(args) => certs::run(&args, &mut std::io::stdout()),
        Command::Config(args) => config::run(&args, &mut std::io::stdout(), &mut std::io::stderr()),
        Command::Healthz(args) => healthz::run(&args, &mut std::io::stdout()),
        Command::Completions(args) => completions::run(&args, &mut std::io::stdout()),
        Command::Man(args) => man::run(&args, &mut std::io::stdout()),
    })
}

/// Reads arguments, does with them what is to be done, and says how it ended.
pub(super) fn run<A: Parser>(name: &str, act: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            // Nothing is left to be told if the terminal is gone.
            let _ = error.print();
            return if usage { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match act(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Some of it others said: servers, plugins, files.
            eprintln!("{name}: {}", clean_lines(&format!("{error:#}")));
            let usage = error.is::<Invalid>() || error.is::<Usage>();
            ExitCode::from(if usage { EX_USAGE } else { 1 })
        }
    }
}

/// Whoever read what we print has enough of it, as `head` has.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
