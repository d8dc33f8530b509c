//! `kubectl peers …`: the commands that look at a control plane, as a plugin of kubectl.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use super::{cli, explain, inspect};
use crate::version;

mod complete;

/// The name under which kubectl asks for completions.
const COMPLETER: &str = "kubectl_complete-peers";

/// What the API servers of a control plane serve, and where a request to it would go.
///
/// By default it looks at the server of kubectl's current context.
#[derive(Parser)]
#[command(name = "kubectl-peers", bin_name = "kubectl peers", version = version::LONG, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What does each API server serve, and where do they differ?
    Inspect(Box<inspect::InspectArgs>),
    /// Say which API server would answer a request, by which rule, and who the caller would be there
    Explain(Box<explain::ExplainArgs>),
}

/// Reads the arguments of this process and does what they say.
pub fn main() -> ExitCode {
    let mut words = env::args_os();
    let called = words.next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == COMPLETER) {
        let words: Vec<String> = words.map(|word: OsString| word.to_string_lossy().into_owned()).collect();
        // A shell that no longer listens misses nothing.
        let _ = write!(io::stdout(), "{}", complete::candidates(Arguments::command(), &words));
        return ExitCode::SUCCESS;
    }
    cli::run("kubectl peers", |arguments: Arguments| match arguments.command {
        Command::Inspect(args) => inspect::run(&args, &mut std::io::stdout(), inspect::Screen::of_stdout()),
        Command::Explain(args) => explain::run(&args, explain::Usual::Kubectl, &mut std::io::stdout()),
    })
}
