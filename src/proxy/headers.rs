//! Header hygiene: what goes off and what goes on before a message is sent to the next hop.
//!
//! The order is the security (I2): [`strip_hop_by_hop`] first, then [`IdentityFilter::strip`], and only then
//! [`UserInfo::stamp`](crate::api::user::UserInfo::stamp) and the loop header, so that nothing that a client names in `Connection` can remove what we write.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};
use http_body::Body as _;

pub use crate::servers::PEER_PROXIED;
use crate::{
    api::user::UserHeaders,
    body::{self, Body, Watcher},
};

/// Names one request in the logs of every server that sees it.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// The client's address, and those of the proxies between.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Headers that end at each hop whether `Connection` names them or not (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    HTTP2_SETTINGS,
];

/// Removes what is meant for this connection only: the fixed set, and what every `Connection` line names.
///
/// Who a request speaks for cannot be named away: without its `Impersonate-User` it would run with more rights
/// than its sender asked for (CVE-2021-31999 of another proxy).
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            // Bytes, for one odd name must not hide the others of its line.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Entry::Occupied(mut te) = headers.entry(header::TE) {
        let trailers = te.iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        });
        if trailers {
            te.insert(HeaderValue::from_static("trailers"));
        } else {
            te.remove_entry_mult();
        }
    }
}

/// What `Connection` cannot take off a request: what says who asks whom, and where the request ends.
fn is_end_to_end(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 7] = [
        header::AUTHORIZATION,
        // A browser's token stands there.
        header::SEC_WEBSOCKET_PROTOCOL,
        header::HOST,
        header::CONTENT_LENGTH,
        header::TE,
        AUDIT_ID,
        PEER_PROXIED,
    ];
    NAMES.contains(name) || name.as_str().starts_with("impersonate-")
}

/// What must not stand behind a body (RFC 9110, 6.5.1): whoever takes trailers for headers would go by it.
fn is_no_trailer(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 9] = [
        header::TRAILER,
        header::EXPECT,
        header::COOKIE,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::FORWARDED,
        FORWARDED_FOR,
        REAL_IP,
    ];
    is_end_to_end(name) || HOP_BY_HOP.contains(name) || NAMES.contains(name)
}

/// Puts the crumbs of a cookie together, into which HTTP/2 lets clients break it: over HTTP/1.1 only one line may go
/// on (RFC 9113, 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// Every header by which some API server would take a user's identity from us.
#[derive(Clone, Debug, Default)]
pub struct IdentityFilter {
    /// In lower case, with hyphens.
    names: Vec<String>,
    /// In lower case, with hyphens.
    prefixes: Vec<String>,
    /// What any of them begins with.
    firsts: Vec<u8>,
}

// === impl IdentityFilter ===

impl IdentityFilter {
    /// The standard names and those of every server and of the front proxy before us.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a UserHeaders>) -> Self {
        let mut filter = Self { prefixes: vec!["x-remote-".to_owned()], ..Self::default() };
        for headers in configured {
            let names = headers.username.iter().chain(&headers.uid).chain(&headers.group);
            filter.names.extend(names.map(|name| normal(name.as_str())));
            filter.prefixes.extend(headers.extra_prefixes.iter().map(|prefix| normal(prefix)));
        }
        filter.names.sort();
        filter.names.dedup();
        filter.prefixes.sort();
        filter.prefixes.dedup();
        let Self { names, prefixes, .. } = &filter;
        filter.firsts = names.iter().chain(prefixes).filter_map(|name| name.bytes().next()).collect();
        filter.firsts.sort_unstable();
        filter.firsts.dedup();
        filter
    }

    /// Removes them all (I1). Underscores count as hyphens: some servers behind a server read them so.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let found: Vec<HeaderName> =
            headers.keys().filter(|name| self.matches(name.as_str())).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }

    /// Whether no client can bring a header of this name, in any spelling.
    pub fn removes(&self, name: &str) -> bool {
        self.matches_normal(&normal(name))
    }

    /// Whether no client can bring a header whose name begins like this.
    pub fn removes_all(&self, prefix: &str) -> bool {
        let prefix = normal(prefix);
        self.prefixes.iter().any(|known| prefix.starts_with(known.as_str()))
    }

    fn matches(&self, name: &str) -> bool {
        // Nearly all headers differ from all of ours in the first byte already.
        if !name.bytes().next().is_some_and(|first| self.firsts.contains(&normal_byte(first))) {
            return false;
        }
        if name.contains('_') {
            let name = normal(name);
            return self.matches_normal(&name);
        }
        self.matches_normal(name)
    }

    fn matches_normal(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
            || self.names.iter().any(|known| known == name)
    }
}

/// What a client says of an identity behind its body counts as little as what it says before it (I1), and nothing
/// else that decides about a request may come late: a server behind us may take trailers for headers.
pub fn clean_trailers(body: Body, filter: &Arc<IdentityFilter>) -> Body {
    if body.is_end_stream() { body } else { body::watched(body, Trailers(Arc::clone(filter))) }
}

struct Trailers(Arc<IdentityFilter>);

impl Watcher for Trailers {
    fn trailers(&mut self, trailers: &mut HeaderMap) {
        self.0.strip(trailers);
        let found: Vec<HeaderName> = trailers.keys().filter(|name| is_no_trailer(name)).cloned().collect();
        for name in found {
            trailers.remove(name);
        }
    }
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn normal_byte(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// Appends the client's address; what it brought itself counts only if it is `trusted`.
pub fn forwarded_for(headers: &mut HeaderMap, client: IpAddr, trusted: bool) {
    let mut chain = String::new();
    if trusted {
        for value in headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()) {
            chain.push_str(value);
            chain.push_str(", ");
        }
    } else {
        headers.remove(REAL_IP);
        headers.remove(header::FORWARDED);
    }
    chain.push_str(&client.to_canonical().to_string());
    if let Ok(value) = HeaderValue::try_from(chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Whether the request was sent on by a peer already. Another value than exactly one `true` is removed (I3).
pub fn take_peer_proxied(headers: &mut HeaderMap) -> bool {
    let mut values = headers.get_all(&PEER_PROXIED).iter();
    let proxied = values.next().is_some_and(|value| value == "true") && values.next().is_none();
    if !proxied {
        headers.remove(&PEER_PROXIED);
    }
    proxied
}

#[cfg(test)]
mod tests;
