//! TLS towards clients: 1.2 and 1.3, a certificate by the name that is asked for, h2 and http/1.1, a client certificate if the client likes.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{certificate, suites::MinVersion};

/// A certificate that we show to clients, as PEM.
#[derive(Clone, Copy, Debug)]
pub struct ServingCertificate<'a> {
    /// The chain, leaf first.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
}

/// What handshakes with clients go by.
#[derive(Clone, Debug)]
pub struct Serving<'a> {
    /// For clients that ask for no name, or for one that nothing else is for.
    pub default: ServingCertificate<'a>,
    /// For clients that ask for certain names, in lower case, maybe with `*` for the first label; empty: those of the
    /// certificate.
    pub named: Vec<(ServingCertificate<'a>, &'a [String])>,
    /// The lowest TLS version.
    pub min_version: MinVersion,
    /// Those of TLS 1.2; none of either version named means all, and those of TLS 1.3 are always there.
    pub cipher_suites: &'a [CipherSuite],
    /// Told to clients as the CAs whose certificates count.
    pub ca_names: Vec<DistinguishedName>,
}

/// Why we cannot serve with a certificate.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum ServingError {
    #[error("certificate: {0}")]
    Certificate(#[from] certificate::Error),
    #[error("private key: {0}")]
    Key(rustls_pki_types::pem::Error),
    #[error("certificate and key: {0}")]
    Pair(#[from] Error),
}

/// The configuration of the listener. Sessions are resumed within one configuration only, so that whoever must be
/// authenticated anew is as soon as there is another one.
///
/// # Errors
/// If a certificate and its key cannot be read or do not belong together.
pub fn config(serving: Serving<'_>) -> Result<Arc<ServerConfig>, ServingError> {
    let Serving { default, named, min_version, cipher_suites, ca_names } = serving;
    let mut provider = CryptoProvider::clone(&super::provider());
    let wanted = |suite: &SupportedCipherSuite| {
        suite.tls13().is_some() || cipher_suites.is_empty() || cipher_suites.contains(&suite.suite())
    };
    provider.cipher_suites.retain(wanted);
    let provider = Arc::new(provider);
    let versions: &[_] = match min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let certificates = ByName::new(default, &named, &provider)?;
    let verifier = ProofOfPossession { ca_names, provider: Arc::clone(&provider) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Picks a certificate by the name that the client asks for.
#[derive(Debug)]
struct ByName {
    default: Arc<CertifiedKey>,
    /// By name, some of which begin with `*.`.
    named: HashMap<String, Arc<CertifiedKey>>,
}

/// The DNS names of a certificate, in lower case: its common name if that can be one, and its alternative names. As
/// kube-apiserver, we leave out addresses: no client asks for one by name (RFC 6066, section 3).
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let common_name = parsed.subject().iter_common_name().last().and_then(|name| name.as_str().ok());
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
    let alternative = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let mut names = Vec::new();
    for name in common_name.into_iter().chain(alternative) {
        let name = name.to_ascii_lowercase();
        let rest = name.strip_prefix("*.").unwrap_or(&name).to_owned();
        if matches!(ServerName::try_from(rest), Ok(ServerName::DnsName(_))) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

// === impl ByName ===

impl ByName {
    /// The first certificate for a name counts, and names that were given count more than those that a certificate has
    /// (as in `k8s.io/apiserver/pkg/server/dynamiccertificates/named_certificates.go`).
    fn new(
        default: ServingCertificate<'_>,
        all: &[(ServingCertificate<'_>, &[String])],
        provider: &CryptoProvider,
    ) -> Result<Self, ServingError> {
        let mut named = HashMap::new();
        let mut own = Vec::new();
        for (certificate, names) in all {
            let key = certified(*certificate, provider)?;
            for name in *names {
                named.entry(name.clone()).or_insert_with(|| Arc::clone(&key));
            }
            if names.is_empty() {
                let leaf = key.cert.first().map(names_of);
                own.extend(leaf.unwrap_or_default().into_iter().map(|name| (name, Arc::clone(&key))));
            }
        }
        for (name, key) in own {
            named.entry(name).or_insert(key);
        }
        Ok(Self { default: certified(default, provider)?, named })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.named.get(&name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.named.get(&format!("*.{rest}"))
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(named.unwrap_or(&self.default)))
    }
}

fn certified(
    pem: ServingCertificate<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, ServingError> {
    let chain = certificate::certificates(pem.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key).map_err(ServingError::Key)?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

/// Lets every certificate pass whose key the client has; who it is, is decided per request.
#[derive(Debug)]
struct ProofOfPossession {
    ca_names: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

// === impl ProofOfPossession ===

impl ClientCertVerifier for ProofOfPossession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.ca_names
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
