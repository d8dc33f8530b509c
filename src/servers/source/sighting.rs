//! What a source says about one API server, checked and of a bounded size.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::allowed::Allowed;
use crate::limits;

/// The longest name of a server: that of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Where an API server is. The host is a name, or an address without brackets in its canonical spelling, so that two
/// addresses are equal when they lead to the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name in lower case, or an address without brackets.
    pub host: Arc<str>,
    /// Never 0.
    pub port: u16,
}

/// One API server as a source names it. There is none outside of the ranges that were allowed when it was made (I11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    name: Arc<str>,
    ip: IpAddr,
    port: u16,
    holder: Option<Arc<str>>,
    live: bool,
}

/// What a source knows at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sightings {
    /// Every server that it names; others are no longer named.
    All(Vec<Sighting>),
    /// Some servers that it names; of others it could not be asked.
    Some(Vec<Sighting>),
    /// It could not be asked.
    Unknown,
}

/// A look at a source: what it says, and what of it is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What counts.
    pub sightings: Sightings,
    /// What does not, and why.
    pub refused: Vec<Refused>,
}

/// Something that a source names and that is not taken for an API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// What it is: the object's name or the address, shortened, without control characters.
    pub what: String,
    /// Why it is not taken.
    pub reason: Reason,
}

/// Why something is not taken for an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It does not say where the server is. A kube-apiserver without the feature gate
    /// `UnknownVersionInteroperabilityProxy` (every one before 1.28, and by default those before 1.36) writes no
    /// address into its lease.
    NoAddress,
    /// What it says is no address with a port.
    BadAddress,
    /// The address is outside of `--peer-allowed-cidrs`.
    NotAllowed,
    /// It has been out of date for so long that its server would have been forgotten.
    Expired,
    /// Another one has the name or the address already.
    Duplicate,
    /// There are as many servers as there can be.
    TooMany,
    /// Nothing in it can be a server's name.
    BadName,
}

/// Whether a server or a trust domain can have this name: it fits into logs, labels and file names.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= MAX_NAME
        && text.bytes().all(inner)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// The name of a server of which nothing is known but its address; the same on every replica.
///
/// `10.0.0.1-6443` for IPv4, also if it comes mapped into IPv6. For IPv6 all eight groups in lower-case hexadecimal
/// digits without leading zeros, with `-` between them: `fd00-0-0-0-0-0-0-1-6443`. (A shortened `::` would have no
/// character that names may have, and could begin with it.)
#[must_use]
pub fn address_name(ip: IpAddr, port: u16) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("{ip}-{port}"),
        IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}"));
            format!("{}-{port}", groups.join("-"))
        }
    }
}

// === impl Address ===

impl Address {
    /// Spells the host canonically.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().to_string(),
            Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
        };
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

// === impl Sighting ===

impl Sighting {
    /// A server that is there.
    ///
    /// # Errors
    /// If it can't be taken: by its name, its port, or because its address is not allowed.
    pub fn new(name: &str, ip: IpAddr, port: u16, allowed: &Allowed) -> Result<Self, Reason> {
        let ip = ip.to_canonical();
        if port == 0 {
            return Err(Reason::BadAddress);
        }
        if !allowed.permits(ip) {
            return Err(Reason::NotAllowed);
        }
        if !is_name(name) {
            return Err(Reason::BadName);
        }
        Ok(Self { name: name.into(), ip, port, holder: None, live: true })
    }

    /// As [`Sighting::new`], named by its address.
    ///
    /// # Errors
    /// As there.
    pub fn by_address(ip: IpAddr, port: u16, allowed: &Allowed) -> Result<Self, Reason> {
        Self::new(&address_name(ip, port), ip, port, allowed)
    }

    /// Which process it is; another one after a restart.
    #[must_use]
    pub fn held_by(mut self, holder: &str) -> Self {
        let end = holder.floor_char_boundary(limits::MAX_LEASE_HOLDER);
        self.holder = Some(holder[..end].into());
        self
    }

    /// It is still named, as one that left or is about to.
    #[must_use]
    pub fn departed(mut self) -> Self {
        self.live = false;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its address; IPv4 is never mapped into IPv6.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Which process it is, if the source knows.
    #[must_use]
    pub fn holder(&self) -> Option<&Arc<str>> {
        self.holder.as_ref()
    }

    /// Whether it is there, as far as the source knows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Where it is, as configurations have it.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::new(&self.ip.to_string(), self.port)
    }
}

// === impl Reading ===

impl Reading {
    /// The source could not be asked.
    #[must_use]
    pub fn unknown() -> Self {
        Self { sightings: Sightings::Unknown, refused: Vec::new() }
    }

    /// Everything that a source names.
    #[must_use]
    pub fn all(each: impl IntoIterator<Item = Result<Sighting, Refused>>) -> Self {
        let (mut sightings, mut refused) = (Vec::new(), Vec::new());
        for one in each {
            match one {
                Ok(sighting) => sightings.push(sighting),
                Err(one) => refused.push(one),
            }
        }
        Self { sightings: Sightings::All(sightings), refused }
    }
}

// === impl Refused ===

impl Refused {
    /// Keeps what is worth showing of `what`.
    #[must_use]
    pub fn new(what: &str, reason: Reason) -> Self {
        // One character may become several; what is left of a megabyte is looked at only as far as it is shown.
        let shown = what.chars().take(limits::MAX_REFUSED_SHOWN).flat_map(char::escape_debug);
        Self { what: shown.take(limits::MAX_REFUSED_SHOWN).collect(), reason }
    }
}

// === impl Reason ===

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::NoAddress,
        Self::BadAddress,
        Self::NotAllowed,
        Self::Expired,
        Self::Duplicate,
        Self::TooMany,
        Self::BadName,
    ];

    /// As in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no-address",
            Self::BadAddress => "bad-address",
            Self::NotAllowed => "not-allowed",
            Self::Expired => "expired",
            Self::Duplicate => "duplicate",
            Self::TooMany => "too-many",
            Self::BadName => "bad-name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Allowed {
        Allowed::new(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()])
    }

    #[test]
    fn an_address_has_one_name_however_it_is_spelled() {
        for (spelled, name) in [
            ("10.0.0.1", "10.0.0.1-6443"),
            ("::ffff:10.0.0.1", "10.0.0.1-6443"),
            ("fd00::1", "fd00-0-0-0-0-0-0-1-6443"),
            ("FD00:0:0:0:0:0:0:0001", "fd00-0-0-0-0-0-0-1-6443"),
            ("::1:2", "0-0-0-0-0-0-1-2-6443"),
        ] {
            let name_of = address_name(spelled.parse().unwrap(), 6443);
            assert_eq!(name_of, name, "{spelled}");
            assert!(is_name(&name_of));
        }
    }

    #[test]
    fn addresses_that_lead_to_the_same_place_are_equal() {
        assert_eq!(Address::new("::ffff:10.0.0.1", 1), Address::new("10.0.0.1", 1));
        assert_eq!(
            Address::new("FD00:0::1", 1).to_string(),
            "fd00:0::1".parse::<std::net::Ipv6Addr>().map(|ip| format!("[{ip}]:1")).unwrap()
        );
        assert_eq!(Address::new("API.example.", 1), Address::new("api.example", 1));
        assert_ne!(Address::new("10.0.0.1", 1), Address::new("10.0.0.1", 2));
    }

    #[test]
    fn a_sighting_has_a_name_a_port_and_a_holder_of_bounded_size() {
        let ip = "10.0.0.1".parse().unwrap();
        assert_eq!(Sighting::new("a", ip, 0, &all()).unwrap_err(), Reason::BadAddress);
        for name in ["", "-a", "a b", "a\n", &"a".repeat(254)] {
            assert_eq!(Sighting::new(name, ip, 1, &all()).unwrap_err(), Reason::BadName, "{name:?}");
        }
        let long = Sighting::new("a", ip, 1, &all()).unwrap().held_by(&"ä".repeat(1 << 20));
        assert!(long.holder().unwrap().len() <= limits::MAX_LEASE_HOLDER);
    }

    #[test]
    fn what_is_shown_of_rubbish_is_short_and_has_no_control_characters() {
        let shown = Refused::new(&"\u{1b}[31m\r\n\0".repeat(1 << 18), Reason::BadAddress).what;
        assert!(shown.chars().count() <= limits::MAX_REFUSED_SHOWN);
        assert!(!shown.contains(char::is_control), "{shown}");
    }
}
