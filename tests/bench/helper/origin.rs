//! A server that looks like kube-apiserver from the outside and does nothing inside: whatever it answers was made
//! before the first request. It believes everybody.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_peer_proxy::embedded::Recorded;
use kube_peer_proxy::tls::server::{self, Serving, ServingCertificate};
use kube_peer_proxy::tls::suites::MinVersion;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Result;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// kube-apiserver's SETTINGS, as seen on 1.32 to 1.36.
const MAX_STREAMS: u32 = 100;
const MAX_FRAME: u32 = 256 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Where the object is.
const OBJECT: &str = "/api/v1/namespaces/default/configmaps/x";
/// Where the long list and the watches are.
const COLLECTION: &str = "/api/v1/configmaps";
/// Bytes of the object.
const OBJECT_BYTES: usize = 1024;
/// Items of the list that are handed to hyper together, in bytes; about what Go's encoder writes at a time.
const PIECE: usize = 32 * 1024;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on
    listen: SocketAddr,
    /// Serving certificate
    #[arg(long)]
    cert: PathBuf,
    /// Its key
    #[arg(long)]
    key: PathBuf,
    /// Minor version whose discovery is served: 32, 35 or 36
    #[arg(long, default_value_t = 36)]
    minor: u32,
    /// Bytes of the list
    #[arg(long, default_value_t = 100_000_000)]
    list_bytes: usize,
}

/// Everything there is to say.
struct Answers {
    api: Document,
    apis: Document,
    version: Bytes,
    object: Bytes,
    item: Bytes,
    list_bytes: usize,
    seen: Seen,
}

struct Document {
    json: Bytes,
    etag: HeaderValue,
}

/// What came in, so that whoever measures sees which protocol was spoken.
#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    h1: AtomicU64,
    h2: AtomicU64,
}

/// Serves until it is killed.
pub(crate) async fn run(args: Args) -> Result<()> {
    let (certificate, key) = (std::fs::read(&args.cert)?, std::fs::read(&args.key)?);
    let serving = Serving {
        default: ServingCertificate { certificate: &certificate, key: &key },
        named: Vec::new(),
        min_version: MinVersion::default(),
        cipher_suites: &[],
        ca_names: Vec::new(),
    };
    let tls = server::config(serving)?;
    let acceptor = TlsAcceptor::from(tls);
    let answers = Arc::new(Answers::new(&args)?);
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            // A client that leaves is no news.
            let _ = serve(acceptor, tcp, answers).await;
        });
    }
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, answers: Arc<Answers>) -> Result<()> {
    tcp.set_nodelay(true)?;
    let tls = acceptor.accept(tcp).await?;
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    answers.seen.connections.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(move |request| {
        let response = answers.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let io = TokioIo::new(tls);
    if h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .max_concurrent_streams(MAX_STREAMS)
            .max_frame_size(MAX_FRAME)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        builder.serve_connection(io, service).await?;
    } else {
        http1::Builder::new().serve_connection(io, service).await?;
    }
    Ok(())
}

// === impl Answers ===

impl Answers {
    fn new(args: &Args) -> Result<Self> {
        let recorded = Recorded::ALL.into_iter().find(|version| version.minor() == args.minor);
        let recorded = recorded.ok_or("no discovery of that version was recorded")?;
        let object = sized(OBJECT_BYTES);
        let items = PIECE.div_ceil(OBJECT_BYTES);
        Ok(Self {
            api: Document::new(&recorded.api())?,
            apis: Document::new(&recorded.apis())?,
            version: recorded.version().to_string().into(),
            item: format!("{object},").repeat(items).into(),
            object: object.into(),
            list_bytes: args.list_bytes,
            seen: Seen::default(),
        })
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path == "/bench/seen" {
            return json_response(self.seen.json());
        }
        let seen = if request.version() == Version::HTTP_2 { &self.seen.h2 } else { &self.seen.h1 };
        seen.fetch_add(1, Ordering::Relaxed);
        let watch = request.uri().query().is_some_and(|query| query.contains("watch="));
        let mut response = match path {
            OBJECT => json_response(self.object.clone()),
            COLLECTION if watch => watching(),
            COLLECTION => self.list(),
            "/api" => self.api.answer(request),
            "/apis" => self.apis.answer(request),
            "/version" => json_response(self.version.clone()),
            "/readyz" | "/livez" | "/healthz" => Response::new(full("ok")),
            _ => {
                let mut response = Response::new(full("404 page not found\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        };
        let headers = response.headers_mut();
        if let Some(id) = request.headers().get("audit-id") {
            headers.insert("audit-id", id.clone());
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        for name in ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"] {
            headers.insert(name, HeaderValue::from_static("8b1f8f4e-6a0a-4b2e-9f0e-0d5c3a3b7c11"));
        }
        response
    }

    /// As many items as it takes, piece by piece; no length is told, as kube-apiserver tells none either.
    fn list(&self) -> Response<Body> {
        let head =
            r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":["#;
        let items = std::iter::repeat_n(self.item.clone(), self.list_bytes / self.item.len());
        let last = format!("{}]}}\n", sized(OBJECT_BYTES));
        let pieces = std::iter::once(Bytes::from_static(head.as_bytes())).chain(items).chain([last.into()]);
        let body = StreamBody::new(stream::iter(pieces.map(|piece| Ok(Frame::data(piece)))));
        of_type("application/json", body.boxed_unsync())
    }
}

// === impl Document ===

impl Document {
    fn new(value: &Value) -> Result<Self> {
        let json = value.to_string();
        let etag: String = Sha256::digest(&json).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { etag: HeaderValue::try_from(format!("\"{etag}\""))?, json: json.into() })
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut response = if request.headers().get(header::IF_NONE_MATCH) == Some(&self.etag) {
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            of_type(DISCOVERY, full(self.json.clone()))
        };
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }
}

// === impl Seen ===

impl Seen {
    fn json(&self) -> Bytes {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (connections, h1, h2) = (read(&self.connections), read(&self.h1), read(&self.h2));
        json!({"connections": connections, "h1": h1, "h2": h2}).to_string().into()
    }
}

/// A configmap of so many bytes.
fn sized(bytes: usize) -> String {
    let object = |filling: &str| {
        json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "x", "namespace": "default", "resourceVersion": "1"},
            "data": {"filling": filling},
        })
        .to_string()
    };
    let empty = object("").len();
    object(&"x".repeat(bytes.saturating_sub(empty)))
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn json_response(bytes: Bytes) -> Response<Body> {
    of_type("application/json", full(bytes))
}

fn of_type(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A watch in which nothing happens, ever.
fn watching() -> Response<Body> {
    let never = stream::pending::<std::result::Result<Frame<Bytes>, Infallible>>();
    of_type("application/json", StreamBody::new(never.boxed()).boxed_unsync())
}
