//! What `tests/bench/run` needs beside h2load: an API server that costs little, clients that show a certificate
//! (h2load cannot), and clients that hold thousands of watches.
//!
//! Built as an example, so that it shares the dependencies and the profile of the proxy.

#[path = "helper/client.rs"]
mod client;
#[path = "helper/load.rs"]
mod load;
#[path = "helper/origin.rs"]
mod origin;
#[path = "helper/watch.rs"]
mod watch;

use std::error::Error;

use clap::Parser;

/// Any error ends the helper, and with it the measurement.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Server and clients for the measurements of `tests/bench/run`.
#[derive(Parser)]
enum Command {
    /// Serves recorded discovery, one object, one long list and watches in which nothing happens.
    Origin(origin::Args),
    /// Sends requests over HTTP/2 as fast as they are answered, and prints the latencies as JSON.
    Load(load::Args),
    /// Opens watches, prints `open` once all have begun, and holds them until it is killed.
    Watch(watch::Args),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Origin(args) => origin::run(args).await,
        Command::Load(args) => load::run(args).await,
        Command::Watch(args) => watch::run(args).await,
    }
}
