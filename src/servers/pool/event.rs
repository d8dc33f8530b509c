//! What a pool tells about its connections, for health and metrics.

use std::sync::Arc;
use std::time::Duration;

use super::SendErrorKind;

/// Something that happened to a connection of a pool.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A connection was opened.
    Connected {
        /// HTTP/2; otherwise HTTP/1.1.
        http2: bool,
        /// From the look-up of the name to the server's SETTINGS.
        took: Duration,
    },
    /// A connection could not be opened.
    ConnectFailed {
        /// [`SendErrorKind::Connect`], [`SendErrorKind::Unanswered`] or [`SendErrorKind::Tls`].
        kind: SendErrorKind,
        /// For people: names the server and the step.
        error: &'a str,
    },
    /// The server said GOAWAY: streams in flight go on, new ones go elsewhere.
    Draining,
    /// An open connection ended.
    Closed {
        /// Why, unless it was closed in good order.
        error: Option<&'a str>,
    },
}

/// Called for each event, from the connection's own task: must be quick and must not block.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;
