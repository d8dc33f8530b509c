//! One value at a time: text becomes a type, or a sentence says what would be right.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use rustls_pki_types::ServerName;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{MinVersion, duration};
use crate::servers::source::sighting::is_name;

/// Headers that can't carry an identity, because they have a meaning of their own.
const RESERVED_HEADERS: [&str; 20] = [
    "accept",
    "audit-id",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "impersonate-extra-",
    "impersonate-group",
    "impersonate-uid",
    "impersonate-user",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-kubernetes-peer-proxied",
    "x-real-ip",
];

const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address such as 0.0.0.0 or ::1"))
}

/// 0 stands for any port that is free.
pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is no port from 0 to 65535"))
}

pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no address with a port such as 127.0.0.1:8090 or [::1]:8090"))
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| format!("{text:?} is no network such as 10.0.0.0/8"))
}

pub(super) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

/// One of some words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not supported; it can be {}", words.join(", "))
    })
}

pub(super) fn duration_in(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = duration::parse(text)?;
    let show = duration::format;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{text} is out of range; it can be {} to {}", show(*range.start()), show(*range.end())))
    }
}

pub(super) fn count_in(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let value = text.parse().map_err(|_| format!("{text:?} is no whole number"))?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{text} is out of range; it can be {} to {}", range.start(), range.end()))
    }
}

pub(super) fn bytes_in(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let value = duration::parse_bytes(text)?;
    let show = duration::format_bytes;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{text} is out of range; it can be {} to {}", show(*range.start()), show(*range.end())))
    }
}

/// A count of which 0 means that there is no limit.
pub(super) fn limit_in(text: &str, range: &RangeInclusive<usize>) -> Result<Option<usize>, String> {
    if text == "0" { Ok(None) } else { count_in(text, range).map(Some).map_err(|fault| or_0(&fault)) }
}

/// A duration of which 0 means that there is no limit.
pub(super) fn patience_in(text: &str, range: &RangeInclusive<Duration>) -> Result<Option<Duration>, String> {
    let none = duration::parse(text) == Ok(Duration::ZERO);
    if none { Ok(None) } else { duration_in(text, range).map(Some).map_err(|fault| or_0(&fault)) }
}

fn or_0(fault: &str) -> String {
    format!("{fault}, or 0 for no limit")
}

/// A decimal number, such as a chance.
pub(super) fn number_in(text: &str, range: &RangeInclusive<f64>) -> Result<f64, String> {
    let value = text.parse().map_err(|_| format!("{text:?} is no number such as {}", range.end()))?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{text} is out of range; it can be {} to {}", range.start(), range.end()))
    }
}

/// kube-apiserver's name of a TLS version.
pub(super) fn min_version(text: &str) -> Result<MinVersion, String> {
    match text {
        "VersionTLS10" | "VersionTLS11" => Err(format!(
            "{text} is not supported: TLS 1.0 and 1.1 are broken and retired (RFC 8996); it can be VersionTLS12 or \
             VersionTLS13"
        )),
        _ => choice(text, &MinVersion::ALL.map(|version| (version.name(), version))),
    }
}

/// A DNS name that a client may ask for, maybe with `*` for its first label.
pub(super) fn sni_name(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("*.").unwrap_or(&lower);
    match ServerName::try_from(rest.to_owned()) {
        Ok(ServerName::DnsName(_)) => Ok(lower),
        Ok(_) => Err(format!(
            "{text:?} is an address; clients that connect to an address ask for no name and get the certificate of \
             --tls-cert-file"
        )),
        Err(_) => Err(format!("{text:?} is no DNS name such as api.example or *.example")),
    }
}

/// The name of a server or a trust domain.
pub(super) fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no name; it can have letters, digits, -, _ and . and begins with one of the first"
        ))
    }
}

/// A user that a request can be made as.
pub(super) fn user(text: &str) -> Result<String, String> {
    if text == crate::api::user::ANONYMOUS {
        return Err("our own requests can't be anonymous".to_owned());
    }
    let fine = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fine {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no user name of visible ASCII characters"))
    }
}

/// The URL of an API server: nothing in it but host and port.
pub(super) fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{text:?} is no URL such as https://10.0.0.1:6443: {error}"))?;
    // Not shown again: it may have a password in it.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user in it is not supported".to_owned());
    }
    if url.scheme() != "https" {
        return Err(format!("{text:?} is not https: callers' identities go only through TLS"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has more than a host and a port: API servers live at the root"));
    }
    if url.port() == Some(0) {
        return Err(format!("{text:?} has port 0"));
    }
    Ok(url)
}

/// The name that a certificate is checked for: a DNS name or an address.
pub(super) fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| format!("{text:?} is no DNS name or IP address"))
}

/// A header that can carry an identity.
pub(super) fn header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| format!("{text:?} is no name of a header"))?;
    if RESERVED_HEADERS.contains(&name.as_str()) {
        return Err(format!("{text} has another meaning and can't carry an identity"));
    }
    Ok(name)
}

/// The beginning of headers that can carry extra data, in lower case. Every header that begins so is taken for
/// one, so it must not be the beginning of anything else.
pub(super) fn header_prefix(text: &str) -> Result<String, String> {
    let prefix = header(text)?.as_str().to_owned();
    if !prefix.ends_with('-') {
        return Err(format!("{text} does not end with -, as in X-Remote-Extra-"));
    }
    match RESERVED_HEADERS.into_iter().find(|reserved| reserved.starts_with(&prefix)) {
        Some(reserved) => Err(format!("{text} is the beginning of {reserved}, which has another meaning")),
        None => Ok(prefix),
    }
}

/// What is logged: a level, or directives.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let level = LOG_LEVELS.into_iter().any(|level| text.eq_ignore_ascii_case(level));
    let directives = text.contains(['=', ',']) && EnvFilter::try_new(text).is_ok();
    if level || directives {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is neither a level ({}) nor a filter such as info,kube_peer_proxy=debug",
            LOG_LEVELS.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_url_is_https_with_host_and_port_and_nothing_else() {
        for fine in
            ["https://10.0.0.1:6443", "https://[fd00::1]:6443/", "https://a.example", "HTTPS://A.example:443"]
        {
            assert!(server_url(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "http://10.0.0.1:6443",
            "10.0.0.1:6443",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://a:0",
            "https://a:99999",
            "unix:///var/run/a",
        ] {
            assert!(server_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn i12_a_password_in_a_url_is_not_repeated() {
        let message = server_url("https://me:canary-7f3a@10.0.0.1").unwrap_err();
        assert!(!message.contains("canary-7f3a"), "{message}");
    }

    #[test]
    fn names_fit_into_logs_and_labels() {
        for fine in ["a", "1.36", "apiserver-3xq2_x"] {
            assert_eq!(name(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "-a", "a b", "a\"", "ä", "a=b", &"a".repeat(254)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_with_a_meaning_of_its_own_carries_no_identity() {
        assert_eq!(header("X-Remote-User").unwrap(), "x-remote-user");
        assert_eq!(header_prefix("X-Remote-Extra-").as_deref(), Ok("x-remote-extra-"));
        for wrong in ["", "a b", "Authorization", "CONNECTION", "a:", "Impersonate-User"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "X-", "Content-", "Impersonate-", "X-Remote-Extra", "X-Kubernetes-"] {
            assert!(header_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mistyped_log_level_is_no_filter_that_hides_all() {
        for fine in ["info", "DEBUG", "off", "info,kube_peer_proxy::servers=trace"] {
            assert!(log_filter(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "inof", "verbose", "a=b=c"] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn our_own_requests_are_never_anonymous() {
        assert!(user("system:kube-peer-proxy").is_ok());
        for wrong in ["system:anonymous", "", "a\r\nb", "a b"] {
            assert!(user(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ranges_hold_at_both_ends() {
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        for (text, fine) in [("1s", true), ("1m", true), ("999ms", false), ("1m1ms", false), ("x", false)] {
            assert_eq!(duration_in(text, &range).is_ok(), fine, "{text}");
        }
        for (text, fine) in [("1", true), ("5", true), ("0", false), ("6", false), ("-1", false)] {
            assert_eq!(count_in(text, &(1..=5)).is_ok(), fine, "{text}");
        }
        for (text, fine) in [("1Ki", true), ("2Ki", true), ("1023", false), ("2049", false)] {
            assert_eq!(bytes_in(text, &(1024..=2048)).is_ok(), fine, "{text}");
        }
    }
}
