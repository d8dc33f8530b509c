//! What each API server serves, and the one document made of it.

pub mod cache;
pub mod catalog;
pub mod fetch;
pub mod informer;
pub mod merge;
pub mod openapi;
pub mod order;
pub mod probe;
pub mod refresh;
pub mod render;
pub mod serve;
pub mod skew;
