//! When certificates expire.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::{Certificates, KeyPair, Loaded};

/// When a certificate, or the first one of a chain, expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `serving`, `sni`, `client-ca`, `requestheader-client-ca`, `peer-ca` or `proxy-client`.
    pub certificate: &'static str,
    /// The API server that it is for; nothing if it is ours, or for all that a source names.
    pub server: Arc<str>,
    /// Its subject; of a chain that of the leaf.
    pub subject: String,
    /// Seconds since the epoch.
    pub not_after: i64,
}

impl Loaded {
    /// Every certificate of the configuration, once for each use.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        let Self { config, material, .. } = self;
        let ours: Arc<str> = "".into();
        let mut all = vec![chain("serving", &ours, &material.serving)];
        all.extend(material.sni.iter().map(|pair| chain("sni", &ours, pair)));
        for (certificate, bundle) in
            [("client-ca", &material.client_ca), ("requestheader-client-ca", &material.front_proxy_ca)]
        {
            all.extend(bundle.iter().map(|bundle| each(certificate, &ours, bundle)));
        }
        for (server, files) in config.servers.iter().zip(&material.servers) {
            all.push(each("peer-ca", &server.name, &files.ca));
            all.push(chain("proxy-client", &server.name, &files.proxy_client));
        }
        if let Some(files) = &material.peers {
            all.push(each("peer-ca", &ours, &files.ca));
            all.push(chain("proxy-client", &ours, &files.proxy_client));
        }
        all.into_iter().flatten().collect()
    }
}

/// A chain is good as long as all of it is.
fn chain(certificate: &'static str, server: &Arc<str>, pair: &KeyPair) -> Vec<Expiry> {
    let all = each(certificate, server, &pair.chain);
    let first = all.iter().map(|expiry| expiry.not_after).min();
    let leaf = all.into_iter().next().zip(first);
    leaf.map(|(leaf, not_after)| Expiry { not_after, ..leaf }).into_iter().collect()
}

fn each(certificate: &'static str, server: &Arc<str>, bundle: &Certificates) -> Vec<Expiry> {
    let expiry = |der: &CertificateDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let not_after = parsed.validity().not_after.timestamp();
        Some(Expiry {
            certificate,
            server: Arc::clone(server),
            subject: parsed.subject().to_string(),
            not_after,
        })
    };
    bundle.der.iter().filter_map(expiry).collect()
}
