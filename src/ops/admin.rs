//! The admin listener: plain HTTP/1.1, `GET` and `HEAD` only.
//!
//! - `/`: the status page for browsers; for others what there is
//! - `/livez`, `/readyz` (`?verbose`, in Kubernetes' form)
//! - `/metrics` in OpenMetrics text
//! - `/debug/servers[?server=NAME]`: every API server, how it is doing, how far it is trusted
//! - `/debug/catalog[?server=NAME]`: which server serves what, by group-version; what one of them lists by itself
//! - `/debug/discovery?server=NAME`: the documents that one server gave last
//! - `/debug/discovery/diff[?all]`, `?a=NAME&b=NAME`: where servers differ, as text, or JSON for whoever asks for it
//!   (`Accept: application/json`, `?format=json`), in the shape of [`crate::discovery::skew`]
//! - `/debug/decisions`: requests that were rerouted or refused lately
//! - `/debug/explain?path=/apis/...&verb=list[&home=a]`: where a request would go, and why
//!
//! Whoever can reach it can read it, so it listens on loopback, and a browser that was lured to a name which
//! resolves to loopback is refused by its `Host`. A second listener may show health and metrics to scrapers.

use std::{collections::VecDeque, convert::Infallible, net::IpAddr};

use http::{HeaderMap, Method, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::AbortHandle, time};

use super::{metrics, readiness::Readiness};
use crate::{
    limits,
    metrics::ConnectionsNow,
    proxy::{InUse, Proxy, explain::Asked},
    servers::Class,
};

mod debug;
mod desk;
mod html;
mod page;
mod query;
mod reply;
mod view;

use desk::Desk;
use query::Query;
use reply::{Reply, json, sentence, text, with_type};
use view::{Compared, View};

/// What the pages show.
#[derive(Clone)]
pub struct Admin {
    /// For `/debug`.
    pub proxy: InUse,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub exposition: metrics::Exposition,
    desk: Desk,
    compared: Compared,
}

/// Which pages a listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All, and only to whoever names it by a loopback address or `localhost`.
    All,
    /// Health and metrics.
    ForScrapers,
}

/// What is wrong with a question, in a sentence.
type Refusal = (StatusCode, String);

/// For who reads it in a terminal.
const INDEX: &str = include_str!("admin/index.txt");

impl Admin {
    /// Pages about this proxy.
    pub fn new(proxy: InUse, readiness: Readiness, exposition: metrics::Exposition) -> Self {
        Self { proxy, readiness, exposition, desk: Desk::default(), compared: Compared::default() }
    }

    /// Answers until the runtime ends.
    pub async fn run(self, socket: TcpListener, pages: Pages) {
        // The oldest first.
        let mut open = VecDeque::<AbortHandle>::new();
        loop {
            let tcp = match socket.accept().await {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept a connection; trying again");
                    time::sleep(limits::ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            open.retain(|connection| !connection.is_finished());
            if open.len() >= limits::MAX_ADMIN_CONNECTIONS
                && let Some(longest) = open.pop_front()
            {
                longest.abort();
            }
            let admin = self.clone();
            let connection = tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let answer = admin.clone().respond(request.map(drop), pages);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits::HEADER_READ_TIMEOUT)
                    .max_buf_size(limits::MAX_HEADER_BYTES)
                    .serve_connection(TokioIo::new(tcp), service);
                if let Err(error) = served.await {
                    tracing::debug!(%error, "an admin connection ended badly");
                }
            });
            open.push_back(connection.abort_handle());
        }
    }

    /// What others know at any time, and nobody else keeps count of.
    fn count(&self) {
        let proxy = self.proxy.load();
        proxy.metrics.ready.set(self.readiness.is_ready().into());
        proxy.metrics.discovery.skewed(proxy.book.catalog().skewed());
        for server in proxy.fleet.iter() {
            for class in Class::ALL {
                let stats = server.connections(class);
                let now =
                    ConnectionsNow { live: stats.live, draining: stats.draining, streams: stats.in_use };
                proxy.metrics.servers.connections(&server.name, class.as_str(), now);
            }
        }
    }

    /// What servers serve is much to write with thousands of CRDs, and no client of the proxy shall wait for that, nor
    /// probes and scrapers.
    async fn respond(self, request: Request<()>, pages: Pages) -> Reply {
        if matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics") {
            return self.answer(&request, pages);
        }
        let desk = self.desk.clone();
        let failed = || sentence(StatusCode::INTERNAL_SERVER_ERROR, "this page failed; the log says where");
        desk.write(move || self.answer(&request, pages)).await.unwrap_or_else(failed)
    }

    fn answer<B>(&self, request: &Request<B>, pages: Pages) -> Reply {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return sentence(StatusCode::METHOD_NOT_ALLOWED, "these pages are for reading");
        }
        if pages == Pages::All && !names_loopback(request) {
            return sentence(StatusCode::FORBIDDEN, "ask for 127.0.0.1, [::1] or localhost");
        }
        let query = Query::of(request.uri());
        let refuse = |(status, why): Refusal| sentence(status, &why);
        match (request.uri().path(), pages) {
            ("/livez", _) => report(Readiness::livez(query.get("verbose").is_some())),
            ("/readyz", _) => report(self.readiness.readyz(query.get("verbose").is_some())),
            ("/metrics", _) => {
                self.count();
                with_type(self.exposition.render(), metrics::CONTENT_TYPE)
            }
            (path, Pages::All) => self.inspect(path, &query, request.headers()).unwrap_or_else(refuse),
            _ => refuse(nowhere()),
        }
    }

    /// The pages for people.
    ///
    /// # Errors
    /// What is wrong with the question.
    fn inspect(&self, path: &str, query: &Query, headers: &HeaderMap) -> Result<Reply, Refusal> {
        let proxy = self.proxy.load();
        let bad = |why: String| (StatusCode::BAD_REQUEST, why);
        let only = |known: &[&str]| query.only(known).map_err(bad);
        let server = || query.get("server").map(|name| number(&proxy, name)).transpose();
        Ok(match path {
            "/" => {
                only(&["all"])?;
                if query::accepts(headers, "text/html") {
                    page::reply(&View::of(&proxy, &self.readiness, &self.compared, query.is_on("all")))
                } else {
                    text(StatusCode::OK, INDEX)
                }
            }
            "/debug/servers" => {
                only(&["server"])?;
                json(&debug::servers(&proxy, server()?))
            }
            "/debug/catalog" => {
                only(&["server"])?;
                json(&server()?.map_or_else(|| debug::catalog(&proxy), |one| debug::catalog_of(&proxy, one)))
            }
            "/debug/discovery" => {
                only(&["server"])?;
                let usage = || bad(format!("ask as {path}?server=NAME, where NAME is {}", names(&proxy)));
                let document = debug::discovery(&proxy, server()?.ok_or_else(usage)?);
                let nothing = || (StatusCode::SERVICE_UNAVAILABLE, "it was never heard yet".to_owned());
                json(&document.ok_or_else(nothing)?)
            }
            "/debug/discovery/diff" => {
                let as_json = query::wants_json(query, headers).map_err(bad)?;
                diff(&proxy, &self.compared, query, as_json)?
            }
            "/debug/decisions" => {
                only(&[])?;
                json(&debug::decisions(&proxy.metrics.recent.snapshot()))
            }
            "/debug/explain" => {
                only(&Asked::PARAMETERS)?;
                json(&debug::explain(&proxy, |key| query.get(key)).map_err(bad)?)
            }
            _ => return Err(nowhere()),
        })
    }
}

/// Where servers differ.
///
/// # Errors
/// What is wrong with the question.
fn diff(proxy: &Proxy, compared: &Compared, query: &Query, as_json: bool) -> Result<Reply, Refusal> {
    let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
    query.only(&["a", "b", "all", "format"]).map_err(|why| bad(&why))?;
    let catalog = proxy.book.catalog();
    let skew = compared.of(&catalog, &proxy.metrics);
    let all = query.is_on("all");
    let (a, b) = match (query.get("a"), query.get("b")) {
        (Some(a), Some(b)) => (a, b),
        (None, None) if as_json => {
            return Ok(json(&serde_json::json!({
                "servers": view::seen(&skew, &catalog, &proxy.metrics),
                "incomplete": skew.incomplete,
                "summary": skew.summary,
                "rows": skew.rows.iter().filter(|row| all || row.differs).collect::<Vec<_>>(),
            })));
        }
        (None, None) => return Ok(text(StatusCode::OK, &debug::matrix(&skew, all))),
        _ => return Err(bad("name two servers, ?a=NAME&b=NAME, or none")),
    };
    number(proxy, a)?;
    number(proxy, b)?;
    let diff = skew.diff(a, b).map_err(|why| bad(&why))?;
    Ok(if as_json { json(&serde_json::json!(diff)) } else { text(StatusCode::OK, &debug::pair(&diff)) })
}

/// The number of a server.
///
/// # Errors
/// 404 with a sentence that says who there is.
fn number(proxy: &Proxy, name: &str) -> Result<usize, Refusal> {
    let unknown = || format!("there is no API server {name:?}; there is {}", names(proxy));
    proxy.fleet.position(name).ok_or_else(|| (StatusCode::NOT_FOUND, unknown()))
}

/// The names of all servers, for people.
fn names(proxy: &Proxy) -> String {
    let names: Vec<&str> = proxy.fleet.iter().map(|server| &*server.name).collect();
    if names.is_empty() { "none yet".to_owned() } else { names.join(", ") }
}

fn nowhere() -> Refusal {
    (StatusCode::NOT_FOUND, "there is no such page; / says which there are".to_owned())
}

/// DNS rebinding: a page that a browser loaded from elsewhere must not read ours under its own name.
fn names_loopback<B>(request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn report(report: super::readiness::Report) -> Reply {
    text(if report.ok { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, &report.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_host_may_read_the_pages() {
        let with = |host: &str| Request::get("/").header("host", host).body(()).unwrap();
        for host in ["127.0.0.1:8090", "localhost", "LOCALHOST:1", "[::1]:8090", "127.9.9.9"] {
            assert!(names_loopback(&with(host)), "{host}");
        }
        for host in ["evil.example", "10.0.0.1", "localhost.evil.example", "[2001:db8::1]:80", ""] {
            assert!(!names_loopback(&with(host)), "{host}");
        }
        assert!(!names_loopback(&Request::get("/").body(()).unwrap()));
    }
}
