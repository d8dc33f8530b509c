//! TLS with bytes as given: for what no good client sends.

use std::net::SocketAddr;

use kube_peer_proxy::pki::Credential;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::DEADLINE;
use super::client::{Protocol, tls};

/// One connection with ALPN `http/1.1`.
pub struct Raw {
    tls: TlsStream<TcpStream>,
    seen: Vec<u8>,
}

// === impl Raw ===

impl Raw {
    pub async fn connect(address: SocketAddr, certificate: Option<&Credential>) -> Self {
        Self { tls: tls(address, certificate, Protocol::H1).await.unwrap(), seen: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that has closed already is what some tests want.
        let _ = self.tls.write_all(bytes.as_ref()).await;
        let _ = self.tls.flush().await;
    }

    /// Whether the other side closes within that time.
    pub async fn is_closed(&mut self, within: std::time::Duration) -> bool {
        matches!(timeout(within, self.more()).await, Ok(false))
    }

    /// Everything up to and with `end`, which must come.
    pub async fn until(&mut self, end: &str) -> String {
        let wanted = end.as_bytes();
        loop {
            if let Some(at) = self.seen.windows(wanted.len()).position(|window| window == wanted) {
                let rest = self.seen.split_off(at + wanted.len());
                let found = std::mem::replace(&mut self.seen, rest);
                return String::from_utf8_lossy(&found).into_owned();
            }
            assert!(self.more().await, "closed before {end:?}: {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// Everything until the other side closes.
    pub async fn rest(mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Sends one request whose answer ends the connection, and reads that.
    pub async fn ask(mut self, head: &str) -> String {
        self.send(head.replace('\n', "\r\n")).await;
        self.rest().await
    }

    async fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let read = timeout(DEADLINE, self.tls.read(&mut piece)).await.expect("bytes in time");
        // The end without close_notify is an end, too.
        let read = read.unwrap_or_default();
        self.seen.extend_from_slice(&piece[..read]);
        read > 0
    }
}
