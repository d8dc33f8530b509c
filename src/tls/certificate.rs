//! Client certificates: does the chain hold, and whom does it name?
//!
//! TLS checks only that the client has the key ([`super::server`]). Everything else happens here, after the
//! handshake, so that a certificate that does not verify is an answer (401) and not a broken connection, and
//! so that an identity does not outlive its certificate on a long connection.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use rustls::{
    CertificateError, DistinguishedName, RootCertStore,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, der_parser::Oid, oid_registry, prelude::FromDer as _};

/// The subject attribute that carries a Kubernetes UID: 1.3.6.1.4.1.57683.2
/// (`k8s.io/apiserver/pkg/authentication/request/x509`).
const UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// The CAs that client certificates of one kind must chain to.
pub struct ClientCa {
    roots: Vec<Root>,
    names: Vec<DistinguishedName>,
}

/// One of them. TLS libraries don't ask whether a trust anchor is still valid; kube-apiserver (Go's `crypto/x509`)
/// does, so each has a verifier of its own.
struct Root {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Seconds since the epoch, both included.
    validity: RangeInclusive<i64>,
}

/// A chain that held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Seconds since the epoch at which the first certificate of the chain, or its CA, expires.
    pub not_after: u64,
}

/// What a certificate's subject says, in Kubernetes' reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The last CN, as Go's `pkix.Name` has it; empty if there is none.
    pub common_name: String,
    /// The O's, in order.
    pub organizations: Vec<String>,
    /// Every value of the UID attribute.
    pub uids: Vec<String>,
    /// Lower-case hex SHA-256 of the certificate's DER.
    pub fingerprint: String,
}

/// Why a bundle of CAs or a certificate does not count.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM file is not one.
    #[error("no PEM certificates: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The bundle is empty or unusable.
    #[error("unusable CA bundle: {0}")]
    Bundle(String),
    /// The chain does not lead to a CA, or is not valid now.
    #[error("the certificate does not verify: {0}")]
    Chain(rustls::Error),
    /// The certificate is not X.509 as we read it.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
}

/// Reads every certificate of a PEM bundle.
///
/// # Errors
/// If the text is no PEM, or holds no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() { Err(Error::Bundle("it holds no certificate".into())) } else { Ok(all) }
}

// === impl ClientCa ===

impl ClientCa {
    /// Reads a PEM bundle.
    ///
    /// # Errors
    /// If it holds no usable certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let mut roots = Vec::new();
        for certificate in certificates(pem)? {
            let unusable = |error: &dyn fmt::Display| Error::Bundle(error.to_string());
            let parsed = parse(&certificate)?;
            let validity = parsed.validity().not_before.timestamp()..=parsed.validity().not_after.timestamp();
            let mut store = RootCertStore::empty();
            store.add(certificate).map_err(|error| unusable(&error))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), super::provider())
                .build()
                .map_err(|error| unusable(&error))?;
            roots.push(Root { verifier, validity });
        }
        let names = roots.iter().flat_map(|root| root.verifier.root_hint_subjects()).cloned().collect();
        Ok(Self { roots, names })
    }

    /// The CAs' names, told to clients in the handshake: Go's client only sends a certificate of one of them.
    pub fn names(&self) -> &[DistinguishedName] {
        &self.names
    }

    /// Whether the chain (leaf first) leads to one of the CAs, may be used by a client, and is valid `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<Verified, Error> {
        let (leaf, intermediates) =
            chain.split_first().ok_or_else(|| Error::Malformed("an empty chain".into()))?;
        let mut not_after = self.root_of(leaf, intermediates, now).map_err(Error::Chain)?;
        for certificate in chain {
            let expiry = parse(certificate)?.validity().not_after.timestamp();
            not_after = not_after.min(u64::try_from(expiry).unwrap_or_default());
        }
        Ok(Verified { not_after })
    }

    /// Until when the CA is valid that the chain leads to.
    fn root_of(
        &self,
        leaf: &CertificateDer<'static>,
        intermediates: &[CertificateDer<'static>],
        now: UnixTime,
    ) -> Result<u64, rustls::Error> {
        let mut refused = rustls::Error::from(CertificateError::UnknownIssuer);
        for Root { verifier, validity } in &self.roots {
            match verifier.verify_client_cert(leaf, intermediates, now) {
                Ok(_) if validity.contains(&i64::try_from(now.as_secs()).unwrap_or(i64::MAX)) => {
                    return Ok(u64::try_from(*validity.end()).unwrap_or_default());
                }
                Ok(_) => refused = rustls::Error::General("its CA is not valid now".to_owned()),
                // The CA that it doesn't lead to has less to say than the one that it does.
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCa({} names)", self.names().len())
    }
}

// === impl Subject ===

impl Subject {
    /// Reads a certificate's subject. It is worth something only after [`ClientCa::verify`].
    ///
    /// # Errors
    /// If the certificate or one of the attributes that count cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let parsed = parse(certificate)?;
        let uid = Oid::from(UID).map_err(|_| Error::Malformed("UID attribute".into()))?;
        let mut subject = Self { fingerprint: hex(&Sha256::digest(certificate)), ..Self::default() };
        for attribute in parsed.subject().iter_attributes() {
            let text = || {
                attribute
                    .as_str()
                    .map(str::to_owned)
                    .map_err(|error| Error::Malformed(format!("a name in its subject: {error}")))
            };
            if *attribute.attr_type() == oid_registry::OID_X509_COMMON_NAME {
                subject.common_name = text()?;
            } else if *attribute.attr_type() == oid_registry::OID_X509_ORGANIZATION_NAME {
                subject.organizations.push(text()?);
            } else if *attribute.attr_type() == uid {
                subject.uids.push(text()?);
            }
        }
        Ok(subject)
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| Error::Malformed(error.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
