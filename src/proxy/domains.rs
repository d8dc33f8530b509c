//! Who a caller is in another trust domain (I13).
//!
//! API servers of one *trust domain* accept the same callers. What a certificate says of somebody is true in the domain
//! whose CA signed it: there he is who it says, and anywhere else he is nobody, unless a [`Rule`] of the operator says
//! who. Of what he is at home nothing goes along but what the rule names: no group, no UID, no extra, and
//! `Impersonate-*` of his not at all. Who a token is for is known to the API servers of home's domain, so it goes only
//! there, and so does whoever says nothing of himself.
//!
//! Whatever is sent for a caller goes through [`Domains::presented`] first, and nothing else says who he is.

use std::{fmt, sync::Arc};

use http::header;

use super::{Exchange, Proxy, caller::Caller};
use crate::{
    api::{status::Status, user::UserInfo},
    servers::{Server, source::ServerSet},
};

/// Everybody whom we know, in [`Rule::users`].
pub const EVERYBODY: &str = "*";

/// Where callers are who they are, and what becomes of them elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// The trust domain of those whom we know, by a certificate or from a front proxy.
    pub callers: Arc<str>,
    /// The first one that matches counts.
    pub rules: Vec<Rule>,
}

/// What becomes of some callers in one trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// There it counts.
    pub trust_domain: Arc<str>,
    /// It is for those who are one of these, or in one of the groups; [`EVERYBODY`] is each of them.
    pub users: Vec<String>,
    /// See `users`.
    pub groups: Vec<String>,
    /// The name that he has there.
    pub user: Name,
    /// All the groups that he has there.
    pub as_groups: Vec<String>,
}

/// The name that a caller has in another trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// This one, whatever he is called.
    Literal(String),
    /// His own, behind this.
    Prefixed(String),
}

/// Why a caller does not get into a trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfReach {
    /// His token is one of home's domain.
    Token,
    /// Nobody knows him, and only home's domain has to.
    Anonymous,
    /// Nobody says who he is there.
    NoRule,
    /// He wants to be somebody else, of the domain that he comes from.
    Impersonates,
}

/// As whom a caller that we know gets into a trust domain.
enum Admitted<'a> {
    /// It is his own.
    Himself(&'a Arc<UserInfo>),
    /// As what the rule makes of him.
    By(&'a Rule, &'a UserInfo),
}

/// Where something is to be sent, and from where.
struct Crossing<'a> {
    why: OutOfReach,
    caller: &'a Caller,
    home: &'a str,
    there: &'a str,
}

// === impl Domains ===

impl Domains {
    /// Who a caller is to the servers of the trust domain `there`; `None` if nothing is to be said of him, for what he
    /// brings says it, or nobody has to know.
    ///
    /// # Errors
    /// If nothing of his may go there.
    pub fn presented(
        &self,
        caller: &Caller,
        impersonates: impl FnOnce() -> bool,
        home: &str,
        there: &str,
    ) -> Result<Option<Arc<UserInfo>>, OutOfReach> {
        let admitted = self.admitted(caller, impersonates, home, there)?;
        Ok(admitted.map(|admitted| match admitted {
            Admitted::Himself(user) => Arc::clone(user),
            Admitted::By(rule, user) => Arc::new(rule.become_of(user)),
        }))
    }

    /// The same, without making anybody of him: every request asks it of every trust domain.
    fn admitted<'a>(
        &'a self,
        caller: &'a Caller,
        impersonates: impl FnOnce() -> bool,
        home: &str,
        there: &str,
    ) -> Result<Option<Admitted<'a>>, OutOfReach> {
        let Some(user) = caller.stamped() else {
            return match caller {
                _ if there == home => Ok(None),
                Caller::Token => Err(OutOfReach::Token),
                _ => Err(OutOfReach::Anonymous),
            };
        };
        if there == &*self.callers {
            return Ok(Some(Admitted::Himself(user)));
        }
        if impersonates() {
            return Err(OutOfReach::Impersonates);
        }
        let rule = self.rules_of(there).find(|rule| rule.is_for(user)).ok_or(OutOfReach::NoRule)?;
        Ok(Some(Admitted::By(rule, user)))
    }

    /// Those that count in a trust domain, in their order.
    pub(super) fn rules_of(&self, there: &str) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| &*rule.trust_domain == there)
    }
}

// === impl OutOfReach ===

impl OutOfReach {
    /// One word for whoever asks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token-of-another-domain",
            Self::Anonymous => "anonymous",
            Self::NoRule => "no-rule-of-identity-map",
            Self::Impersonates => "impersonation",
        }
    }
}

// === impl Rule ===

impl Rule {
    fn is_for(&self, user: &UserInfo) -> bool {
        self.users.iter().any(|name| name == EVERYBODY || *name == user.name)
            || self.groups.iter().any(|group| user.groups.contains(group))
    }

    fn become_of(&self, user: &UserInfo) -> UserInfo {
        let name = match &self.user {
            Name::Literal(name) => name.clone(),
            Name::Prefixed(prefix) => format!("{prefix}{}", user.name),
        };
        UserInfo { name, groups: self.as_groups.clone(), ..UserInfo::default() }
    }
}

impl Proxy {
    /// See [`Domains::presented`].
    ///
    /// # Errors
    /// 403 if nothing of the caller's may go to this server.
    pub(super) fn presented(
        &self,
        exchange: &Exchange,
        server: &Server,
    ) -> Result<Option<Arc<UserInfo>>, Status> {
        let home = &*self.fleet.get(exchange.home).trust_domain;
        let domains = &exchange.policy.domains;
        let impersonates = || exchange.impersonates();
        domains.presented(&exchange.caller, impersonates, home, &server.trust_domain).map_err(|why| {
            let crossing = self.crossing(exchange, server, why);
            Status::forbidden(format!("API server {}: {crossing}", server.name))
        })
    }

    fn crossing<'a>(&'a self, exchange: &'a Exchange, server: &'a Server, why: OutOfReach) -> Crossing<'a> {
        let (home, there) = (&*self.fleet.get(exchange.home).trust_domain, &*server.trust_domain);
        Crossing { why, caller: &exchange.caller, home, there }
    }

    /// See [`Domains::admitted`].
    fn admitted<'a>(
        &self,
        exchange: &'a Exchange,
        server: &Server,
    ) -> Result<Option<Admitted<'a>>, OutOfReach> {
        let home = &*self.fleet.get(exchange.home).trust_domain;
        let impersonates = || exchange.impersonates();
        exchange.policy.domains.admitted(&exchange.caller, impersonates, home, &server.trust_domain)
    }

    /// The servers to which something of the caller's may go.
    pub(super) fn reach(&self, exchange: &Exchange) -> ServerSet {
        let may = |domain: &&ServerSet| {
            let first = domain.iter().next();
            first.is_some_and(|first| self.admitted(exchange, self.fleet.get(first)).is_ok())
        };
        self.fleet.domains().iter().filter(may).copied().fold(ServerSet::EMPTY, ServerSet::union)
    }

    /// 403: home is out of the caller's reach, or so is everybody who serves `what`.
    pub(super) fn out_of_reach(&self, exchange: &Exchange, what: &str, serving: ServerSet) -> Status {
        let crossing = |number: usize| {
            let server = self.fleet.get(number);
            let why = self.admitted(exchange, server).err()?;
            Some((server, self.crossing(exchange, server, why)))
        };
        if let Some((server, crossing)) = crossing(exchange.home) {
            return Status::forbidden(format!("{what}: home is API server {}; {crossing}", server.name));
        }
        let found = serving.iter().find_map(crossing);
        Status::forbidden(match found {
            Some((server, crossing)) => {
                format!(
                    "{what}: of the API servers only others serve it, such as {}; {crossing}",
                    server.name
                )
            }
            None => format!("{what}: no API server that serves it is for this caller (see identityMap)"),
        })
    }
}

impl Exchange {
    /// Whether the caller wants to be somebody else.
    fn impersonates(&self) -> bool {
        self.headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
    }
}

/// What a client brings for home's domain only: cookies of its backends come back to them, and to nobody else.
pub(super) const OF_HOME: [header::HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

// === impl Crossing ===

impl fmt::Display for Crossing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, caller, home, there } = self;
        write!(f, "that is trust domain {there}, and ")?;
        let come = "come with a client certificate for which identityMap has a rule there";
        match why {
            OutOfReach::Token => write!(f, "a token goes only to servers of {home}; {come}"),
            OutOfReach::Anonymous => write!(f, "who is anonymous gets only to servers of {home}; {come}"),
            OutOfReach::NoRule => {
                write!(f, "identityMap has no rule there for {:?} and none of his groups", caller.label())
            }
            OutOfReach::Impersonates => f.write_str(
                "impersonation goes no further than to the caller's own; ask without Impersonate-*",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
