//! Who is asking, decided as kube-apiserver decides it (design: *Who is calling*).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, header};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::answer::Refusal;
use super::target::percent_decode;
use super::websocket;
use crate::api::user::{ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, CREDENTIAL_ID, UserInfo};

/// The subject attribute that holds a Kubernetes UID.
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);

/// A user as a test or the demo names one.
pub fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..UserInfo::default()
    }
}

/// Checks that a client certificate chains to an authority.
pub(super) struct Verifier(Arc<dyn ClientCertVerifier>);

/// Everything that authentication needs to know.
#[derive(Debug, Default)]
pub(super) struct Authenticator {
    pub(super) client_ca: Option<Verifier>,
    pub(super) front_proxy: Option<FrontProxy>,
    pub(super) tokens: HashMap<String, UserInfo>,
    pub(super) anonymous: bool,
}

/// Who may speak for others.
#[derive(Debug)]
pub(super) struct FrontProxy {
    pub(super) ca: Verifier,
    /// Common names; empty allows all.
    pub(super) allowed_names: Vec<String>,
    /// Whether `X-Remote-Uid` is read (`--requestheader-uid-headers`, since 1.33).
    pub(super) uid: bool,
}

/// What one authenticator says: somebody, nobody, or something is wrong.
type Verdict = Result<Option<UserInfo>, ()>;

// === impl Authenticator ===

impl Authenticator {
    /// Front proxy, client certificate, token, anonymous: the first that says somebody counts. If none does,
    /// anything wrong (a token nobody knows, a certificate that doesn't verify) is a 401.
    pub(super) fn authenticate(
        &self,
        certificates: &[CertificateDer<'_>],
        headers: &HeaderMap,
    ) -> Result<UserInfo, Refusal> {
        let authenticators: [&dyn Fn() -> Verdict; 3] =
            [&|| self.front_proxied(certificates, headers), &|| self.certified(certificates), &|| {
                self.bearer(headers)
            }];
        let mut wrong = false;
        for authenticator in authenticators {
            match authenticator() {
                Ok(Some(user)) => return Ok(with_authenticated(user)),
                Ok(None) => {}
                Err(()) => wrong = true,
            }
        }
        if wrong || !self.anonymous {
            return Err(Refusal::unauthorized());
        }
        Ok(user(ANONYMOUS, &[ALL_UNAUTHENTICATED]))
    }

    fn front_proxied(&self, certificates: &[CertificateDer<'_>], headers: &HeaderMap) -> Verdict {
        let (Some(front), Some(leaf)) = (&self.front_proxy, certificates.first()) else { return Ok(None) };
        front.ca.verify(certificates)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| ())?;
        let name = last_common_name(&parsed);
        if !front.allowed_names.is_empty() && !front.allowed_names.contains(&name) {
            return Err(());
        }
        Ok(remote_user(headers, front.uid))
    }

    fn certified(&self, certificates: &[CertificateDer<'_>]) -> Verdict {
        let (Some(ca), Some(leaf)) = (&self.client_ca, certificates.first()) else { return Ok(None) };
        ca.verify(certificates)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| ())?;
        let name = last_common_name(&parsed);
        if name.is_empty() {
            return Ok(None);
        }
        let subject = parsed.subject();
        let uids: Vec<_> = subject.iter_by_oid(&UID).map(|uid| uid.as_str().unwrap_or_default()).collect();
        let uid = match uids[..] {
            [] => String::new(),
            [uid] if !uid.is_empty() => uid.to_owned(),
            _ => return Err(()),
        };
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
        let digest: String = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(UserInfo {
            name,
            uid,
            groups: groups.map(str::to_owned).collect(),
            extra: vec![(CREDENTIAL_ID.to_owned(), format!("X509SHA256={digest}"))],
        }))
    }

    fn bearer(&self, headers: &HeaderMap) -> Verdict {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            let token = websocket::token(headers);
            return token.map(|token| self.tokens.get(&token).cloned().ok_or(())).transpose();
        };
        // As Go's `strings.TrimSpace`, which knows the blanks of Unicode, too.
        let value = String::from_utf8_lossy(value.as_bytes());
        let mut parts = value.trim().splitn(3, ' ');
        match (parts.next(), parts.next()) {
            (Some(scheme), Some(token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
                self.tokens.get(token).cloned().map(Some).ok_or(())
            }
            _ => Ok(None),
        }
    }
}

// === impl Verifier ===

impl Verifier {
    pub(super) fn new(
        ca: &CertificateDer<'static>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
            .build()
            .map(Self)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn verify(&self, certificates: &[CertificateDer<'_>]) -> Result<(), ()> {
        let (leaf, rest) = certificates.split_first().ok_or(())?;
        self.0.verify_client_cert(leaf, rest, UnixTime::now()).map(drop).map_err(drop)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// The user that a front proxy vouches for; upstream: `authentication/request/headerrequest`.
fn remote_user(headers: &HeaderMap, uid_read: bool) -> Option<UserInfo> {
    const EXTRA: &str = "x-remote-extra-";
    let one = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = one("x-remote-user");
    if name.is_empty() {
        return None;
    }
    Some(UserInfo {
        name: name.to_owned(),
        uid: if uid_read { one("x-remote-uid").to_owned() } else { String::new() },
        groups: all(headers, "x-remote-group"),
        extra: extras(headers, EXTRA),
    })
}

/// All values of a header in their order.
pub(super) fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
}

/// The extra fields of a user: keys are lower case and percent-decoded.
pub(super) fn extras(headers: &HeaderMap, prefix: &str) -> Vec<(String, String)> {
    let pairs = headers.iter().filter_map(|(name, value)| {
        let key = name.as_str().strip_prefix(prefix).filter(|key| !key.is_empty())?;
        Some((percent_decode(key), value.to_str().ok()?.to_owned()))
    });
    pairs.collect()
}

/// Go's `Subject.CommonName` is the last one.
fn last_common_name(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject().iter_common_name();
    names.filter_map(|name| name.as_str().ok()).last().unwrap_or_default().to_owned()
}

/// Upstream: `authentication/group/authenticated_group_adder.go`.
pub(super) fn with_authenticated(mut user: UserInfo) -> UserInfo {
    let known = user.groups.iter().any(|group| group == ALL_AUTHENTICATED || group == ALL_UNAUTHENTICATED);
    if user.name != ANONYMOUS && !known {
        user.groups.push(ALL_AUTHENTICATED.to_owned());
    }
    user
}
