//! Subjects with an attribute more than once.
//!
//! Kubernetes puts a user's groups into several organizations and takes the last of several common names, but
//! rcgen's `DistinguishedName` holds each attribute type once. So the certificate is made with a placeholder as
//! its subject, which is then exchanged, and the whole signed again.

use rcgen::{DistinguishedName, DnType, KeyPair, SigningKey};
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PkiError;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const BIT_STRING: u8 = 0x03;

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// 1.3.6.1.4.1.57683.2 (upstream: `k8s.io/apiserver/pkg/authentication/request/x509`)
const KUBERNETES_UID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xc2, 0x53, 0x02];

/// One attribute of a subject.
pub(super) struct Attribute<'a> {
    oid: &'static [u8],
    value: &'a str,
}

// === impl Attribute ===

impl<'a> Attribute<'a> {
    pub(super) fn common_name(value: &'a str) -> Self {
        Self { oid: COMMON_NAME, value }
    }

    pub(super) fn organization(value: &'a str) -> Self {
        Self { oid: ORGANIZATION, value }
    }

    pub(super) fn kubernetes_uid(value: &'a str) -> Self {
        Self { oid: KUBERNETES_UID, value }
    }

    fn encode(&self) -> Vec<u8> {
        let pair = [element(OBJECT_IDENTIFIER, self.oid), element(UTF8_STRING, self.value.as_bytes())];
        element(SET, &element(SEQUENCE, &pair.concat()))
    }
}

/// The subject that [`replace`] looks for; no authority has it.
pub(super) fn placeholder() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "the subject is still to be written");
    name
}

/// The same certificate with another subject, signed by `key`, which must be the one that signed it before.
pub(super) fn replace(
    der: &CertificateDer<'_>,
    subject: &[Attribute<'_>],
    key: &KeyPair,
) -> Result<CertificateDer<'static>, PkiError> {
    let unreadable = |_| PkiError::Subject("the certificate just made can't be read");
    let (_, certificate) = X509Certificate::from_der(der).map_err(unreadable)?;
    let tbs = certificate.tbs_certificate.as_ref();
    let content = content_of(tbs)?;

    let old = certificate.tbs_certificate.subject.as_raw();
    let at = content
        .windows(old.len())
        .position(|window| window == old)
        .ok_or(PkiError::Subject("the placeholder is not there"))?;
    let names: Vec<u8> = subject.iter().flat_map(Attribute::encode).collect();
    let new = element(SEQUENCE, &names);
    let new_tbs = element(SEQUENCE, &[&content[..at], &new, &content[at + old.len()..]].concat());

    // Between the body and the signature stands the algorithm, which stays as it was.
    let outer = content_of(der)?;
    let algorithm = &outer[tbs.len()..outer.len() - bit_string(&certificate.signature_value.data).len()];
    let new_bits = bit_string(&key.sign(&new_tbs)?);
    Ok(element(SEQUENCE, &[&new_tbs, algorithm, &new_bits].concat()).into())
}

/// What is inside the one DER element that `der` is.
fn content_of(der: &[u8]) -> Result<&[u8], PkiError> {
    let (_, any) = Any::from_der(der).map_err(|_| PkiError::Subject("not one DER element"))?;
    Ok(any.data)
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0_u8][..], bytes].concat())
}

/// One DER element with a definite length.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|b| *b != 0).unwrap_or(length.len() - 1)..];
    if content.len() >= 0x80 {
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}
