//! HTTP/2 over TLS to one address, with a client certificate if there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::tls::client::{Alpn, Identity, Pem, config, roots_from_pem};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Result;

/// Bytes that one stream, and one connection, may have in flight: Go's client takes 4 MiB a stream.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Whom to ask, for what, and as whom.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// What to get
    url: Uri,
    /// CA of the server's certificate
    #[arg(long)]
    ca: PathBuf,
    /// Client certificate
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// A header, as `name: value`; can be repeated
    #[arg(long = "header", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Connections
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
    /// Streams that are busy at any time, on each connection
    #[arg(long, default_value_t = 8)]
    pub(crate) streams: usize,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':').ok_or("a header needs a colon")?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

// === impl Target ===

impl Target {
    /// The one request.
    pub(crate) fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.clone();
        request.headers_mut().extend(self.headers.iter().cloned());
        request
    }

    /// What all connections share.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>> {
        let ca = std::fs::read(&self.ca)?;
        let roots = roots_from_pem(Pem { name: "--ca", pem: &ca })?;
        let read = |path: &Path| std::fs::read(path);
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(Identity::from_pem(
                Pem { name: "--cert", pem: &read(cert)? },
                Pem { name: "--key", pem: &read(key)? },
            )?),
            _ => None,
        };
        Ok(config(roots, identity, Alpn::H2OrHttp11)?)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self, tls: &Arc<ClientConfig>) -> Result<SendRequest<Empty<Bytes>>> {
        let authority = self.url.authority().ok_or("the URL has no authority")?;
        let tcp = TcpStream::connect(authority.as_str()).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(authority.host().to_owned())?;
        let io = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
