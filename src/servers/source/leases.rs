//! Servers by their identity leases.
//!
//! Since 1.26 each kube-apiserver holds a lease in `kube-system`. Its name is made from the hostname, its holder is new
//! with each process, it is renewed every 10 s, lasts an hour, and is deleted when the server leaves in good order
//! (`pkg/controlplane/apiserver/server.go` of Kubernetes). Where the feature gate
//! `UnknownVersionInteroperabilityProxy` is on (from 1.28, by default from 1.36), an annotation says where the server
//! is. One without it has to be in the configuration.
//!
//! Whoever may write leases in `kube-system` can send us somewhere, but not outside of the allowed ranges, and not to
//! anybody without a certificate of the servers' CA. Leases in other namespaces are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;

use super::allowed::Allowed;
use super::sighting::{Reading, Reason, Refused, Sighting, is_name};
use crate::limits;

#[cfg(test)]
mod tests;

/// Where the leases of API servers are.
pub const NAMESPACE: &str = "kube-system";
/// Selects them.
pub const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// Where a server says where it is, as `IP:PORT`.
pub const ADDRESS: &str = "kubernetes.io/peer-advertise-address";
/// Where it says on which host.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// What time it is, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// As leases have it; somebody may set it.
    pub wall: Timestamp,
    /// Nobody sets it.
    pub steady: Instant,
}

/// Reads leases, and remembers when they were renewed. How old a renewal is by the wall clock counts only when its lease
/// is seen for the first time; from then on it gets older by the steady clock, and is new whenever it is another one. So
/// nobody looks gone, or back, because somebody set a clock, ours or a server's.
#[derive(Clone, Debug)]
pub struct Leases {
    forget_after: Duration,
    renewals: BTreeMap<String, Renewal>,
}

/// The last renewal of a lease that was seen.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    said: Timestamp,
    /// When we saw that.
    seen: Instant,
    /// How old it was then.
    age: Duration,
}

/// How good a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Good,
    /// Expired, or let go of.
    Over,
    /// Expired for longer than its server is remembered.
    LongOver,
}

// === impl Clock ===

impl Clock {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { wall: Timestamp::now(), steady: Instant::now() }
    }
}

// === impl Leases ===

impl Leases {
    /// A lease that expired longer ago than `forget_after` is not taken.
    #[must_use]
    pub fn new(forget_after: Duration) -> Self {
        Self { forget_after, renewals: BTreeMap::new() }
    }

    /// Reads all leases that there are, in any order. Those of others than API servers, and in other namespaces, are
    /// passed over. Expiry comes in silence: to be read again every [`limits::SOURCE_REREAD`], but only while the list
    /// is kept up to date, for in an old list everything expires.
    pub fn read<'a>(
        &mut self,
        leases: impl IntoIterator<Item = &'a Lease>,
        allowed: &Allowed,
        now: Clock,
    ) -> Reading {
        let mut leases: Vec<_> = leases.into_iter().filter(|lease| is_identity(lease)).collect();
        leases.sort_by_key(|lease| name(lease));
        let left_out = leases.split_off(leases.len().min(limits::MAX_SOURCE_ENTRIES));
        self.remember(&leases, now);
        let mut candidates: Vec<_> =
            leases.iter().map(|lease| (self.standing(lease, now), name(lease), *lease)).collect();
        // Of two that claim one name the good one has it, then the one whose own name is less.
        candidates.sort_by_key(|(standing, name, _)| (*standing, *name));
        let mut claimed = BTreeSet::new();
        let each = candidates.into_iter().map(|(standing, lease_name, lease)| {
            let refused = |reason| Refused::new(lease_name, reason);
            let sighting = read(lease, standing, allowed).map_err(|reason| {
                // Said once for each address, whichever leases have it.
                let shown = if reason == Reason::NotAllowed { advertised(lease) } else { None };
                Refused::new(shown.unwrap_or(lease_name), reason)
            })?;
            if claimed.insert(sighting.name().clone()) {
                Ok(sighting)
            } else {
                Err(refused(Reason::Duplicate))
            }
        });
        let mut reading = Reading::all(each);
        reading.refused.extend(left_out.iter().map(|lease| Refused::new(name(lease), Reason::TooMany)));
        reading
    }

    fn remember(&mut self, leases: &[&Lease], now: Clock) {
        let mut renewals = BTreeMap::new();
        for lease in leases.iter().filter(|lease| is_name(name(lease))) {
            let Some(said) = renewed(lease) else { continue };
            let renewal = match self.renewals.get(name(lease)) {
                Some(known) if known.said == said => *known,
                Some(_) => Renewal { said, seen: now.steady, age: Duration::ZERO },
                None => {
                    // One that is of the future by our clock is new.
                    let age = Duration::try_from(now.wall.duration_since(said)).unwrap_or_default();
                    Renewal { said, seen: now.steady, age }
                }
            };
            renewals.insert(name(lease).to_owned(), renewal);
        }
        self.renewals = renewals;
    }

    fn standing(&self, lease: &Lease, now: Clock) -> Standing {
        let Some(spec) = &lease.spec else { return Standing::Over };
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let held = spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty());
        let (Some(renewal), Some(seconds @ 1..), true) = (self.renewals.get(name(lease)), seconds, held)
        else {
            return Standing::Over;
        };
        let good_for =
            Duration::from_secs(seconds).min(limits::MAX_LEASE_DURATION) + limits::LEASE_CLOCK_SKEW;
        let age = renewal.age.saturating_add(now.steady.saturating_duration_since(renewal.seen));
        if age < good_for {
            Standing::Good
        } else if age < good_for.saturating_add(self.forget_after) {
            Standing::Over
        } else {
            Standing::LongOver
        }
    }
}

fn is_identity(lease: &Lease) -> bool {
    let (label, value) = LABEL;
    lease.metadata.namespace.as_deref() == Some(NAMESPACE) && self::label(lease, label) == Some(value)
}

fn label<'a>(lease: &'a Lease, name: &str) -> Option<&'a str> {
    lease.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn name(lease: &Lease) -> &str {
    lease.metadata.name.as_deref().unwrap_or_default()
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

fn advertised(lease: &Lease) -> Option<&str> {
    lease.metadata.annotations.as_ref()?.get(ADDRESS).map(String::as_str)
}

fn read(lease: &Lease, standing: Standing, allowed: &Allowed) -> Result<Sighting, Reason> {
    let text = advertised(lease).filter(|text| !text.is_empty()).ok_or(Reason::NoAddress)?;
    let address = parse(text).ok_or(Reason::BadAddress)?;
    let hostname = label(lease, HOSTNAME).filter(|hostname| is_name(hostname));
    let sighting =
        Sighting::new(hostname.unwrap_or_else(|| name(lease)), address.ip(), address.port(), allowed)?;
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    let sighting = match holder {
        Some(holder) => sighting.held_by(holder),
        None => sighting,
    };
    match standing {
        Standing::Good => Ok(sighting),
        Standing::Over => Ok(sighting.departed()),
        Standing::LongOver => Err(Reason::Expired),
    }
}

/// `10.0.0.1:6443` or `[fd00::1]:6443`; an address that means something only on one link of one machine is none.
fn parse(text: &str) -> Option<SocketAddr> {
    let short = text.len() <= limits::MAX_ADVERTISED_ADDRESS && !text.contains('%');
    short.then(|| text.parse().ok()).flatten()
}
