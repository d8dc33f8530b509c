//! A way to B on which `/apis` can be made to fail while everything else goes on.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::super::kit::{
    client::{Client, Dial},
    cluster::Cluster,
    files::Who,
};

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Takes TLS off and hands requests on as the front proxy that it has heard, HTTP/2 on both sides.
pub(super) struct Between {
    pub(super) addr: SocketAddr,
    broken: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

struct Way {
    cluster: &'static Cluster,
    to: SocketAddr,
    broken: watch::Receiver<bool>,
    client: Mutex<Option<Arc<Client>>>,
}

// === impl Between ===

impl Between {
    pub(super) async fn start(cluster: &'static Cluster, to: &str) -> Self {
        let serving = &cluster.files.pki.apiserver;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![serving.cert.clone()], serving.key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (broken, heard) = watch::channel(false);
        let to = cluster.server(to).addr;
        let way = Arc::new(Way { cluster, to, broken: heard, client: Mutex::default() });
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, way) = (acceptor.clone(), Arc::clone(&way));
                let mut changes = way.broken.clone();
                changes.mark_unchanged();
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| {
                        let way = Arc::clone(&way);
                        async move { Ok::<_, Infallible>(way.answer(request).await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    tokio::select! {
                        _ = builder.serve_connection(TokioIo::new(tls), service) => {}
                        // A change ends all connections, so that it is noticed.
                        _ = changes.changed() => {}
                    }
                });
            }
        });
        Self { addr, broken, _accepting: accepting }
    }

    /// From now on `/apis` is a 500, or not any more.
    pub(super) fn breaks(&self, broken: bool) {
        self.broken.send_replace(broken);
    }
}

// === impl Way ===

impl Way {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let failed = |status| {
            let mut response = Response::new(Either::Right(Full::new(Bytes::from_static(b"broken between"))));
            *response.status_mut() = status;
            response
        };
        if *self.broken.borrow() && request.uri().path() == "/apis" {
            return failed(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return failed(StatusCode::BAD_REQUEST) };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let headers = parts.headers.iter().filter(|(name, _)| *name != "host" && *name != "content-length");
        let headers: Vec<_> =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
        let Ok(client) = self.client().await else { return failed(StatusCode::BAD_GATEWAY) };
        match client.open(parts.method, target, &headers, body.to_bytes()).await {
            Ok(response) => response.map(Either::Left),
            Err(_) => failed(StatusCode::BAD_GATEWAY),
        }
    }

    async fn client(&self) -> std::io::Result<Arc<Client>> {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| !client.has_ended()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Dial::new(&self.cluster.files, self.to, Who::FrontProxy).connect().await?);
        *kept = Some(Arc::clone(&client));
        Ok(client)
    }
}
