//! Sending an input, and reading what comes back until nothing does.

use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::stage::Stage;

/// So many turns of the one thread without a byte, and nothing is under way that could bring one.
const PATIENCE: usize = 100;
/// A connection that a client has closed is gone by then.
const BOUND: Duration = Duration::from_secs(5);
/// More than this of an answer is not waited for.
const MAX_ANSWER: usize = 1024 * 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// How an input is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    /// HTTP/2, behind the preface.
    pub(super) h2: bool,
    /// The input gives each frame's type, flags, stream and length in a byte each and then its payload, so that
    /// lengths stay right when it is changed.
    pub(super) framed: bool,
    /// As jane.
    pub(super) certificate: bool,
}

// === impl Mode ===

impl Mode {
    pub(super) fn of(byte: u8) -> Self {
        Self { h2: byte & 2 != 0, framed: byte & 3 == 3, certificate: byte & 4 != 0 }
    }

    /// The bytes behind TLS.
    pub(super) fn bytes(self, mut input: &[u8]) -> Vec<u8> {
        if !self.h2 {
            return input.to_vec();
        }
        let mut bytes = PREFACE.to_vec();
        if !self.framed {
            bytes.extend_from_slice(input);
            return bytes;
        }
        bytes.extend_from_slice(EMPTY_SETTINGS);
        while let [kind, flags, stream, length, rest @ ..] = input {
            let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
            let length = u8::try_from(payload.len()).expect("it came from a byte");
            bytes.extend_from_slice(&[0, 0, length, *kind, *flags, 0, 0, 0, *stream]);
            bytes.extend_from_slice(payload);
            input = rest;
        }
        bytes
    }
}

/// Sends, waits until nothing moves any more, closes, and sees the connection end.
pub(super) async fn exchange(stage: &Stage, mode: Mode, bytes: &[u8]) -> Vec<u8> {
    let tcp = TcpStream::connect(stage.app.addresses[0]).await.expect("the proxy accepts");
    tcp.set_nodelay(true).expect("an open socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = TlsConnector::from(stage.tls(mode)).connect(name, tcp).await.expect("TLS");
    let mut answer = Vec::new();
    // The proxy may have enough before it has heard all.
    if tls.write_all(bytes).await.is_ok() && tls.flush().await.is_ok() {
        read_while_it_moves(&mut tls, &mut answer).await;
    }
    let _ = tls.shutdown().await;
    // With more of HTTP/1.1 unread hyper does not look for the client's end: who asks for something behind a watch and
    // leaves is found out by the next event that is written to him.
    let unseen = !mode.h2 && bytes.windows(5).any(|word| word.eq_ignore_ascii_case(b"watch"));
    if !unseen {
        let end = timeout(BOUND, tls.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the connection goes on for {BOUND:?} after its client has closed it");
    }
    drop(tls);
    for _ in 0..PATIENCE {
        yield_now().await;
    }
    answer
}

async fn read_while_it_moves(tls: &mut TlsStream<TcpStream>, answer: &mut Vec<u8>) {
    let mut piece = [0; 16 * 1024];
    let mut still = 0;
    while still < PATIENCE && answer.len() < MAX_ANSWER {
        tokio::select! {
            biased;
            read = tls.read(&mut piece) => match read {
                Ok(read @ 1..) => {
                    answer.extend_from_slice(&piece[..read]);
                    still = 0;
                }
                _ => return,
            },
            () = yield_now() => still += 1,
        }
    }
}
