//! `certs`: a PKI to try things out with, in the files that `certs/README.md` explains.

mod kubeconfig;

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::lchown;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use rustls_pki_types::DnsName;

use crate::pki::{self, Pki, PkiFile};

/// Makes a PKI for demonstrations: two authorities, and certificates for an API server, the proxy and an admin.
///
/// The authorities' keys lie beside everything else, so this is for nothing but demonstrations.
#[derive(Args, Clone, Debug)]
pub struct CertsArgs {
    /// Folder for the files; it is made if it is absent
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Further DNS name or IP address for the serving certificates (apiserver, proxy); can be repeated
    ///
    /// They are valid for kubernetes.default.svc, kubernetes, localhost, 127.0.0.1 and ::1 anyway.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = subject_alternative_name)]
    san: Vec<String>,
    /// Further client certificate, for USER in these groups: USER.crt and USER.key; can be repeated
    #[arg(long, value_name = "USER[=GROUP,...]", value_parser = client)]
    client: Vec<Client>,
    /// Also write a kubeconfig for the admin, with everything inside
    ///
    /// If root writes it into another user's folder, that user owns it. It replaces one that this command made; anything else at
    /// its place stays unless --force says otherwise.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where the kubeconfig's server is
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:6443", requires = "kubeconfig")]
    kubeconfig_server: String,
    /// Overwrite files that are there
    #[arg(long, conflicts_with = "keep")]
    force: bool,
    /// Leave files that are there as they are, if they are all there
    #[arg(long)]
    keep: bool,
    /// Give the PKI's files to this user, by number (takes root, or CAP_CHOWN)
    #[arg(long, value_name = "UID[:GID]", value_parser = owner)]
    owner: Option<Owner>,
}

/// Whose files they are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: Option<u32>,
}

#[derive(Clone, Debug)]
struct Client {
    user: String,
    groups: Vec<String>,
}

/// Runs the command and writes to `out` which files were made.
///
/// # Errors
/// If a file is there already (unless `--force`, or `--keep` and all are), or can't be written.
pub fn run(args: &CertsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let made = files(args).context("the certificates could not be made")?;
    let (there, absent): (Vec<_>, Vec<_>) = made.iter().partition(|file| args.dir.join(&file.name).exists());
    if args.keep && absent.is_empty() {
        writeln!(out, "{}: the PKI that is there stays", args.dir.display())?;
    } else {
        if args.keep && !there.is_empty() {
            bail!(
                "{} has {} but not {}: remove the folder, or make everything anew with --force",
                args.dir.display(),
                there[0].name,
                absent[0].name
            );
        }
        for path in pki::write_all(&args.dir, &made, args.force)? {
            writeln!(out, "{}", path.display())?;
        }
    }
    if let Some(Owner { user, group }) = args.owner {
        for path in made.iter().map(|file| args.dir.join(&file.name)) {
            // Whoever may write in the folder could have put links there.
            lchown(&path, Some(user), group)
                .with_context(|| format!("cannot give {} to user {user}", path.display()))?;
        }
    }
    if let Some(file) = &args.kubeconfig {
        kubeconfig::write(file, &args.kubeconfig_server, &args.dir, args.force)?;
        writeln!(out, "{}", file.display())?;
    }
    Ok(())
}

fn files(args: &CertsArgs) -> anyhow::Result<Vec<PkiFile>> {
    let pki = Pki::generate(&args.san)?;
    let mut files = pki.files();
    for Client { user, groups } in &args.client {
        let groups = groups.iter().map(String::as_str).collect::<Vec<_>>();
        let made = pki.client(user, &groups)?;
        for (name, content, secret) in
            [(format!("{user}.crt"), made.cert_pem, false), (format!("{user}.key"), made.key_pem, true)]
        {
            if files.iter().any(|file| file.name == name) {
                bail!("{name} would be two different files: give --client another name than '{user}'");
            }
            files.push(PkiFile::new(name, content, secret));
        }
    }
    Ok(files)
}

/// `USER` or `USER=GROUP,GROUP`; the user's name becomes that of files.
fn client(text: &str) -> Result<Client, String> {
    let (user, groups) = text.split_once('=').unwrap_or((text, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if user.is_empty() || user.starts_with('.') || !user.chars().all(plain) {
        return Err("the user's name may have letters, digits, '-', '_', '@' and, not at its beginning, '.'"
            .to_owned());
    }
    let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect();
    Ok(Client { user: user.to_owned(), groups })
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
mod tests;
