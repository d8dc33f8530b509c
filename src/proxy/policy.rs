//! What an operator decides, and may decide anew while we run: one value, swapped whole.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{caller::Authenticator, domains::Domains, headers::IdentityFilter};

/// What an operator decides about requests. A request keeps the one that it began with.
#[derive(Debug)]
pub struct Policy {
    /// Another one for each policy of a process: what was found out under one does not count under the next.
    pub generation: u64,
    /// Switches and bounds.
    pub settings: Settings,
    /// Who is believed.
    pub authenticator: Authenticator,
    /// Where they are who they are.
    pub domains: Domains,
    /// What no client may say.
    pub identity_filter: Arc<IdentityFilter>,
}

/// Switches and bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--reroute`
    pub reroute: Reroute,
    /// `--merge`
    pub merge: bool,
    /// `--discovery-sources-header`
    pub sources_header: bool,
    /// `--request-timeout`: until the answer to a short request begins.
    pub request_timeout: Duration,
    /// `--max-requests-inflight`: short requests that wait for their answer to begin.
    pub max_requests_in_flight: Option<usize>,
    /// Clients whose `X-Forwarded-For` is believed, beside trusted front proxies.
    pub trusted_proxies: Vec<IpNet>,
    /// A tunnel over which nothing went for this long is ended; none: never.
    pub upgrade_idle_timeout: Option<Duration>,
    /// How long the answer to an I8 question is waited for.
    pub recheck_timeout: Duration,
}

/// Whether requests are sent on to peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reroute {
    /// They are.
    #[default]
    On,
    /// They are not, but it is logged and counted when they would be.
    DryRun,
    /// They are not.
    Off,
}

// === impl Settings ===

impl Settings {
    /// Whether a client may say for whom it asks.
    pub fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&client))
    }
}
