//! Holds the configuration against what the API servers say of whom they believe.
//!
//! A front-proxy certificate of the wrong CA, a header that nobody reads, a CA of clients that is missing: all of that
//! shows as a 401 or 403 of somebody else's request, much later and far away. So each server is asked for
//! [`published::Published`] when it is new and after every change of the configuration, in the background and with our
//! own identity, and what differs is said in words. Nothing waits for it and nothing depends on it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls_pki_types::UnixTime;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    api::user::{UserHeaders, UserInfo},
    config::{Certificates, Config, KeyPair, Loaded, ServerConfig},
    discovery::refresh::Refresh,
    limits,
    proxy::{Proxy, headers::IdentityFilter},
    servers::{Server, kube_client::kube_client},
};

mod difference;
mod published;

use difference::{Difference, Ours, differences};
use published::{NAME, NAMESPACE, Published};

/// Asks the servers, and says what differs.
pub(super) struct Trust {
    user: Arc<UserInfo>,
    /// Those who were asked, or are.
    asked: Vec<Weak<Server>>,
    said: Said,
    tasks: JoinSet<()>,
}

/// What was said already: servers of one cluster publish the same, and once is enough.
type Said = Arc<Mutex<BTreeSet<(Option<String>, Difference)>>>;

/// What one server's answer is held against.
struct Question {
    name: Arc<str>,
    /// Which may leave meanwhile.
    server: Weak<Server>,
    headers: UserHeaders,
    refresh: Refresh,
    user: Arc<UserInfo>,
    filter: Arc<IdentityFilter>,
    shown: Arc<KeyPair>,
    /// None: whom the server's own CAs name is nothing to us.
    client_ca: Option<Option<Arc<Certificates>>>,
    said: Said,
}

/// How asking ended.
enum Told {
    /// What there is, and the UID of the ConfigMap.
    This(Published, Option<String>),
    /// It refuses, and this is how.
    Refused(Box<kube::core::Status>),
    /// There was no answer to go by.
    Nothing(String),
}

/// How often a server was asked in vain.
#[derive(Default)]
struct Patience {
    attempts: u32,
    refusals: u32,
}

// === impl Trust ===

impl Trust {
    pub(super) fn new(user: Arc<UserInfo>) -> Self {
        Self { user, asked: Vec::new(), said: Said::default(), tasks: JoinSet::new() }
    }

    /// Another configuration is in use: everybody is asked again, and what was said is said again if it still holds.
    pub(super) fn begin(&mut self, everybody: &Loaded, proxy: &Proxy) {
        self.asked.clear();
        self.said = Said::default();
        self.tasks.abort_all();
        self.look(everybody, proxy);
    }

    /// Asks those who are new.
    pub(super) fn look(&mut self, everybody: &Loaded, proxy: &Proxy) {
        while self.tasks.try_join_next().is_some() {}
        self.asked.retain(|server| server.strong_count() > 0);
        let policy = proxy.policy.load();
        for (server, refresh) in proxy.fleet.iter().zip(&proxy.refresh) {
            if self.asked.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(server))) {
                continue;
            }
            let Loaded { config, material, .. } = everybody;
            let Some(place) = config.servers.iter().position(|one| one.name == server.name) else { continue };
            self.asked.push(Arc::downgrade(server));
            let question = Question {
                name: Arc::clone(&server.name),
                server: Arc::downgrade(server),
                headers: server.user_headers.clone(),
                refresh: refresh.clone(),
                user: Arc::clone(&self.user),
                filter: Arc::clone(&policy.identity_filter),
                shown: Arc::clone(&material.servers[place].proxy_client),
                client_ca: has_our_callers(config, &config.servers[place])
                    .then(|| material.client_ca.clone()),
                said: Arc::clone(&self.said),
            };
            self.tasks.spawn(question.run());
        }
    }
}

// === impl Question ===

impl Question {
    async fn run(self) {
        // Before that it is not there, or discovery would wait behind this.
        self.refresh.asked_once().await;
        let server = &self.name;
        match self.ask().await {
            Told::This(published, cluster) => self.compare(&published, cluster),
            Told::Refused(status) => self.refused(&status),
            Told::Nothing(error) => tracing::debug!(
                %server,
                error,
                "whom it believes was not held against the configuration: it does not tell"
            ),
        }
    }

    async fn ask(&self) -> Told {
        let mut patience = Patience::default();
        loop {
            let Some(server) = self.server.upgrade() else {
                return Told::Nothing("it left".to_owned());
            };
            let maps: Api<ConfigMap> =
                Api::namespaced(kube_client(server, Arc::clone(&self.user)), NAMESPACE);
            let answer = timeout(limits::TRUST_TIMEOUT, maps.get(NAME)).await;
            // A server that leaves does not wait for this.
            drop(maps);
            let failed = match answer {
                Err(_) => Told::Nothing("its answer takes too long".to_owned()),
                Ok(Ok(map)) => {
                    return match Published::read(&map.data.unwrap_or_default()) {
                        Ok(published) => Told::This(published, map.metadata.uid),
                        Err(error) => Told::Nothing(error),
                    };
                }
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => {
                    Told::Refused(status)
                }
                Ok(Err(error)) => Told::Nothing(error.to_string()),
            };
            match patience.after(matches!(failed, Told::Refused(_))) {
                Some(pause) => sleep(pause).await,
                None => return failed,
            }
        }
    }

    fn compare(&self, published: &Published, cluster: Option<String>) {
        let ours = Ours {
            headers: &self.headers,
            filter: &self.filter,
            shown: &self.shown.chain.der,
            client_ca: self
                .client_ca
                .as_ref()
                .map(|bundle| bundle.as_ref().map_or_else(Default::default, |bundle| bundle.der.as_slice())),
            now: UnixTime::now(),
        };
        let server = &self.name;
        let found = differences(&ours, published);
        if found.is_empty() {
            tracing::debug!(%server, "it believes whom the configuration says that it does");
        }
        for difference in found {
            let news = (cluster.clone(), difference.clone());
            if !self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(news) {
                continue;
            }
            if difference.is_grave() {
                tracing::warn!(%server, "{NAMESPACE}/{NAME}: {difference}");
            } else {
                tracing::info!(%server, "{NAMESPACE}/{NAME}: {difference}");
            }
        }
    }

    fn refused(&self, status: &kube::core::Status) {
        let (server, user) = (&self.name, &self.user.name);
        match taken_for(&status.message).filter(|other| other != user) {
            _ if status.code == 401 => tracing::warn!(
                %server,
                "it answers our own requests with 401, and so it will those of whoever calls with a certificate: its \
                 --requestheader-client-ca-file has to be the CA of our --proxy-client-cert-file, with its CN among \
                 --requestheader-allowed-names"
            ),
            Some(other) => tracing::warn!(
                %server,
                "it takes us for {other:?} and not for {user:?}, and so it will whoever calls with a certificate: its \
                 --requestheader-client-ca-file has to be the CA of our --proxy-client-cert-file"
            ),
            None if status.code == 403 => tracing::info!(
                %server,
                "{user} may not read the ConfigMap {NAMESPACE}/{NAME}, so whom the server believes is not held against \
                 the configuration; compose/kubernetes/rbac.yaml has the right to"
            ),
            None => tracing::debug!(
                %server,
                "there is no ConfigMap {NAMESPACE}/{NAME} to hold the configuration against"
            ),
        }
    }
}

// === impl Patience ===

impl Patience {
    /// How long to wait for the next attempt after one that failed; none: there is none.
    fn after(&mut self, refused: bool) -> Option<Duration> {
        let pause = limits::TRUST_PAUSE * 2_u32.pow(self.attempts);
        self.attempts += 1;
        self.refusals += u32::from(refused);
        let enough =
            self.attempts == limits::MAX_TRUST_ATTEMPTS || self.refusals == limits::MAX_TRUST_REFUSALS;
        (!enough).then_some(pause)
    }
}

/// Whether those whom our CAs name are those whom the server's own CAs should name.
fn has_our_callers(config: &Config, server: &ServerConfig) -> bool {
    !config.allow_shared_identity && config.trust_domain == server.trust_domain
}

/// The user whom a 403 of kube-apiserver names.
fn taken_for(message: &str) -> Option<&str> {
    message.split_once("User \"")?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses between attempts that all end like this.
    fn pauses(refused: bool) -> Vec<u64> {
        let mut patience = Patience::default();
        std::iter::from_fn(|| patience.after(refused)).map(|pause| pause.as_secs()).collect()
    }

    #[test]
    fn a_server_that_does_not_answer_is_asked_eight_times_and_one_that_refuses_three_times() {
        assert_eq!(pauses(false), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(pauses(true), [1, 2]);
    }

    #[test]
    fn a_403_names_whom_the_server_takes_us_for() {
        let message = "configmaps \"x\" is forbidden: User \"system:anonymous\" cannot get resource";
        assert_eq!(taken_for(message), Some("system:anonymous"));
        assert_eq!(taken_for("forbidden"), None);
    }
}
