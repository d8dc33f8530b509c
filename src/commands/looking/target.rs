//! One API server to be asked.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use kube::{Client, Config, client::Body as KubeBody};
use tokio::time::{self, Instant};

use super::why;
use crate::{
    api::{media_type::ACCEPT_V2, user::UserInfo},
    body::{self, Body, BoxError},
    discovery::{
        catalog::{Document, Freshness},
        fetch::{Bounds, FetchError, Fetcher, Origin},
        skew::{Column, ServerSeen},
    },
    limits,
    servers::Server,
};

/// One API server to be asked.
pub struct Target {
    /// How it is shown.
    pub name: Arc<str>,
    /// Where it is.
    pub address: String,
    way: Way,
}

/// How it is asked.
enum Way {
    /// In the name of a kubeconfig's user.
    Direct(Box<Config>),
    /// As a proxy asks it.
    Ours(Arc<Server>, Fetcher),
}

/// A client of the `kube` crate as one who can be asked.
struct Direct<'a> {
    name: &'a str,
    client: Client,
}

/// What a server said.
struct Said {
    document: Arc<Document>,
    version: Option<String>,
    stands_for_others: bool,
}

// === impl Target ===

impl Target {
    pub(super) fn direct(name: &str, config: Config) -> Self {
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        Self { name: name.into(), address, way: Way::Direct(Box::new(config)) }
    }

    pub(super) fn ours(server: Arc<Server>, fetcher: Fetcher) -> Self {
        let (name, address) = (Arc::clone(&server.name), format!("https://{}", server.authority));
        Self { name, address, way: Way::Ours(server, fetcher) }
    }

    /// Asks it what it serves. It is unknown, with the reason, if that cannot be had in time.
    pub async fn ask(&self, timeout: Duration) -> Column {
        let said = time::timeout(timeout, self.said(timeout)).await;
        let said = said.unwrap_or_else(|_| Err(why::timeout(timeout)));
        let seen = ServerSeen {
            name: Arc::clone(&self.name),
            address: Some(self.address.clone()),
            ..ServerSeen::default()
        };
        match said {
            Ok(Said { document, version, stands_for_others }) => {
                let short = document.version.map(|(major, minor)| format!("{major}.{minor}"));
                let etags = [("/api", &document.api.etag), ("/apis", &document.apis.etag)];
                let etags =
                    etags.into_iter().filter_map(|(tree, etag)| Some((tree.to_owned(), etag.clone()?)));
                let seen = ServerSeen {
                    version: version.or(short),
                    freshness: Freshness::Fresh,
                    age_seconds: Some(0.0),
                    etags: etags.collect(),
                    stands_for_others,
                    ..seen
                };
                Column { seen, document: Some(document) }
            }
            Err(error) => Column { seen: ServerSeen { error: Some(error), ..seen }, document: None },
        }
    }

    async fn said(&self, timeout: Duration) -> Result<Said, String> {
        match &self.way {
            Way::Ours(server, fetcher) => {
                let bounds = Bounds { timeout, ..fetcher.bounds.clone() };
                let fetcher = Fetcher { bounds, ..fetcher.clone() };
                fetch(&fetcher, server).await.map_err(|error| error.to_string())
            }
            Way::Direct(config) => {
                let mut config = Config::clone(config);
                config.connect_timeout = Some(timeout);
                // Whoever asks wants to know now.
                config.default_retry = false;
                // A credential plugin may be run for this, and takes its time.
                let made = tokio::task::spawn_blocking(|| Client::try_from(config)).await;
                let client = made.map_err(|error| error.to_string())?.map_err(|error| why::client(&error))?;
                let bounds = Bounds {
                    timeout,
                    max_document: limits::MAX_DISCOVERY_BYTES,
                    probe_timeout: limits::HEALTH_PROBE_TIMEOUT,
                };
                let fetcher = Fetcher { user: Arc::default(), bounds };
                let origin = Direct { name: &self.name, client };
                let mut said =
                    fetch(&fetcher, &origin).await.map_err(|error| why::direct(error, &self.address))?;
                said.stands_for_others = origin.stands_for_others(&said.document).await;
                Ok(said)
            }
        }
    }
}

/// Asks all of them at the same time, telling `done` the number of each that answered, or could not. In their order.
pub async fn ask_all(targets: &[Target], timeout: Duration, mut done: impl FnMut(usize)) -> Vec<Column> {
    let mut asked: FuturesUnordered<_> = targets
        .iter()
        .enumerate()
        .map(|(number, target)| async move { (number, target.ask(timeout).await, Instant::now()) })
        .collect();
    let mut answers = Vec::with_capacity(targets.len());
    while let Some(answer) = asked.next().await {
        done(answer.0);
        answers.push(answer);
    }
    answers.sort_by_key(|(number, ..)| *number);
    let aged = answers.into_iter().map(|(_, mut column, at)| {
        column.seen.age_seconds = column.seen.age_seconds.map(|_| at.elapsed().as_secs_f64());
        column
    });
    aged.collect()
}

async fn fetch(fetcher: &Fetcher, origin: &impl Origin) -> Result<Said, FetchError> {
    let (fetched, version) = tokio::join!(fetcher.fetch(origin, None, true), fetcher.git_version(origin));
    // Nothing was known, so nothing can be unchanged.
    let document = fetched?.document.unwrap_or_default();
    Ok(Said { document, version, stands_for_others: false })
}

// === impl Direct ===

impl Direct<'_> {
    /// Whether it answers more than `own`, which is what it serves by itself (`profile=nopeer`), to whoever does not ask
    /// for that: so does a proxy like this one, and a 1.36 with its own Mixed Version Proxy. Unsure is no.
    async fn stands_for_others(&self, own: &Document) -> bool {
        let merged = Request::get("/apis").header(header::ACCEPT, ACCEPT_V2).body(body::empty());
        let Ok(merged) = merged else { return false };
        let Ok(answer) = self.send(&UserInfo::default(), merged).await else { return false };
        let merged = answer.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        let own = own.apis.etag.as_deref();
        answer.status().is_success() && own.is_some() && merged.is_some() && merged != own
    }
}

impl Origin for Direct<'_> {
    fn name(&self) -> &str {
        self.name
    }

    /// It does not, but a few connections for a moment are nobody's burden.
    fn speaks_http2(&self) -> bool {
        true
    }

    async fn send(&self, _: &UserInfo, request: Request<Body>) -> Result<Response<Body>, FetchError> {
        let path = request.uri().path().to_owned();
        let request = request.map(|_| KubeBody::empty());
        let answer = self.client.send(request).await.map_err(|error| why::unsent(path, &error))?;
        Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
    }
}
