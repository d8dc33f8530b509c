//! A client that asks for an upgrade and then speaks whatever it likes.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::DEADLINE;
use super::client::{As, Protocol, tls};

/// One connection whose first request asked for an upgrade.
pub struct Tunnel {
    tls: TlsStream<TcpStream>,
    /// The answer's, in the case in which it came.
    pub head: String,
    /// Bytes behind the head that nobody asked for yet.
    seen: Vec<u8>,
}

// === impl Tunnel ===

impl Tunnel {
    /// Asks for `Upgrade: protocol` and waits for the head of the answer.
    pub async fn ask(
        address: SocketAddr,
        who: As<'_>,
        target: &str,
        protocol: &str,
        lines: &[(&str, &str)],
    ) -> Self {
        let request = Self::request("GET", target, protocol, who, lines);
        Self::send_first(address, who, request.as_bytes()).await
    }

    /// The text of such a request.
    pub fn request(
        method: &str,
        target: &str,
        protocol: &str,
        who: As<'_>,
        lines: &[(&str, &str)],
    ) -> String {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: k8s\r\n");
        if let As::Token(token) = who {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in lines {
            text += &format!("{name}: {value}\r\n");
        }
        text + &format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n")
    }

    /// Sends these bytes on a new connection and waits for the head of the answer.
    pub async fn send_first(address: SocketAddr, who: As<'_>, bytes: &[u8]) -> Self {
        let certificate = if let As::Certificate(certificate) = who { Some(certificate) } else { None };
        let tls = tls(address, certificate, Protocol::H1).await.unwrap();
        let mut tunnel = Self { tls, head: String::new(), seen: Vec::new() };
        tunnel.send(bytes).await;
        let end = loop {
            if let Some(end) = tunnel.seen.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(tunnel.more().await.is_some_and(|read| read > 0), "no head: {:?}", tunnel.text());
        };
        let rest = tunnel.seen.split_off(end);
        tunnel.head = String::from_utf8(std::mem::replace(&mut tunnel.seen, rest)).unwrap();
        tunnel
    }

    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The values of a field of the answer's head.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async {
            self.tls.write_all(bytes.as_ref()).await?;
            self.tls.flush().await
        };
        timeout(DEADLINE, sending).await.expect("taken in time").unwrap();
    }

    /// The next bytes, which must come.
    pub async fn next(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let read = self.more().await;
            assert!(
                read.is_some_and(|read| read > 0),
                "only {} of {count} bytes: {:?}",
                self.seen.len(),
                read
            );
        }
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }

    /// Everything until the other side ends, and whether it said so (TLS `close_notify`).
    pub async fn rest(&mut self) -> (Vec<u8>, bool) {
        loop {
            match self.more().await {
                Some(0) => return (std::mem::take(&mut self.seen), true),
                Some(_) => {}
                None => return (std::mem::take(&mut self.seen), false),
            }
        }
    }

    /// Everything until the other side ends, as text.
    pub async fn body(&mut self) -> String {
        String::from_utf8(self.rest().await.0).unwrap()
    }

    /// Has nothing more to say, but listens.
    pub async fn finish(&mut self) {
        self.tls.shutdown().await.unwrap();
    }

    /// Goes as if the process had died.
    pub fn cut(self) {
        SockRef::from(self.tls.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// How many bytes came; `None` if the connection broke.
    async fn more(&mut self) -> Option<usize> {
        let mut piece = [0; 16 * 1024];
        let read = timeout(DEADLINE, self.tls.read(&mut piece)).await.expect("bytes in time").ok()?;
        self.seen.extend_from_slice(&piece[..read]);
        Some(read)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}
