//! Headers that may be shown (I12).
//!
//! Whoever logs a request's headers wraps them in [`DebugHeaders`]. What is allowed through is a list, not
//! what is kept back: a header nobody thought of stays hidden.

use std::fmt;

use http::{HeaderMap, HeaderName, header};

/// The headers whose values may be shown: they say how a message is to be read, never who sent it.
const SHOWN: [HeaderName; 28] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::AGE,
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPECT,
    header::HOST,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::LAST_MODIFIED,
    header::RETRY_AFTER,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
    header::WARNING,
    HeaderName::from_static("audit-id"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-kubernetes-peer-proxied"),
];

/// What stands in the place of a value that is kept back.
pub const REDACTED: &str = "[redacted]";

/// Shows a header map with every name, and with the values of those headers only that carry no secret and no
/// identity: neither `Authorization`, cookies, `Sec-WebSocket-Protocol` (which can hold a token), the
/// `X-Remote-*` and `Impersonate-*` families, nor anything unknown.
pub struct DebugHeaders<'a>(pub &'a HeaderMap);

// === impl DebugHeaders ===

impl fmt::Debug for DebugHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| {
                let shown = SHOWN.contains(name) && !value.is_sensitive();
                let value: &dyn fmt::Debug = if shown { value } else { &REDACTED };
                (name.as_str(), Shown(value))
            }))
            .finish()
    }
}

/// Lets one map hold values of both kinds.
struct Shown<'a>(&'a dyn fmt::Debug);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn i12_no_secret_and_no_identity_is_shown() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "Sec-WebSocket-Protocol",
            "X-Remote-User",
            "X-Remote-Uid",
            "X-Remote-Group",
            "X-Remote-Extra-Scopes",
            "Impersonate-User",
            "Impersonate-Extra-Token",
            "X-Amz-Security-Token",
            "X-Never-Heard-Of",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(CANARY));
            headers
                .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("Bearer canary-7f3a"));
            let shown = format!("{:?}", DebugHeaders(&headers));
            assert!(!shown.contains(CANARY), "{name}: {shown}");
            assert_eq!(shown.matches(REDACTED).count(), 2, "both lines of {name} are there: {shown}");
            assert!(shown.contains(&name.to_lowercase()), "the name is shown: {shown}");
        }
    }

    #[test]
    fn what_tells_how_to_read_a_message_is_shown() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(format!("{:?}", DebugHeaders(&headers)), r#"{"content-type": "application/json"}"#);
    }

    #[test]
    fn a_value_marked_sensitive_is_never_shown() {
        let mut value = HeaderValue::from_static(CANARY);
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value);
        assert!(!format!("{:?}", DebugHeaders(&headers)).contains(CANARY));
    }
}
