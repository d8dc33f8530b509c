//! Upgraded connections, for tests of a proxy: after the 101 there is no WebSocket and no SPDY, just bytes.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{self, Answer, Refusal};
use super::shared::Shared;
use crate::body;

/// What a server does with upgrades of `exec`, `attach`, `portforward`, `proxy` and of watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpgradeScript {
    /// Sends back what it reads, and ends when that has ended.
    #[default]
    Echo,
    /// So many bytes, then its end; then it reads until the client has ended, too.
    Say(usize),
    /// Reads until the client has ended, then says so many bytes and ends.
    Listen(usize),
    /// Neither reads nor writes nor ends.
    Silent,
    /// No 101 but this status: with a body of so many bytes, or for 0 with a `Status`.
    Refuse(StatusCode, usize),
    /// 302 to another place.
    Redirect,
    /// 101 to a protocol that nobody asked for.
    OtherProtocol,
}

/// What a server saw of an upgraded connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggedTunnel {
    /// Bytes read.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
    /// Whether the client has ended, and whether it said so.
    pub ended: Option<Farewell>,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// With TLS' `close_notify`.
    Clean,
    /// Without.
    Broken,
}

/// What becomes of a connection after its 101; travels in the answer's extensions.
#[derive(Clone)]
pub(super) struct Start {
    script: UpgradeScript,
    on: OnUpgrade,
    number: u64,
}

const SUBRESOURCES: [&str; 4] = ["exec", "attach", "portforward", "proxy"];
static PIECE: [u8; 16 * 1024] = [b'k'; 16 * 1024];

/// `None` if no upgrade of a watch or of such a subresource is asked for.
pub(super) fn answer(
    server: &Shared,
    number: u64,
    (verb, subresource): (&str, Option<&str>),
    parts: &Parts,
) -> Option<Result<Answer, Refusal>> {
    let protocol = parts.headers.get(header::UPGRADE)?.clone();
    let on: OnUpgrade = parts.extensions.get().cloned()?;
    let streams =
        verb == "watch" || subresource.is_some_and(|subresource| SUBRESOURCES.contains(&subresource));
    if !streams {
        return None;
    }
    let script = server.faults.upgrades();
    match script {
        UpgradeScript::Refuse(status, 0) => {
            return Some(Err(Refusal::new(status, "Refused", "the server was told to refuse upgrades")));
        }
        UpgradeScript::Refuse(status, bytes) => {
            return Some(Ok(answer::with_type(status, "text/plain", vec![b'k'; bytes])));
        }
        UpgradeScript::Redirect => {
            let mut answer = answer::text(StatusCode::FOUND, "elsewhere");
            answer
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("https://127.0.0.1:1/stolen"));
            return Some(Ok(answer));
        }
        _ => {}
    }
    let mut answer = Answer::new(body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let other = script == UpgradeScript::OtherProtocol;
    headers.insert(header::UPGRADE, if other { HeaderValue::from_static("h2c") } else { protocol });
    if let Some(chosen) = offered(&parts.headers).find(|offer| bearer(offer).is_none()) {
        let chosen = HeaderValue::from_str(chosen);
        headers.extend(chosen.ok().map(|chosen| (header::SEC_WEBSOCKET_PROTOCOL, chosen)));
    }
    answer.extensions_mut().insert(Start { script, on, number });
    Some(Ok(answer))
}

// === impl Start ===

impl Start {
    /// Plays the script to its end.
    pub(super) async fn run(self, server: Arc<Shared>) {
        let Ok(upgraded) = self.on.await else { return };
        let mut tunnel = Tunnel { io: TokioIo::new(upgraded), server, number: self.number };
        // A client that goes ends any script; the log says how it went.
        let _ = match self.script {
            UpgradeScript::Echo => tunnel.echo().await,
            UpgradeScript::Say(bytes) => tunnel.say(bytes).await,
            UpgradeScript::Listen(bytes) => tunnel.listen(bytes).await,
            UpgradeScript::Silent => std::future::pending().await,
            // The others have said no; who goes on all the same is only watched.
            _ => tunnel.read_to_end().await,
        };
    }
}

struct Tunnel<T> {
    io: T,
    server: Arc<Shared>,
    number: u64,
}

// === impl Tunnel ===

impl<T: AsyncRead + AsyncWrite + Unpin> Tunnel<T> {
    async fn echo(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; PIECE.len()];
        loop {
            let read = self.read(&mut buffer).await?;
            if read == 0 {
                return self.io.shutdown().await;
            }
            self.io.write_all(&buffer[..read]).await?;
            self.io.flush().await?;
            self.note(|tunnel| tunnel.sent += read as u64);
        }
    }

    async fn say(&mut self, bytes: usize) -> std::io::Result<()> {
        self.write(bytes).await?;
        self.io.shutdown().await?;
        self.read_to_end().await
    }

    async fn listen(&mut self, bytes: usize) -> std::io::Result<()> {
        self.read_to_end().await?;
        self.write(bytes).await?;
        self.io.shutdown().await
    }

    async fn write(&mut self, mut left: usize) -> std::io::Result<()> {
        while left > 0 {
            let size = left.min(PIECE.len());
            self.io.write_all(&PIECE[..size]).await?;
            self.io.flush().await?;
            self.note(|tunnel| tunnel.sent += size as u64);
            left -= size;
        }
        Ok(())
    }

    async fn read_to_end(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; PIECE.len()];
        while self.read(&mut buffer).await? > 0 {}
        Ok(())
    }

    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.io.read(buffer).await;
        self.note(|tunnel| match read {
            Ok(0) => tunnel.ended = Some(Farewell::Clean),
            Ok(read) => tunnel.received += read as u64,
            Err(_) => tunnel.ended = Some(Farewell::Broken),
        });
        read
    }

    fn note(&self, note: impl FnOnce(&mut LoggedTunnel)) {
        self.server.log.amend(self.number, |request| note(request.tunnel.get_or_insert_default()));
    }
}

/// The WebSocket protocols that a client offers.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// The token among the offered protocols of a WebSocket upgrade; upstream:
/// `k8s.io/apiserver/pkg/authentication/request/websocket`.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(header::UPGRADE)?;
    if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return None;
    }
    offered(headers).find_map(bearer)
}

fn bearer(protocol: &str) -> Option<String> {
    let encoded = protocol.strip_prefix("base64url.bearer.authorization.k8s.io.")?;
    let (mut bits, mut count, mut token) = (0_u32, 0, Vec::new());
    for letter in encoded.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            token.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    String::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_among_the_protocols_is_decoded() {
        // printf %s b0b-s3cr3t | basenc --base64url
        let protocol = "base64url.bearer.authorization.k8s.io.YjBiLXMzY3IzdA";
        assert_eq!(bearer(protocol).as_deref(), Some("b0b-s3cr3t"));
        assert_eq!(bearer("v5.channel.k8s.io"), None);
    }
}
