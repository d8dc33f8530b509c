//! What is wrong with a file is said with its name.

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn leaf() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn named<'a>(name: &'a str, pem: &'a str) -> Pem<'a> {
    Pem { name, pem: pem.as_bytes() }
}

#[test]
fn a_bundle_without_a_certificate_is_named() {
    for pem in ["", "hello", &leaf().1] {
        let error = roots_from_pem(named("ca.crt", pem)).unwrap_err().to_string();
        assert_eq!(error, "ca.crt: contains no certificate");
    }
}

#[test]
fn broken_pem_is_named() {
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let error = roots_from_pem(named("ca.crt", broken)).unwrap_err().to_string();
    assert!(error.starts_with("ca.crt: no readable certificate: "), "{error}");
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let second = leaf().0 + junk;
    let error = roots_from_pem(named("ca.crt", &second)).unwrap_err().to_string();
    assert!(error.starts_with("ca.crt: certificate 2 cannot be used as a CA: "), "{error}");
}

#[test]
fn a_key_that_is_none_or_another_ones_is_named() {
    let (certificate, key) = leaf();
    let error =
        Identity::from_pem(named("tls.crt", &certificate), named("tls.key", &certificate)).unwrap_err();
    assert!(error.to_string().starts_with("tls.key: no readable private key: "), "{error}");

    let roots = || roots_from_pem(named("ca.crt", &certificate)).unwrap();
    let other = leaf().1;
    let identity = Identity::from_pem(named("tls.crt", &certificate), named("tls.key", &other)).unwrap();
    let error = config(roots(), Some(identity), Alpn::Http11).unwrap_err().to_string();
    assert!(error.starts_with("tls.crt and tls.key: cannot be used together"), "{error}");

    let identity = Identity::from_pem(named("tls.crt", &certificate), named("tls.key", &key)).unwrap();
    let config = config(roots(), Some(identity), Alpn::H2OrHttp11).unwrap();
    assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn no_ca_at_all_is_refused() {
    assert!(matches!(config(RootCertStore::empty(), None, Alpn::Http11), Err(ClientTlsError::Config(_))));
}
