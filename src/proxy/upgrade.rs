//! Upgraded connections: exec, attach, port-forward, and WebSockets behind `proxy`.
//!
//! The request is decided and sent as any other, on a connection of its own. Until the server has answered 101
//! nothing that the client says behind its request goes anywhere, and any other answer is the last thing on both
//! connections (I5; CVE-2018-1002105). After it the two are a [`Tunnel`].

mod protocol;
mod tunnel;

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;

use super::{Proxy, forward::Failure, headers, listener::Connection};
use crate::{
    api::status::Status,
    body::{self, Body},
    limits,
    servers::{
        Class, Server, health,
        pool::{Answered, Refusal, SendErrorKind, Switched},
        source::InFlight,
    },
};

pub use protocol::{Protocol, remove_token};
pub use tunnel::{End, Ended, Tunnel};

/// What a client wants its connection to become.
pub(super) struct Wish {
    protocol: Protocol,
    client: OnUpgrade,
    connection: Arc<Connection>,
}

/// A tunnel on its way, in the extensions of the 101, to whoever runs it.
#[derive(Clone)]
pub struct Handover(Arc<Mutex<Option<Tunnel>>>);

/// Whether the request asks for an upgrade, allowed or not.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    protocol::is_asked(request.version(), request.headers())
}

/// Whatever the client sent behind a request for an upgrade that was refused is no request (I5).
pub(super) fn end_unless_switched(response: &mut Response<Body>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

// === impl Wish ===

impl Wish {
    /// Reads a request.
    ///
    /// # Errors
    /// See [`Protocol::asked`].
    pub(super) fn of(parts: &mut Parts) -> Result<Option<Self>, Status> {
        let Some(protocol) = Protocol::asked(parts)? else { return Ok(None) };
        let client = parts.extensions.remove();
        let connection = parts.extensions.get().cloned();
        match (client, connection) {
            (Some(client), Some(connection)) => Ok(Some(Self { protocol, client, connection })),
            _ => Err(Status::internal("the connection cannot be upgraded")),
        }
    }
}

// === impl Handover ===

impl Handover {
    fn new(tunnel: Tunnel) -> Self {
        Self(Arc::new(Mutex::new(Some(tunnel))))
    }

    /// The tunnel, once.
    pub fn take(&self) -> Option<Tunnel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Proxy {
    /// Asks one server for the upgrade, with the front-proxy certificate if `certificate`.
    pub(super) async fn switch(
        &self,
        wish: &Wish,
        server: &Arc<Server>,
        mut request: Request<Body>,
        certificate: bool,
        turn: health::Exchange<'_>,
    ) -> Result<Response<Body>, Failure> {
        let protocol = wish.protocol;
        ask_for(protocol, request.headers_mut());
        let in_flight = InFlight::new(server, true);
        let answered = server.upgrade(request, certificate, turn).await;
        if matches!(&answered, Err(error) if error.kind == SendErrorKind::Exhausted) {
            self.metrics.servers.exhausted(&server.name, Class::Upgrade.as_str());
        }
        match answered.map_err(Failure::Send)? {
            Answered::Other(refusal) => refused(server, refusal).await.map_err(Failure::Refused),
            Answered::Switched(response, switched) => {
                let named = Protocol::named(response.headers());
                if named != Some(protocol) {
                    return Err(Failure::Refused(Status::bad_gateway(format!(
                        "{}: was asked to switch to {} and switched to something else",
                        server.name,
                        protocol.as_str(),
                    ))));
                }
                Ok(self.switched(wish, server, response, switched, in_flight))
            }
        }
    }

    /// The 101 for the client, and the tunnel behind it.
    fn switched(
        &self,
        wish: &Wish,
        server: &Arc<Server>,
        response: Response<()>,
        switched: Switched,
        in_flight: InFlight,
    ) -> Response<Body> {
        let mut response = response.map(|()| body::empty());
        headers::strip_hop_by_hop(response.headers_mut());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        ask_for(wish.protocol, response.headers_mut());
        let tunnel = Tunnel {
            client: wish.client.clone(),
            connection: Arc::clone(&wish.connection),
            server: switched,
            in_flight,
            idle: self.policy.load().settings.upgrade_idle_timeout,
            drain: self.drain.clone(),
            busy: self.drain.busy(),
            metrics: self.metrics.upgrades.opened(Arc::clone(&server.name)),
        };
        response.extensions_mut().insert(Handover::new(tunnel));
        response
    }
}

/// Names the protocol, after hop-by-hop fields went off.
fn ask_for(protocol: Protocol, headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol.as_str()));
}

/// The server's no, for the client. A 2xx is no answer to this question, and a 3xx would lead the client, with its
/// credentials, wherever a backend likes (CVE-2020-8559).
async fn refused(server: &Server, refusal: Refusal) -> Result<Response<Body>, Status> {
    let status = refusal.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Err(Status::bad_gateway(format!(
            "{}: answered {status} to an upgrade, which is neither yes nor no",
            server.name
        )));
    }
    let whole = refusal.read(limits::MAX_REFUSED_UPGRADE_BYTES, limits::REFUSED_UPGRADE_TIMEOUT).await;
    let whole = whole.map_err(|error| {
        Status::bad_gateway(format!("{}: answered {status} to an upgrade, but {error}", server.name))
    })?;
    let mut response = whole.map(body::full);
    headers::strip_hop_by_hop(response.headers_mut());
    Ok(response)
}
