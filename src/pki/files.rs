//! The PKI as files, named as kubeadm names them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Pki;

/// One file of a PKI.
#[derive(Clone, Debug)]
pub struct PkiFile {
    /// The file's name inside the folder.
    pub name: String,
    /// What it holds, PEM.
    pub content: String,
    /// A private key: only its owner may read it.
    pub secret: bool,
}

/// The files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file is there and the caller did not ask for it to be replaced.
    #[error("{} is there already; --force overwrites it", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("writing {}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

// === impl Pki ===

impl Pki {
    /// All files, certificates before their keys.
    pub fn files(&self) -> Vec<PkiFile> {
        let public = |name: &str, content: &str| PkiFile::new(name, content, false);
        let secret = |name: &str, content: &str| PkiFile::new(name, content, true);
        vec![
            public("ca.crt", self.cluster_ca.cert_pem()),
            secret("ca.key", &self.cluster_ca.key_pem()),
            public("front-proxy-ca.crt", self.front_proxy_ca.cert_pem()),
            secret("front-proxy-ca.key", &self.front_proxy_ca.key_pem()),
            public("apiserver.crt", &self.apiserver.cert_pem),
            secret("apiserver.key", &self.apiserver.key_pem),
            public("proxy.crt", &self.proxy.cert_pem),
            secret("proxy.key", &self.proxy.key_pem),
            public("front-proxy-client.crt", &self.front_proxy_client.cert_pem),
            secret("front-proxy-client.key", &self.front_proxy_client.key_pem),
            public("admin.crt", &self.admin.cert_pem),
            secret("admin.key", &self.admin.key_pem),
            public("sa.pub", &self.service_accounts.public_pem),
            secret("sa.key", &self.service_accounts.key_pem),
        ]
    }

    /// Writes all files into `folder`: see [`write_all`].
    pub fn write(&self, folder: &Path, overwrite: bool) -> Result<Vec<PathBuf>, WriteError> {
        write_all(folder, &self.files(), overwrite)
    }
}

// === impl PkiFile ===

impl PkiFile {
    /// A file with that name and content.
    pub fn new(name: impl Into<String>, content: impl Into<String>, secret: bool) -> Self {
        Self { name: name.into(), content: content.into(), secret }
    }
}

/// Writes `files` into `folder`, which is made if it is absent, and names them. Secret ones get mode 0600.
///
/// # Errors
/// If the system refuses. Without `overwrite` nothing at all is written if one of the files is there.
pub fn write_all(folder: &Path, files: &[PkiFile], overwrite: bool) -> Result<Vec<PathBuf>, WriteError> {
    if !overwrite
        && let Some(there) = files.iter().map(|file| folder.join(&file.name)).find(|path| path.exists())
    {
        return Err(WriteError::Exists(there));
    }
    fs::create_dir_all(folder).map_err(|source| WriteError::Io { path: folder.to_owned(), source })?;
    files.iter().map(|file| write_one(folder, file, overwrite)).collect()
}

/// Written beside its place and renamed, so that a key is never readable by others for a moment and a
/// half-written file never stands under the name.
fn write_one(folder: &Path, file: &PkiFile, overwrite: bool) -> Result<PathBuf, WriteError> {
    let path = folder.join(&file.name);
    let beside = folder.join(format!(".{}.{}", file.name, std::process::id()));
    let mode = if file.secret { 0o600 } else { 0o644 };
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut open| open.write_all(file.content.as_bytes()))
        .and_then(|()| if overwrite { fs::rename(&beside, &path) } else { fs::hard_link(&beside, &path) });
    if !overwrite || written.is_err() {
        // Best effort: after a failed write there may be nothing to remove.
        let _ = fs::remove_file(&beside);
    }
    match written {
        Ok(()) => Ok(path),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Err(WriteError::Exists(path)),
        Err(source) => Err(WriteError::Io { path, source }),
    }
}
