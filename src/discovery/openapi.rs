//! OpenAPI of several servers: the index of version 3 and its documents, and the one document of version 2.
//!
//! - `/openapi/v3`: the union of the servers' indexes ([`plan`]), with the hash of who answers for each document.
//! - `/openapi/v3/<key>`: sent on to who answers for it; only where no server serves all of a group-version the
//!   documents are united here ([`unite`]).
//! - `/openapi/v2`: always united, and equal for every home.
//!
//! Nothing is fetched before somebody asks, everything is fetched with our own identity, and a server's last good
//! document stays in use when it fails (I7).

pub mod document;
mod fetch;
pub mod index;
pub mod library;
mod members;
pub mod plan;
mod slot;
pub mod unite;

pub use document::Document;
pub use fetch::Bounds;
pub use library::{Library, ServerState};
