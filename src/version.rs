//! Which build this is: the version, and the commit where it is known (`build.rs`).

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit's first 12 digits, or nothing if it was built from sources that did not say.
pub const COMMIT: &str = env!("KUBE_PEER_PROXY_BUILD_COMMIT");

/// For people: `0.1.0 (0123456789ab, 2026-11-21)`, where the date is the commit's.
pub const LONG: &str = env!("KUBE_PEER_PROXY_BUILD_VERSION");
