//! What the tests of the whole proxy are built with: servers, the proxy itself, clients good and bad.
//!
//! ```ignore
//! let cluster = Cluster::start(&[V1_32, V1_36]).await;
//! let proxy = cluster.proxy().home("v132").start().await;
//! let jane = proxy.h2(As::Certificate(&jane)).await;
//! assert_eq!(jane.get("/version").await.status, 200);
//! ```

mod capture;
pub mod client;
mod cluster;
mod port;
mod program;
mod proxy;
mod raw;
pub mod raw_h2;
mod stub;
mod tunnel;
mod wait;
mod wild;
mod wire;

use std::time::Duration;

pub use capture::Capture;
pub use client::{As, Client, Reply};
pub use cluster::{BOB, Cluster, EVE, PKI, certificate};
pub use port::free_port;
pub use program::{Program, sidecar_flags};
pub use proxy::{PROXY_USER, Proxy, ProxyBuilder};
pub use raw::Raw;
pub use raw_h2::RawH2;
pub use stub::Stub;
pub use tunnel::Tunnel;
pub use wait::{eventually, until};
pub use wild::{Wild, read_head};
pub use wire::Wire;

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// Aggregated discovery.
pub const V2: (&str, &str) =
    ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
/// Home's own.
pub const NOPEER: (&str, &str) =
    ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer");
/// The header that ends all rerouting.
pub const PROXIED: &str = "x-kubernetes-peer-proxied";

/// A line on stderr even if the test passes: what `eprintln!` writes is only seen when one fails.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        // In one piece, for another test may write at the same time.
        let line = format!($($what)*) + "\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
    }};
}
pub(crate) use say;
