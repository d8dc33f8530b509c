//! HTTP/2 frame by frame over TLS: for what no good client sends.
//!
//! Header blocks are written as literals without indexing and without Huffman coding, so that any bytes can stand
//! in them. Of an answer's block only `:status` is read; the server is told to keep no dynamic table, so that it
//! is always found at the front and in full.

use std::net::SocketAddr;

use kube_peer_proxy::pki::Credential;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::DEADLINE;
use super::client::{Protocol, tls};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
/// On SETTINGS and PING.
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Names of settings.
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection with ALPN `h2`; preface and SETTINGS are sent.
pub struct RawH2 {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
    seen: Vec<u8>,
}

/// One frame as it arrived.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a stream, or all of them, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Status and body.
    Whole(u16, String),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, not `NO_ERROR`.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// What came back during a flood.
#[derive(Debug, Default)]
pub struct Flooded {
    /// The code of a GOAWAY that told of an error.
    pub goaway: Option<u32>,
    /// How many RST_STREAMs.
    pub resets: usize,
    /// How many HEADERS.
    pub answers: usize,
    /// The connection lives: all was read, and what came behind it was answered.
    pub survived: bool,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of these fields, in this order, byte for byte.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name.as_ref());
        text(&mut bytes, value.as_ref());
    }
    bytes
}

/// The pseudo-header fields of a request, to be followed by others.
pub fn pseudo<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "k8s"), (":path", path)]
}

/// The HEADERS frame of a request without a body.
pub fn request(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields))
}

/// A string literal: seven bits of length, and more bytes of it where they don't suffice.
fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        short @ 0..127 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend_from_slice(text);
}

// === impl RawH2 ===

impl RawH2 {
    pub async fn connect(address: SocketAddr, certificate: Option<&Credential>) -> Self {
        Self::with(address, certificate, &[]).await
    }

    /// With these settings of ours.
    pub async fn with(
        address: SocketAddr,
        certificate: Option<&Credential>,
        settings: &[(u16, u32)],
    ) -> Self {
        Self::over(tls(address, certificate, Protocol::H2).await.unwrap(), settings).await
    }

    /// On a connection for which ALPN chose `h2`.
    pub async fn over(tls: TlsStream<TcpStream>, settings: &[(u16, u32)]) -> Self {
        let (read, write) = split(tls);
        let mut raw = Self { read, write, seen: Vec::new() };
        let mut payload = Vec::new();
        for (name, value) in [&[(HEADER_TABLE_SIZE, 0)], settings].concat() {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).await;
        raw
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = self.try_send(bytes).await;
    }

    /// Whether the other side still takes it, which it must decide in time.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = async {
            self.write.write_all(bytes.as_ref()).await?;
            self.write.flush().await
        };
        timeout(DEADLINE, sent).await.expect("the bytes are taken, or the connection ends").is_ok()
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        next(&mut self.read, &mut self.seen).await
    }

    /// What becomes of a stream. Frames of other streams are passed over; SETTINGS and PING are answered.
    pub async fn answer(&mut self, stream: u32) -> Answer {
        let (mut code, mut body) = (0, Vec::new());
        while let Some(frame) = self.next().await {
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    self.send(self::frame(frame.kind, ACK, 0, payload)).await;
                }
                GOAWAY if frame.code(4) != 0 => return Answer::GoAway(frame.code(4)),
                RST_STREAM if frame.stream == stream => return Answer::Reset(frame.code(0)),
                HEADERS if frame.stream == stream => code = status(&frame.payload).unwrap_or(code),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            let carries = matches!(frame.kind, HEADERS | DATA) && frame.stream == stream;
            if carries && frame.flags & END_STREAM != 0 && code >= 200 {
                return Answer::Whole(code, String::from_utf8_lossy(&body).into_owned());
            }
        }
        Answer::Closed
    }

    /// Writes all of this while it reads whatever comes back, until a PING behind it is answered or the other side
    /// has had enough.
    pub async fn flood(&mut self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Flooded {
        const LAST: &[u8; 8] = b"the last";
        let mut flooded = Flooded::default();
        let Self { read, write, seen } = self;
        let writing = async {
            for piece in pieces.into_iter().chain([frame(PING, 0, 0, LAST)]) {
                if write.write_all(&piece).await.is_err() {
                    break;
                }
            }
            let _closed = write.flush().await;
            std::future::pending().await
        };
        let reading = async {
            while let Some(frame) = next(read, seen).await {
                match frame.kind {
                    GOAWAY if frame.code(4) != 0 => flooded.goaway = Some(frame.code(4)),
                    RST_STREAM => flooded.resets += 1,
                    HEADERS => flooded.answers += 1,
                    PING if frame.payload == LAST => {
                        flooded.survived = true;
                        break;
                    }
                    _ => {}
                }
            }
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
        flooded
    }

    /// One request without a body on a connection of its own.
    pub async fn ask(mut self, fields: &[(&str, &str)]) -> Answer {
        self.send(request(1, fields)).await;
        self.answer(1).await
    }
}

// === impl Frame ===

impl Frame {
    /// An error code, at this place of the payload.
    fn code(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

// === impl Answer ===

impl Answer {
    /// The status, 0 if there was none.
    pub fn status(&self) -> u16 {
        if let Self::Whole(status, _) = self { *status } else { 0 }
    }
}

async fn next(read: &mut (impl AsyncReadExt + Unpin), seen: &mut Vec<u8>) -> Option<Frame> {
    loop {
        if let Some(frame) = take(seen) {
            return Some(frame);
        }
        let mut piece = [0; 16 * 1024];
        let read = timeout(DEADLINE, read.read(&mut piece)).await.expect("frames in time");
        let Ok(read @ 1..) = read else { return None };
        seen.extend_from_slice(&piece[..read]);
    }
}

/// The first frame of what was read, once all of it is there.
fn take(seen: &mut Vec<u8>) -> Option<Frame> {
    let head = seen.get(..9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let (kind, flags) = (head[3], head[4]);
    let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & !(1 << 31);
    if seen.len() < 9 + length {
        return None;
    }
    let payload = seen.drain(..9 + length).skip(9).collect();
    Some(Frame { kind, flags, stream, payload })
}

/// `:status`, which stands first. Trailers have none.
fn status(block: &[u8]) -> Option<u16> {
    // A change of the dynamic table's size may stand before it.
    let start = block.iter().position(|byte| !(0x20..0x40).contains(byte))?;
    let (first, rest) = block[start..].split_first()?;
    if first & 0x80 != 0 {
        let known = [200, 204, 206, 304, 400, 404, 500];
        return known.get(usize::from(first & 0x7f).checked_sub(8)?).copied();
    }
    let name = if first & 0x40 != 0 { first & 0x3f } else { first & 0x0f };
    let (length, value) = rest.split_first()?;
    if !(8..=14).contains(&name) {
        return None;
    }
    let value = value.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { huffman_digits(value) }
}

/// Three digits in Huffman's code of RFC 7541: 0, 1 and 2 have five bits, the others six.
fn huffman_digits(value: &[u8]) -> Option<u16> {
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next()?;
        }
        let digit = if code <= 2 { code } else { (code << 1 | bits.next()?).checked_sub(0b01_1001)? + 3 };
        number = number * 10 + digit;
    }
    Some(number)
}
