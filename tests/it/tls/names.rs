//! Which certificate a client gets to see.

use kube_peer_proxy::pki::{Authority, Credential, Leaf};
use tempfile::TempDir;

use super::{BOTH, Speaker, proxied};
use crate::kit::PKI;

/// Certificates for names, each in files of its own.
struct Named {
    folder: TempDir,
    made: Vec<(&'static str, Credential)>,
}

impl Named {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), made: Vec::new() }
    }

    /// A certificate that carries `names`, as `--tls-sni-cert-key` for `asked`.
    fn pair(&mut self, id: &'static str, names: &[&str], asked: &str) -> String {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = PKI.cluster_ca.issue(&Leaf::server("system:a server").only_names(&names)).unwrap();
        let path = |end: &str| self.folder.path().join(format!("{id}.{end}")).display().to_string();
        std::fs::write(path("crt"), &made.cert_pem).unwrap();
        std::fs::write(path("key"), &made.key_pem).unwrap();
        let pair = format!("{},{}{asked}", path("crt"), path("key"));
        self.made.push((id, made));
        pair
    }
}

#[tokio::test]
async fn an_exact_name_counts_more_than_a_wildcard_and_the_rest_get_the_default() {
    let mut named = Named::new();
    let pairs = vec![
        named.pair("wild", &["*.corp.example", "localhost"], ""),
        named.pair("exact", &["api.corp.example", "b.corp.example"], ""),
        named.pair("second", &["api.corp.example", "c.corp.example"], ""),
        // Names that were given count more than those of a certificate, even of an earlier one.
        named.pair("given", &["c.corp.example", "deep.a.corp.example"], ":C.corp.example,*.a.corp.example"),
    ];
    let (_cluster, proxy) = proxied(|args| args.tls_sni_cert_key = pairs).await;
    let speaker = Speaker::new(BOTH, None, &[]);
    for (asked, expected) in [
        ("api.corp.example", "exact"),
        ("API.corp.example", "exact"),
        ("b.corp.example", "exact"),
        ("c.corp.example", "given"),
        ("other.corp.example", "wild"),
        ("deep.a.corp.example", "given"),
        ("localhost", "wild"),
    ] {
        let shown = speaker.shown(&proxy, asked).await;
        let found = named.made.iter().find(|(_, made)| made.cert == shown).map(|(id, _)| *id);
        assert_eq!(found, Some(expected), "{asked}");
    }
    for asked in ["127.0.0.1", "kubernetes.default.svc", "kubernetes"] {
        assert_eq!(speaker.shown(&proxy, asked).await, PKI.proxy.cert, "{asked}");
    }
}

#[test]
fn a_certificates_names_are_its_dns_names_and_its_common_name_if_that_is_one() {
    let names = ["a.example", "10.0.0.1", "::1", "*.b.example", "B.EXAMPLE"].map(str::to_owned);
    let leaf = Leaf::server("system:node:x").only_names(&names);
    let made = Authority::new("kubernetes").unwrap().issue(&leaf).unwrap();
    let names = kube_peer_proxy::tls::server::names_of(&made.cert);
    assert_eq!(names, ["a.example", "*.b.example", "b.example"]);
    let leaf = Leaf::server("cn.example").only_names(&[]);
    let made = Authority::new("kubernetes").unwrap().issue(&leaf).unwrap();
    assert_eq!(kube_peer_proxy::tls::server::names_of(&made.cert), ["cn.example"]);
}
