//! The admin address of a proxy that runs.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time};
use url::Url;

use crate::{commands::cli::Usage, discovery::skew::Skew, limits};

/// The admin address of a proxy that runs.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `host:port`.
    authority: String,
}

// === impl Admin ===

impl Admin {
    /// Reads `HOST:PORT`, or a URL that begins with `http://`.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let fault = || format!("{text:?} is no address such as 127.0.0.1:8090");
        let url = Url::parse(&full).map_err(|_| fault())?;
        if url.scheme() != "http" {
            return Err(format!(
                "{text:?}: admin pages are plain HTTP, on loopback; write it as 127.0.0.1:8090"
            ));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(fault)?;
        Ok(Self { authority: format!("{host}:{}", url.port_or_known_default().unwrap_or(80)) })
    }

    /// What the proxy knows of its servers.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn skew(&self, timeout: Duration) -> anyhow::Result<Skew> {
        self.json("/debug/discovery/diff?all&format=json", timeout).await
    }

    /// Reads a page as JSON.
    ///
    /// # Errors
    /// If nobody answers in time, or not as a proxy's admin page, in sentences.
    pub async fn json<T: DeserializeOwned>(&self, target: &str, timeout: Duration) -> anyhow::Result<T> {
        let asked = time::timeout(timeout, self.get(target)).await;
        let late = || anyhow!("no whole answer within {} s (--timeout)", timeout.as_secs_f64());
        let bytes =
            asked.unwrap_or_else(|_| Err(late())).with_context(|| format!("--admin {}", self.authority))?;
        serde_json::from_slice(&bytes).with_context(|| {
            format!("--admin {}: {target} is not what this version of the program expects", self.authority)
        })
    }

    async fn get(&self, target: &str) -> anyhow::Result<Vec<u8>> {
        let tcp = TcpStream::connect(&self.authority).await.map_err(|error| {
            anyhow!(
                "nobody answers there ({error}): is the proxy running, and is this its --admin-bind-address?"
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
        // It ends when the sender is dropped; what broke it shows in the answer.
        tokio::spawn(connection);
        let request = Request::get(target)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json")
            .body(Empty::<bytes::Bytes>::new())?;
        let answer = sender.send_request(request).await.context("this is no admin address of a proxy")?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => {
                bail!(
                    "admin pages are shown to this machine only; ask there, as 127.0.0.1 (ssh -L, kubectl port-forward)"
                )
            }
            StatusCode::NOT_FOUND => {
                bail!(
                    "{target} is not there: another program's address, the one for scrapers, or an older proxy"
                )
            }
            StatusCode::BAD_REQUEST => {
                let body = Limited::new(answer.into_body(), limits::MAX_VERSION_BYTES).collect().await;
                let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
                return Err(Usage(String::from_utf8_lossy(&body).trim().to_owned()).into());
            }
            status => bail!("answered {status} to {target}: is this the admin address of a proxy?"),
        }
        let body = Limited::new(answer.into_body(), limits::MAX_DISCOVERY_BYTES).collect().await;
        let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
        ensure!(!body.is_empty(), "the answer is empty");
        Ok(body.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_host_and_port_or_a_url_without_tls() {
        let read = |text: &str| Admin::new(text).map(|admin| admin.authority);
        assert_eq!(read("127.0.0.1:8090").unwrap(), "127.0.0.1:8090");
        assert_eq!(read("http://localhost:8090/debug").unwrap(), "localhost:8090");
        assert_eq!(read("[::1]:8090").unwrap(), "[::1]:8090");
        for wrong in ["https://127.0.0.1:8090", "", "a b", ":8090"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
