//! What must hold of whatever reached the servers.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use kube_peer_proxy::embedded::LoggedRequest;

use super::client::Mode;
use super::stage::{Stage, asked};

const PROXIED: &str = "x-kubernetes-peer-proxied";
/// End at each hop; `Transfer-Encoding` is the next hop's own.
const HOP_BY_HOP: [&str; 5] =
    ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "http2-settings"];
const TOKEN_PROTOCOL: &[u8] = b"base64url.bearer.authorization.k8s.io.";
const HEADERS_FRAME: u8 = 1;

pub(super) fn check(stage: &Stage, mode: Mode, sent: &[u8], answer: &[u8]) {
    let (at_home, at_peer) = (asked(&stage.home), asked(&stage.peer));
    stage.forget();
    let heads = if mode.h2 { header_frames(sent) } else { count(sent, b" HTTP/1.") };
    assert!(at_home.len() + at_peer.len() <= heads, "{heads} heads became {at_home:?} and {at_peer:?}");
    for request in at_home.iter().chain(&at_peer) {
        check_request(stage, mode, request);
        if !mode.h2 {
            check_bytes(sent, request);
        }
    }

    let named = lower(sent).windows(PROXIED.len()).any(|at| at == PROXIED.as_bytes());
    for request in &at_home {
        let marks = values(&request.headers, PROXIED);
        // Header names may be squeezed on HTTP/2, so nothing can be seen in its bytes.
        assert!(marks.is_empty() || (marks == [b"true"] && (named || mode.h2)), "I3: {request:?}");
    }
    for request in &at_peer {
        assert_eq!(values(&request.headers, PROXIED), [b"true"], "I3: {request:?}");
        assert!(mode.h2 || !is_one_proxied_request(sent), "I3: {request:?} was sent on");
    }

    if !mode.h2 && !answer.is_empty() {
        let status = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)).unwrap_or_default();
        assert!(status.iter().all(u8::is_ascii_digit) && !status.is_empty(), "no answer of HTTP/1");
        assert_ne!(status, b"500");
        // A 200 to an upgrade is neither yes nor no, so a client hears 502.
        let upgrade =
            at_home.iter().chain(&at_peer).any(|request| request.headers.contains_key(header::UPGRADE));
        assert!(
            upgrade || status != b"502",
            "what a server cannot read was sent on: {at_home:?} {at_peer:?}"
        );
    }
    let proxy = stage.app.proxy.load_full();
    let (fleet, catalog) = (&proxy.fleet, proxy.book.catalog());
    assert_eq!(fleet.healthy(), fleet.all(), "no client can make us distrust a server");
    assert!(catalog.unknown.is_empty(), "no client can make us doubt what a server serves");
}

fn check_request(stage: &Stage, mode: Mode, request: &LoggedRequest) {
    let told = identity(&request.headers);
    if mode.certificate {
        // On her connection she is jane and nobody else, and proves it by our certificate alone.
        assert_eq!(told, stage.jane, "I1: {request:?}");
        assert!(!request.headers.contains_key(header::AUTHORIZATION), "I13: {request:?}");
        let protocols = values(&request.headers, "sec-websocket-protocol").concat();
        assert_eq!(count(&protocols, TOKEN_PROTOCOL), 0, "I13: {request:?}");
    } else {
        assert!(told.is_empty(), "I1: {request:?}");
    }
    assert_eq!(request.certificate, mode.certificate, "I4: {request:?}");
    let anonymous = request.user.as_ref().is_none_or(|user| user.name == "system:anonymous");
    assert!(!anonymous || request.version == Version::HTTP_11, "I4: {request:?}");

    for name in HOP_BY_HOP {
        assert!(!request.headers.contains_key(name), "I2: {name} in {request:?}");
    }
    for upgrade in request.headers.get_all(header::UPGRADE) {
        assert!(upgrade == "websocket" || upgrade == "SPDY/3.1", "I5: {request:?}");
    }
    for connection in request.headers.get_all(header::CONNECTION) {
        assert!(connection.as_bytes().eq_ignore_ascii_case(b"upgrade"), "I2: {request:?}");
    }
    assert_eq!(values(&request.headers, "x-forwarded-for"), [b"127.0.0.1"], "{request:?}");
    assert!(!request.headers.contains_key("forwarded") && !request.headers.contains_key("x-real-ip"));
    assert!(values(&request.headers, "host").len() <= 1 && !request.host.is_empty(), "{request:?}");
}

/// Whatever an API server reads in the request line, the client wrote.
fn check_bytes(sent: &[u8], request: &LoggedRequest) {
    // An absolute target may have no path.
    let target = request.target.strip_prefix('/').filter(|rest| rest.is_empty() || rest.starts_with('?'));
    let target = target.unwrap_or(&request.target);
    for text in [target, request.method.as_str()] {
        assert!(text.is_empty() || count(sent, text.as_bytes()) > 0, "nobody asked for {request:?}");
    }
    for value in request.headers.get_all(header::AUTHORIZATION) {
        assert!(value.is_empty() || count(sent, value.as_bytes()) > 0, "I13: {request:?}");
    }
}

/// The headers from which a server would take an identity, also one that reads underscores as hyphens.
pub(super) fn identity(headers: &HeaderMap) -> HeaderMap {
    let is_identity =
        |(name, _): &(&HeaderName, &HeaderValue)| name.as_str().replace('_', "-").starts_with("x-remote-");
    headers.iter().filter(is_identity).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// One request, which says in its head and just once that a peer sent it.
fn is_one_proxied_request(sent: &[u8]) -> bool {
    let sent = lower(sent);
    let head = sent.windows(4).position(|at| at == b"\r\n\r\n").map_or(&sent[..], |end| &sent[..end + 4]);
    count(&sent, b" http/1.") == 1
        && count(&sent, PROXIED.as_bytes()) == 1
        && count(head, b"\r\nx-kubernetes-peer-proxied: true\r\n") == 1
}

fn lower(bytes: &[u8]) -> Vec<u8> {
    bytes.to_ascii_lowercase()
}

/// How often `wanted` stands there; nothing stands nowhere.
fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    if wanted.is_empty() {
        return 0;
    }
    bytes.windows(wanted.len()).filter(|at| *at == wanted).count()
}

/// HEADERS frames behind the preface, as far as there are whole frames; the last may be cut short.
fn header_frames(sent: &[u8]) -> usize {
    let mut rest = sent.get(24..).unwrap_or_default();
    let mut found = 0;
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        found += usize::from(*kind == HEADERS_FRAME);
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = after.get(length..).unwrap_or_default();
    }
    found
}
