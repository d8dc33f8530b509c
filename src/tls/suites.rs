//! TLS versions and cipher suites, by the names that kube-apiserver's flags have for them.

use rustls::{CipherSuite, SupportedCipherSuite};

/// The lowest TLS version that is spoken; 1.3 always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2
    #[default]
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// Names that Go has for some suites beside those of IANA.
const ALIASES: [(&str, CipherSuite); 2] = [
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// What the names of suites have in common that nobody should use: no forward secrecy, no authenticated
/// encryption, or no encryption worth the word (RFC 9325, section 4).
const WEAK: [&str; 8] =
    ["_CBC_", "_RC4_", "_3DES_", "_DES_", "_NULL_", "_EXPORT_", "_anon_", "TLS_RSA_WITH_"];

/// The suite of that name.
///
/// # Errors
/// A sentence that says why it can't be used, and what can.
pub fn parse(text: &str) -> Result<CipherSuite, String> {
    let alias = ALIASES.into_iter().find(|(alias, _)| *alias == text).map(|(_, suite)| suite);
    if let Some(suite) = alias.or_else(|| supported().find(|suite| name(*suite) == text)) {
        return Ok(suite);
    }
    let what = if WEAK.into_iter().any(|weak| text.contains(weak)) {
        "is a weak cipher suite and not supported"
    } else {
        "is no supported cipher suite"
    };
    let possible: Vec<_> = supported().map(name).collect();
    Err(format!("{text:?} {what}; it can be {}", possible.join(", ")))
}

/// IANA's name.
pub fn name(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or("unknown");
    // rustls puts the version into the names of 1.3, nobody else does.
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

/// Whether it is one of TLS 1.3, and so can't be taken away.
pub fn is_tls13(suite: CipherSuite) -> bool {
    let all = &super::provider().cipher_suites;
    all.iter().any(|one| one.suite() == suite && matches!(one, SupportedCipherSuite::Tls13(_)))
}

fn supported() -> impl Iterator<Item = CipherSuite> {
    let suites: Vec<_> = super::provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    suites.into_iter()
}

// === impl MinVersion ===

impl MinVersion {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// kube-apiserver's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "VersionTLS12",
            Self::Tls13 => "VersionTLS13",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_iana_and_read_back() {
        let names: Vec<_> = supported().map(name).collect();
        assert_eq!(names.len(), 9);
        for name in &names {
            assert_eq!(super::name(parse(name).unwrap()), *name);
        }
        for name in ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        assert!(is_tls13(CipherSuite::TLS13_AES_128_GCM_SHA256));
        assert!(!is_tls13(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256));
    }

    #[test]
    fn gos_older_names_are_understood() {
        for (alias, suite) in ALIASES {
            assert_eq!(parse(alias), Ok(suite));
        }
    }

    #[test]
    fn weak_suites_are_called_weak_and_others_unknown() {
        for weak in [
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            "TLS_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
            "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        ] {
            let fault = parse(weak).unwrap_err();
            assert!(fault.contains("weak") && fault.contains("TLS_AES_256_GCM_SHA384"), "{fault}");
        }
        for unknown in ["", "AES", "TLS13_AES_128_GCM_SHA256", "tls_aes_128_gcm_sha256"] {
            let fault = parse(unknown).unwrap_err();
            assert!(!fault.contains("weak") && fault.contains("TLS_AES_256_GCM_SHA384"), "{fault}");
        }
    }
}
