use std::os::unix::fs::PermissionsExt;

use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

fn strings<'a>(names: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Vec<String> {
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_client_certificate_keeps_all_common_names_groups_and_its_uid_in_order() {
    let ca = Authority::new("ca").unwrap();
    let leaf = Leaf::client("first").common_name("last").group("zebra").group("ant").group("cat").uid("u-1");
    let credential = ca.issue(&leaf).unwrap();
    let (_, certificate) = X509Certificate::from_der(&credential.cert).unwrap();
    let subject = certificate.subject();
    assert_eq!(strings(subject.iter_common_name()), ["first", "last"]);
    assert_eq!(strings(subject.iter_organization()), ["zebra", "ant", "cat"]);
    let uid = x509_parser::oid_registry::asn1_rs::oid!(1.3.6.1.4.1.57683.2);
    assert_eq!(strings(subject.iter_by_oid(&uid)), ["u-1"]);
}

#[test]
fn a_leaf_is_trusted_by_its_own_authority_only_even_if_another_has_the_same_name() {
    let (ours, theirs) = (Authority::new("ca").unwrap(), Authority::new("ca").unwrap());
    let credential = ours.issue(&Leaf::client("alice").group("dev")).unwrap();
    assert!(verifier(&ours).verify_client_cert(&credential.cert, &[], now()).is_ok());
    assert!(verifier(&theirs).verify_client_cert(&credential.cert, &[], now()).is_err());
}

#[test]
fn validity_is_back_dated_by_a_minute_and_ends_when_asked() {
    let ca = Authority::new("ca").unwrap();
    let credential = ca.issue(&Leaf::client("alice").lifetime(Duration::from_secs(300))).unwrap();
    let (_, certificate) = X509Certificate::from_der(&credential.cert).unwrap();
    let validity = certificate.validity();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert!((360..=361).contains(&seconds), "{seconds}");

    let hour = Duration::from_secs(3600);
    let past = OffsetDateTime::now_utc() - hour;
    let expired = ca.issue(&Leaf::client("alice").validity(past - hour, past)).unwrap();
    assert!(verifier(&ca).verify_client_cert(&expired.cert, &[], now()).is_err());
}

#[test]
fn a_serving_certificate_carries_the_usual_names_and_the_extra_ones() {
    let pki = Pki::generate(&["10.0.0.7".into(), "api.example.org".into()]).unwrap();
    let (_, certificate) = X509Certificate::from_der(&pki.apiserver.cert).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, SERVING_NAMES.len() + 2);
    assert!(certificate.extended_key_usage().unwrap().unwrap().value.server_auth);
}

#[test]
fn pem_is_what_the_library_writes_for_the_same_der() {
    let ca = Authority::new("ca").unwrap();
    assert_eq!(pem::of_certificate(ca.cert()).replace('\r', ""), ca.cert_pem().replace('\r', ""));
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}

#[test]
fn files_are_written_with_closed_keys_and_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::generate(&[]).unwrap();
    let written = pki.write(folder.path(), false).unwrap();
    assert_eq!(written.len(), 14);
    for path in &written {
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let key = path.extension().is_some_and(|extension| extension == "key");
        assert_eq!(mode & 0o077 == 0, key, "{} has mode {mode:o}", path.display());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 14, "nothing is left beside them");

    let before = std::fs::read_to_string(folder.path().join("ca.crt")).unwrap();
    let again = Pki::generate(&[]).unwrap();
    assert!(matches!(again.write(folder.path(), false), Err(WriteError::Exists(_))));
    assert_eq!(std::fs::read_to_string(folder.path().join("ca.crt")).unwrap(), before);
    again.write(folder.path(), true).unwrap();
    assert_ne!(std::fs::read_to_string(folder.path().join("ca.crt")).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 14);
}

#[test]
fn the_key_of_service_accounts_is_a_pair_and_belongs_to_nothing_else() {
    let pki = Pki::generate(&[]).unwrap();
    let pair = KeyPair::from_pem(&pki.service_accounts.key_pem).unwrap();
    assert_eq!(pair.public_key_pem(), pki.service_accounts.public_pem);
    assert!(pki.service_accounts.public_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(
        ![&pki.apiserver, &pki.proxy, &pki.admin].iter().any(|other| other.key_pem == pair.serialize_pem())
    );
}

fn verifier(ca: &Authority) -> std::sync::Arc<dyn rustls::server::danger::ClientCertVerifier> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.cert().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap()
}

fn now() -> rustls_pki_types::UnixTime {
    rustls_pki_types::UnixTime::now()
}
