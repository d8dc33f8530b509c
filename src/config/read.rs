//! From what was given to types and certificates; what is wrong is noted, and reading goes on with the default.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::material::{Certificates, Files, KeyPair};
use super::settings::{Given, Settings};
use super::{Fault, UserHeaders, values};

/// What was found while reading.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) files: Files,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

/// A file of certificates and where it is.
pub(super) type CertificatesAt = (PathBuf, Arc<Certificates>);

/// Where certificate and key are, and what is in them.
pub(super) struct KeyPairAt {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) pair: Arc<KeyPair>,
}

// === impl Findings ===

impl Findings {
    /// Notes a fault, once.
    pub(super) fn fault(&mut self, key: impl Into<String>, message: impl Display) {
        let fault = Fault { key: key.into(), message: message.to_string() };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Notes a warning, once.
    pub(super) fn warning(&mut self, key: &str, message: impl Display) {
        let warning = format!("{key}: {message}");
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The path that was given, absolute.
    fn path(&mut self, given: &Given) -> Option<PathBuf> {
        let text = given.values.first()?;
        if text.is_empty() {
            self.fault(&given.key, "is empty; it takes the path of a file");
            return None;
        }
        match std::path::absolute(given.base.join(text)) {
            Ok(path) => Some(path),
            Err(error) => {
                self.fault(&given.key, format!("{text:?} can't be made absolute: {error}"));
                None
            }
        }
    }

    /// The directory that was given, absolute. It may be missing still.
    pub(super) fn directory(&mut self, given: &Given) -> Option<PathBuf> {
        if given.values.first().is_some_and(String::is_empty) {
            let message = "is empty; it takes the path of a directory such as /var/lib/kube-peer-proxy";
            self.fault(&given.key, message);
            return None;
        }
        let path = self.path(given)?;
        if path.exists() && !path.is_dir() {
            self.fault(&given.key, format!("{} is no directory", path.display()));
            return None;
        }
        Some(path)
    }

    /// The certificates in the file that was given.
    pub(super) fn certificates(&mut self, given: &Given) -> Option<CertificatesAt> {
        let path = self.path(given)?;
        match self.files.certificates(&path) {
            Ok(certificates) => {
                for warning in certificates.validity_warnings() {
                    self.warning(&given.key, warning);
                }
                Some((path, Arc::new(certificates)))
            }
            Err(fault) => {
                self.fault(&given.key, fault);
                None
            }
        }
    }

    /// The certificate and the key in the files that were given; both are looked at even if one is wrong.
    pub(super) fn key_pair(&mut self, cert: &Given, key: &Given) -> Option<KeyPairAt> {
        let chain = self.certificates(cert);
        let key_file = self.path(key)?;
        let Some((cert_file, chain)) = chain else {
            if let Err(fault) = self.files.bytes(&key_file) {
                self.fault(&key.key, fault);
            }
            return None;
        };
        match self.files.key_pair(&chain, &key_file) {
            Ok(pair) => Some(KeyPairAt { cert_file, key_file, pair: Arc::new(pair) }),
            Err(fault) => {
                self.fault(&key.key, fault);
                None
            }
        }
    }
}

// === impl Settings ===

impl Settings<'_> {
    /// What was given, if it was and can be read.
    pub(super) fn optional<T>(
        &self,
        found: &mut Findings,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.given(name)?;
        let text = given.values.first().map_or("", String::as_str);
        read(text).map_err(|fault| found.fault(given.key, fault)).ok()
    }

    /// As `optional`, with a default.
    pub(super) fn value<T>(
        &self,
        found: &mut Findings,
        name: &str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.optional(found, name, read).unwrap_or(default)
    }

    /// All values that were given and can be read, each once; the default if none was given.
    pub(super) fn list<T: PartialEq>(
        &self,
        found: &mut Findings,
        name: &str,
        default: Vec<T>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(given) = self.given(name) else { return default };
        let mut list = Vec::new();
        for text in given.values.iter().filter(|text| !text.is_empty()) {
            match read(text) {
                Ok(value) if list.contains(&value) => {
                    found.fault(&given.key, format!("{text} is there twice"))
                }
                Ok(value) => list.push(value),
                Err(fault) => found.fault(&given.key, fault),
            }
        }
        if list.is_empty() { default } else { list }
    }

    pub(super) fn on_off(&self, found: &mut Findings, name: &str, default: bool) -> bool {
        self.value(found, name, default, values::on_off)
    }

    pub(super) fn choice<T: Copy + Default>(
        &self,
        found: &mut Findings,
        name: &str,
        choices: &[(&str, T)],
    ) -> T {
        self.value(found, name, T::default(), |text| values::choice(text, choices))
    }

    pub(super) fn duration(
        &self,
        found: &mut Findings,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.value(found, name, default, |text| values::duration_in(text, &range))
    }

    pub(super) fn count(
        &self,
        found: &mut Findings,
        name: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        self.value(found, name, default, |text| values::count_in(text, &range))
    }

    /// A count of which 0 means that there is no limit.
    pub(super) fn limit(
        &self,
        found: &mut Findings,
        name: &str,
        default: Option<usize>,
        range: RangeInclusive<usize>,
    ) -> Option<usize> {
        self.value(found, name, default, |text| values::limit_in(text, &range))
    }

    pub(super) fn socket(&self, found: &mut Findings, name: &str) -> Option<SocketAddr> {
        self.optional(found, name, values::socket)
    }

    /// The names of the headers that carry an identity.
    pub(super) fn headers(&self, found: &mut Findings) -> UserHeaders {
        let UserHeaders { username, uid, group, extra_prefixes } = UserHeaders::default();
        UserHeaders {
            username: self.list(found, "requestheader-username-headers", username, values::header),
            uid: self.list(found, "requestheader-uid-headers", uid, values::header),
            group: self.list(found, "requestheader-group-headers", group, values::header),
            extra_prefixes: self.list(
                found,
                "requestheader-extra-headers-prefix",
                extra_prefixes,
                values::header_prefix,
            ),
        }
    }
}
