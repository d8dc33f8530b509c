//! The one integration binary: one link instead of twenty.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod admin;
mod admin_page;
mod cache;
mod census;
mod chains;
mod cli;
mod completions;
mod config;
mod connections;
mod discovery;
mod domains;
mod drain;
mod embedded;
mod explain;
mod failures;
mod freshness;
mod ghosts;
mod health;
mod hostile;
mod identity;
mod inspect;
#[path = "../kit/kit.rs"]
mod kit;
mod limits;
mod merge_props;
mod not_found;
mod observability;
mod old_servers;
mod openapi;
mod pool;
mod real;
mod reload;
mod routing;
mod secrets;
mod skips;
mod start_check;
mod streaming;
mod tls;
mod upgrades;
mod vectors;
mod watch_checker;
mod watching;
mod writes;
