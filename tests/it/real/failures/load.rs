//! Clients that ask all the time, and what they get.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kube_peer_proxy::api::media_type::ACCEPT_V2;
use tokio::{task::JoinSet, time::sleep};

use super::{GROUP, POLICY};
use crate::real::kit::{
    client::{Client, Dial, Reply},
    files::{Files, Who},
    proxy::Proxy,
};

const CLIENTS: [Who; 4] = [Who::Alice, Who::Bob, Who::Alice, Who::Bob];
/// Between two rounds of a client, so that two cores are enough.
const PAUSE: Duration = Duration::from_millis(20);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The object, as it should be.
    pub(super) found: u32,
    /// The object is said not to exist. It does.
    pub(super) not_found: u32,
    /// A server that has not read its roles yet refused.
    pub(super) forbidden: u32,
    /// 503 with Retry-After, for the object.
    pub(super) unavailable: u32,
    /// Discovery, with the resource.
    pub(super) listed: u32,
    /// Discovery without the resource.
    pub(super) vanished: u32,
    /// 503 with Retry-After, for discovery.
    pub(super) undiscovered: u32,
    /// The connection to us broke.
    pub(super) broken: u32,
    /// Anything else.
    pub(super) odd: Vec<String>,
    pub(super) slowest: Duration,
}

/// Four clients of one proxy. They stop when this is dropped.
pub(super) struct Load {
    seen: Arc<Mutex<Seen>>,
    _clients: JoinSet<()>,
}

// === impl Seen ===

impl Seen {
    pub(super) const HEADINGS: &str =
        "| object 200 |  404 | 403 |  503 | discovery right | vanished | 503 | broken | slowest";

    pub(super) fn all_well(&self) -> bool {
        let Self { not_found, forbidden, unavailable, vanished, undiscovered, broken, odd, .. } = self;
        not_found + forbidden + unavailable + vanished + undiscovered + broken == 0 && odd.is_empty()
    }

    fn object(&mut self, reply: &Reply) {
        match reply.status {
            200 => self.found += 1,
            404 => self.not_found += 1,
            403 => self.forbidden += 1,
            503 if !reply.header("retry-after").is_empty() => self.unavailable += 1,
            _ => self.odd(reply),
        }
    }

    fn discovery(&mut self, reply: &Reply) {
        match reply.status {
            200 if reply.lists(GROUP, "v1", "mutatingadmissionpolicies") => self.listed += 1,
            200 => self.vanished += 1,
            503 if !reply.header("retry-after").is_empty() => self.undiscovered += 1,
            _ => self.odd(reply),
        }
    }

    fn odd(&mut self, reply: &Reply) {
        self.odd.push(format!("{} {:?} {}", reply.status, reply.headers, reply.text()));
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, not_found, forbidden, unavailable, listed, vanished, undiscovered, broken, .. } =
            self;
        write!(
            f,
            "| {found:10} | {not_found:4} | {forbidden:3} | {unavailable:4} | {listed:15} | {vanished:8} | \
             {undiscovered:3} | {broken:6} | {:.2?}",
            self.slowest
        )
    }
}

// === impl Load ===

impl Load {
    pub(super) fn start(proxy: &Proxy) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut clients = JoinSet::new();
        for who in CLIENTS {
            clients.spawn(ask_on(proxy.files(), proxy.addr, who, Arc::clone(&seen)));
        }
        Self { seen, _clients: clients }
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub(super) fn peek(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

/// Asks until it is aborted; over one connection as long as that lives.
async fn ask_on(files: &'static Files, to: std::net::SocketAddr, who: Who, seen: Arc<Mutex<Seen>>) {
    let mut client: Option<Client> = None;
    loop {
        let there = match client.take() {
            Some(client) if !client.has_ended() => Ok(client),
            _ => Dial::new(files, to, who).connect().await,
        };
        match there {
            Ok(connected) => {
                if round(&connected, &seen).await.is_ok() {
                    client = Some(connected);
                } else {
                    seen.lock().unwrap().broken += 1;
                }
            }
            Err(_) => seen.lock().unwrap().broken += 1,
        }
        sleep(PAUSE).await;
    }
}

async fn round(client: &Client, seen: &Mutex<Seen>) -> io::Result<()> {
    let timed = async |path, accept| {
        let begun = Instant::now();
        let reply = client.get_with(path, &[("accept", accept)]).await;
        let mut seen = seen.lock().unwrap();
        seen.slowest = seen.slowest.max(begun.elapsed());
        drop(seen);
        reply
    };
    let object = timed(POLICY, "application/json").await?;
    seen.lock().unwrap().object(&object);
    let discovery = timed("/apis", ACCEPT_V2).await?;
    seen.lock().unwrap().discovery(&discovery);
    Ok(())
}
