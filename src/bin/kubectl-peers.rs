//! `kubectl peers`: what kube-peer-proxy can tell of a control plane, as a plugin of kubectl.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_peer_proxy::commands::plugin::main()
}
