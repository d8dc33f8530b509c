//! The path of a request.

pub mod admit;
pub mod caller;
pub mod forward;
pub mod headers;
pub mod listener;
pub mod route;
