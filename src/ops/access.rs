//! What is the same for every request, around the proxy: an audit ID, an access line, metrics, and a panic that
//! costs one request only.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response};
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    api::status::{Encoding, Status},
    body::{self, Body, BoxError, Watcher},
    limits,
    metrics::{Metrics, RequestRecorder},
    proxy::{
        Proxy,
        headers::AUDIT_ID,
        listener::{Connection, Handler, Turn},
        record::Record,
        upgrade::{Ended, Handover},
    },
};

/// The proxy with everything around it, ready for a listener.
pub fn handler(proxy: Arc<Proxy>, access_log: bool) -> Handler {
    let names = proxy.fleet.iter().map(|server| Arc::clone(&server.name)).collect();
    let log = Log { metrics: proxy.metrics.clone(), names, access_log };
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .map_request(with_audit_id)
            .layer_fn(move |inner| Access { inner, log: log.clone() })
            .service_fn(move |request| guarded(Arc::clone(&proxy), request)),
    )
}

/// The client's audit ID, or a new one, so that our line and the servers' audit entries meet.
fn with_audit_id(mut request: Request<Body>) -> Request<Body> {
    let usable =
        request.headers().get(&AUDIT_ID).is_some_and(|id| !id.is_empty() && id.len() <= limits::MAX_AUDIT_ID);
    if !usable {
        let id = uuid::Uuid::new_v4().hyphenated().to_string();
        let id = HeaderValue::from_str(&id).expect("a UUID is visible ASCII");
        request.headers_mut().insert(AUDIT_ID, id);
    }
    request
}

/// A panic is a 500 for the one request that met it.
async fn guarded(proxy: Arc<Proxy>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let encoding = Encoding::preferred(request.headers());
    let answer = AssertUnwindSafe(proxy.handle(request)).catch_unwind().await;
    Ok(answer.unwrap_or_else(|_| {
        tracing::error!("a request was given up because of a panic; see standard error");
        Status::internal("the proxy failed at this request; its log says where").into_response(encoding)
    }))
}

#[derive(Clone)]
struct Log {
    metrics: Metrics,
    /// Servers by number.
    names: Arc<[Arc<str>]>,
    access_log: bool,
}

/// The layer that sees each request come and go.
#[derive(Clone)]
struct Access<S> {
    inner: S,
    log: Log,
}

/// One request, from its head to the last byte of its answer; written down when it is dropped, so that neither
/// a client that leaves nor an early return loses it.
struct Line {
    log: Log,
    recorder: RequestRecorder,
    method: Method,
    /// Without the query, which may carry credentials (I12).
    path: String,
    client: Option<SocketAddr>,
    audit_id: String,
    agent: String,
    record: Record,
    /// 0 until an answer began.
    status: u16,
    sent: u64,
    /// What `Content-Length` promises.
    promised: Option<u64>,
    /// How the answer's body ended.
    end: &'static str,
    /// What went through the tunnel that the connection became.
    tunnel: Option<Ended>,
    /// On its connection; over when this is.
    _turn: Option<Turn>,
}

// === impl Access ===

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut request = request;
        let line = Line::new(&self.log, &mut request);
        let received = line.log.metrics.requests.clone();
        let request = request.map(|body| {
            if http_body::Body::is_end_stream(&body) { body } else { body::watched(body, Upload(received)) }
        });
        let answer = self.inner.call(request);
        Box::pin(finish(answer, line))
    }
}

/// Waits for an answer, and watches its body to the end.
async fn finish<F>(answer: F, mut line: Line) -> Result<Response<Body>, Infallible>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut response = answer.await?;
    // As kube-apiserver, also where the answer is ours.
    if let Ok(audit_id) = HeaderValue::from_str(&line.audit_id) {
        response.headers_mut().entry(AUDIT_ID).or_insert(audit_id);
    }
    line.answered(&mut response);
    let tunnel = response.extensions_mut().remove::<Handover>();
    if let Some(tunnel) = tunnel.and_then(|handover| handover.take()) {
        // It outlives the request, and its line with it.
        tokio::spawn(async move { line.tunnelled(tunnel.run().await) });
        return Ok(response);
    }
    Ok(response.map(|body| body::watched(body, line)))
}

// === impl Line ===

impl Line {
    fn new(log: &Log, request: &mut Request<Body>) -> Self {
        let turn = request.extensions_mut().remove();
        let text = |name| {
            let value: Option<&HeaderValue> = request.headers().get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Self {
            log: log.clone(),
            recorder: log.metrics.requests.start(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            client: request.extensions().get::<Arc<Connection>>().map(|connection| connection.remote),
            audit_id: text(AUDIT_ID),
            agent: text(http::header::USER_AGENT),
            record: Record::default(),
            status: 0,
            sent: 0,
            promised: None,
            end: "client left",
            tunnel: None,
            _turn: turn,
        }
    }

    fn answered(&mut self, response: &mut Response<Body>) {
        self.record = response.extensions_mut().remove().unwrap_or_default();
        self.status = response.status().as_u16();
        let length = response.headers().get(http::header::CONTENT_LENGTH);
        self.promised = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
        self.recorder.asked(&self.record.verb, self.record.long_running);
        self.recorder.decided(self.record.reason);
        if let Some(server) = self.record.server {
            self.recorder.sent_to(Arc::clone(&self.log.names[server]), self.record.class);
        }
        self.recorder.answered(self.status);
    }

    /// The connection had become a tunnel, which is over.
    fn tunnelled(mut self, ended: Ended) {
        self.end = ended.end.as_str();
        self.tunnel = Some(ended);
    }
}

impl Watcher for Line {
    fn data(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        // hyper does not ask for more than was promised, so no end would be seen.
        if self.promised == Some(self.sent) {
            self.ended();
        }
    }

    fn ended(&mut self) {
        self.end = "whole";
    }

    fn failed(&mut self, _error: &BoxError) {
        self.end = "server broke off";
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.recorder.sent_bytes(self.sent);
        if !self.log.access_log {
            return;
        }
        let record = &self.record;
        tracing::info!(
            target: "access",
            audit_id = self.audit_id,
            client = self.client.map(tracing::field::display),
            user = record.user,
            caller = record.caller,
            method = %self.method,
            path = self.path,
            verb = record.verb,
            group = record.group,
            version = record.version,
            resource = record.resource,
            server = record.server.map(|server| &*self.log.names[server]),
            reason = record.reason,
            attempts = record.attempts,
            status = self.status,
            error = record.error.as_ref().map(|(_, message)| message.as_str()),
            class = record.class,
            bytes = self.tunnel.map_or(self.sent, |tunnel| tunnel.down),
            received = self.tunnel.map(|tunnel| tunnel.up),
            end = self.end,
            ms = self.recorder.elapsed().as_secs_f64() * 1e3,
            agent = self.agent,
        );
    }
}

/// Counts what clients send.
struct Upload(crate::metrics::RequestMetrics);

impl Watcher for Upload {
    fn data(&mut self, bytes: usize) {
        self.0.received_bytes(bytes as u64);
    }
}
