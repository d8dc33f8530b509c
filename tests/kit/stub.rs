//! A TLS server that answers whatever a test wants, with the serving certificate of the API servers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube_peer_proxy::api::discovery::{DiscoveryPath, GroupDiscoveryList, legacy, to_go_json};
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::discovery::informer::Informers;
use kube_peer_proxy::embedded::Recorded;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{PKI, V2};

pub struct Stub {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

// === impl Stub ===

impl Stub {
    pub async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::speaking(&["h2", "http/1.1"], answer).await
    }

    /// One that offers these protocols.
    pub async fn speaking<F, R>(protocols: &[&str], answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let (answer, acceptor) = (Arc::new(answer), acceptor_of(protocols));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (answer, acceptor) = (Arc::clone(&answer), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| {
                        let response = answer(request);
                        async move { Ok::<_, Infallible>(response.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ended = builder.serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self { address, task }
    }

    /// A server of HTTP/1.1 only, whose answers are bytes; with `true`, the connection ends behind them. A 1.36
    /// to discovery, version and health.
    pub async fn raw(answer: impl Fn(&str) -> (Vec<u8>, bool) + Send + Sync + 'static) -> Self {
        let (answer, acceptor) = (Arc::new(answer), acceptor_of(&["http/1.1"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (answer, acceptor) = (Arc::clone(&answer), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                    while let Some(target) = read_head(&mut tls).await {
                        let (bytes, last) = match Self::as_136(target.split('?').next().unwrap()) {
                            Some(known) => (written(known).await, false),
                            None => answer(&target),
                        };
                        if tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err() || last {
                            let _ended = tls.shutdown().await;
                            return;
                        }
                    }
                });
            }
        });
        Self { address, task }
    }

    /// What a 1.36 answers to discovery, version and health, and that what the proxy would watch or read is not for it;
    /// `None` for everything else.
    pub fn as_136(path: &str) -> Option<Response<Body>> {
        let (document, content_type) = match path {
            "/api" => (Recorded::V1_36.api(), V2.1),
            "/apis" => (Recorded::V1_36.apis(), V2.1),
            "/version" => (Recorded::V1_36.version(), "application/json"),
            "/readyz" => return Some(Response::new(body::full("ok"))),
            path if is_watched_by_us(path) || path.ends_with("/extension-apiserver-authentication") => {
                let refusal = Response::builder().status(StatusCode::FORBIDDEN);
                return Some(refusal.body(body::full("not here")).unwrap());
            }
            path => return Self::list_of_136(path),
        };
        let response = Response::builder().header("content-type", content_type);
        Some(response.body(body::full(document.to_string())).unwrap())
    }

    /// The list of resources of a group-version; `None` for any other path.
    fn list_of_136(path: &str) -> Option<Response<Body>> {
        let DiscoveryPath::Version { group, version } = DiscoveryPath::of(path)? else { return None };
        let mut response = Response::new(body::empty());
        let documents = [Recorded::V1_36.api(), Recorded::V1_36.apis()];
        let found = documents.iter().find_map(|document| {
            let list = GroupDiscoveryList::parse(document.to_string().as_bytes()).unwrap();
            let group = list.items.into_iter().find(|item| item.name() == group)?;
            group.versions.into_iter().find(|item| item.version == version)
        });
        match found {
            Some(found) => {
                *response.body_mut() =
                    body::full(to_go_json(&legacy::resource_list(group, &found, |_| None)));
            }
            None => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        Some(response)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the proxy lists and watches these for itself.
fn is_watched_by_us(path: &str) -> bool {
    let resource = path.rsplit('/').next().unwrap_or_default();
    Informers::RESOURCES.contains(&resource)
}

/// The target of the next request without a body.
async fn read_head(tls: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()?.split(' ').nth(1).map(str::to_owned)
}

/// An answer as HTTP/1.1 has it.
async fn written(answer: Response<Body>) -> Vec<u8> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut bytes = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

pub(super) fn acceptor() -> TlsAcceptor {
    acceptor_of(&["h2", "http/1.1"])
}

fn acceptor_of(protocols: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(PKI.front_proxy_ca.cert().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let serving = &PKI.apiserver;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![serving.cert.clone()], serving.key.clone_key())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
