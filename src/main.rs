//! The program: arguments in, library called, exit code out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kube_peer_proxy::{commands, config};

/// The static binary of the image: with musl's allocator a request costs nearly half as much CPU again.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bad usage or configuration, as BSD's `sysexits.h` has it.
const EX_USAGE: u8 = 64;

/// A TLS reverse proxy for Kubernetes control planes whose API servers run different versions.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy
    Serve(Box<config::ServeArgs>),
    /// Try it: API servers of three versions in memory and the proxy before them, in one process
    Demo(commands::demo::DemoArgs),
    /// Write a demo PKI: two CAs, serving and client certificates
    Certs(commands::certs::CertsArgs),
    /// Look at a configuration without running it
    Config(Box<commands::config::ConfigArgs>),
    /// Ask a proxy whether it is ready, for the health check of a container: exit code 0 or 1
    Healthz(commands::healthz::HealthzArgs),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            // Nothing is left to be told if the terminal is gone.
            let _ = error.print();
            return if usage { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let done = match arguments.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Certs(args) => commands::certs::run(&args, &mut std::io::stdout()),
        Command::Config(args) => commands::config::run(&args, &mut std::io::stdout(), &mut std::io::stderr()),
        Command::Healthz(args) => commands::healthz::run(&args, &mut std::io::stdout()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kube-peer-proxy: {error:#}");
            ExitCode::from(if error.is::<config::Invalid>() { EX_USAGE } else { 1 })
        }
    }
}
