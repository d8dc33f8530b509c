//! `certs`: a PKI to try things out with, in the files that `certs/README.md` explains.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::chown;
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
    #[arg(long, conflicts_with = "keep")]
    force: bool,
    /// Leave a PKI that is there as it is, whatever it says, and succeed
    #[arg(long)]
    keep: bool,
    /// Give the files to this user, by number (takes root, or CAP_CHOWN)
    #[arg(long, value_name = "UID[:GID]", value_parser = owner)]
    owner: Option<Owner>,
}

/// Whose files they are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: Option<u32>,
}

/// Runs the command and writes to `out` which files were made.
///
/// # Errors
/// If a file is there already (unless `--force`), or can't be written.
pub fn run(args: &CertsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let pki = Pki::generate(&args.san).context("the certificates could not be made")?;
    let there: Vec<_> = pki.files().iter().map(|file| args.dir.join(file.name)).collect();
    let kept = args.keep && there.iter().all(|path| path.exists());
    let files = if kept { there } else { pki.write(&args.dir, args.force)? };
    if let Some(Owner { user, group }) = args.owner {
        for path in &files {
            chown(path, Some(user), group)
                .with_context(|| format!("cannot give {} to user {user}", path.display()))?;
        }
    }
    if kept {
        writeln!(out, "{}: the PKI that is there stays", args.dir.display())?;
        return Ok(());
    }
    for path in &files {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn owner(text: &str) -> Result<Owner, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number =
        |text: &str| text.parse().map_err(|_| "is no UID or UID:GID, such as 65532:65532".to_owned());
    Ok(Owner { user: number(user)?, group: group.map(number).transpose()? })
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
    fn keep_leaves_a_whole_pki_alone_and_refuses_half_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let keep = args(dir.path(), &["--keep"]).unwrap();
        run(&keep, &mut Vec::new()).unwrap();
        let before = std::fs::read(dir.path().join("ca.crt")).unwrap();
        let mut out = Vec::new();
        run(&keep, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("stays"));
        assert_eq!(std::fs::read(dir.path().join("ca.crt")).unwrap(), before);
        std::fs::remove_file(dir.path().join("admin.key")).unwrap();
        let error = run(&keep, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
        assert!(args(dir.path(), &["--keep", "--force"]).is_err());
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
        for wrong in ["root", "1:", ":1", "-1", "1:2:3", ""] {
            assert!(args(dir.path(), &["--owner", wrong]).is_err(), "{wrong:?}");
        }
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
