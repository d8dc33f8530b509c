//! Real components on loopback: etcd, kube-apiservers, kubectls; and our proxy before them.

pub(super) mod audit;
pub(super) mod binaries;
pub(super) mod client;
pub(super) mod cluster;
pub(super) mod elsewhere;
pub(super) mod files;
pub(super) mod kubectl;
pub(super) mod kubelet;
pub(super) mod process;
pub(super) mod proxy;
pub(super) mod server;
pub(super) mod websocket;

use std::time::{Duration, Instant};

pub(super) use crate::kit::free_port;

/// Whatever takes longer than this will not happen any more.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Tries until something is there, or for [`DEADLINE`].
pub(super) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(there) = attempt().await {
            return there;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
