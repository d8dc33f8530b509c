//! Certificates, keys, CAs and the configuration file while we run.
//!
//! ```text
//! contents of all files ──changed──▶ load ──▶ the same again after a moment? ──▶ every fault looked for
//!                                                                                     │
//!    the old one stays, an error says why, it is counted ◀── bad ─────────────────────┤
//!    policy, TLS towards clients, TLS towards servers, the fleet: built, then swapped ◀── good
//! ```
//!
//! What takes a restart waits for one, and a warning names it; whatever else has changed does not wait with it, least of
//! all a certificate that would expire meanwhile.
//!
//! It is contents that are compared and not names or times: kubelet swaps a link far above the file, kubeadm writes
//! into it, others put a new one in its place. What is under way goes on; what begins goes by the new configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{
    sync::Notify,
    task::{JoinError, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};

use super::{
    census::Census,
    fleet::{self, Keeper, Prepared},
    policy,
    trust::Trust,
};
use crate::{
    config::{Attempt, Change as Setting, Contents, Invalid, Loaded},
    limits,
    metrics::Metrics,
    proxy::InUse,
    servers::{
        Server, ServerTls,
        source::roster::{Change, Members, News, State},
    },
};

mod expiries;
mod keys;

use keys::{is_about_servers, is_reloadable};

/// Makes the files be looked at; cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Reloader {
    wake: Arc<Notify>,
}

/// Keeps a running proxy in step with the files of its configuration.
pub(super) struct Reload {
    in_use: Loaded,
    /// The same with the servers that a source names.
    everybody: Loaded,
    census: Census,
    /// What the files held when they were last judged.
    judged: Contents,
    proxy: InUse,
    tls: Arc<ArcSwap<ServerConfig>>,
    keeper: Keeper,
    trust: Trust,
    metrics: Metrics,
    reloader: Reloader,
    /// What the files say otherwise than what is in use, because it takes a restart.
    waiting: Vec<Setting>,
}

/// New certificates for the connections to one server.
struct Rekey {
    server: Arc<Server>,
    tls: ServerTls,
    same_cas: bool,
}

// === impl Reloader ===

impl Reloader {
    /// Looks for changes now and not only when it is time, of files and at the source of servers.
    pub fn check_now(&self) {
        self.wake.notify_one();
    }
}

// === impl Reload ===

impl Reload {
    pub(super) fn new(
        loaded: &Loaded,
        proxy: InUse,
        tls: Arc<ArcSwap<ServerConfig>>,
        keeper: Keeper,
        census: Census,
    ) -> Self {
        let in_use = loaded.clone();
        let judged = in_use.contents.clone();
        let metrics = proxy.load().metrics.clone();
        let (everybody, reloader) = (in_use.clone(), Reloader::default());
        let waiting = Vec::new();
        let mut trust = Trust::new(keeper.user());
        trust.begin(&everybody, &proxy.load());
        let reload =
            Self { in_use, everybody, census, judged, proxy, tls, keeper, trust, metrics, reloader, waiting };
        reload.metrics.reload.started();
        expiries::show(&reload.in_use, &reload.metrics);
        reload
    }

    pub(super) fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        // Those that have expired already were told of when the configuration was read.
        expiries::warn(&self.in_use, false);
        let mut warn_next = Instant::now() + limits::EXPIRY_CHECK_INTERVAL;
        let mut sweep_next = Instant::now();
        let mut check_next = Instant::now() + self.in_use.config.operating.reload_check_interval;
        loop {
            let asked = tokio::select! {
                () = sleep_until(check_next) => false,
                () = self.reloader.wake.notified() => {
                    self.census.look_now();
                    true
                }
                change = self.census.change(&self.in_use.config) => {
                    self.arrange(&change);
                    continue;
                }
                () = sleep_until(sweep_next), if self.keeper.has_leaving() => {
                    sweep_next = Instant::now() + limits::LEAVING_SWEEP;
                    self.keeper.sweep();
                    continue;
                }
                () = sleep_until(warn_next) => {
                    warn_next += limits::EXPIRY_CHECK_INTERVAL;
                    expiries::warn(&self.in_use, true);
                    continue;
                }
            };
            if let Err(error) = self.check(asked).await {
                tracing::error!(%error, "looking for changes of the configuration failed");
            }
            check_next = Instant::now() + self.in_use.config.operating.reload_check_interval;
        }
    }

    /// Looks at the files, and takes over what they say if that is something else.
    async fn check(&mut self, asked: bool) -> Result<(), JoinError> {
        if now(&self.judged).await? == self.judged {
            if asked && self.in_use.contents.all_in(&self.judged) {
                tracing::info!("no file of the configuration has changed");
            } else if asked {
                tracing::warn!(
                    "no file has changed since the configuration was refused; the last good one stays in use"
                );
            }
            return Ok(());
        }
        let (Attempt { result, contents }, judged) = self.settled().await?;
        self.judged = judged;
        if contents == self.in_use.contents {
            self.metrics.reload.in_step(self.waiting.is_empty());
            tracing::info!("the files of the configuration are again those that are in use");
            return Ok(());
        }
        let before = self.in_use.config.clone();
        let files = names(contents.differing(&self.in_use.contents).map(|path| path.display()));
        let outcome = match result {
            Ok(loaded) => self.take_over(loaded).await?,
            Err(invalid) => Err(one_line(&invalid)),
        };
        match &outcome {
            Ok(()) if self.waiting.is_empty() => {
                self.metrics.reload.reloaded("ok");
                let keys = names(before.changes(&self.in_use.config));
                tracing::info!(keys, files, "the configuration has changed and is in use");
            }
            Ok(()) => {
                self.metrics.reload.reloaded("partial");
                tracing::warn!(
                    keys = names(&self.waiting),
                    in_use = names(before.changes(&self.in_use.config)),
                    files,
                    "the configuration has changed; these settings take a restart, the rest is in use"
                );
            }
            Err(error) => {
                self.metrics.reload.reloaded("failed");
                tracing::error!(
                    files,
                    error = format_args!("{error:#}"),
                    "the configuration has changed and is refused; the last good one stays in use"
                );
            }
        }
        Ok(())
    }

    /// Loads until the files are the same a moment later: whoever writes several may be in the middle. Also what is
    /// to be watched from now on: the files of this attempt, and those in use.
    async fn settled(&self) -> Result<(Attempt, Contents), JoinError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let source = self.in_use.source.clone();
            let attempt = spawn_blocking(move || source.load()).await?;
            sleep(limits::RELOAD_SETTLE).await;
            let judged = now(&attempt.contents.clone().and(&self.in_use.contents)).await?;
            if attempt.contents.all_in(&judged) {
                return Ok((attempt, judged));
            }
            if tries == limits::MAX_RELOAD_SETTLES {
                tracing::warn!("the files of the configuration never come to rest; taken as they are");
                // What was read, so that the rest counts as another change.
                let judged = attempt.contents.clone().and(&self.in_use.contents);
                return Ok((attempt, judged));
            }
        }
    }

    /// Takes over what can change while we run; what can't is waiting from then on.
    async fn take_over(&mut self, loaded: Loaded) -> Result<anyhow::Result<()>, JoinError> {
        let differs = |change: &Setting| !is_reloadable(change);
        let waiting: Vec<_> =
            self.in_use.config.changes(&loaded.config).into_iter().filter(differs).collect();
        let loaded = if waiting.is_empty() {
            Ok(loaded)
        } else {
            let config = self.in_use.config.taking(&loaded.config);
            spawn_blocking(move || loaded.with(&config)).await?
        };
        let done = loaded.map_err(|invalid| one_line(&invalid)).and_then(|loaded| self.swap(loaded));
        let keys: Vec<_> = waiting.iter().map(ToString::to_string).collect();
        Ok(match done {
            Ok(()) => {
                self.waiting = waiting;
                Ok(())
            }
            Err(error) if keys.is_empty() => Err(error),
            Err(error) => Err(error.context(format!("{}: takes a restart; without it", keys.join(", ")))),
        })
    }

    /// First everything that can fail, then the swap, which can't.
    fn swap(&mut self, loaded: Loaded) -> anyhow::Result<()> {
        let changes = self.in_use.config.changes(&loaded.config);
        if let Some(fixed) = changes.iter().find(|change| !is_reloadable(change)) {
            bail!("{fixed}: takes a restart");
        }
        let proxy = self.proxy.load_full();
        // Those of the source that there is room for beside the new configuration's.
        let everybody = with_members(&loaded, &self.census.members_with(&loaded.config))?;
        let prepared = self.keeper.prepare(&everybody, Some(&self.everybody.config))?;
        // What the source said and nobody heard yet counts from now on, too.
        let other_servers = changes.iter().any(is_about_servers) || !prepared.is_of(&proxy.fleet);
        // Requests under the new policy may still go to the servers before, and to those that left then.
        let mut leaving = self.keeper.headers_of_leaving();
        if other_servers {
            leaving.extend(self.in_use.config.servers.iter().map(|server| server.headers.clone()));
        }
        let policy = policy::policy(&loaded, &leaving, proxy.policy.load().generation + 1)?;
        let tls = policy::serving(&loaded, &policy)?;
        let rekeyed = self.rekeyed(&everybody, &prepared)?;

        // In this order: whose CA is gone is nobody at once, and can't resume a session either. Other servers come in one
        // piece with the policy: what it says of a trust domain is of the servers that it names.
        let policy = Arc::new(policy);
        if other_servers {
            let servers = self.keeper.begin(prepared, Some(&proxy));
            self.proxy.store(Arc::new(proxy.before(servers, Some(policy))));
        } else {
            proxy.policy.store(policy);
        }
        self.tls.store(tls);
        for Rekey { server, tls, same_cas } in rekeyed {
            server.rekey(tls, same_cas);
        }
        if other_servers {
            self.keeper.let_go();
        }
        self.everybody = everybody;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        self.in_use = loaded;
        expiries::show(&self.in_use, &self.metrics);
        expiries::warn(&self.in_use, false);
        self.trust.begin(&self.everybody, &self.proxy.load());
        if let Some(change) = self.census.configure(&self.in_use.config) {
            self.arrange(&change);
        }
        Ok(())
    }

    /// Other servers are there than before, or one of them left or came back.
    fn arrange(&mut self, change: &Change) {
        let proxy = self.proxy.load_full();
        let prepared = with_members(&self.in_use, &change.members).and_then(|everybody| {
            let prepared = self.keeper.prepare(&everybody, Some(&self.everybody.config))?;
            Ok((everybody, prepared))
        });
        let (everybody, prepared) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(
                    error = format_args!("{error:#}"),
                    "API servers from the source are not taken over"
                );
                return;
            }
        };
        self.everybody = everybody;
        let others = (!prepared.is_of(&proxy.fleet)).then(|| self.keeper.begin(prepared, Some(&proxy)));
        let (fleet, book) = match &others {
            Some(servers) => (servers.fleet.clone(), Arc::clone(&servers.book)),
            None => (proxy.fleet.clone(), Arc::clone(&proxy.book)),
        };
        let of = |name| change.news.iter().filter(move |(other, _)| other == name).map(|(_, news)| news);
        for (name, member) in change.members.iter() {
            let Some(server) = fleet.position(name).map(|number| fleet.get(number)) else { continue };
            let departed = member.state == State::Departed;
            // Another process, or one that did other things meanwhile: not to be believed before it is asked.
            let doubted = of(name).any(|news| matches!(news, News::Restarted | News::Returned));
            if doubted {
                // Before the doubt, so that what is being fetched now does not end it.
                server.health.disconnected();
            } else if of(name).any(|news| *news == News::Departed) {
                // Soon it may not be there.
                server.health.look();
            }
            book.update(server, |known| {
                known.departed = departed;
                if doubted {
                    known.doubt();
                }
            });
            let freshness = book.books().knowledge(server).freshness();
            self.metrics.discovery.freshness(name, freshness.as_str());
        }
        if let Some(servers) = others {
            self.proxy.store(Arc::new(proxy.before(servers, None)));
            self.keeper.let_go();
            self.trust.look(&self.everybody, &self.proxy.load());
        }
    }

    /// The servers whose certificates, or what we show to them, are others now. Whoever is somewhere else begins with
    /// them, and who was there before keeps what he has.
    fn rekeyed(&self, loaded: &Loaded, prepared: &Prepared) -> anyhow::Result<Vec<Rekey>> {
        let mut rekeyed = Vec::new();
        let fleet = self.proxy.load().fleet.clone();
        let Loaded { config, material, .. } = &self.everybody;
        let before: BTreeMap<_, _> =
            config.servers.iter().map(|server| &server.name).zip(&material.servers).collect();
        for (server, new) in loaded.config.servers.iter().zip(&loaded.material.servers) {
            let name = &server.name;
            let (Some(old), Some(place)) = (before.get(name), fleet.position(name)) else { continue };
            if !prepared.has(fleet.get(place)) {
                continue;
            }
            let same_cas = old.ca == new.ca;
            if !same_cas || old.proxy_client != new.proxy_client {
                let tls = fleet::tls(new).with_context(|| format!("API server {name}"))?;
                rekeyed.push(Rekey { server: Arc::clone(fleet.get(place)), tls, same_cas });
            }
        }
        Ok(rekeyed)
    }
}

/// For people, in one line.
fn names<T: std::fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    things.into_iter().map(|thing| thing.to_string()).collect::<Vec<_>>().join(", ")
}

fn one_line(invalid: &Invalid) -> anyhow::Error {
    let faults: Vec<_> = invalid.faults.iter().map(ToString::to_string).collect();
    anyhow::anyhow!(faults.join("; "))
}

/// The servers of a configuration, and those that a source names beside them.
fn with_members(loaded: &Loaded, members: &Members) -> anyhow::Result<Loaded> {
    let mut everybody = loaded.clone();
    let (Some(peers), Some(files)) = (&loaded.config.peers, &loaded.material.peers) else {
        return Ok(everybody);
    };
    for (name, member) in members {
        if loaded.config.servers.iter().any(|server| server.name == *name) || member.state == State::Static {
            continue;
        }
        let server = peers.server(Arc::clone(name), &member.address);
        everybody.config.servers.push(server.with_context(|| format!("API server {name}"))?);
        everybody.material.servers.push(files.clone());
    }
    Ok(everybody)
}

/// The same files as they are now.
async fn now(contents: &Contents) -> Result<Contents, JoinError> {
    let contents = contents.clone();
    spawn_blocking(move || contents.now()).await
}
