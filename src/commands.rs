//! The commands: arguments in, library called.

pub mod certs;
pub mod config;
pub mod demo;
pub mod healthz;
pub mod serve;
