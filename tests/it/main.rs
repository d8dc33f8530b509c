//! The one integration binary: one link instead of twenty.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod config;
mod embedded;
mod merge_props;
mod pool;
mod real;
mod vectors;
