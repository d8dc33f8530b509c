//! The kubeconfig that goes with a demo PKI.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use anyhow::{Context, bail};

use crate::pki::{self, PkiFile, base64};

/// The first line of what we write: whoever finds it may replace the file.
const OURS: &str = "# Made by kube-peer-proxy certs";

/// Writes a kubeconfig for the admin whose files lie in `pki`, with mode 0600.
///
/// # Errors
/// If one of the files can't be read or written, or a file that we did not make is in the way and `force` is false.
pub(super) fn write(file: &Path, server: &str, pki: &Path, force: bool) -> anyhow::Result<()> {
    match fs::read_to_string(file) {
        Ok(text) if !force && !text.starts_with(OURS) => {
            bail!("{} is not ours to replace; --force overwrites it", file.display())
        }
        Err(fault) if !force && fault.kind() != ErrorKind::NotFound => {
            return Err(fault).with_context(|| format!("reading {}", file.display()));
        }
        _ => {}
    }
    let data = |name: &str| {
        let path = pki.join(name);
        fs::read(&path).map(|bytes| base64(&bytes)).with_context(|| format!("reading {}", path.display()))
    };
    let content = format!(
        "{OURS}
apiVersion: v1
kind: Config
clusters:
- name: kube-peer-proxy
  cluster:
    server: {server}
    certificate-authority-data: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {}
    client-key-data: {}
contexts:
- name: kubernetes-admin@kube-peer-proxy
  context: {{cluster: kube-peer-proxy, user: kubernetes-admin}}
current-context: kubernetes-admin@kube-peer-proxy
",
        data("ca.crt")?,
        data("admin.crt")?,
        data("admin.key")?,
    );
    let name = file.file_name().and_then(|name| name.to_str()).context("--kubeconfig names no file")?;
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or_else(|| Path::new("."));
    pki::write_all(folder, &[PkiFile::new(name, content, true)], true)?;
    // Root in a container writes for whoever gave it the folder.
    let (made, owner) = (fs::symlink_metadata(file)?, fs::metadata(folder)?);
    if made.uid() != owner.uid() && made.uid() == 0 {
        lchown(file, Some(owner.uid()), Some(owner.gid()))
            .with_context(|| format!("giving {} to the owner of its folder", file.display()))?;
    }
    Ok(())
}
