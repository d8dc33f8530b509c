//! Any list of headers → what goes off and what goes on before the next hop (I1, I2, I3).
//!
//! Input: lines of `name: value`.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use kube_peer_proxy::api::user::{UserHeaders, UserInfo};
use kube_peer_proxy::proxy::headers::{
    FORWARDED_FOR, IdentityFilter, PEER_PROXIED, forwarded_for, join_cookies, strip_hop_by_hop,
    take_peer_proxied,
};
use libfuzzer_sys::fuzz_target;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// Names that some server takes identities from, beside the usual ones.
const CUSTOM: [&str; 4] = ["x-user", "x_group", "who-uid", "x-more-"];
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// What a client cannot name away.
const PROTECTED: [&str; 7] = [
    "authorization",
    "sec-websocket-protocol",
    "host",
    "content-length",
    "te",
    "audit-id",
    "x-kubernetes-peer-proxied",
];

static USUAL: LazyLock<UserHeaders> = LazyLock::new(UserHeaders::default);
static FILTER: LazyLock<IdentityFilter> = LazyLock::new(|| {
    let name = HeaderName::from_static;
    let custom = UserHeaders {
        username: vec![name(CUSTOM[0])],
        group: vec![name(CUSTOM[1])],
        uid: vec![name(CUSTOM[2])],
        extra_prefixes: vec![CUSTOM[3].to_owned()],
    };
    IdentityFilter::new([&*USUAL, &custom])
});
static JANE: LazyLock<UserInfo> = LazyLock::new(|| UserInfo {
    name: "jane".into(),
    uid: "u-1".into(),
    groups: vec!["dev".into(), "ops".into()],
    extra: vec![("example.com/scopes".into(), "a".into()), ("example.com/scopes".into(), "b".into())],
});

fuzz_target!(|input: &[u8]| {
    let Some(sent) = read(input) else { return };
    let mut headers = sent.clone();
    strip_hop_by_hop(&mut headers);
    FILTER.strip(&mut headers);

    for name in headers.keys() {
        let name = name.as_str();
        assert!(!is_identity(name), "I1: {name} passed");
        assert!(!HOP_BY_HOP.contains(&name), "I2: {name} passed");
    }
    for name in sent.keys() {
        let is_protected = PROTECTED.contains(&name.as_str()) || name.as_str().starts_with("impersonate-");
        let goes = HOP_BY_HOP.contains(&name.as_str())
            || is_identity(name.as_str())
            || (!is_protected && is_nominated(&sent, name));
        if name == header::TE {
            let trailers = sent.get_all(name).iter().any(|value| {
                value
                    .as_bytes()
                    .split(|byte| *byte == b',')
                    .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers"))
            });
            assert_eq!(values(&headers, name), if trailers { vec![&b"trailers"[..]] } else { vec![] });
        } else if goes {
            assert!(!headers.contains_key(name), "I2: {name} passed");
        } else {
            assert_eq!(values(&headers, name), values(&sent, name), "{name} was changed");
        }
    }
    let mut again = headers.clone();
    strip_hop_by_hop(&mut again);
    FILTER.strip(&mut again);
    assert_eq!(again, headers, "what is clean stays as it is");

    join_cookies(&mut again);
    let whole = values(&headers, &header::COOKIE).join(&b"; "[..]);
    assert_eq!(values(&again, &header::COOKIE).join(&b"; "[..]), whole, "a cookie in one piece is the same");
    assert!(values(&again, &header::COOKIE).len() <= 1);

    for trusted in [false, true] {
        let mut headers = headers.clone();
        forwarded_for(&mut headers, CLIENT, trusted);
        let chain = values(&headers, &FORWARDED_FOR);
        assert!(matches!(chain[..], [chain] if chain.ends_with(b"192.0.2.7")));
        assert!(trusted || chain == [b"192.0.2.7"]);
        assert!(trusted || !headers.contains_key(header::FORWARDED) && !headers.contains_key("x-real-ip"));
    }

    let proxied = take_peer_proxied(&mut headers);
    assert_eq!(proxied, values(&sent, &PEER_PROXIED) == [b"true"], "I3");
    assert_eq!(proxied, headers.contains_key(&PEER_PROXIED), "I3");

    JANE.stamp(&mut headers, &USUAL).expect("her identity can stand in headers");
    let stamped: HeaderMap = headers.iter().filter(|(name, _)| is_identity(name.as_str())).map(own).collect();
    let mut expected = HeaderMap::new();
    JANE.stamp(&mut expected, &USUAL).expect("her identity can stand in headers");
    assert_eq!(stamped, expected, "I1: she is who she is, and nobody else");
});

fn read(input: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (!headers.is_empty()).then_some(headers)
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

fn own((name, value): (&HeaderName, &HeaderValue)) -> (HeaderName, HeaderValue) {
    (name.clone(), value.clone())
}

/// Some servers behind a server read an underscore as a hyphen.
fn is_identity(name: &str) -> bool {
    let name = name.replace('_', "-");
    name.starts_with("x-remote-")
        || CUSTOM
            .iter()
            .map(|custom| custom.replace('_', "-"))
            .any(|custom| if custom.ends_with('-') { name.starts_with(&custom) } else { name == custom })
}

/// Whether any `Connection` line names it.
fn is_nominated(sent: &HeaderMap, name: &HeaderName) -> bool {
    sent.get_all(header::CONNECTION).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}
