//! A small HTTPS client over one connection of which a test can see everything.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::embedded::RunningServer;
use kube_peer_proxy::pki::Credential;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{DEADLINE, PKI};

pub(super) struct Client {
    sender: Sender,
    /// Ends when the connection does.
    driver: JoinHandle<hyper::Result<()>>,
    headers: Vec<(String, String)>,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// An answer whose body was read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

// === impl Client ===

impl Client {
    pub(super) async fn h2(server: &RunningServer, certificate: Option<&Credential>) -> Self {
        let io = connect(server, certificate, b"h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        Self { sender: Sender::H2(sender), driver: tokio::spawn(connection), headers: Vec::new() }
    }

    pub(super) async fn h1(server: &RunningServer, certificate: Option<&Credential>) -> Self {
        let io = connect(server, certificate, b"http/1.1").await.unwrap();
        let (sender, connection) = http1::handshake(io).await.unwrap();
        Self { sender: Sender::H1(sender), driver: tokio::spawn(connection), headers: Vec::new() }
    }

    /// What the connection is driven by, for another client to use.
    pub(super) fn into_h2(self) -> http2::SendRequest<Body> {
        match self.sender {
            Sender::H2(sender) => sender,
            Sender::H1(_) => panic!("this client speaks HTTP/1.1"),
        }
    }

    /// Sends this header with every request from now on.
    pub(super) fn with(mut self, (name, value): (&str, &str)) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// True as soon as the connection has ended.
    pub(super) async fn ended(&mut self) -> bool {
        tokio::time::timeout(DEADLINE, &mut self.driver).await.is_ok()
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.call(Method::GET, path, &[], None).await
    }

    pub(super) async fn post(&mut self, path: &str, object: &Value) -> Reply {
        self.call(Method::POST, path, &[("content-type", "application/json")], Some(object)).await
    }

    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        object: Option<&Value>,
    ) -> Reply {
        let body = object.map_or_else(body::empty, |object| body::full(object.to_string()));
        let answer = self.send(method, path, headers, body).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.unwrap().unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// Only the head of the answer is waited for.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> hyper::Result<Response<Incoming>> {
        let uri = match &self.sender {
            Sender::H1(_) => path.to_owned(),
            Sender::H2(_) => format!("https://kubernetes.default.svc{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if matches!(self.sender, Sender::H1(_)) {
            request = request.header("host", "kubernetes.default.svc");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        let answer = async {
            match &mut self.sender {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time")
    }
}

// === impl Reply ===

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// TLS with one protocol on offer, as seen by a client that trusts the PKI's cluster CA.
async fn connect(
    server: &RunningServer,
    certificate: Option<&Credential>,
    protocol: &[u8],
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.cluster_ca.cert().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(one) => config.with_client_auth_cert(vec![one.cert.clone()], one.key.clone_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(server.addr()).await?;
    let name = ServerName::try_from("kubernetes.default.svc").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let tls = tokio::time::timeout(DEADLINE, connector.connect(name, tcp)).await??;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol));
    Ok(TokioIo::new(tls))
}
