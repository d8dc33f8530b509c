//! TLS towards clients: 1.2 and 1.3, h2 and http/1.1, a client certificate if the client likes.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::certificate;

/// The certificate that we show to clients, as PEM.
#[derive(Clone, Copy, Debug)]
pub struct ServingCertificate<'a> {
    /// The chain, leaf first.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
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

/// The configuration of the listener. `ca_names` are told to clients as the CAs whose certificates count.
///
/// # Errors
/// If certificate and key cannot be read or do not belong together.
pub fn config(
    serving: ServingCertificate<'_>,
    ca_names: Vec<DistinguishedName>,
) -> Result<Arc<ServerConfig>, ServingError> {
    let chain = certificate::certificates(serving.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(serving.key).map_err(ServingError::Key)?;
    let provider = super::provider();
    let verifier = ProofOfPossession { ca_names, provider: Arc::clone(&provider) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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
