//! A demo PKI: what `certs` writes to a folder, what `demo` and the test kit use in memory.
//!
//! Two authorities, as kubeadm lays them out: the *cluster CA* signs serving and client certificates, the
//! *front-proxy CA* signs only those who may speak for others (`X-Remote-*`). They are kept apart because a
//! certificate of the second one lets its bearer claim to be anybody.
//!
//! Keys are ECDSA P-256, `notBefore` lies a minute in the past so that a clock slightly behind does no harm.

mod files;
mod leaf;
mod pem;
mod subject;

pub use files::{PkiFile, WriteError, write_all};
pub use leaf::{Leaf, Usage};
pub use pem::base64;

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// How long an authority made here is valid.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a leaf made here is valid unless its [`Leaf`] says otherwise.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far `notBefore` is set back.
pub const BACK_DATED: Duration = Duration::from_secs(60);
/// The common name of the front-proxy client certificate, as kubeadm names it
/// (`--requestheader-allowed-names`).
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";
/// Names that every serving certificate made here carries. `kubernetes.default.svc` is the one that API
/// servers ask for when they call each other (KEP-4020).
pub const SERVING_NAMES: [&str; 5] =
    ["kubernetes.default.svc", "kubernetes", "localhost", "127.0.0.1", "::1"];

/// A certificate or key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate library refused.
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The subject could not be put into the certificate.
    #[error("writing a certificate's subject: {0}")]
    Subject(&'static str),
}

/// A certificate authority that lives in memory.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its private key.
#[derive(Debug)]
pub struct Credential {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
    /// The certificate, DER.
    pub cert: CertificateDer<'static>,
    /// The private key, PKCS#8 DER.
    pub key: PrivateKeyDer<'static>,
}

/// Everything that an API server and a proxy in front of it need.
#[derive(Debug)]
pub struct Pki {
    /// Signs serving and client certificates (kubeadm: `ca.crt`).
    pub cluster_ca: Authority,
    /// Signs those who may speak for others (kubeadm: `front-proxy-ca.crt`).
    pub front_proxy_ca: Authority,
    /// Serving certificate of the API servers (kubeadm: `apiserver.crt`).
    pub apiserver: Credential,
    /// Serving certificate of the proxy.
    pub proxy: Credential,
    /// What the proxy shows to API servers (kubeadm: `front-proxy-client.crt`).
    pub front_proxy_client: Credential,
    /// A client in the group `system:masters` (kubeadm keeps it inside `admin.conf`).
    pub admin: Credential,
    /// What the API servers sign the tokens of service accounts with (kubeadm: `sa.key`, `sa.pub`).
    pub service_accounts: SigningKey,
}

/// A key that signs, but has no certificate.
#[derive(Debug)]
pub struct SigningKey {
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
    /// The public key, SubjectPublicKeyInfo PEM.
    pub public_pem: String,
}

// === impl Authority ===

impl Authority {
    /// A new authority with the common name `name`, valid for [`AUTHORITY_LIFETIME`].
    ///
    /// A second one of the same name has another key, so nothing that it signs is trusted by the first.
    pub fn new(name: &str) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = OffsetDateTime::now_utc() - BACK_DATED;
        params.not_after = OffsetDateTime::now_utc() + AUTHORITY_LIFETIME;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        let key = new_key()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's certificate, DER.
    pub fn cert(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate, PEM.
    pub fn cert_pem(&self) -> &str {
        &self.pem
    }

    /// The authority's private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs a new key with what `leaf` says.
    pub fn issue(&self, leaf: &Leaf) -> Result<Credential, PkiError> {
        let key = new_key()?;
        let plain = leaf.params()?.signed_by(&key, &self.issuer)?;
        let cert = subject::replace(plain.der(), &leaf.subject(), self.issuer.key())?;
        Ok(Credential {
            cert_pem: pem::of_certificate(&cert),
            key_pem: key.serialize_pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            cert,
        })
    }
}

// === impl Credential ===

impl Clone for Credential {
    fn clone(&self) -> Self {
        Self {
            cert_pem: self.cert_pem.clone(),
            key_pem: self.key_pem.clone(),
            cert: self.cert.clone(),
            key: self.key.clone_key(),
        }
    }
}

// === impl Pki ===

impl Pki {
    /// A whole new PKI. `extra_names` (DNS names or IP addresses) are added to both serving certificates.
    pub fn generate(extra_names: &[String]) -> Result<Self, PkiError> {
        let cluster_ca = Authority::new("kubernetes")?;
        let front_proxy_ca = Authority::new("front-proxy-ca")?;
        let tokens = new_key()?;
        Ok(Self {
            service_accounts: SigningKey {
                key_pem: tokens.serialize_pem(),
                public_pem: tokens.public_key_pem(),
            },
            apiserver: cluster_ca.issue(&Leaf::server("kube-apiserver").names(extra_names))?,
            proxy: cluster_ca.issue(&Leaf::server("kube-peer-proxy").names(extra_names))?,
            front_proxy_client: front_proxy_ca.issue(&Leaf::client(FRONT_PROXY_CLIENT))?,
            admin: cluster_ca.issue(&Leaf::client("kubernetes-admin").group("system:masters"))?,
            cluster_ca,
            front_proxy_ca,
        })
    }

    /// A client certificate of the cluster CA for `user` in `groups`.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Credential, PkiError> {
        let leaf = groups.iter().fold(Leaf::client(user), |leaf, group| leaf.group(group));
        self.cluster_ca.issue(&leaf)
    }
}

fn new_key() -> Result<KeyPair, PkiError> {
    Ok(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?)
}

#[cfg(test)]
mod tests;
