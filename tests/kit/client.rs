//! A client over one connection, of which a test can see everything.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::pki::Credential;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::Value;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{DEADLINE, PKI};

/// As whom a client comes.
#[derive(Clone, Copy)]
pub enum As<'a> {
    Nobody,
    Certificate(&'a Credential),
    Token(&'a str),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Protocol {
    H1,
    H2,
    /// HTTP/2 over TLS 1.2.
    OldTls,
}

pub struct Client {
    sender: Sender,
    /// Ends when the connection does.
    driver: JoinHandle<hyper::Result<()>>,
    /// Another handle on its socket.
    socket: socket2::Socket,
    always: HeaderMap,
}

enum Sender {
    H1(Mutex<http1::SendRequest<Body>>),
    H2(http2::SendRequest<Body>),
}

/// A request that is being put together.
pub struct Asking<'a> {
    client: &'a Client,
    request: Request<Body>,
}

/// An answer whose body was read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// TLS to an address, as seen by a client that trusts the PKI's cluster CA.
pub async fn tls(
    address: SocketAddr,
    certificate: Option<&Credential>,
    protocol: Protocol,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tls_over(tcp, certificate, protocol).await
}

/// The same, over a connection that is there already.
pub async fn tls_over(
    tcp: TcpStream,
    certificate: Option<&Credential>,
    protocol: Protocol,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.cluster_ca.cert().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = if protocol == Protocol::OldTls { &[&TLS12][..] } else { &[&TLS13, &TLS12] };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(one) => config.with_client_auth_cert(vec![one.cert.clone()], one.key.clone_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::H1 => vec![b"http/1.1".to_vec()],
        Protocol::H2 | Protocol::OldTls => vec![b"h2".to_vec()],
    };
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    timeout(DEADLINE, connector.connect(name, tcp)).await.expect("a handshake in time")
}

// === impl Client ===

impl Client {
    pub async fn connect(address: SocketAddr, who: As<'_>, protocol: Protocol) -> Self {
        let (certificate, token) = match who {
            As::Nobody => (None, None),
            As::Certificate(certificate) => (Some(certificate), None),
            As::Token(token) => (None, Some(token)),
        };
        let tcp = TcpStream::connect(address).await.unwrap();
        let client = Self::through(tcp, certificate, protocol).await.unwrap();
        match token {
            Some(token) => client.with("authorization", &format!("Bearer {token}")),
            None => client,
        }
    }

    /// Over a connection that is there already.
    pub async fn through(
        tcp: TcpStream,
        certificate: Option<&Credential>,
        protocol: Protocol,
    ) -> io::Result<Self> {
        Ok(Self::over(tls_over(tcp, certificate, protocol).await?, protocol).await)
    }

    /// Over a connection whose handshake somebody else made.
    pub async fn over(tls: TlsStream<TcpStream>, protocol: Protocol) -> Self {
        let socket = SockRef::from(tls.get_ref().0).try_clone().unwrap();
        let io = TokioIo::new(tls);
        let (sender, driver) = match protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                (Sender::H1(Mutex::new(sender)), tokio::spawn(connection))
            }
            Protocol::H2 | Protocol::OldTls => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                (Sender::H2(sender), tokio::spawn(connection))
            }
        };
        Self { sender, driver, socket, always: HeaderMap::new() }
    }

    /// HTTP/1.1 without TLS, as the admin listener has it.
    pub async fn plain(address: SocketAddr) -> Self {
        Self::plain_as(address, "127.0.0.1").await
    }

    /// The same, asking for this host.
    pub async fn plain_as(address: SocketAddr, host: &str) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let socket = SockRef::from(&tcp).try_clone().unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
        let client = Self {
            sender: Sender::H1(Mutex::new(sender)),
            driver: tokio::spawn(connection),
            socket,
            always: HeaderMap::new(),
        };
        client.with("host", host)
    }

    /// Sends this header with every request from now on.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.always.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        self
    }

    pub async fn get(&self, target: &str) -> Reply {
        self.ask(Method::GET, target).whole().await
    }

    /// `GET` with one header.
    pub async fn get_with(&self, target: &str, header: (&str, &str)) -> Reply {
        self.ask(Method::GET, target).header(header.0, header.1).whole().await
    }

    pub async fn post(&self, target: &str, object: &Value) -> Reply {
        self.ask(Method::POST, target).json(object).whole().await
    }

    pub fn ask(&self, method: Method, target: &str) -> Asking<'_> {
        let uri = match &self.sender {
            Sender::H1(_) => target.to_owned(),
            Sender::H2(_) => format!("https://kubernetes.default.svc{target}"),
        };
        let mut request = Request::builder().method(method).uri(uri).body(body::empty()).unwrap();
        *request.headers_mut() = self.always.clone();
        if matches!(self.sender, Sender::H1(_)) && !self.always.contains_key("host") {
            request.headers_mut().insert("host", HeaderValue::from_static("kubernetes.default.svc"));
        }
        Asking { client: self, request }
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        self.driver.is_finished()
    }

    /// The connection goes as if the process had died.
    pub fn cut(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
        self.socket.shutdown(Shutdown::Both).unwrap();
    }

    async fn send(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &self.sender {
            Sender::H1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::H2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

// === impl Asking ===

impl Asking<'_> {
    /// One more line, beside those of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.request.headers_mut().append(name, HeaderValue::try_from(value).unwrap());
        self
    }

    pub fn headers(self, lines: &[(&str, &str)]) -> Self {
        lines.iter().fold(self, |asking, (name, value)| asking.header(name, value))
    }

    pub fn json(mut self, object: &Value) -> Self {
        if !self.request.headers().contains_key("content-type") {
            self = self.header("content-type", "application/json");
        }
        self.body(body::full(object.to_string()))
    }

    pub fn body(mut self, body: Body) -> Self {
        *self.request.body_mut() = body;
        self
    }

    /// Waits for the head of the answer.
    pub async fn begin(self) -> Response<Incoming> {
        self.attempt().await.unwrap()
    }

    /// As `begin`, where it may fail.
    pub async fn attempt(self) -> hyper::Result<Response<Incoming>> {
        timeout(DEADLINE, self.client.send(self.request)).await.expect("an answer in time")
    }

    /// Waits for all of the answer.
    pub async fn whole(self) -> Reply {
        Reply::of(self.begin().await).await
    }
}

// === impl Reply ===

impl Reply {
    pub async fn of(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = timeout(DEADLINE, body.collect()).await.expect("a body in time").unwrap();
        Self { status: parts.status, headers: parts.headers, body: body.to_bytes() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message of a `Status` with this code, which it must be.
    #[track_caller]
    pub fn refused(&self, code: u16) -> String {
        let status = self.json();
        assert_eq!((self.status.as_u16(), &status["kind"]), (code, &Value::from("Status")), "{status}");
        assert_eq!(status["code"], code, "{status}");
        status["message"].as_str().unwrap().to_owned()
    }
}
