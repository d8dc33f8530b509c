//! Where a request goes: a pure decision on one snapshot.

use crate::{discovery::catalog::Serving, servers::source::ServerSet};

/// What else the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation<'a> {
    /// Discovery speaks of such requests: it is for a resource, with a verb that can be listed.
    pub is_resource: bool,
    /// The request is for this very server's health or internals; no other may answer for it.
    pub home_only: bool,
    /// A peer sent it on (I3).
    pub peer_proxied: bool,
    /// `--reroute=on`.
    pub reroute: bool,
    /// The home of the request.
    pub home: usize,
    /// Every server.
    pub all: ServerSet,
    /// Servers that are healthy.
    pub healthy: ServerSet,
    /// Servers that are fresh.
    pub fresh: ServerSet,
    /// Servers of which we do not know what they serve now.
    pub unknown: ServerSet,
    /// Servers that never said what they serve. Read where there are several trust domains.
    pub unheard: ServerSet,
    /// There may be servers of home's trust domain that nobody has named to us yet.
    pub incomplete: bool,
    /// Servers that denied the route although their discovery lists it; others are asked first.
    pub denied: ServerSet,
    /// Servers that list the resource, in whatever version and with whatever verbs and subresources. Read where there are
    /// several trust domains.
    pub having: ServerSet,
    /// The servers of each trust domain; what none of them has is in home's.
    pub domains: &'a [ServerSet],
    /// The servers to which something of the caller's may go (I13): of a trust domain all, or none.
    pub reach: ServerSet,
}

/// Where to send a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To home, and nobody else.
    Home(Reason),
    /// To one of these, as a peer's request.
    Peers(ServerSet, Reason),
    /// To nobody.
    Unavailable(Reason),
    /// To nobody, for nothing of the caller's may go to who would answer (I13).
    Forbidden(Reason),
}

/// Why a decision is as it is; shown in logs, metrics and `/debug/explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Home's discovery lists it.
    HomeServes,
    /// It is no request for a resource, or one that no discovery could list.
    NotAResource,
    /// A peer sent it on; it goes no further.
    AlreadyProxied,
    /// Rerouting is switched off.
    RerouteOff,
    /// Home does not list it; peers do.
    PeersServe,
    /// Home lists it but is not healthy; peers that list it stand in.
    HomeUnhealthy,
    /// Home's extension server is away; a peer's is not.
    HomeStale,
    /// Nobody lists it, and everybody was heard: home's own answer is right.
    NobodyServes,
    /// Nobody lists it, but not everybody was heard.
    Unknown,
    /// A peer sent it on, and home cannot answer.
    ProxiedHomeUnavailable,
    /// Only servers of other trust domains list it, and the caller is nobody there.
    OtherDomain,
    /// Home is of another trust domain than the caller, who is nobody there.
    HomeOfOtherDomain,
}

/// Decides. `serving` is not read for a request that is not for a resource.
pub fn route(serving: Serving, situation: Situation<'_>) -> Decision {
    match decide(serving, situation) {
        Decision::Home(_) if !situation.reach.contains(situation.home) => {
            Decision::Forbidden(Reason::HomeOfOtherDomain)
        }
        Decision::Peers(peers, _) if peers.intersection(situation.reach).is_empty() => {
            // Nobody else but those of home's domain was left to choose.
            Decision::Forbidden(Reason::HomeOfOtherDomain)
        }
        decision => decision,
    }
}

fn decide(serving: Serving, situation: Situation<'_>) -> Decision {
    use Decision::{Home, Peers, Unavailable};
    let Situation { home, healthy, .. } = situation;
    let domain = situation.domain();
    let me = ServerSet::one(home);
    let home_healthy = healthy.contains(home);
    let stand_ins = |able: ServerSet| able.without(me).intersection(healthy);

    if situation.peer_proxied {
        // The one reroute of this request has happened (I3): home answers, or nobody.
        let others_answer = !home_healthy && !stand_ins(domain).is_empty();
        return if others_answer {
            Unavailable(Reason::ProxiedHomeUnavailable)
        } else {
            Home(Reason::AlreadyProxied)
        };
    }
    if !situation.reroute {
        return Home(Reason::RerouteOff);
    }
    if !situation.is_resource {
        let peers = stand_ins(domain);
        return if home_healthy || situation.home_only || peers.is_empty() {
            Home(Reason::NotAResource)
        } else {
            Peers(peers, Reason::HomeUnhealthy)
        };
    }

    let owner = match situation.owner(serving.listed()) {
        Ok(owner) => owner,
        Err(decision) => return decision,
    };
    let serving = serving.among(owner).avoiding(situation.denied);
    let listed = serving.listed();
    if listed.contains(home) {
        if !home_healthy {
            let peers = stand_ins(serving.current);
            return if peers.is_empty() {
                Home(Reason::HomeServes)
            } else {
                Peers(peers, Reason::HomeUnhealthy)
            };
        }
        // Only a fresh peer can be believed that its extension server is there.
        let better = serving.current.intersection(situation.fresh).without(me);
        return if serving.current.contains(home) || better.is_empty() {
            Home(Reason::HomeServes)
        } else {
            Peers(better, Reason::HomeStale)
        };
    }
    if !listed.is_empty() {
        let peers = if serving.current.is_empty() { serving.stale } else { serving.current };
        return Peers(peers, Reason::PeersServe);
    }
    let everybody = situation.unknown.intersection(owner).is_empty() && !situation.incomplete;
    if everybody { Home(Reason::NobodyServes) } else { Unavailable(Reason::Unknown) }
}

// === impl Situation ===

impl Situation<'_> {
    /// Home's trust domain. Whatever of home's its servers say, stand in for or store is the same; to that of any other
    /// domain nothing of it applies.
    fn domain(&self) -> ServerSet {
        let known = self.domains.iter().find(|domain| domain.contains(self.home)).copied();
        let elsewhere = self.domains.iter().copied().fold(ServerSet::EMPTY, ServerSet::union);
        known.unwrap_or_else(|| self.all.without(elsewhere))
    }

    /// The trust domain in which the resource lives that a request is for, of which all that is asked is listed by these
    /// servers; all servers if it lives nowhere.
    ///
    /// Domains share no storage: a thing of the same name is another one in each, and a request that went now here and
    /// now there would read in one and write in the other. So a resource is home's domain's if anybody there lists it,
    /// in whatever version, well or not; else that of the first domain within the caller's reach. Whether somebody is
    /// healthy does not matter, and who was never heard may be the one whose resource it is.
    fn owner(&self, listed: ServerSet) -> Result<ServerSet, Decision> {
        if self.domains.len() < 2 {
            return Ok(self.all);
        }
        let (home, having) = (self.domain(), self.having.union(listed));
        if having.is_empty() {
            return Ok(self.all);
        }
        if !having.intersection(home).is_empty() {
            return Ok(home);
        }
        let unheard = |domain: ServerSet| !domain.intersection(self.unheard).is_empty();
        if self.incomplete || unheard(home) {
            return Err(Decision::Unavailable(Reason::Unknown));
        }
        let others = self.domains.iter().copied().filter(|domain| *domain != home);
        for domain in others.filter(|domain| !domain.intersection(self.reach).is_empty()) {
            if !having.intersection(domain).is_empty() {
                return Ok(domain);
            }
            if unheard(domain) {
                return Err(Decision::Unavailable(Reason::Unknown));
            }
        }
        if listed.is_empty() { Ok(self.all) } else { Err(Decision::Forbidden(Reason::OtherDomain)) }
    }
}

// === impl Reason ===

impl Reason {
    /// One word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HomeServes => "home-serves",
            Self::NotAResource => "not-a-resource",
            Self::AlreadyProxied => "already-proxied",
            Self::RerouteOff => "reroute-off",
            Self::PeersServe => "peers-serve",
            Self::HomeUnhealthy => "home-unhealthy",
            Self::HomeStale => "home-stale",
            Self::NobodyServes => "nobody-serves",
            Self::Unknown => "unknown",
            Self::ProxiedHomeUnavailable => "proxied-home-unavailable",
            Self::OtherDomain => "other-trust-domain",
            Self::HomeOfOtherDomain => "home-of-other-trust-domain",
        }
    }

    /// One sentence for people.
    pub fn explain(self) -> &'static str {
        match self {
            Self::HomeServes => "home's discovery lists it",
            Self::NotAResource => "discovery does not speak of such requests, so home answers",
            Self::AlreadyProxied => "a peer sent it on already, so home answers and nobody else",
            Self::RerouteOff => "rerouting is switched off, so home answers",
            Self::PeersServe => "home's discovery does not list it, that of these peers does",
            Self::HomeUnhealthy => "home is not healthy, and these peers can answer in its place",
            Self::HomeStale => {
                "home lists it as Stale (its extension server is away), these peers as Current"
            }
            Self::NobodyServes => "no server's discovery lists it, so home's own answer is right",
            Self::Unknown => {
                "no server that was heard lists it, but not every server was heard, and ignorance is no 404"
            }
            Self::ProxiedHomeUnavailable => {
                "a peer sent it on already and home is not healthy; it goes no further"
            }
            Self::OtherDomain => {
                "only servers of other trust domains list it, and the caller is nobody there (see identityMap)"
            }
            Self::HomeOfOtherDomain => {
                "home is of another trust domain than the caller, who is nobody there (see identityMap)"
            }
        }
    }
}

#[cfg(test)]
mod tests;
