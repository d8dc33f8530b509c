//! An API server in memory, for `demo` and for tests.
//!
//! It behaves towards a proxy as kube-apiserver does: TLS with optional client certificates that only
//! authentication checks, front-proxy headers, tokens, impersonation, v2 discovery with ETags, objects with
//! resource versions, watches, the exact 404s, GOAWAY after an anonymous request on HTTP/2. It speaks older forms of
//! discovery, too ([`Forms`]), has OpenAPI v2 and v3 made of what discovery lists, and shows objects as tables. It
//! knows nothing of what objects mean: no defaults, no validation, no controllers; but for OpenAPI it answers in JSON
//! only.
//!
//! Several servers that share a [`Store`] stand for several API servers on one etcd; each serves what its own
//! [`Discovery`] lists.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kube_peer_proxy::embedded::{Recorded, Server, Store, user};
//! use kube_peer_proxy::pki::Pki;
//!
//! let (pki, store) = (Pki::generate(&[])?, Store::new());
//! let old = Server::builder("old").version(Recorded::V1_32).pki(&pki).store(store.clone());
//! let new = Server::builder("new").pki(&pki).store(store).token("s3cr3t", user("bob", &["dev"]));
//! let (old, new) = (old.start(([127, 0, 0, 1], 0).into()).await?, new.start(([127, 0, 0, 1], 0).into()).await?);
//! println!("{} and {}", old.url(), new.url());
//! # Ok(())
//! # }
//! ```

mod accept;
mod answer;
mod auth;
mod builder;
mod connection;
mod discovery;
mod document;
mod faults;
mod forms;
mod health;
mod legacy;
mod log;
mod objects;
mod openapi;
mod patch;
mod port;
mod presence;
mod protobuf;
mod recorded;
mod registered;
mod resource_spec;
mod review;
mod routes;
mod selector;
mod serve_discovery;
mod serve_openapi;
mod server;
mod shared;
mod spoil;
mod store;
mod target;
mod testing;
mod tls;
mod upgrade;
mod view;
mod watch;
mod websocket;

pub use auth::user;
pub use builder::{BOOKMARK_INTERVAL, Builder, MAX_STREAMS};
pub use discovery::Discovery;
pub use document::Tree;
pub use faults::{DiscoveryFault, Faults, ListFault, OpenApiFault, RouteFault, UpgradeScript, WatchFault};
pub use forms::Forms;
pub use log::{Farewell, LoggedRequest, LoggedTunnel, REMEMBERED, RequestLog};
pub use port::Port;
pub use presence::LEASE_RENEWAL;
pub use recorded::Recorded;
pub use resource_spec::ResourceSpec;
pub use server::{RunningServer, StartError};
pub use store::{HISTORY, Store};

/// Where building a server begins.
#[derive(Debug)]
pub struct Server;

// === impl Server ===

impl Server {
    /// Describes a server with this name, which shows in errors and logs only.
    pub fn builder(id: &str) -> Builder {
        Builder::new(id)
    }
}
