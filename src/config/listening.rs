//! How clients come in: certificates, TLS, and what they may ask of us.

use std::sync::Arc;

use rustls::CipherSuite;

use super::duration::{MINUTE, SHORT};
use super::material::KeyPair;
use super::read::{Findings, KeyPairAt};
use super::settings::{Given, Settings};
use super::{ClientLimits, MinVersion, SniCertificate, values};
use crate::limits;
use crate::tls::{server, suites};

/// The certificate for every client that asks for no name of another one.
pub(super) fn serving(s: &Settings<'_>, found: &mut Findings) -> Option<KeyPairAt> {
    const NAMES: [&str; 2] = ["tls-cert-file", "tls-private-key-file"];
    match NAMES.map(|name| s.given(name)) {
        [Some(cert), Some(key)] => found.key_pair(&cert, &key),
        given => {
            for (name, _) in NAMES.into_iter().zip(&given).filter(|(_, given)| given.is_none()) {
                found.fault(s.key(name), "is missing: clients come in through TLS only");
            }
            None
        }
    }
}

/// The lowest version, and the cipher suites.
pub(super) fn tls(s: &Settings<'_>, found: &mut Findings) -> (MinVersion, Vec<CipherSuite>) {
    let min_version = s.value(found, "tls-min-version", MinVersion::default(), values::min_version);
    let suites = s.list(found, "tls-cipher-suites", Vec::new(), suites::parse);
    if min_version == MinVersion::Tls13 && suites.iter().any(|suite| !suites::is_tls13(*suite)) {
        found.warning(
            &s.key("tls-cipher-suites"),
            "suites of TLS 1.2 mean nothing where the lowest version is TLS 1.3",
        );
    }
    (min_version, suites)
}

/// Certificates for certain names.
pub(super) fn sni(s: &Settings<'_>, found: &mut Findings) -> Vec<(SniCertificate, Arc<KeyPair>)> {
    let Some(given) = s.given("tls-sni-cert-key") else { return Vec::new() };
    let mut all: Vec<(SniCertificate, Arc<KeyPair>)> = Vec::new();
    for text in given.values.iter().filter(|text| !text.is_empty()) {
        let Some((certificate, pair)) = sni_certificate(&given, text, found) else { continue };
        if all.iter().any(|(other, _)| *other == certificate) {
            found.fault(&given.key, format!("{text} is there twice"));
        }
        all.push((certificate, pair));
    }
    all
}

/// One of them, written as kube-apiserver has it: `CERT,KEY` or `CERT,KEY:NAME,NAME`.
fn sni_certificate(
    given: &Given,
    text: &str,
    found: &mut Findings,
) -> Option<(SniCertificate, Arc<KeyPair>)> {
    let (files, names) = text.split_once(':').map_or((text, None), |(files, names)| (files, Some(names)));
    let mut parts = files.split(',').map(str::trim);
    let (Some(cert), Some(key), None) = (parts.next(), parts.next(), parts.next()) else {
        found.fault(
            &given.key,
            format!(
                "{text:?} is not of the form CERT,KEY or CERT,KEY:NAME,NAME, with the paths of two files"
            ),
        );
        return None;
    };
    let before = found.faults.len();
    let mut read = Vec::new();
    for name in names.into_iter().flat_map(|names| names.split(',')) {
        match values::sni_name(name.trim()) {
            Ok(name) => read.push(name),
            Err(fault) => found.fault(&given.key, fault),
        }
    }
    let part = |text: &str| Given { values: vec![text.to_owned()], ..given.clone() };
    let KeyPairAt { cert_file, key_file, pair } = found.key_pair(&part(cert), &part(key))?;
    if names.is_none() && pair.chain.der.first().is_none_or(|leaf| server::names_of(leaf).is_empty()) {
        let message =
            format!("{} has no DNS name in it; say behind a colon for which it is", cert_file.display());
        found.fault(&given.key, message);
    }
    (found.faults.len() == before).then_some((SniCertificate { cert_file, key_file, names: read }, pair))
}

/// What a client may ask of us.
pub(super) fn clients(s: &Settings<'_>, found: &mut Findings) -> ClientLimits {
    let default = ClientLimits::default();
    let streams = usize::try_from(default.max_streams).unwrap_or(usize::MAX);
    let streams = s.count(found, "http2-max-streams-per-connection", streams, 1..=10_000);
    ClientLimits {
        max_connections: s.count(found, "max-connections", default.max_connections, 1..=1_000_000),
        max_connections_per_source: s.limit(
            found,
            "max-connections-per-source",
            default.max_connections_per_source,
            1..=1_000_000,
        ),
        max_handshakes: s.count(found, "max-handshakes", default.max_handshakes, 1..=100_000),
        handshake_timeout: s.duration(
            found,
            "tls-handshake-timeout",
            default.handshake_timeout,
            SHORT..=MINUTE,
        ),
        header_read_timeout: s.duration(
            found,
            "header-read-timeout",
            default.header_read_timeout,
            SHORT..=10 * MINUTE,
        ),
        // hyper takes no buffer below 8 KiB.
        max_header_bytes: s.value(found, "max-header-bytes", default.max_header_bytes, |text| {
            values::bytes_in(text, &(8 << 10..=1 << 20))
        }),
        max_streams: u32::try_from(streams).unwrap_or(default.max_streams),
        proxy_protocol_from: s.list(found, "proxy-protocol-from", Vec::new(), values::network),
        goaway_chance: s.value(found, "goaway-chance", default.goaway_chance, |text| {
            values::number_in(text, &(0.0..=limits::MAX_GOAWAY_CHANCE))
        }),
    }
}
