//! Where a pool connects to, how, and every bound that it keeps.

use std::time::Duration;

use rustls_pki_types::ServerName;

use crate::limits;

/// The server at the other end of a pool.
#[derive(Clone, Debug)]
pub struct Target {
    /// DNS name or IP address (without brackets), resolved anew for each connection.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The name that the server's certificate has to carry, also sent as SNI.
    pub server_name: ServerName<'static>,
}

impl Target {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The bounds of one pool. Every field is a limit that the pool keeps by itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For DNS, TCP, TLS and the server's HTTP/2 SETTINGS together.
    pub connect_timeout: Duration,
    /// A connection with requests outstanding that was silent for so long is sent an HTTP/2 PING.
    pub ping_interval: Duration,
    /// A connection that stays silent for so long after the PING is dead. A hung server is found
    /// out after at most `ping_interval + ping_timeout`.
    pub ping_timeout: Duration,
    /// A connection without a request for so long is closed.
    pub idle_timeout: Duration,
    /// Connections open or being opened; draining ones don't count.
    pub max_connections: usize,
    /// Streams on one connection at most, even if the server allows more.
    pub max_streams: usize,
    /// Streams that a connection not yet open is expected to allow, until one has told; 100 is
    /// kube-apiserver's default (`--http2-max-streams-per-connection`).
    pub expected_streams: usize,
    /// The share of all streams in use (0 to 1) from which another connection is opened ahead.
    pub open_ahead: f64,
    /// How long a request waits for a free stream when no further connection may be opened.
    pub queue_timeout: Duration,
    /// Bytes that one response may have in flight unread. A connection's own window is this times
    /// its streams, so that slow readers never hold up another stream of their connection.
    pub stream_window: u32,
    /// Bytes of one request body that wait for the socket or the server's window.
    pub send_buffer: usize,
    /// Bytes of a request body that are kept until the response begins, so that a request which
    /// the server provably left alone can be given back whole.
    pub replay_limit: usize,
    /// Bytes of a response's header section (names, values and HTTP/2's 32 a field).
    pub max_header_list: u32,
    /// Fields in the header section of an HTTP/1.1 response.
    pub max_headers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: limits::CONNECT_TIMEOUT,
            ping_interval: limits::DEAD_AFTER / 2,
            ping_timeout: limits::DEAD_AFTER / 2,
            idle_timeout: limits::POOL_IDLE_TIMEOUT,
            max_connections: limits::MAX_IDENTITY_CONNECTIONS,
            max_streams: limits::MAX_UPSTREAM_STREAMS,
            expected_streams: limits::EXPECTED_UPSTREAM_STREAMS,
            open_ahead: limits::OPEN_AHEAD,
            queue_timeout: limits::QUEUE_TIMEOUT,
            stream_window: limits::UPSTREAM_STREAM_WINDOW,
            send_buffer: limits::UPSTREAM_SEND_BUFFER,
            replay_limit: limits::REPLAY_LIMIT,
            max_header_list: limits::MAX_ANSWER_HEADER_BYTES,
            max_headers: limits::MAX_ANSWER_HEADERS,
        }
    }
}
