//! As much of a WebSocket (RFC 6455) as asking for one takes.

use std::{collections::BTreeMap, io};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time,
};
use tokio_rustls::client::TlsStream;

use super::DEADLINE;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// What came back for an upgrade: a WebSocket if the status is 101.
pub(crate) struct WebSocket {
    io: BufReader<TlsStream<TcpStream>>,
    pub(crate) status: u16,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Of an answer other than 101.
    pub(crate) body: String,
}

// === impl WebSocket ===

impl WebSocket {
    pub(super) async fn ask(
        io: TlsStream<TcpStream>,
        token: Option<&str>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Self> {
        let mut io = BufReader::new(io);
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: kubernetes.default.svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        if let Some(token) = token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        io.write_all((head + "\r\n").as_bytes()).await?;
        io.flush().await?;

        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            io.read_line(&mut line).await?;
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
        let fields = lines.iter().filter_map(|line| line.split_once(": "));
        let headers: BTreeMap<_, _> =
            fields.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        io.read_exact(&mut body).await?;
        Ok(Self { io, status, headers, body: String::from_utf8(body).unwrap() })
    }

    /// Sends one binary message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.frame(BINARY, message).await
    }

    async fn frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 127);
                frame.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        // A client has to mask, but with zeros all stays as it is.
        frame.extend([0; 4]);
        frame.extend(payload);
        self.io.write_all(&frame).await?;
        self.io.flush().await
    }

    /// The next message; none after the other side has closed.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        time::timeout(DEADLINE, self.receive_now()).await?
    }

    async fn receive_now(&mut self) -> io::Result<Option<Vec<u8>>> {
        let opcode = self.io.read_u8().await? & 0x0f;
        let length = match self.io.read_u8().await? {
            126 => u64::from(self.io.read_u16().await?),
            127 => self.io.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.io.read_exact(&mut payload).await?;
        Ok((opcode != CLOSE).then_some(payload))
    }

    /// Closes as one should: says so, is told so, and then the connection ends.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.frame(CLOSE, &1000_u16.to_be_bytes()).await?;
        assert_eq!(self.receive().await?, None);
        let mut rest = Vec::new();
        // Without a TLS close_notify it is the end, too.
        match time::timeout(DEADLINE, self.io.read_to_end(&mut rest)).await? {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => assert_eq!(rest, b""),
        }
        Ok(())
    }
}
