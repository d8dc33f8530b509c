//! `kubectl peers`, found and run by a real kubectl.

use std::os::unix::fs::symlink;

use serde_json::Value;
use tempfile::TempDir;

use super::{
    fleet, fleets,
    kit::{files::Who, kubectl::Kubectl},
};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

/// A folder for PATH, as an installation makes it.
fn installed() -> TempDir {
    let folder = TempDir::new().unwrap();
    let plugin = env!("CARGO_BIN_EXE_kubectl-peers");
    for name in ["kubectl-peers", "kubectl_complete-peers"] {
        symlink(plugin, folder.path().join(name)).unwrap();
    }
    folder
}

/// Code, standard output, standard error.
async fn run(kubectl: &Kubectl, folder: &TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let ended = kubectl.command(args).env("PATH", path).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_and_completes_peers_and_hands_on_its_exit_code() {
    let fleet = fleet!(fleets::versions().await);
    let folder = installed();
    let url = fleet.server("v136").url();
    let kubectl = Kubectl::newest(fleet.binaries, &fleet.files, &url, Who::Alice);
    let (_, list, error) = run(&kubectl, &folder, &["plugin", "list"]).await;
    assert!(list.contains("/kubectl-peers") && !error.contains("overshadowed"), "{list}{error}");
    let (code, help, error) = run(&kubectl, &folder, &["peers", "--help"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(help.contains("Usage: kubectl peers <COMMAND>") && help.contains("explain"), "{help}");
    let (code, candidates, error) = run(&kubectl, &folder, &["__complete", "peers", "ex"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(candidates.starts_with("explain\t") && candidates.contains(":4"), "{candidates}");
    let (code, flags, error) = run(&kubectl, &folder, &["__complete", "peers", "explain", "--as-u"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(flags.starts_with("--as-user"), "{flags}");
    let (code, _, error) = run(&kubectl, &folder, &["peers", "explain", "pods"]).await;
    assert_eq!(code, Some(64), "{error}");
    assert!(error.starts_with("kubectl peers: the path \"pods\" does not begin with a slash"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_peers_looks_at_the_current_context_and_at_servers_beside_it() {
    let fleet = fleet!(fleets::versions().await);
    let folder = installed();
    let kubectl = Kubectl::newest(fleet.binaries, &fleet.files, &fleet.server("v136").url(), Who::Alice);
    let (code, text, error) = run(&kubectl, &folder, &["peers", "explain", POLICIES]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(text.contains("which is home") && text.contains("(home-serves)"), "{text}");
    let servers =
        ["v132", "v135", "v136"].map(|name| format!("--server={name}={}", fleet.server(name).url()));
    let mut args = vec!["peers", "explain", POLICIES, "--verb=list", "--home=v132", "-o", "json"];
    args.extend(servers.iter().map(String::as_str));
    let (code, text, error) = run(&kubectl, &folder, &args).await;
    assert_eq!(code, Some(0), "{error}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["goes"], &answer["to"][0]), (&"peer".into(), &"v136".into()), "{text}");
    let mut args = vec!["peers", "inspect", "-o", "json"];
    args.extend(servers.iter().map(String::as_str));
    let (code, text, error) = run(&kubectl, &folder, &args).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(text.contains("mutatingadmissionpolicies"), "{text}");
}
