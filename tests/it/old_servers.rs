//! API servers that don't speak aggregated discovery v2, and what only unaggregated lists say of those that do.

mod forms;
mod hashes;
mod limits;
mod lists;
mod server;
