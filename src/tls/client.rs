//! TLS towards the API servers.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// What is wrong with the files for TLS towards an API server. The name in each is the one that
/// the caller gave, so usually the file's.
#[derive(Debug, Error)]
pub enum ClientTlsError {
    /// Not PEM, or PEM that is broken.
    #[error("{name}: no readable {what}: {source}")]
    Pem {
        /// Which input.
        name: String,
        /// What was looked for.
        what: &'static str,
        /// Where it broke.
        source: rustls_pki_types::pem::Error,
    },
    /// PEM without a certificate.
    #[error("{name}: contains no certificate")]
    NoCertificate {
        /// Which input.
        name: String,
    },
    /// A certificate that cannot be a trust anchor.
    #[error("{name}: certificate {position} cannot be used as a CA: {source}")]
    NotACa {
        /// Which input.
        name: String,
        /// Its place in the file, counted from 1.
        position: usize,
        /// Why.
        source: rustls::Error,
    },
    /// Certificate and key don't fit.
    #[error("{certificate} and {key}: cannot be used together as a client certificate: {source}")]
    Identity {
        /// Which certificate.
        certificate: String,
        /// Which key.
        key: String,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS library refuses the whole.
    #[error("TLS towards API servers: {0}")]
    Config(rustls::Error),
}

/// Input in PEM, with the name by which errors call it.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// Usually the file's name.
    pub name: &'a str,
    /// Its content.
    pub pem: &'a [u8],
}

/// HTTP versions to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2, or else HTTP/1.1.
    H2OrHttp11,
    /// HTTP/1.1 only.
    Http11,
}

/// The certificate, with its chain, and key by which we are known to an API server (its
/// `--requestheader-client-ca-file` has to trust it).
#[derive(Debug)]
pub struct Identity {
    name: (String, String),
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both.
    ///
    /// # Errors
    /// If either is no PEM of its kind. Whether they fit is seen by [`config`].
    pub fn from_pem(certificate: Pem<'_>, key: Pem<'_>) -> Result<Self, ClientTlsError> {
        let chain = certificates(certificate)?;
        let name = (certificate.name.to_owned(), key.name.to_owned());
        let key = PrivateKeyDer::from_pem_slice(key.pem).map_err(|source| ClientTlsError::Pem {
            name: key.name.to_owned(),
            what: "private key",
            source,
        })?;
        Ok(Self { name, chain, key })
    }
}

/// The CAs of a bundle.
///
/// # Errors
/// If it is no PEM, has no certificate, or one that cannot be a CA.
pub fn roots_from_pem(bundle: Pem<'_>) -> Result<RootCertStore, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(bundle)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|source| ClientTlsError::NotACa {
            name: bundle.name.to_owned(),
            position: index + 1,
            source,
        })?;
    }
    Ok(roots)
}

/// A configuration for connections to one API server (or several with the same CA), for TLS 1.2
/// and 1.3. Sessions are resumed within one configuration only, so connections with and without
/// the client certificate never mix.
///
/// # Errors
/// If certificate and key of the identity don't fit, or `roots` is empty.
pub fn config(
    roots: RootCertStore,
    identity: Option<Identity>,
    alpn: Alpn,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|e| ClientTlsError::Config(rustls::Error::General(e.to_string())))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(ClientTlsError::Config)?
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { name: (certificate, key_name), chain, key }) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|source| ClientTlsError::Identity { certificate, key: key_name, source })?,
    };
    config.alpn_protocols = match alpn {
        Alpn::H2OrHttp11 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http11 => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn certificates(input: Pem<'_>) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(input.pem)
        .collect::<Result<_, _>>()
        .map_err(|source| ClientTlsError::Pem { name: input.name.to_owned(), what: "certificate", source })?;
    if certificates.is_empty() {
        return Err(ClientTlsError::NoCertificate { name: input.name.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
