//! TLS towards clients and towards API servers.

pub mod client;
pub mod server;
