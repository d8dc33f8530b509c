//! Tells the program which commit it is built from.
//!
//! Nothing comes from the clock or the machine: the same commit gives the same bytes. `KUBE_PEER_PROXY_COMMIT` (a
//! commit, or commit and date as `git log -1 --format='%H %cs'` writes them) says it where there is no `.git`, as in an
//! image's build; without either the program names its version only.

use std::{env, path::Path, process::Command};

/// What a reader compares by eye, and still no two commits share.
const SHOWN: usize = 12;
/// Says the commit where git can't.
const TOLD: &str = "KUBE_PEER_PROXY_COMMIT";

fn main() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={TOLD}");
    let told = env::var(TOLD).ok().filter(|told| !told.trim().is_empty());
    let line = told.or_else(|| {
        for name in ["HEAD", "logs/HEAD"] {
            // A path that does not exist would have this run at every build.
            if let Some(path) = git(Path::new(&root), &["rev-parse", "--git-path", name])
                && Path::new(&root).join(&path).exists()
            {
                println!("cargo:rerun-if-changed={path}");
            }
        }
        last_commit(Path::new(&root))
    });
    let (commit, text) = described(&version, line.as_deref());
    println!("cargo:rustc-env=KUBE_PEER_PROXY_BUILD_COMMIT={commit}");
    println!("cargo:rustc-env=KUBE_PEER_PROXY_BUILD_VERSION={text}");
}

/// The commit that a working tree has checked out, and its date; none if `root` is not the top of one: sources that
/// somebody unpacked inside of another repository are not of its commits.
pub(crate) fn last_commit(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    (Path::new(&top).canonicalize().ok()? == root.canonicalize().ok()?).then_some(())?;
    git(root, &["log", "-1", "--format=%H %cs"])
}

/// The short commit (or nothing), and the version with what is known of it.
pub(crate) fn described(version: &str, line: Option<&str>) -> (String, String) {
    let mut words = line.unwrap_or_default().split_whitespace();
    let commit: String = words.next().unwrap_or_default().chars().take(SHOWN).collect();
    let text = match (commit.as_str(), words.next()) {
        ("", _) => version.to_owned(),
        (commit, None) => format!("{version} ({commit})"),
        (commit, Some(date)) => format!("{version} ({commit}, {date})"),
    };
    (commit, text)
}

/// The first line that git prints, if it is there and content.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(arguments);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        // Inside of a hook these speak of whatever repository the hook is for.
        command.env_remove(variable);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned();
    (!line.is_empty()).then_some(line)
}
