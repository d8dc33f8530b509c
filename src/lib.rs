//! A TLS reverse proxy for Kubernetes control planes whose API servers run different versions.

pub mod api;
pub mod app;
pub mod body;
pub mod commands;
pub mod config;
pub mod discovery;
pub mod embedded;
pub mod limits;
pub mod metrics;
pub mod ops;
pub mod pki;
pub mod proxy;
pub mod redact;
pub mod servers;
pub mod tls;
