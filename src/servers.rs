//! The API servers: where they are, how healthy, and the connections to them.

pub mod health;
pub mod pick;
pub mod pool;
pub mod source;
