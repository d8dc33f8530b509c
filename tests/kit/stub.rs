//! A TLS server that answers whatever a test wants, with the serving certificate of the API servers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::embedded::Recorded;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

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
        let (answer, acceptor) = (Arc::new(answer), acceptor());
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

    /// What a 1.36 answers to discovery, version and health; `None` for everything else.
    pub fn as_136(path: &str) -> Option<Response<Body>> {
        let (document, content_type) = match path {
            "/api" => (Recorded::V1_36.api(), V2.1),
            "/apis" => (Recorded::V1_36.apis(), V2.1),
            "/version" => (Recorded::V1_36.version(), "application/json"),
            "/readyz" => return Some(Response::new(body::full("ok"))),
            _ => return None,
        };
        let response = Response::builder().header("content-type", content_type);
        Some(response.body(body::full(document.to_string())).unwrap())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn acceptor() -> TlsAcceptor {
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
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
