//! Who is calling: kube-apiserver's order of authenticators, as far as a proxy can follow it.
//!
//! 1. A trusted front proxy before us: its user headers are the caller.
//! 2. A client certificate of the client CA: the subject is the caller.
//! 3. A bearer token: passed on untouched; the API server decides.
//! 4. Nothing: anonymous.
//!
//! Source: `k8s.io/apiserver/pkg/authentication/request/{headerrequest,x509,bearertoken,union}`.

use std::sync::Arc;

use http::{HeaderMap, header};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::{
    api::{
        status::Status,
        user::{
            ALL_UNAUTHENTICATED, ANONYMOUS, CREDENTIAL_ID, MASTERS, UserHeaders, UserInfo, unescape_extra_key,
        },
    },
    tls::certificate::{ClientCa, Subject},
};

/// The prefix of a bearer token that a browser hands over as a WebSocket protocol.
pub(super) const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// Who sends a request, and by what we know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Told by a trusted front proxy.
    FrontProxy(Arc<UserInfo>),
    /// Named by a client certificate.
    Certificate(Arc<UserInfo>),
    /// Whoever the bearer token is for; only an API server can tell.
    Token,
    /// Nobody in particular.
    Anonymous,
}

/// Whom we believe. One value per generation of CAs; a connection's [`Credentials`] belong to one.
#[derive(Debug, Default)]
pub struct Authenticator {
    /// CAs of client certificates.
    pub client_ca: Option<ClientCa>,
    /// The front proxy before us.
    pub front_proxy: Option<FrontProxy>,
}

/// A front proxy that may tell us who the caller is (kube-apiserver's `--requestheader-*`).
#[derive(Debug)]
pub struct FrontProxy {
    /// CAs of its client certificate.
    pub ca: ClientCa,
    /// Common names that it may have; empty allows all.
    pub allowed_names: Vec<String>,
    /// Where it writes the caller.
    pub headers: UserHeaders,
}

/// What a connection's client certificate is worth, found once per connection.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Until when (seconds since the epoch) the connection is that of a trusted front proxy.
    front_proxy_until: Option<u64>,
    certificate: Certificate,
}

#[derive(Clone, Debug, Default)]
enum Certificate {
    /// None was shown, or it names nobody.
    #[default]
    None,
    /// It does not count.
    Rejected(Arc<str>),
    /// It names a user until then (seconds since the epoch).
    User(Arc<UserInfo>, u64),
}

// === impl Caller ===

impl Caller {
    /// The user that we stamp, if we know who it is. Anonymous is never stamped (I4).
    pub fn stamped(&self) -> Option<&Arc<UserInfo>> {
        match self {
            Self::FrontProxy(user) | Self::Certificate(user) => {
                Some(user).filter(|user| user.name != ANONYMOUS)
            }
            Self::Token | Self::Anonymous => None,
        }
    }

    /// Whether we found out the identity, so that no `Authorization` may go along with it.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::FrontProxy(_) | Self::Certificate(_))
    }

    /// Whether we know that it is one of the cluster's masters.
    pub fn is_master(&self) -> bool {
        self.stamped().is_some_and(|user| user.groups.iter().any(|group| group == MASTERS))
    }

    /// For logs: the user's name, or what else is known. Never a credential (I12).
    pub fn label(&self) -> &str {
        match self {
            Self::FrontProxy(user) | Self::Certificate(user) => &user.name,
            Self::Token => "(token)",
            Self::Anonymous => ANONYMOUS,
        }
    }

    /// How the caller was authenticated, for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::FrontProxy(_) => "front-proxy",
            Self::Certificate(_) => "certificate",
            Self::Token => "token",
            Self::Anonymous => "anonymous",
        }
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// Judges the certificate chain of a connection (leaf first), if it has one.
    pub fn connection(&self, chain: Option<&[CertificateDer<'static>]>, now: UnixTime) -> Credentials {
        let Some(chain @ [leaf, ..]) = chain else { return Credentials::default() };
        let subject = match Subject::of(leaf) {
            Ok(subject) => subject,
            Err(error) => {
                return Credentials {
                    certificate: Certificate::Rejected(error.to_string().into()),
                    ..Credentials::default()
                };
            }
        };
        let front_proxy_until = self.front_proxy.as_ref().and_then(|trusted| {
            let verified = trusted.ca.verify(chain, now).ok()?;
            let allowed =
                trusted.allowed_names.is_empty() || trusted.allowed_names.contains(&subject.common_name);
            allowed.then_some(verified.not_after)
        });
        let certificate = match &self.client_ca {
            None => Certificate::Rejected("no client CA is configured".into()),
            Some(ca) => match ca.verify(chain, now) {
                Ok(verified) => certificate_user(subject, verified.not_after),
                Err(error) => Certificate::Rejected(error.to_string().into()),
            },
        };
        Credentials { front_proxy_until, certificate }
    }

    /// Who sends a request on a connection with these credentials.
    ///
    /// # Errors
    /// 401 if a certificate was shown that does not count, or no longer, and no token stands beside it.
    pub fn caller(
        &self,
        credentials: &Credentials,
        headers: &HeaderMap,
        now: UnixTime,
    ) -> Result<Caller, Status> {
        let now = now.as_secs();
        let holds = |until: u64| now <= until;
        if let (Some(until), Some(trusted)) = (credentials.front_proxy_until, &self.front_proxy)
            && holds(until)
            && let Some(user) = told_user(headers, &trusted.headers)?
        {
            return known(Caller::FrontProxy, &Arc::new(user));
        }
        let rejected = match &credentials.certificate {
            Certificate::User(user, until) if holds(*until) => {
                return known(Caller::Certificate, user);
            }
            Certificate::User(..) => Some("the certificate has expired on this connection"),
            Certificate::Rejected(reason) => Some(&**reason),
            Certificate::None => None,
        };
        match (has_token(headers), rejected) {
            (true, _) => Ok(Caller::Token),
            (false, None) => Ok(Caller::Anonymous),
            (false, Some(reason)) => Err(Status::unauthorized(format!(
                "Unauthorized: the client certificate does not count here ({reason}); \
                 see --client-ca-file and --requestheader-client-ca-file"
            ))),
        }
    }

    /// Whether the connection is that of a trusted front proxy, which may say where a request came from.
    pub fn is_front_proxy(&self, credentials: &Credentials, now: UnixTime) -> bool {
        credentials.front_proxy_until.is_some_and(|until| now.as_secs() <= until)
    }
}

/// A caller whose user we know.
///
/// # Errors
/// 401 for a user in the group of the unauthenticated: kube-apiserver would close the connection behind a
/// request of his, which others share (I4), and without his name he would be somebody else.
pub(super) fn known(kind: fn(Arc<UserInfo>) -> Caller, user: &Arc<UserInfo>) -> Result<Caller, Status> {
    if user.name != ANONYMOUS && user.groups.iter().any(|group| group == ALL_UNAUTHENTICATED) {
        return Err(Status::unauthorized(format!(
            "Unauthorized: only {ANONYMOUS} can be in the group {ALL_UNAUTHENTICATED}"
        )));
    }
    Ok(kind(Arc::clone(user)))
}

/// The user that a verified certificate names.
fn certificate_user(subject: Subject, not_after: u64) -> Certificate {
    if subject.common_name.is_empty() {
        return Certificate::None;
    }
    let uid = match subject.uids.as_slice() {
        [] => String::new(),
        [uid] if !uid.is_empty() => uid.clone(),
        _ => {
            return Certificate::Rejected("its subject must carry one UID that is not empty, or none".into());
        }
    };
    let user = UserInfo {
        name: subject.common_name,
        uid,
        groups: subject.organizations,
        extra: vec![(CREDENTIAL_ID.to_owned(), format!("X509SHA256={}", subject.fingerprint))],
    };
    Certificate::User(Arc::new(user), not_after)
}

/// The user that a front proxy tells; `None` if it tells none.
fn told_user(headers: &HeaderMap, names: &UserHeaders) -> Result<Option<UserInfo>, Status> {
    let text = |value: &http::HeaderValue| {
        std::str::from_utf8(value.as_bytes())
            .map(str::to_owned)
            .map_err(|_| Status::unauthorized("the front proxy's user headers are not UTF-8"))
    };
    let first = |names: &[http::HeaderName]| {
        names
            .iter()
            .filter_map(|name| headers.get(name))
            .find(|value| !value.is_empty())
            .map(text)
            .transpose()
    };
    let Some(name) = first(&names.username)? else { return Ok(None) };
    let mut user = UserInfo { name, uid: first(&names.uid)?.unwrap_or_default(), ..UserInfo::default() };
    for group in names.group.iter().flat_map(|name| headers.get_all(name)) {
        user.groups.push(text(group)?);
    }
    for (name, value) in headers {
        for prefix in &names.extra_prefixes {
            if let Some(key) = name.as_str().strip_prefix(prefix.as_str()) {
                user.extra.push((unescape_extra_key(key), text(value)?));
            }
        }
    }
    Ok(Some(user))
}

/// Whether the request brings a bearer token, as kube-apiserver would look for one. It reads
/// `Sec-WebSocket-Protocol` of an upgrade only; with that line on any other request a caller is anonymous there.
fn has_token(headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).is_some_and(|value| {
        let mut words = value.as_bytes().split(|byte| *byte == b' ');
        words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
            && words.next().is_some_and(is_token)
    });
    bearer
        || (is_websocket(headers)
            && words_of(headers, &header::SEC_WEBSOCKET_PROTOCOL)
                .any(|protocol| protocol.starts_with(WEBSOCKET_BEARER)))
}

/// Tokens are visible ASCII (RFC 6750, 2.1). kube-apiserver trims whatever Unicode calls a blank off the line, so that
/// `Bearer` and a no-break space is an anonymous request there, and that must not pass for one with a token (I4).
fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_graphic)
}

/// Upstream: `IsWebSocketRequest` in `k8s.io/apimachinery/pkg/util/httpstream/wsstream`.
fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && words_of(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"))
}

/// The words of a header's comma-separated lines.
fn words_of<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests;
