//! What a connection is asked to become: an allow-list of two, as kube-apiserver's clients need them.
//!
//! A proxy that passes on protocols which it does not know can be used to hide requests in them
//! (kubernetes/kubernetes#72112; h2c through Go's `ReverseProxy`, golang/go#80416).

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};

use crate::{api::status::Status, proxy::caller::WEBSOCKET_BEARER};

/// A protocol that a connection may be switched to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 6455.
    Websocket,
    /// SPDY/3.1, as Kubernetes streams it.
    Spdy,
}

// === impl Protocol ===

impl Protocol {
    const ALL: [Self; 2] = [Self::Websocket, Self::Spdy];

    /// As it stands in `Upgrade`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Spdy => "SPDY/3.1",
        }
    }

    /// The one protocol that `Upgrade` names; `None` for another one, for several, or for none.
    pub fn named(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::UPGRADE).iter();
        let line = lines.next()?.as_bytes().trim_ascii();
        let known = Self::ALL.into_iter().find(|known| line.eq_ignore_ascii_case(known.as_str().as_bytes()));
        known.filter(|_| lines.next().is_none())
    }

    /// What a request asks for. Without `Connection: upgrade` an `Upgrade` header asks for nothing (RFC 9110, 7.8),
    /// and on HTTP/2 there is none.
    ///
    /// # Errors
    /// 400 for any other protocol, over HTTP/1.0, and beside a body: who would read that, and as what?
    pub fn asked(parts: &Parts) -> Result<Option<Self>, Status> {
        if !is_asked(parts.version, &parts.headers) {
            return Ok(None);
        }
        let Some(protocol) = Self::named(&parts.headers) else {
            return Err(Status::bad_request(
                "the only upgrades are `Upgrade: websocket` and `Upgrade: SPDY/3.1`, one of them",
            ));
        };
        if parts.version < Version::HTTP_11 {
            return Err(Status::bad_request("an upgrade needs HTTP/1.1"));
        }
        let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
        if parts.headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|length| length != "0") {
            return Err(Status::bad_request("a request for an upgrade must not have a body"));
        }
        Ok(Some(protocol))
    }
}

/// Whether an upgrade is asked for, allowed or not.
pub(super) fn is_asked(version: Version, headers: &HeaderMap) -> bool {
    version <= Version::HTTP_11
        && headers.contains_key(header::UPGRADE)
        && words(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case(b"upgrade"))
}

/// Takes a bearer token out of `Sec-WebSocket-Protocol`; what else is offered there stays.
pub fn remove_token(headers: &mut HeaderMap) {
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    // Anywhere in a word: kube-apiserver takes off blanks of Unicode before it looks how one begins.
    let is_token = |word: &&[u8]| {
        word.windows(WEBSOCKET_BEARER.len()).any(|begins| begins == WEBSOCKET_BEARER.as_bytes())
    };
    if !words(headers, &name).any(|word| is_token(&word)) {
        return;
    }
    let rest: Vec<&[u8]> = words(headers, &name).filter(|word| !is_token(word)).collect();
    let rest = HeaderValue::from_bytes(&rest.join(&b", "[..])).ok().filter(|rest| !rest.is_empty());
    headers.remove(&name);
    if let Some(rest) = rest {
        headers.insert(name, rest);
    }
}

/// The words of a header's comma-separated lines; bytes, for an odd word must not hide the others of its line.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn asked(request: http::request::Builder) -> Result<Option<Protocol>, u16> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Protocol::asked(&parts).map_err(|status| status.code.as_u16())
    }

    fn upgrade(to: &str) -> http::request::Builder {
        Request::get("/exec").header("connection", "keep-alive, Upgrade").header("upgrade", to)
    }

    #[test]
    fn i5_two_protocols_are_known_in_any_case_and_nothing_else() {
        assert_eq!(asked(upgrade("WebSocket")), Ok(Some(Protocol::Websocket)));
        assert_eq!(asked(upgrade("spdy/3.1")), Ok(Some(Protocol::Spdy)));
        for other in
            ["h2c", "SPDY/3", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "h2c, websocket", "", "websocket;x"]
        {
            assert_eq!(asked(upgrade(other)), Err(400), "{other:?}");
        }
        assert_eq!(asked(upgrade("websocket").header("upgrade", "h2c")), Err(400));
        assert_eq!(asked(upgrade("websocket").header("upgrade", "websocket")), Err(400));
    }

    #[test]
    fn an_upgrade_header_that_connection_does_not_name_asks_for_nothing() {
        assert_eq!(asked(Request::get("/").header("upgrade", "h2c")), Ok(None));
        assert_eq!(asked(Request::get("/").header("connection", "upgrade")), Ok(None));
        assert_eq!(asked(upgrade("h2c").version(Version::HTTP_2)), Ok(None));
        let named_apart = Request::get("/").header("connection", "x-upgrade").header("upgrade", "h2c");
        assert_eq!(asked(named_apart), Ok(None));
        assert_eq!(asked(upgrade("websocket").header("connection", "close")), Ok(Some(Protocol::Websocket)));
    }

    #[test]
    fn i5_an_upgrade_has_no_body_and_is_http_1_1() {
        assert_eq!(asked(upgrade("websocket").header("content-length", "0")), Ok(Some(Protocol::Websocket)));
        assert_eq!(asked(upgrade("websocket").header("content-length", "1")), Err(400));
        assert_eq!(asked(upgrade("websocket").header("transfer-encoding", "chunked")), Err(400));
        assert_eq!(asked(upgrade("websocket").version(Version::HTTP_10)), Err(400));
    }

    #[test]
    fn i12_only_the_token_is_taken_out_of_the_offered_protocols() {
        let left = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("sec-websocket-protocol", HeaderValue::from_str(line).unwrap());
            }
            remove_token(&mut headers);
            let lines = headers.get_all("sec-websocket-protocol").iter();
            lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let token = format!("{WEBSOCKET_BEARER}c2VjcmV0");
        assert_eq!(left(&["v5.channel.k8s.io, v4.channel.k8s.io"]), ["v5.channel.k8s.io, v4.channel.k8s.io"]);
        assert_eq!(left(&[&format!("{token},v4.channel.k8s.io"), "v5"]), ["v4.channel.k8s.io, v5"]);
        assert_eq!(left(&[&token]), [""; 0]);
    }

    #[test]
    fn i12_a_byte_that_no_word_has_does_not_hide_what_else_its_line_says() {
        let line = |text: &[u8]| HeaderValue::from_bytes(text).unwrap();
        let mut headers = HeaderMap::new();
        let offered = [WEBSOCKET_BEARER.as_bytes(), b"c2VjcmV0, \xe9"].concat();
        headers.insert("sec-websocket-protocol", line(&offered));
        remove_token(&mut headers);
        assert_eq!(headers["sec-websocket-protocol"], line(b"\xe9"));
        headers
            .insert("sec-websocket-protocol", line(format!("\u{a0}{WEBSOCKET_BEARER}c2VjcmV0").as_bytes()));
        remove_token(&mut headers);
        assert_eq!(headers.get("sec-websocket-protocol"), None, "kube-apiserver reads it");

        headers.insert("connection", line(b"\xe9, Upgrade"));
        headers.insert("upgrade", line(b"h2c"));
        assert!(is_asked(Version::HTTP_11, &headers));
    }
}
