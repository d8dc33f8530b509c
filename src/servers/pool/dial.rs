//! From a name to a connection that speaks HTTP: DNS, TCP, TLS, HTTP/2's SETTINGS.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Config;
use super::error::DialError;
use super::liveness::{LastRead, Listening};
use crate::{body::Body, descriptors, limits};

type Stream = TlsStream<TcpStream>;

/// A connection that is ready for requests.
pub(super) enum Opened {
    H1(http1::SendRequest<Body>, Box<http1::Connection<TokioIo<Listening<Stream>>, Body>>),
    H2(Box<H2>),
}

/// A connection whose server has sent its SETTINGS.
pub(super) struct H2 {
    pub(super) sender: h2::client::SendRequest<Bytes>,
    pub(super) io: h2::client::Connection<Listening<Stream>, Bytes>,
    pub(super) ping: h2::PingPong,
    pub(super) last_read: LastRead,
}

/// Opens a connection, within the connect timeout.
pub(super) async fn open(config: &Config) -> Result<Opened, DialError> {
    let Config { target, settings, .. } = config;
    let deadline = Instant::now() + settings.connect_timeout;
    let to = &config.authority;
    let late = |step| {
        let budget = settings.connect_timeout;
        move |_| DialError::unanswered(format_args!("{to}: no {step} within {budget:?}"))
    };

    let tcp = timeout_at(deadline, connect(&target.host, target.port))
        .await
        .map_err(late("TCP connection"))?
        .map_err(|e| match e.kind() {
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                DialError::unanswered(format_args!("{to}: {e}"))
            }
            _ => DialError::connect(format_args!("{to}: {e}")),
        })?;

    let tls = TlsConnector::from(config.tls.load_full()).connect(target.server_name.clone(), tcp);
    let tls = timeout_at(deadline, tls).await.map_err(late("TLS handshake"))?.map_err(|e| {
        let refused = e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        if refused {
            DialError::tls(format_args!("{to}: {e}"))
        } else {
            DialError::connect(format_args!("{to}: {e}"))
        }
    })?;

    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        timeout_at(deadline, h2_handshake(tls, config))
            .await
            .map_err(late("HTTP/2 SETTINGS"))?
            .map(|h2| Opened::H2(Box::new(h2)))
            .map_err(|e| DialError::connect(format_args!("{to}: HTTP/2: {e}")))
    } else {
        let (io, _) = Listening::new(tls, config.heard.clone());
        http1::Builder::new()
            .max_headers(settings.max_headers)
            .max_header_size(settings.max_header_list as usize)
            .handshake(TokioIo::new(io))
            .await
            .map(|(sender, io)| Opened::H1(sender, Box::new(io)))
            .map_err(|e| DialError::connect(format_args!("{to}: HTTP/1.1: {e}")))
    }
}

/// The first address that answers; a slow one doesn't use up the time of the others.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = lookup_host((host, port)).await?.take(limits::MAX_ADDRESSES).peekable();
    let named = host.parse::<IpAddr>().is_err();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.next() {
            Some(address) => attempts.push(connect_one(address, named)),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(tcp) => return Ok(tcp),
                Err(e) => failure = e,
            },
            () = sleep(limits::NEXT_ADDRESS_AFTER), if addresses.peek().is_some() => {}
        }
    }
}

async fn connect_one(address: SocketAddr, named: bool) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await.map_err(|e| {
        // Who asked for an address knows it.
        if named { io::Error::new(e.kind(), format!("{address}: {e}")) } else { e }
    })?;
    if descriptors::is_kept_back(&tcp, limits::LAST_DESCRIPTORS) {
        return Err(io::Error::other("nearly all file descriptors are in use"));
    }
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE).with_interval(limits::TCP_KEEPALIVE);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

async fn h2_handshake(tls: Stream, Config { settings, heard, .. }: &Config) -> Result<H2, String> {
    let (io, last_read) = Listening::new(tls, heard.clone());
    let (sender, mut io) = h2::client::Builder::new()
        .enable_push(false)
        // Zero until the server's SETTINGS are in: that is how their arrival is seen.
        .initial_max_send_streams(0)
        .initial_window_size(settings.stream_window)
        .max_send_buffer_size(settings.send_buffer)
        .max_header_list_size(settings.max_header_list)
        // Late frames of streams that we cancelled are nothing unusual (every watch ends so): the
        // default of 1,024 in a connection's life would end the other streams with it.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(settings.max_streams)
        // Small frames that nobody has read yet, or that came after a cancel (those forever), count
        // against this; at its end all streams would die. The windows bound what is kept.
        .data_frame_budget(usize::MAX)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|e| e.to_string())?;
    let ping = io.ping_pong().expect("taken once");
    poll_fn(|cx| match io.poll_unpin(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err("closed before its SETTINGS".to_owned())),
        Poll::Ready(Err(e)) => Poll::Ready(Err(e.to_string())),
        Poll::Pending if io.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok(H2 { sender, io, ping, last_read })
}
