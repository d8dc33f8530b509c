//! The commands: arguments in, library called.

pub mod certs;
pub mod cli;
pub mod completions;
pub mod config;
pub mod demo;
pub mod explain;
pub mod healthz;
pub mod inspect;
pub mod looking;
pub mod man;
pub mod plugin;
pub mod serve;
