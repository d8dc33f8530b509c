//! The admin listener: plain HTTP/1.1, `GET` and `HEAD` only.
//!
//! - `/livez`, `/readyz` (`?verbose`, in Kubernetes' form)
//! - `/metrics` in OpenMetrics text
//! - `/debug/servers`: every API server, how it is doing, how far it is trusted
//! - `/debug/catalog`: which server serves what, by group-version
//! - `/debug/explain?path=/apis/...&verb=list[&home=a]`: where a request would go, and why
//!
//! Whoever can reach it can read it, so it listens on loopback, and a browser that was lured to a name which
//! resolves to loopback is refused by its `Host`. A second listener may show the first three to scrapers.

use std::{collections::VecDeque, convert::Infallible, net::IpAddr};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::AbortHandle, time};

use super::{metrics, readiness::Readiness};
use crate::{limits, metrics::ConnectionsNow, proxy::InUse, servers::Class};

mod debug;

/// What the pages show.
#[derive(Clone)]
pub struct Admin {
    /// For `/debug`.
    pub proxy: InUse,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub exposition: metrics::Exposition,
}

/// Which pages a listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All, and only to whoever names it by a loopback address or `localhost`.
    All,
    /// Health and metrics.
    ForScrapers,
}

type Answer = Response<Full<bytes::Bytes>>;

impl Admin {
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
                    let answer = admin.answer(&request, pages);
                    async move { Ok::<_, Infallible>(answer) }
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

    fn answer<B>(&self, request: &Request<B>, pages: Pages) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "these pages are for reading\n");
        }
        if pages == Pages::All && !names_loopback(request) {
            return text(StatusCode::FORBIDDEN, "ask for 127.0.0.1, [::1] or localhost\n");
        }
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let asked = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        match (request.uri().path(), pages) {
            ("/livez", _) => report(Readiness::livez(asked("verbose").is_some())),
            ("/readyz", _) => report(self.readiness.readyz(asked("verbose").is_some())),
            ("/metrics", _) => {
                self.count();
                with_type(self.exposition.render(), metrics::CONTENT_TYPE)
            }
            ("/debug/servers", Pages::All) => json(&debug::servers(&self.proxy.load())),
            ("/debug/catalog", Pages::All) => json(&debug::catalog(&self.proxy.load())),
            ("/debug/explain", Pages::All) => match debug::explain(&self.proxy.load(), asked) {
                Ok(explanation) => json(&explanation),
                Err(why) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            },
            ("/", Pages::All) => text(
                StatusCode::OK,
                "/livez\n/readyz?verbose\n/metrics\n/debug/servers\n/debug/catalog\n\
                 /debug/explain?path=/apis/apps/v1/deployments&verb=list\n",
            ),
            _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
        }
    }
}

/// DNS rebinding: a page that a browser loaded from elsewhere must not read ours under its own name.
fn names_loopback<B>(request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn report(report: super::readiness::Report) -> Answer {
    text(if report.ok { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, &report.text)
}

fn json(value: &serde_json::Value) -> Answer {
    with_type(format!("{value:#}\n"), "application/json")
}

fn text(status: StatusCode, body: &str) -> Answer {
    let mut answer = with_type(body.to_owned(), "text/plain; charset=utf-8");
    *answer.status_mut() = status;
    answer
}

fn with_type(body: String, content_type: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    answer
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
