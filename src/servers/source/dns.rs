//! Servers by DNS: the addresses of a headless service's name, or the targets of its SRV records.
//!
//! Servers are named by their addresses ([`super::sighting::address_name`]), those that SRV records lead to by the
//! target's name if that has one address, and with the port behind it if it is there
//! with several. A name with addresses of both kinds gives each server twice; `--peer-allowed-cidrs` can leave one kind
//! out.
//!
//! A failure changes nothing, and neither does an answer without addresses, for both are ignorance. A name that does not
//! exist has no servers any more: all have departed, and are remembered as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

use super::MAX_SERVERS;
use super::allowed::Allowed;
use super::sighting::{Reading, Reason, Refused, Sighting, Sightings};
use crate::limits;

#[cfg(test)]
mod tests;

/// The port of servers behind a name without one: that of kube-apiserver.
pub const DEFAULT_PORT: u16 = 6443;

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The addresses of a name; the servers are all on one port.
    Addresses {
        /// The name, as it was given.
        name: String,
        /// Theirs.
        port: u16,
    },
    /// SRV records: `_https._tcp.apiservers.example`.
    Services {
        /// The name, as it was given.
        name: String,
    },
}

/// Looks up one name, again and again.
pub struct Dns {
    question: Question,
    resolver: TokioResolver,
}

/// An answer, and how long it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub reading: Reading,
    /// To be asked again after this.
    pub again_after: Duration,
}

/// What is known about the addresses of one name, or its services.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known<T> {
    /// All of them; at least one. With the least TTL.
    All(Vec<T>, Duration),
    /// Some, for a part of the question failed.
    Some(Vec<T>),
    /// There is no such name.
    NoName,
    /// Nothing.
    Nothing,
}

/// Somewhere that an SRV record leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    host: String,
    port: u16,
}

// === impl Question ===

impl Question {
    /// Reads `NAME[:PORT]`; a name that begins with `_` is one of SRV records, which have ports of their own.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let fine = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let labels = name.strip_suffix('.').unwrap_or(name);
        if name.parse::<IpAddr>().is_ok() || !labels.split('.').all(fine) || Name::from_ascii(name).is_err() {
            return Err(format!(
                "{text:?} is no DNS name such as apiservers.example or apiservers.example:6443"
            ));
        }
        let port = match port {
            Some(_) if name.starts_with('_') => {
                return Err(format!("{text:?} has a port, but SRV records say which ports servers have"));
            }
            Some(port) => match port.parse() {
                Ok(port @ 1..) => port,
                _ => return Err(format!("{port:?} is no port from 1 to 65535")),
            },
            None => DEFAULT_PORT,
        };
        let name = name.to_ascii_lowercase();
        Ok(if name.starts_with('_') { Self::Services { name } } else { Self::Addresses { name, port } })
    }
}

impl fmt::Display for Question {
    /// As [`Question::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { name, port } => write!(f, "{name}:{port}"),
            Self::Services { name } => f.write_str(name),
        }
    }
}

// === impl Dns ===

impl Dns {
    /// Asks the DNS servers of this machine (`/etc/resolv.conf`).
    ///
    /// # Errors
    /// If it says nothing that can be used.
    pub fn new(question: Question) -> Result<Self, NetError> {
        let (servers, options) = read_system_conf()?;
        Self::with(question, servers, options)
    }

    /// Asks one DNS server.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn of(question: Question, server: SocketAddr) -> Result<Self, NetError> {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        connections.iter_mut().for_each(|connection| connection.port = server.port());
        let mut asked = NameServerConfig::udp(server.ip());
        asked.connections = connections.into();
        Self::with(question, ResolverConfig::from_name_servers(vec![asked]), ResolverOpts::default())
    }

    /// Asks certain DNS servers.
    ///
    /// # Errors
    /// If they can't be used.
    pub fn with(
        question: Question,
        servers: ResolverConfig,
        options: ResolverOpts,
    ) -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let options = builder.options_mut();
        // We ask again when it is time to, and then want to know.
        options.cache_size = 0;
        options.timeout = limits::DNS_TIMEOUT;
        options.attempts = limits::DNS_ATTEMPTS;
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self { question, resolver: builder.build()? })
    }

    /// Asks. Takes [`limits::DNS_DEADLINE`] at most.
    pub async fn ask(&self, allowed: &Allowed) -> Answer {
        let asked = async {
            match &self.question {
                Question::Addresses { name, port } => self.ask_addresses(name, *port, allowed).await,
                Question::Services { name } => self.ask_services(name, allowed).await,
            }
        };
        let (reading, ttl) = match timeout(limits::DNS_DEADLINE, asked).await {
            Ok(answer) => answer,
            Err(_) => (Reading::unknown(), Duration::ZERO),
        };
        Answer { reading, again_after: ttl.clamp(limits::MIN_DNS_INTERVAL, limits::MAX_DNS_INTERVAL) }
    }

    async fn ask_addresses(&self, name: &str, port: u16, allowed: &Allowed) -> (Reading, Duration) {
        let (known, ttl) = match self.addresses(name).await {
            Known::All(all, ttl) => ((all, true), ttl),
            Known::Some(some) => ((some, false), Duration::ZERO),
            Known::NoName => ((Vec::new(), true), Duration::ZERO),
            Known::Nothing => return (Reading::unknown(), Duration::ZERO),
        };
        let (addresses, all) = known;
        let each = addresses.into_iter().map(|ip| {
            let sighting = Sighting::by_address(ip, port, allowed);
            sighting.map_err(|reason| Refused::new(&ip.to_canonical().to_string(), reason))
        });
        (reading(each.collect(), all), ttl)
    }

    async fn ask_services(&self, name: &str, allowed: &Allowed) -> (Reading, Duration) {
        let (mut targets, mut ttl) = match self.lookup(name, RecordType::SRV).await {
            Known::All(all, ttl) => (all.iter().filter_map(target).collect::<Vec<_>>(), ttl),
            Known::NoName => return (reading(Vec::new(), true), Duration::ZERO),
            Known::Some(_) | Known::Nothing => return (Reading::unknown(), Duration::ZERO),
        };
        targets.sort();
        targets.dedup();
        let left_out = targets.split_off(targets.len().min(MAX_SERVERS));
        let mut ports: BTreeMap<&str, usize> = BTreeMap::new();
        for target in &targets {
            *ports.entry(&target.host).or_default() += 1;
        }
        let hosts: Vec<_> = ports.keys().copied().collect();
        let known = join_all(hosts.iter().map(|host| self.addresses(host))).await;
        let known: BTreeMap<_, _> = hosts.into_iter().zip(known).collect();
        let mut each = Vec::new();
        let mut all = true;
        for target in &targets {
            let addresses = match known.get(target.host.as_str()) {
                Some(Known::All(addresses, least)) => {
                    ttl = ttl.min(*least);
                    addresses.as_slice()
                }
                Some(Known::Some(addresses)) => {
                    all = false;
                    addresses.as_slice()
                }
                // That a target does not exist is said by somebody else than its SRV record: not to be relied on.
                Some(Known::NoName | Known::Nothing) | None => {
                    all = false;
                    &[]
                }
            };
            each.extend(target.servers(addresses, ports.get(target.host.as_str()) == Some(&1), allowed));
        }
        each.extend(left_out.iter().map(|target| Err(Refused::new(&target.host, Reason::TooMany))));
        (reading(each, all), ttl)
    }

    async fn addresses(&self, name: &str) -> Known<IpAddr> {
        let (v4, v6) = tokio::join!(self.lookup(name, RecordType::A), self.lookup(name, RecordType::AAAA));
        let ips = |records: Vec<RData>| {
            records.into_iter().filter_map(|record| match record {
                RData::A(ip) => Some(IpAddr::V4(ip.0)),
                RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                _ => None,
            })
        };
        let unique = |ips: BTreeSet<IpAddr>| ips.into_iter().collect::<Vec<_>>();
        match (v4, v6) {
            (Known::All(a, ttl), Known::All(b, other)) => {
                Known::All(unique(ips(a).chain(ips(b)).collect()), ttl.min(other))
            }
            (Known::All(found, ttl), Known::Nothing | Known::NoName)
            | (Known::Nothing | Known::NoName, Known::All(found, ttl)) => {
                Known::All(unique(ips(found).collect()), ttl)
            }
            // A failed half is told from an empty one by `Some`.
            (Known::All(found, _), Known::Some(_)) | (Known::Some(_), Known::All(found, _)) => {
                Known::Some(unique(ips(found).collect()))
            }
            (Known::NoName, Known::NoName) => Known::NoName,
            _ => Known::Nothing,
        }
    }

    /// The records of one type. `Nothing`: there are none. `Some`, without any: the question failed.
    async fn lookup(&self, name: &str, kind: RecordType) -> Known<RData> {
        match self.resolver.lookup(name, kind).await {
            Ok(found) => {
                let answers = found.answers().iter().filter(|record| record.record_type() == kind);
                let (records, ttls): (Vec<_>, Vec<_>) =
                    answers.map(|record| (record.data.clone(), record.ttl)).unzip();
                match ttls.into_iter().min() {
                    Some(ttl) => Known::All(records, Duration::from_secs(ttl.into())),
                    None => Known::Nothing,
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => Known::NoName,
                ResponseCode::NoError => Known::Nothing,
                _ => Known::Some(Vec::new()),
            },
            Err(error) => {
                tracing::debug!(name, %kind, %error, "DNS does not answer");
                Known::Some(Vec::new())
            }
        }
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DNS of {}", self.question)
    }
}

fn reading(mut each: Vec<Result<Sighting, Refused>>, all: bool) -> Reading {
    let left_out = each.len().saturating_sub(limits::MAX_SOURCE_ENTRIES);
    each.truncate(limits::MAX_SOURCE_ENTRIES);
    if left_out > 0 {
        each.push(Err(Refused::new(&format!("{left_out} more addresses"), Reason::TooMany)));
    }
    let Reading { sightings, refused } = Reading::all(each);
    let sightings = match sightings {
        Sightings::All(some) if !all => Sightings::Some(some),
        other => other,
    };
    Reading { sightings, refused }
}

fn target(record: &RData) -> Option<Target> {
    let RData::SRV(srv) = record else { return None };
    // RFC 2782: a target of `.` says that the service is not to be had.
    let host = srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(Target { host, port: srv.port })
}

// === impl Target ===

impl Target {
    /// Its servers: one of its own name if it has one address, or one for each.
    fn servers(&self, ips: &[IpAddr], one_port: bool, allowed: &Allowed) -> Vec<Result<Sighting, Refused>> {
        let v4: Vec<_> = ips.iter().filter(|ip| ip.to_canonical().is_ipv4()).collect();
        let v6: Vec<_> = ips.iter().filter(|ip| ip.to_canonical().is_ipv6()).collect();
        let refused = |reason| Refused::new(&self.host, reason);
        let not_allowed = |ip: &IpAddr, reason| {
            if reason == Reason::NotAllowed { Refused::new(&ip.to_string(), reason) } else { refused(reason) }
        };
        if v4.len() > 1 || v6.len() > 1 {
            let each = ips.iter().map(|ip| {
                Sighting::by_address(*ip, self.port, allowed).map_err(|reason| not_allowed(ip, reason))
            });
            return each.collect();
        }
        let name = if one_port { self.host.clone() } else { format!("{}-{}", self.host, self.port) };
        // The one of IPv4, unless only the other one is allowed.
        let mut outcomes = v4.into_iter().chain(v6).map(|ip| {
            Sighting::new(&name, *ip, self.port, allowed).map_err(|reason| not_allowed(ip, reason))
        });
        match outcomes.next() {
            Some(Err(first)) => vec![outcomes.find(Result::is_ok).unwrap_or(Err(first))],
            Some(found) => vec![found],
            None => Vec::new(),
        }
    }
}
