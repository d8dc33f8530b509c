//! Why discovery is fetched.

/// What made us fetch; a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Never heard yet.
    Start,
    /// The timer.
    Interval,
    /// The slow timer of a server whose watches are well.
    Resync,
    /// An event about a custom resource definition.
    Crd,
    /// An event about an APIService.
    ApiService,
    /// An identity lease came, went, or has another holder.
    Lease,
    /// The endpoints of the API servers changed.
    EndpointSlice,
    /// The server says that it is ready no longer, or again; or exchanges go there no longer, or again.
    Health,
    /// Contact came back.
    Reconnect,
    /// The server denied a route that its discovery lists (I8).
    RouteNotFound,
    /// A client's authorization showed another ETag.
    Changed,
    /// The last fetch failed.
    Retry,
    /// Somebody wrote through us what discovery is made of, and asks for discovery.
    Write,
}

// === impl Trigger ===

impl Trigger {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Resync => "resync",
            Self::Crd => "crd",
            Self::ApiService => "apiservice",
            Self::Lease => "lease",
            Self::EndpointSlice => "endpointslice",
            Self::Write => "write",
            Self::Health => "health",
            Self::Reconnect => "reconnect",
            Self::RouteNotFound => "route-not-found",
            Self::Changed => "changed",
            Self::Retry => "retry",
        }
    }

    /// Whether it is an event, of which many come at a time and none has to be answered at once.
    pub(super) fn is_event(self) -> bool {
        matches!(self, Self::Crd | Self::ApiService | Self::Lease | Self::EndpointSlice)
    }
}
