//! Pure vocabulary of the Kubernetes API: no I/O, no clock.

pub mod discovery;
pub mod encoding;
pub mod gvr;
pub mod media_type;
pub mod request_info;
pub mod status;
pub mod user;
