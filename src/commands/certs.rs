//! `certs`: a PKI to try things out with, in the files that `certs/README.md` explains.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use rustls_pki_types::DnsName;

use crate::pki::Pki;

/// Makes a PKI for demonstrations: two authorities, and certificates for an API server, the proxy and an admin.
#[derive(Args, Clone, Debug)]
pub struct CertsArgs {
    /// Folder for the files; it is made if it is absent
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Further DNS name or IP address for the two serving certificates; can be repeated
    ///
    /// They are valid for kubernetes.default.svc, kubernetes, localhost, 127.0.0.1 and ::1 anyway.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = subject_alternative_name)]
    san: Vec<String>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

/// Runs the command and writes to `out` which files were made.
///
/// # Errors
/// If a file is there already (unless `--force`), or can't be written.
pub fn run(args: &CertsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let pki = Pki::generate(&args.san).context("the certificates could not be made")?;
    let written = pki.write(&args.dir, args.force)?;
    for path in &written {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

/// A DNS name, perhaps with a `*` in front, or an address.
fn subject_alternative_name(text: &str) -> Result<String, String> {
    let plain = text.strip_prefix("*.").unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || DnsName::try_from(plain).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("is no DNS name or IP address".to_owned())
    }
}

#[cfg(test)]
mod tests {
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
        let readme = include_str!("../../certs/README.md");
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
}
