//! Where the real programs are.
//!
//! - `KPP_KUBE_APISERVERS`, `KPP_KUBECTLS`: `1.36=/path,1.35=/path`; `KPP_ETCD`, `KPP_KUBELET` (that of
//!   `tests/real/kubelet`): a path.
//! - `KPP_CLIENTS`: `restmapper=/path,kube-rs=/path,python=/folder,kubeadm=/path`, what `tests/real/fetch` makes of the
//!   clients below `tests/real`.
//! - or `KUBEBUILDER_ASSETS`: folders as setup-envtest makes them, separated by commas, each with
//!   `kube-apiserver`, `etcd` and `kubectl`; versions are asked of the programs.

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// `major.minor`, so that they can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Binaries {
    pub(crate) apiservers: BTreeMap<Version, PathBuf>,
    pub(crate) kubectls: BTreeMap<Version, PathBuf>,
    pub(crate) etcd: PathBuf,
    kubelet: PathBuf,
    clients: BTreeMap<String, PathBuf>,
}

// === impl Version ===

impl Version {
    /// Reads `1.36` and what begins so.
    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').split('.');
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

// === impl Binaries ===

impl Binaries {
    /// All that the environment offers, if the API server versions asked for are among it.
    pub(crate) fn with(versions: &[Version]) -> Result<&'static Self, String> {
        static FOUND: LazyLock<Result<Binaries, String>> = LazyLock::new(Binaries::find);
        let found = FOUND.as_ref().map_err(Clone::clone)?;
        match versions.iter().find(|version| !found.apiservers.contains_key(version)) {
            Some(missing) => Err(format!("no kube-apiserver {missing} (KPP_KUBE_APISERVERS)")),
            None => Ok(found),
        }
    }

    /// The kubelet that `tests/real/fetch` builds.
    pub(crate) fn kubelet(&self) -> Result<&Path, String> {
        if self.kubelet.exists() { Ok(&self.kubelet) } else { Err("KPP_KUBELET names no kubelet".to_owned()) }
    }

    /// A client of `tests/real` that is not kubectl, by its name.
    pub(crate) fn client(&self, name: &str) -> Result<&Path, String> {
        let found = self.clients.get(name).filter(|path| path.exists());
        found.map(PathBuf::as_path).ok_or_else(|| format!("KPP_CLIENTS names no {name}"))
    }

    fn find() -> Result<Self, String> {
        let mut found = Self::default();
        let folders = env::var("KUBEBUILDER_ASSETS").unwrap_or_default();
        for folder in folders.split(',').filter(|folder| !folder.is_empty()).map(Path::new) {
            let apiserver = folder.join("kube-apiserver");
            found.apiservers.insert(ask(&apiserver, &["--version"])?, apiserver);
            let kubectl = folder.join("kubectl");
            if kubectl.exists() {
                found.kubectls.insert(ask(&kubectl, &["version", "--client", "-o", "json"])?, kubectl);
            }
            found.etcd = folder.join("etcd");
        }
        listed("KPP_KUBE_APISERVERS", &mut found.apiservers)?;
        listed("KPP_KUBECTLS", &mut found.kubectls)?;
        if let Some(etcd) = env::var_os("KPP_ETCD") {
            found.etcd = etcd.into();
        }
        let clients = env::var("KPP_CLIENTS").unwrap_or_default();
        let named = clients.split(',').filter_map(|entry| entry.split_once('='));
        found.clients = named.map(|(name, path)| (name.to_owned(), path.into())).collect();
        found.kubelet = env::var_os("KPP_KUBELET").unwrap_or_default().into();
        if found.apiservers.is_empty() || found.kubectls.is_empty() || !found.etcd.exists() {
            return Err(
                "KPP_KUBE_APISERVERS, KPP_KUBECTLS and KPP_ETCD (or KUBEBUILDER_ASSETS) name no real \
                        kube-apiserver, kubectl and etcd"
                    .to_owned(),
            );
        }
        Ok(found)
    }
}

fn listed(variable: &str, into: &mut BTreeMap<Version, PathBuf>) -> Result<(), String> {
    let value = env::var(variable).unwrap_or_default();
    for entry in value.split(',').filter(|entry| !entry.is_empty()) {
        let parsed = entry.split_once('=').and_then(|(version, path)| Some((Version::read(version)?, path)));
        let (version, path) = parsed.ok_or_else(|| format!("{variable}: {entry:?} is not VERSION=PATH"))?;
        if !Path::new(path).exists() {
            return Err(format!("{variable}: there is no {path}"));
        }
        into.insert(version, path.into());
    }
    Ok(())
}

/// The first thing like `v1.36` in what a program says about itself.
fn ask(program: &Path, args: &[&str]) -> Result<Version, String> {
    let said = Command::new(program).args(args).output();
    let said = said.map_err(|error| format!("{}: {error}", program.display()))?.stdout;
    let said = String::from_utf8_lossy(&said);
    let mut words = said.split(|c: char| c.is_whitespace() || c == '"');
    words
        .find_map(|word| word.strip_prefix('v').and_then(Version::read))
        .ok_or_else(|| format!("{} does not tell its version", program.display()))
}
