use clap::{Command, FromArgMatches};

use super::*;

fn args(dir: &std::path::Path, more: &[&str]) -> Result<CertsArgs, clap::Error> {
    let dir = dir.to_str().unwrap();
    let all = ["certs", "--dir", dir].iter().chain(more).copied().collect::<Vec<_>>();
    let matches = CertsArgs::augment_args(Command::new("certs")).try_get_matches_from(all)?;
    CertsArgs::from_arg_matches(&matches)
}

#[test]
fn what_is_there_stays_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    run(&args(dir.path(), &[]).unwrap(), &mut out).unwrap();
    let before = std::fs::read(dir.path().join("ca.crt")).unwrap();
    assert!(run(&args(dir.path(), &[]).unwrap(), &mut out).is_err());
    assert_eq!(std::fs::read(dir.path().join("ca.crt")).unwrap(), before);
    run(&args(dir.path(), &["--force"]).unwrap(), &mut out).unwrap();
    assert_ne!(std::fs::read(dir.path().join("ca.crt")).unwrap(), before);
}

#[test]
fn every_file_is_named_and_explained() {
    let readme = include_str!("../../../certs/README.md");
    let dir = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    run(&args(dir.path(), &[]).unwrap(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(out.lines().any(|line| line.ends_with(&format!("/{name}"))), "{name} is not in\n{out}");
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
        count += 1;
    }
    assert_eq!(count, out.lines().count());
}

#[test]
fn names_that_no_certificate_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for fine in ["a.example", "*.a.example", "10.0.0.1", "fd00::1"] {
        assert!(args(dir.path(), &["--san", fine]).is_ok(), "{fine}");
    }
    for wrong in ["a b", "", "https://a", "*.*.a"] {
        assert!(args(dir.path(), &["--san", wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn keep_leaves_a_whole_pki_and_says_what_a_half_one_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let ca = || std::fs::read(dir.path().join("ca.crt")).unwrap();
    let mut out = Vec::new();
    run(&args(dir.path(), &["--keep"]).unwrap(), &mut out).unwrap();
    let before = ca();
    run(&args(dir.path(), &["--keep"]).unwrap(), &mut out).unwrap();
    assert_eq!(ca(), before);
    std::fs::remove_file(dir.path().join("sa.key")).unwrap();
    let fault = run(&args(dir.path(), &["--keep"]).unwrap(), &mut out).unwrap_err().to_string();
    assert!(fault.contains("not sa.key") && fault.contains("--force"), "{fault}");
    assert_eq!(ca(), before);
    assert!(args(dir.path(), &["--keep", "--force"]).is_err());
}

#[test]
fn a_client_gets_a_certificate_of_his_groups_in_files_of_his_name() {
    use x509_parser::prelude::{FromDer, X509Certificate};

    let dir = tempfile::tempdir().unwrap();
    run(
        &args(dir.path(), &["--client", "alice=devs,demo:users", "--client", "bob"]).unwrap(),
        &mut Vec::new(),
    )
    .unwrap();
    let pem = std::fs::read(dir.path().join("alice.crt")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
    let groups =
        certificate.subject().iter_organization().map(|name| name.as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(groups, ["devs", "demo:users"]);
    assert!(dir.path().join("bob.key").exists());

    for wrong in ["", "=devs", "../alice", ".alice", "a/b"] {
        assert!(args(dir.path(), &["--client", wrong]).is_err(), "{wrong}");
    }
    let taken = tempfile::tempdir().unwrap();
    assert!(run(&args(taken.path(), &["--client", "ca"]).unwrap(), &mut Vec::new()).is_err());
    assert_eq!(std::fs::read_dir(taken.path()).unwrap().count(), 0);
}

#[test]
fn a_kubeconfig_of_ours_follows_the_pki_and_nobody_elses_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (pki, file) = (dir.path().join("pki"), dir.path().join("kubeconfig"));
    let with = |more: &[&str]| {
        let place = ["--kubeconfig", file.to_str().unwrap(), "--kubeconfig-server", "https://h:1"];
        run(&args(&pki, &[&place, more].concat()).unwrap(), &mut Vec::new())
    };
    with(&[]).unwrap();
    let first = std::fs::read_to_string(&file).unwrap();
    assert!(first.contains("server: https://h:1\n") && first.contains("client-key-data: "), "{first}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    with(&["--keep"]).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);

    std::fs::remove_dir_all(&pki).unwrap();
    with(&["--keep"]).unwrap();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), first, "it goes with the new PKI");

    std::fs::write(&file, "apiVersion: v1\n").unwrap();
    assert!(with(&["--keep"]).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "apiVersion: v1\n");
    with(&["--force"]).unwrap();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), "apiVersion: v1\n");
    assert!(args(&pki, &["--kubeconfig-server", "https://h:1"]).is_err(), "says nothing without a file");
}

#[test]
fn the_files_go_to_their_owner() {
    use std::os::unix::fs::MetadataExt as _;

    let dir = tempfile::tempdir().unwrap();
    let me = std::fs::metadata(dir.path()).unwrap();
    // Nobody but root may give files away; to oneself anybody may.
    let (user, group) = if me.uid() == 0 { (65_532, 65_533) } else { (me.uid(), me.gid()) };
    let given = args(dir.path(), &["--owner", &format!("{user}:{group}")]).unwrap();
    run(&given, &mut Vec::new()).unwrap();
    let key = std::fs::metadata(dir.path().join("admin.key")).unwrap();
    assert_eq!((key.uid(), key.gid(), key.mode() & 0o777), (user, group, 0o600));
    // A link that somebody else put there leads nowhere.
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("ca.crt")).unwrap();
    let kept = args(dir.path(), &["--keep", "--owner", &format!("{user}:{group}")]).unwrap();
    run(&kept, &mut Vec::new()).unwrap();
    assert_eq!(elsewhere.as_file().metadata().unwrap().uid(), me.uid());
    for wrong in ["root", "1:", ":1", "-1", "1:2:3", ""] {
        assert!(args(dir.path(), &["--owner", wrong]).is_err(), "{wrong:?}");
    }
}
