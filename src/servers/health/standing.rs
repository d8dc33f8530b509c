//! Words for how a server stands.

use tokio::time::Instant;

/// Why a server is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Contact was lost, or never was.
    Connect,
    /// It says so itself.
    NotReady,
    /// It does not say in time whether it is ready.
    Slow,
    /// Exchanges of callers break off.
    Passive,
}

/// Whether exchanges go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They do.
    Healthy,
    /// Others are asked first.
    Ejected,
    /// One exchange at a time is tried.
    HalfOpen,
}

/// How a server stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether exchanges go there.
    pub state: State,
    /// Why not all of them do.
    pub reason: Option<Reason>,
    /// Until when at least, if that is known.
    pub until: Option<Instant>,
    /// Good probes in a row that it takes to come back, unless the reason is [`Reason::Passive`].
    pub probes_wanted: Option<u32>,
}

/// How a server compares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It is asked first: healthy, or half-open with nothing under way yet.
    Well,
    /// Others are asked first, unless there are too few of them: it is there, but says that it is not ready or had
    /// failures.
    Spared,
    /// It is there, but starts, or its discovery cannot be had.
    There,
    /// There is no contact.
    Away,
}

// === impl Reason ===

impl Reason {
    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::NotReady => "not-ready",
            Self::Slow => "slow",
            Self::Passive => "passive",
        }
    }
}

// === impl State ===

impl State {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ejected => "ejected",
            Self::HalfOpen => "half-open",
        }
    }
}
