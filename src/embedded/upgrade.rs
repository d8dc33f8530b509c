//! Upgraded connections, for tests of a proxy: after the 101 there is no WebSocket and no SPDY, just bytes.

use std::sync::Arc;

use http::StatusCode;
use http::header::{self, HeaderValue};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{self, Answer, Refusal};
use super::faults::UpgradeScript;
use super::log::{Farewell, LoggedTunnel};
use super::shared::Shared;
use super::websocket::{bearer, offered};
use crate::body;

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
