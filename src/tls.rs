//! TLS towards clients and towards API servers.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub mod certificate;
pub mod client;
pub mod server;
pub mod suites;

/// The one cryptography provider, given to every configuration explicitly.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
