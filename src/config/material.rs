//! Certificates and keys: what the configuration's files hold, read once and found to be sound.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits::MAX_CONFIG_FILE_BYTES;

/// What the files of a configuration hold.
#[derive(Clone, Debug)]
pub struct Material {
    /// What we show to clients.
    pub serving: Arc<KeyPair>,
    /// What we show to clients that ask for certain names, in the order of the configuration.
    pub sni: Vec<Arc<KeyPair>>,
    /// CAs of clients' certificates.
    pub client_ca: Option<Arc<Certificates>>,
    /// CAs of trusted front proxies' certificates.
    pub front_proxy_ca: Option<Arc<Certificates>>,
    /// For each of the configuration's servers, in the same order.
    pub servers: Vec<ServerMaterial>,
    /// For servers that the configuration does not name; none if there can't be any.
    pub peers: Option<ServerMaterial>,
}

/// What the files of one API server hold.
#[derive(Clone, Debug)]
pub struct ServerMaterial {
    /// CAs of its serving certificate.
    pub ca: Arc<Certificates>,
    /// What we show to it where an identity is stamped.
    pub proxy_client: Arc<KeyPair>,
}

/// A bundle of certificates, at least one; each can be read as X.509.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The file as it is.
    pub pem: Vec<u8>,
    /// What it holds.
    pub der: Vec<CertificateDer<'static>>,
}

/// A certificate with its chain, and the key that belongs to it.
#[derive(PartialEq, Eq)]
pub struct KeyPair {
    /// The leaf, and what leads from it to its CA.
    pub chain: Certificates,
    /// The file of the key as it is.
    pub key_pem: Vec<u8>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

/// Reads each file once.
#[derive(Default)]
pub(super) struct Files {
    read: BTreeMap<PathBuf, Result<Arc<Vec<u8>>, String>>,
}

// === impl Certificates ===

impl Certificates {
    /// Reads a PEM bundle; what isn't a certificate in it is skipped.
    ///
    /// # Errors
    /// A sentence, if there is no certificate in it or one that is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("is no readable PEM: {error}"))?;
        if der.is_empty() {
            return Err("has no certificate in it".to_owned());
        }
        for (index, der) in der.iter().enumerate() {
            x509_parser::parse_x509_certificate(der)
                .map_err(|error| format!("certificate {} in it can't be read: {error}", index + 1))?;
        }
        Ok(Self { pem: pem.to_owned(), der })
    }

    /// Says of each certificate that isn't valid now since when or until when it isn't.
    pub(super) fn validity_warnings(&self) -> Vec<String> {
        let certificates = self.der.iter().filter_map(|der| x509_parser::parse_x509_certificate(der).ok());
        certificates
            .filter(|(_, certificate)| !certificate.validity().is_valid())
            .map(|(_, certificate)| {
                let validity = certificate.validity();
                let subject = certificate.subject();
                format!("{subject} is valid from {} to {} only", validity.not_before, validity.not_after)
            })
            .collect()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.der.len())
    }
}

// === impl KeyPair ===

impl KeyPair {
    /// Reads a certificate with its chain, and its key.
    ///
    /// # Errors
    /// A sentence, if one of both can't be read, or they don't belong together.
    pub fn from_pem(cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, String> {
        Self::new(Certificates::from_pem(cert_pem)?, key_pem)
    }

    fn new(chain: Certificates, key_pem: &[u8]) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            rustls_pki_types::pem::Error::NoItemsFound => "has no private key in it".to_owned(),
            other => format!("is no readable PEM: {other}"),
        })?;
        let signing = any_supported_type(&key)
            .map_err(|_| "is a private key of a kind that is not supported".to_owned())?;
        CertifiedKey::new(chain.der.clone(), signing)
            .keys_match()
            .map_err(|_| "does not belong to the certificate".to_owned())?;
        Ok(Self { chain, key_pem: key_pem.to_owned(), key })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.chain.der.len())
    }
}

// === impl Files ===

impl Files {
    /// All that was read, or could not be.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Path, Option<&[u8]>)> {
        self.read
            .iter()
            .map(|(path, read)| (path.as_path(), read.as_ref().ok().map(|bytes| bytes.as_slice())))
    }

    /// The bytes of a file.
    pub(super) fn bytes(&mut self, path: &Path) -> Result<Arc<Vec<u8>>, String> {
        self.read.entry(path.to_owned()).or_insert_with(|| read(path).map(Arc::new)).clone()
    }

    /// The certificates in a file.
    pub(super) fn certificates(&mut self, path: &Path) -> Result<Certificates, String> {
        Certificates::from_pem(&self.bytes(path)?).map_err(|fault| format!("{} {fault}", path.display()))
    }

    /// The key in a file, which belongs to `chain`.
    pub(super) fn key_pair(&mut self, chain: &Certificates, path: &Path) -> Result<KeyPair, String> {
        KeyPair::new(chain.clone(), &self.bytes(path)?).map_err(|fault| format!("{} {fault}", path.display()))
    }
}

/// Reads a regular file (or whatever a link leads to), unless it is too big to be meant.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_CONFIG_FILE_BYTES {
        return Err(format!("{} has more than {MAX_CONFIG_FILE_BYTES} bytes", path.display()));
    }
    Ok(bytes)
}
