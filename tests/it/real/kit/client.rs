//! An HTTPS client over one connection, which shows what a library would hide.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::body::{self, Body};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    DEADLINE,
    files::{Files, Who},
    websocket::WebSocket,
};

/// Media types of PATCH.
pub(crate) const MERGE_PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");

/// A connection that is still to be made.
pub(crate) struct Dial<'a> {
    files: &'a Files,
    to: SocketAddr,
    who: Who,
    from: IpAddr,
    h1: bool,
}

pub(crate) struct Client {
    sender: Sender,
    driver: JoinHandle<()>,
    token: Option<&'static str>,
}

#[derive(Clone)]
enum Sender {
    H1(Arc<tokio::sync::Mutex<http1::SendRequest<Body>>>),
    H2(http2::SendRequest<Body>),
}

/// An answer whose body was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

// === impl Dial ===

impl<'a> Dial<'a> {
    pub(crate) fn new(files: &'a Files, to: SocketAddr, who: Who) -> Self {
        Self { files, to, who, from: Ipv4Addr::LOCALHOST.into(), h1: false }
    }

    /// HTTP/1.1 instead of HTTP/2.
    pub(crate) fn h1(self) -> Self {
        Self { h1: true, ..self }
    }

    /// From this loopback address, so that it can be told from the proxy's.
    pub(crate) fn from(self, from: [u8; 4]) -> Self {
        Self { from: from.into(), ..self }
    }

    pub(crate) async fn connect(self) -> io::Result<Client> {
        time::timeout(DEADLINE, self.connect_now()).await?
    }

    async fn connect_now(self) -> io::Result<Client> {
        let io = TokioIo::new(self.tls().await?);
        let token = self.who.token();
        if self.h1 {
            let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
            let driver = tokio::spawn(async { drop(connection.await) });
            let sender = Sender::H1(Arc::new(tokio::sync::Mutex::new(sender)));
            return Ok(Client { sender, driver, token });
        }
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Client { sender: Sender::H2(sender), driver, token })
    }

    /// For bytes as they are.
    pub(crate) async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.files.pki.cluster_ca.cert().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.files.certificate(self.who) {
            Some(one) => config.with_client_auth_cert(vec![one.cert.clone()], one.key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if self.h1 { b"http/1.1".to_vec() } else { b"h2".to_vec() }];
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind((self.from, 0).into())?;
        let tcp = socket.connect(self.to).await?;
        let name = ServerName::try_from("kubernetes.default.svc").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// Asks for a WebSocket, over a connection of its own.
    pub(crate) async fn websocket(self, path: &str, headers: &[(&str, &str)]) -> io::Result<WebSocket> {
        let dial = self.h1();
        let asked = async { WebSocket::ask(dial.tls().await?, dial.who.token(), path, headers).await };
        time::timeout(DEADLINE, asked).await?
    }
}

// === impl Client ===

impl Client {
    /// Whether the connection has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }

    pub(crate) async fn get(&self, path: &str) -> io::Result<Reply> {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> io::Result<Reply> {
        self.call(Method::GET, path, headers, Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> io::Result<Reply> {
        self.post_with(path, &[], object).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        object: &Value,
    ) -> io::Result<Reply> {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.call(Method::POST, path, &headers, object.to_string().into()).await
    }

    /// Sends, and reads the whole answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> io::Result<Reply> {
        let whole = async {
            let (parts, body) = self.open(method, path, headers, body).await?.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        time::timeout(DEADLINE, whole).await?
    }

    /// Sends, and waits for the head of the answer only.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> io::Result<Response<Incoming>> {
        let h1 = matches!(self.sender, Sender::H1(_));
        let origin = if h1 { "" } else { "https://kubernetes.default.svc" };
        let mut request = Request::builder().method(method).uri(format!("{origin}{path}"));
        if h1 {
            request = request.header("host", "kubernetes.default.svc");
        }
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(if body.is_empty() { body::empty() } else { body::full(body) }).unwrap();
        let answer = async {
            match self.sender.clone() {
                Sender::H1(sender) => {
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::H2(mut sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        time::timeout(DEADLINE, answer).await?.map_err(io::Error::other)
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header that is there once; "" if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is there more than once: {:?}", self.headers);
        first
    }

    /// The names of a discovery document's groups.
    pub(crate) fn groups(&self) -> Vec<String> {
        let items = self.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether a discovery document lists a resource.
    pub(crate) fn lists(&self, group: &str, version: &str, resource: &str) -> bool {
        let document = self.json();
        let items = document["items"].as_array().into_iter().flatten();
        items
            .filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group)
            .flat_map(|item| item["versions"].as_array().into_iter().flatten())
            .filter(|entry| entry["version"] == version)
            .flat_map(|entry| entry["resources"].as_array().into_iter().flatten())
            .any(|entry| entry["resource"] == resource)
    }
}
