//! PEM (RFC 7468) of a certificate: the libraries here read it, but none writes one from DER.

use rustls_pki_types::CertificateDer;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Octets of one line of 64 letters.
const LINE: usize = 48;

/// The certificate as PEM, with a newline at its end.
pub(super) fn of_certificate(der: &CertificateDer<'_>) -> String {
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(LINE) {
        out.push_str(&base64(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// Base64 with padding (RFC 4648, section 4), as kubeconfig files hold certificates.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for letter in 0..4 {
            let index = (bits >> (18 - 6 * letter)) & 0x3f;
            let known = letter <= chunk.len();
            out.push(if known { ALPHABET[index as usize] as char } else { '=' });
        }
    }
    out
}
