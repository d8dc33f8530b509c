//! A server whose HTTP/1.1 a test plays by hand, byte for byte.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::body;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::stub::acceptor;
use super::{DEADLINE, Stub};

/// Over h2 it is a 1.36 with discovery; a connection that offers only HTTP/1.1, as those for upgrades do, is the
/// test's.
pub struct Wild {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

// === impl Wild ===

impl Wild {
    pub async fn start<F, R>(play: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (play, acceptor) = (Arc::new(play), acceptor());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (play, acceptor) = (Arc::clone(&play), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                        return play(tls).await;
                    }
                    let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let missing = || Response::builder().status(404).body(body::empty()).unwrap();
                        let answer = Stub::as_136(request.uri().path()).unwrap_or_else(missing);
                        Ok::<_, std::convert::Infallible>(answer)
                    });
                    let builder = http2::Builder::new(TokioExecutor::new());
                    let _ended = builder.serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Wild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of a request, byte by byte, so that nothing behind it is read.
pub async fn read_head(tls: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, tls.read_u8()).await.expect("a head in time").expect("a whole head"));
    }
    String::from_utf8(head).unwrap()
}
