//! Where the API servers believe others than the configuration says. Pure: no I/O, and the time is told.

use std::fmt;

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::published::{FrontProxies, Published};
use crate::{
    api::user::UserHeaders,
    limits,
    proxy::headers::IdentityFilter,
    tls::certificate::{ClientCa, Subject},
};

#[cfg(test)]
mod tests;

/// What the configuration says of one server and of who may call.
pub(super) struct Ours<'a> {
    /// Where the server is told who is calling.
    pub(super) headers: &'a UserHeaders,
    /// What no client can bring.
    pub(super) filter: &'a IdentityFilter,
    /// What the server is shown, leaf first.
    pub(super) shown: &'a [CertificateDer<'static>],
    /// CAs of clients' certificates, empty if there are none; none if the server has other callers than we have.
    pub(super) client_ca: Option<&'a [CertificateDer<'static>]>,
    /// When this is.
    pub(super) now: UnixTime,
}

/// One thing that is not the same on both sides, what it leads to, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// It believes no front proxy.
    NoFrontProxies,
    /// The certificate that we show is of none of its front proxies' CAs, which are told.
    OtherCa { why: String },
    /// Our common name is none of those that a front proxy may have.
    OtherName { ours: String, allowed: Vec<String> },
    /// It does not read who is calling where we write it.
    Unread { what: Part, ours: String, theirs: Vec<String> },
    /// It takes an identity from a header that clients may send.
    Unguarded { what: Part, header: String },
    /// We believe CAs, named here, that it doesn't.
    OnlyOurs { cas: Vec<String> },
    /// It believes CAs, named here, that we don't.
    OnlyTheirs { cas: Vec<String> },
}

/// A part of who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Username,
    Uid,
    Group,
    Extra,
}

/// What differs, the worst first.
pub(super) fn differences(ours: &Ours<'_>, published: &Published) -> Vec<Difference> {
    let mut found = Vec::new();
    match &published.front_proxies {
        None => found.push(Difference::NoFrontProxies),
        Some(theirs) => {
            unguarded(ours.filter, theirs, &mut found);
            certificate(ours, theirs, &mut found);
            unread(ours.headers, theirs, &mut found);
        }
    }
    let Some(client_ca) = ours.client_ca else { return found };
    let only_ours = only(client_ca, &published.client_ca);
    if !only_ours.is_empty() {
        found.push(Difference::OnlyOurs { cas: only_ours });
    }
    let only_theirs = only(&published.client_ca, client_ca);
    if !only_theirs.is_empty() {
        found.push(Difference::OnlyTheirs { cas: only_theirs });
    }
    found
}

fn unguarded(filter: &IdentityFilter, theirs: &FrontProxies, found: &mut Vec<Difference>) {
    for (what, names) in
        [(Part::Username, &theirs.username), (Part::Uid, &theirs.uid), (Part::Group, &theirs.group)]
    {
        let open = names.iter().filter(|name| !filter.removes(name)).take(limits::MAX_TRUST_NAMES);
        found.extend(open.map(|header| Difference::Unguarded { what, header: header.clone() }));
    }
    let open = theirs.extra_prefixes.iter().filter(|prefix| !filter.removes_all(prefix));
    let open = open.take(limits::MAX_TRUST_NAMES);
    found.extend(open.map(|header| Difference::Unguarded { what: Part::Extra, header: header.clone() }));
}

fn certificate(ours: &Ours<'_>, theirs: &FrontProxies, found: &mut Vec<Difference>) {
    let verified = ClientCa::from_pem(theirs.ca.as_bytes()).and_then(|ca| ca.verify(ours.shown, ours.now));
    if let Err(error) = verified {
        found.push(Difference::OtherCa { why: error.to_string() });
    }
    let name = ours.shown.first().and_then(|leaf| Subject::of(leaf).ok()).unwrap_or_default().common_name;
    if !theirs.allowed_names.is_empty() && !theirs.allowed_names.contains(&name) {
        found.push(Difference::OtherName { ours: name, allowed: theirs.allowed_names.clone() });
    }
}

fn unread(headers: &UserHeaders, theirs: &FrontProxies, found: &mut Vec<Difference>) {
    let first = |names: &[http::HeaderName]| names.first().map(|name| name.as_str().to_owned());
    for (what, ours, theirs) in [
        (Part::Username, first(&headers.username), &theirs.username),
        (Part::Uid, first(&headers.uid), &theirs.uid),
        (Part::Group, first(&headers.group), &theirs.group),
        (Part::Extra, headers.extra_prefixes.first().cloned(), &theirs.extra_prefixes),
    ] {
        let Some(ours) = ours else { continue };
        if !theirs.iter().any(|name| name.eq_ignore_ascii_case(&ours)) {
            found.push(Difference::Unread { what, ours, theirs: theirs.clone() });
        }
    }
}

/// The names of those of `these` that are not among `those`.
fn only(these: &[CertificateDer<'_>], those: &[CertificateDer<'_>]) -> Vec<String> {
    these.iter().filter(|ca| !those.contains(ca)).map(subject).collect()
}

fn subject(ca: &CertificateDer<'_>) -> String {
    let parsed = X509Certificate::from_der(ca);
    parsed.map_or_else(|_| "an unreadable one".to_owned(), |(_, parsed)| parsed.subject().to_string())
}

// === impl Difference ===

impl Difference {
    /// Worth a warning. kube-apiservers read no UID unless they are told to, and few certificates have one.
    pub(super) fn is_grave(&self) -> bool {
        !matches!(self, Self::Unread { what: Part::Uid, .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrontProxies => write!(
                f,
                "it believes no front proxy, so whoever calls with a certificate becomes nobody there or gets 401; start it \
                 with --requestheader-client-ca-file (the CA of our --proxy-client-cert-file) and \
                 --requestheader-username-headers, --requestheader-group-headers, --requestheader-extra-headers-prefix"
            ),
            Self::OtherCa { why } => write!(
                f,
                "our --proxy-client-cert-file is of none of the CAs of its --requestheader-client-ca-file ({why}), so \
                 whoever calls with a certificate gets 401 from it; show it a certificate that one of them issued"
            ),
            Self::OtherName { ours, allowed } => write!(
                f,
                "our --proxy-client-cert-file has the CN {ours:?}, and its --requestheader-allowed-names are {}, so whoever \
                 calls with a certificate gets 401 from it; show it a certificate with such a name, or add ours there",
                listed(allowed)
            ),
            Self::Unread { what, ours, theirs } => {
                let (flag, lost) = (what.flag(), what.loss());
                let theirs = if theirs.is_empty() { "nowhere".to_owned() } else { listed(theirs) };
                write!(
                    f,
                    "we write {what} to {ours}, and it reads that from {theirs}, so {lost}; make --{flag} the same on both \
                     sides"
                )
            }
            Self::Unguarded { what, header } => {
                let header = shown(header);
                write!(
                    f,
                    "it believes us {what} from {header} too, which clients may send through us: anybody can claim to \
                     be somebody else; add {header} to this server's {}, or take it away there",
                    what.key()
                )
            }
            Self::OnlyOurs { cas } => write!(
                f,
                "our --client-ca-file believes CAs that it does not: {}; whom they name is let in through us and not by \
                 the server itself; use the server's own --client-ca-file",
                listed(cas)
            ),
            Self::OnlyTheirs { cas } => write!(
                f,
                "its --client-ca-file believes CAs that ours does not: {}; whom they name gets 401 from us; use the \
                 server's own --client-ca-file",
                listed(cas)
            ),
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(limits::MAX_TRUST_NAMES).map(|name| shown(name));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(limits::MAX_TRUST_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A name as the server tells it, which is not to write lines of its own into the log.
fn shown(name: &str) -> String {
    let mut characters = name.chars();
    let begins = characters.by_ref().take(limits::MAX_TRUST_NAME_CHARACTERS);
    let mut shown: String =
        begins.map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one }).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

// === impl Part ===

impl Part {
    /// kube-apiserver's.
    fn flag(self) -> &'static str {
        match self {
            Self::Username => "requestheader-username-headers",
            Self::Uid => "requestheader-uid-headers",
            Self::Group => "requestheader-group-headers",
            Self::Extra => "requestheader-extra-headers-prefix",
        }
    }

    /// In the configuration file, of one server.
    fn key(self) -> &'static str {
        match self {
            Self::Username => "requestheaderUsernameHeaders",
            Self::Uid => "requestheaderUidHeaders",
            Self::Group => "requestheaderGroupHeaders",
            Self::Extra => "requestheaderExtraHeadersPrefix",
        }
    }

    fn loss(self) -> &'static str {
        match self {
            Self::Username => "whoever calls with a certificate gets 401 from it",
            Self::Uid => "the UID that a certificate names is lost",
            Self::Group => {
                "whoever calls with a certificate loses his groups there, and the rights that they give"
            }
            Self::Extra => {
                "what else is known of who calls with a certificate is lost, as his credential-id in audit"
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Username => "who is calling",
            Self::Uid => "the caller's UID",
            Self::Group => "the caller's groups",
            Self::Extra => "what else is known of the caller",
        })
    }
}
