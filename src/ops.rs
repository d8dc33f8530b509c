//! What an operator sees: admin pages, metrics, readiness, logs.

pub mod access;
pub mod admin;
pub mod metrics;
pub mod readiness;
pub mod telemetry;
