//! The in-memory API server behaves towards a client as kube-apiserver does.

mod auth;
mod client;
mod discovery;
mod events;
mod faults;
mod forms;
mod kube;
mod metadata;
mod objects;
mod openapi;
mod pages;
mod presence;
mod registered;
mod tables;
mod watch;
mod watch_faults;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use client::Client;
use kube_peer_proxy::embedded::{Builder, RunningServer, Server, user};
use kube_peer_proxy::pki::Pki;

/// One PKI for all tests: making keys is what takes time.
static PKI: LazyLock<Pki> = LazyLock::new(|| Pki::generate(&[]).unwrap());

/// No test waits longer than this for anything.
const DEADLINE: Duration = Duration::from_secs(20);
const BOB: (&str, &str) = ("authorization", "Bearer s3cr3t");

fn builder() -> Builder {
    Server::builder("a").pki(&PKI).token("s3cr3t", user("bob", &["dev"])).test_endpoints(true)
}

async fn start(builder: Builder) -> RunningServer {
    builder.start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

/// A server and a client of it that speaks h2 with bob's token.
async fn server_and_bob() -> (RunningServer, Client) {
    let server = start(builder()).await;
    let client = Client::h2(&server, None).await.with(BOB);
    (server, client)
}
