//! The program: arguments in, library called, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_peer_proxy::commands::cli::main()
}
