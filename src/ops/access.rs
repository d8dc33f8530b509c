//! What is the same for every request, around the proxy: an audit ID, an access line, metrics, and a panic that
//! costs one request only.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, Version};
use tower::{service_fn, util::BoxCloneSyncService};

use crate::{
    api::status::{Encoding, Status},
    body::{self, Body, BoxError, Watcher},
    limits,
    metrics::{Metrics, RequestRecorder, recent::Decided},
    proxy::{
        InUse, Proxy,
        headers::AUDIT_ID,
        listener::{Connection, Handler, Turn},
        record::Record,
        upgrade::{Ended, Handover},
    },
};

/// The proxy with everything around it, ready for a listener.
pub fn handler(proxy: InUse, access_log: bool) -> Handler {
    let log = Arc::new(Log { metrics: proxy.load().metrics.clone(), access_log });
    // One future, boxed where it is made: each layer that has one of its own copies all that is inside of it, some
    // kilobytes for every request.
    BoxCloneSyncService::new(service_fn(move |mut request: Request<Body>| {
        let proxy = proxy.load_full();
        with_audit_id(&mut request);
        let mut line = Line::new(&log, &mut request);
        let request = line.count_upload(request);
        Box::pin(async move {
            let mut response = guarded(proxy, request).await;
            line.answered(&mut response);
            let tunnel = response.extensions_mut().remove::<Handover>();
            if let Some(tunnel) = tunnel.and_then(|handover| handover.take()) {
                // It outlives the request, and its line with it.
                tokio::spawn(async move { line.tunnelled(tunnel.run().await) });
                return Ok(response);
            }
            Ok(response.map(|body| body::watched(body, line)))
        })
    }))
}

/// The client's audit ID, or a new one, so that our line and the servers' audit entries meet.
fn with_audit_id(request: &mut Request<Body>) {
    let usable =
        request.headers().get(&AUDIT_ID).is_some_and(|id| !id.is_empty() && id.len() <= limits::MAX_AUDIT_ID);
    if !usable {
        // Random enough to be unique, and without a system call.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut text = uuid::Uuid::encode_buffer();
        let id = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text));
        request.headers_mut().insert(AUDIT_ID, id.expect("a UUID is visible ASCII"));
    }
    if let Some(id) = request.headers_mut().get_mut(&AUDIT_ID) {
        once_only(id);
    }
}

/// Keeps a value that won't come again out of HPACK's tables, where it would push out those that will.
fn once_only(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

/// A panic is a 500 for the one request that met it.
async fn guarded(proxy: Arc<Proxy>, request: Request<Body>) -> Response<Body> {
    let (encoding, version) = (Encoding::preferred(request.headers()), request.version());
    let answer = AssertUnwindSafe(proxy.handle(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        tracing::error!("a request was given up because of a panic; see standard error");
        let status = Status::internal("the proxy failed at this request; its log says where");
        // What follows on HTTP/1.1 may be the rest of what was not read, or of an upgrade (I5).
        let status = if version <= Version::HTTP_11 { status.closing() } else { status };
        status.into_response(encoding)
    })
}

/// What the lines have in common.
struct Log {
    metrics: Metrics,
    access_log: bool,
}

/// One request, from its head to the last byte of its answer; written down when it is dropped, so that neither
/// a client that leaves nor an early return loses it.
struct Line {
    log: Arc<Log>,
    recorder: RequestRecorder,
    method: Method,
    /// Without the query, which may carry credentials (I12).
    path: String,
    client: Option<SocketAddr>,
    audit_id: Option<HeaderValue>,
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

// === impl Line ===

impl Line {
    fn new(log: &Arc<Log>, request: &mut Request<Body>) -> Self {
        let turn = request.extensions_mut().remove();
        let agent = request.headers().get(http::header::USER_AGENT).filter(|_| log.access_log);
        Self {
            log: Arc::clone(log),
            recorder: log.metrics.requests.start(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            client: request.extensions().get::<Arc<Connection>>().map(|connection| connection.remote),
            audit_id: request.headers().get(&AUDIT_ID).cloned(),
            agent: agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned(),
            record: Record::default(),
            status: 0,
            sent: 0,
            promised: None,
            end: "client left",
            tunnel: None,
            _turn: turn,
        }
    }

    /// Has the bytes of a request's body counted.
    fn count_upload(&self, request: Request<Body>) -> Request<Body> {
        if http_body::Body::is_end_stream(request.body()) {
            return request;
        }
        let received = Upload(self.log.metrics.requests.clone());
        request.map(|body| body::watched(body, received))
    }

    /// Takes down how the answer begins, and marks it.
    fn answered(&mut self, response: &mut Response<Body>) {
        // As kube-apiserver, also where the answer is ours.
        if let Some(id) = &self.audit_id {
            once_only(response.headers_mut().entry(AUDIT_ID).or_insert_with(|| id.clone()));
        }
        self.record = response.extensions_mut().remove().unwrap_or_default();
        self.status = response.status().as_u16();
        let length = response.headers().get(http::header::CONTENT_LENGTH);
        self.promised = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
        self.recorder.asked(&self.record.verb, self.record.long_running);
        self.recorder.decided(self.record.reason);
        if let Some(server) = &self.record.server {
            self.recorder.sent_to(Arc::clone(server), self.record.class);
        }
        self.recorder.answered(self.status);
        self.remember();
    }

    /// What did not simply stay at home is for the admin pages to show. Nothing else gets as far as their lock.
    fn remember(&self) {
        let Record { error, rerouted, .. } = &self.record;
        if error.is_none() && !rerouted {
            return;
        }
        let decided = Decided {
            verb: &self.record.verb,
            group: &self.record.group,
            version: &self.record.version,
            resource: &self.record.resource,
            home: self.record.home.as_ref(),
            server: self.record.server.as_ref(),
            reason: self.record.reason,
            status: self.status,
        };
        let (recent, took) = (&self.log.metrics.recent, self.recorder.elapsed());
        if error.is_some() { recent.refused(decided, took) } else { recent.rerouted(decided, took) }
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
            audit_id = self.audit_id.as_ref().and_then(|id| id.to_str().ok()),
            client = self.client.map(tracing::field::display),
            user = record.user,
            caller = record.caller,
            method = %self.method,
            path = self.path,
            verb = record.verb,
            group = record.group,
            version = record.version,
            resource = record.resource,
            server = record.server.as_deref(),
            reason = record.reason,
            attempts = record.attempts,
            status = self.status,
            error = record.error.as_ref().map(|(_, message)| message.as_str()),
            class = record.class,
            bytes = self.tunnel.map_or(self.sent, |tunnel| tunnel.down),
            received = self.tunnel.map(|tunnel| tunnel.up),
            end = self.end,
            // To the microsecond.
            ms = (self.recorder.elapsed().as_secs_f64() * 1e6).round() / 1e3,
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
