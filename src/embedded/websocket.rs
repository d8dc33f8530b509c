//! What a WebSocket client offers, and the token among it.

use http::HeaderMap;
use http::header;

/// The WebSocket protocols that a client offers.
pub(super) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// The token among the offered protocols of a WebSocket upgrade; upstream:
/// `k8s.io/apiserver/pkg/authentication/request/websocket`.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(header::UPGRADE)?;
    if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return None;
    }
    offered(headers).find_map(bearer)
}

/// The token that a protocol hands over, if it is one of that kind.
pub(super) fn bearer(protocol: &str) -> Option<String> {
    let encoded = protocol.strip_prefix("base64url.bearer.authorization.k8s.io.")?;
    let (mut bits, mut count, mut token) = (0_u32, 0, Vec::new());
    for letter in encoded.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            token.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    String::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_among_the_protocols_is_decoded() {
        // printf %s b0b-s3cr3t | basenc --base64url
        let protocol = "base64url.bearer.authorization.k8s.io.YjBiLXMzY3IzdA";
        assert_eq!(bearer(protocol).as_deref(), Some("b0b-s3cr3t"));
        assert_eq!(bearer("v5.channel.k8s.io"), None);
    }
}
