//! `inspect`: the program itself before servers in memory, good and bad.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::StatusCode;
use kube_peer_proxy::embedded::{
    DiscoveryFault, Forms, Recorded,
    Recorded::{V1_32, V1_36},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::kit::{BOB, Cluster, EVE, PKI, free_port};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-peer-proxy");
const POLICIES: &str = "mutatingadmissionpolicies";

/// How it ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// Servers, and a kubeconfig with a context for each, whose user is bob.
struct Looked {
    cluster: Cluster,
    folder: TempDir,
}

// === impl Looked ===

impl Looked {
    async fn at(named: &[(&str, Recorded)]) -> Self {
        Self::of(Cluster::with(named.iter().copied(), |builder| builder).await)
    }

    fn of(cluster: Cluster) -> Self {
        let looked = Self { cluster, folder: tempfile::tempdir().unwrap() };
        looked.write_kubeconfig(BOB, PKI.cluster_ca.cert_pem());
        looked
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self, token: &str, ca: &str) {
        std::fs::write(self.folder.path().join("ca.crt"), ca).unwrap();
        let (mut clusters, mut contexts) = (String::new(), String::new());
        for server in self.cluster.servers() {
            let (name, url) = (server.id(), server.url());
            clusters +=
                &format!("- {{name: {name}, cluster: {{server: '{url}', certificate-authority: ca.crt}}}}\n");
            contexts += &format!("- {{name: {name}, context: {{cluster: {name}, user: me}}}}\n");
        }
        let first = self.cluster.servers().next().unwrap().id();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {first}\nclusters:\n{clusters}contexts:\n{contexts}\
             users:\n- {{name: me, user: {{token: {token}}}}}\n"
        );
        std::fs::write(self.kubeconfig(), text).unwrap();
    }

    /// `inspect` with this kubeconfig, on paper 80 characters wide.
    async fn inspect(&self, arguments: &[&str]) -> Ended {
        inspect(arguments, &[("KUBECONFIG", self.kubeconfig().to_str().unwrap()), ("COLUMNS", "80")]).await
    }
}

async fn inspect(arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let output = Command::new(PROGRAM)
        .arg("inspect")
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(crate::kit::DEADLINE, output).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn row<'a>(out: &'a str, name: &str) -> Vec<&'a str> {
    let line = out.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} in\n{out}")).split_whitespace().collect()
}

#[tokio::test]
async fn several_contexts_are_several_servers_and_what_differs_is_shown() {
    let looked = Looked::at(&[("new", V1_36), ("old", V1_32)]).await;
    let ended = looked.inspect(&["--context=new", "--context=old"]).await;
    assert_eq!((ended.code, &*ended.err), (0, ""), "{}", ended.out);
    assert_eq!(row(&ended.out, POLICIES), [POLICIES, "✓", "–"]);
    assert!(!ended.out.contains("deployments"), "{}", ended.out);
    assert!(ended.out.lines().all(|line| line.chars().count() <= 80), "{}", ended.out);
    assert!(!ended.out.contains('\x1b'), "a pipe has no colours");
    assert_eq!(row(&ended.out, "old")[..3], ["old", "v1.32.13", "fresh"], "{}", ended.out);
    let all = looked.inspect(&["--context=new", "--context=old", "--all"]).await;
    assert_eq!(row(&all.out, "deployments"), ["deployments", "✓", "✓"]);
    // It was asked for itself alone, without a word to peers.
    let asked = looked.cluster.server("new").log().matching(|request| request.target == "/apis");
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|request| request.user.as_ref().is_some_and(|user| user.name == "bob")));
}

#[tokio::test]
async fn several_servers_are_asked_with_the_credentials_of_the_current_context() {
    let looked = Looked::at(&[("new", V1_36), ("old", V1_32)]).await;
    let url = |name: &str| looked.cluster.server(name).url();
    let (x, y) = (format!("--server=x={}", url("old")), format!("--server=y={}", url("new")));
    let ended = looked.inspect(&[&x, &y]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(row(&ended.out, POLICIES), [POLICIES, "–", "✓"]);
    let twice = looked.inspect(&[&x, &x]).await;
    assert!(twice.code == 64 && twice.err.contains("named twice"), "{}", twice.err);
}

#[tokio::test]
async fn servers_of_every_form_of_discovery_are_compared_alike() {
    for forms in [Forms::V2, Forms::V2Beta1, Forms::Unaggregated] {
        let looked = Looked::at(&[("one", V1_32), ("other", V1_32)]).await;
        looked.cluster.server("other").set_forms(forms);
        let ended = looked.inspect(&["--diff", "one", "other", "--fail-on-skew"]).await;
        assert_eq!(ended.code, 0, "{forms:?}: {}{}", ended.out, ended.err);
        assert!(ended.out.contains("one and other serve the same."), "{}", ended.out);
    }
}

#[tokio::test]
async fn json_and_yaml_have_the_same_shape_and_rows_that_differ() {
    let looked = Looked::at(&[("new", V1_36), ("old", V1_32)]).await;
    let both = ["--context=new", "--context=old"];
    let json = looked.inspect(&[&both[..], &["-o", "json"]].concat()).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let yaml = looked.inspect(&[&both[..], &["-o", "yaml"]].concat()).await;
    let yaml: Value = serde_saphyr::from_str(&yaml.out).unwrap();
    assert_eq!(json["rows"], yaml["rows"]);
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len() as u64, json["summary"]["differing"].as_u64().unwrap());
    let policies = rows.iter().find(|row| row["resource"] == POLICIES).unwrap();
    assert_eq!(policies["cells"]["new"]["state"], "served");
    assert_eq!(policies["cells"]["old"]["state"], "notServed");
    assert!(json["servers"][0]["etags"]["/apis"].as_str().unwrap().len() > 20, "whole in JSON");
    let all = looked.inspect(&[&both[..], &["-o", "json", "--all"]].concat()).await;
    let all: Value = serde_json::from_str(&all.out).unwrap();
    assert!(all["rows"].as_array().unwrap().len() > 100);
}

#[tokio::test]
async fn markdown_has_a_table_with_a_column_for_each_server() {
    let looked = Looked::at(&[("new", V1_36), ("old", V1_32)]).await;
    let ended = looked.inspect(&["--context=new", "--context=old", "-o", "markdown"]).await;
    let row = format!("| `admissionregistration.k8s.io/v1` | `{POLICIES}` | ✓ | – |");
    assert!(ended.out.lines().any(|line| line == row), "{}", ended.out);
}

#[tokio::test]
async fn two_servers_are_compared_and_nobody_else_is_asked() {
    let looked = Looked::at(&[("a", V1_36), ("b", V1_32), ("c", V1_36)]).await;
    let three = ["--context=a", "--context=b", "--context=c"];
    let ended = looked.inspect(&[&three[..], &["--diff", "b", "a"]].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("Only in a (") && ended.out.contains(POLICIES), "{}", ended.out);
    assert!(looked.cluster.server("c").log().matching(|_| true).is_empty());
    let unknown = looked.inspect(&[&three[..], &["--diff", "a", "x"]].concat()).await;
    assert_eq!(unknown.code, 64);
    assert!(unknown.err.contains("no server \"x\"; the servers are a, b, c"), "{}", unknown.err);
}

#[tokio::test]
async fn fail_on_skew_is_0_only_if_all_are_known_and_alike() {
    let looked = Looked::at(&[("a", V1_36), ("b", V1_36), ("old", V1_32)]).await;
    let same = looked.inspect(&["--context=a", "--context=b", "--fail-on-skew"]).await;
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
    assert!(same.out.contains("2 servers serve the same: "), "{}", same.out);
    let differ = looked.inspect(&["--context=a", "--context=old", "--fail-on-skew"]).await;
    assert!(differ.code == 1 && differ.err.contains(" differ."), "{}", differ.err);
    let nobody = format!("--server=dead=https://127.0.0.1:{}", free_port());
    let a = format!("--server=a={}", looked.cluster.server("a").url());
    let b = format!("--server=b={}", looked.cluster.server("b").url());
    let unknown = looked.inspect(&[&a, &b, &nobody, "--fail-on-skew"]).await;
    assert_eq!(unknown.code, 1, "what is not known is not finished");
    assert!(unknown.err.contains("not everything is known") && unknown.err.contains("dead is not known"));
    let alone = looked.inspect(&["--context=a", "--fail-on-skew"]).await;
    assert!(alone.code == 1 && alone.err.contains("at least two"), "{}", alone.err);
}

#[tokio::test]
async fn a_dead_server_is_unknown_with_the_reason_and_fails_nothing_unless_all_are_dead() {
    let looked = Looked::at(&[("a", V1_36)]).await;
    let nobody = format!("--server=dead=https://127.0.0.1:{}", free_port());
    let a = format!("--server=a={}", looked.cluster.server("a").url());
    let ended = looked.inspect(&[&a, &nobody, "--all"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(row(&ended.out, "deployments"), ["deployments", "✓", "?"]);
    assert!(ended.out.contains("dead: nobody answers at https://127.0.0.1:"), "{}", ended.out);
    let all = looked.inspect(&[&nobody]).await;
    assert!(all.code == 1 && all.err.contains("no server could be asked"), "{}", all.err);
}

#[tokio::test]
async fn a_server_that_hangs_keeps_nobody_waiting_longer_than_its_deadline() {
    let looked = Looked::at(&[("a", V1_36), ("slow", V1_36)]).await;
    looked.cluster.server("slow").faults().discovery(Some(DiscoveryFault::Slow(Duration::from_secs(1))));
    let started = Instant::now();
    let ended = looked.inspect(&["--context=a", "--context=slow", "--all", "--timeout=700ms"]).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("slow: no whole answer within 0.7 s"), "{}", ended.out);
    assert_eq!(row(&ended.out, "deployments"), ["deployments", "✓", "?"]);
}

#[tokio::test]
async fn who_may_not_read_discovery_or_is_not_known_is_told_so() {
    let authorized =
        |builder: kube_peer_proxy::embedded::Builder| builder.authorizer(|user, _, _| user.name != "eve");
    let looked = Looked::of(Cluster::with([("a", V1_36)], authorized).await);
    looked.write_kubeconfig(EVE, PKI.cluster_ca.cert_pem());
    let forbidden = looked.inspect(&[]).await;
    assert_eq!(forbidden.code, 1);
    assert!(forbidden.out.contains("answered 403 to /api") && forbidden.out.contains("system:discovery"));
    looked.write_kubeconfig("expired", PKI.cluster_ca.cert_pem());
    let stranger = looked.inspect(&[]).await;
    assert!(stranger.code == 1 && stranger.out.contains("answered 401 to /api"), "{}", stranger.out);
    looked.cluster.server("a").faults().answer_all(Some(StatusCode::INTERNAL_SERVER_ERROR));
    looked.write_kubeconfig(BOB, PKI.cluster_ca.cert_pem());
    let broken = looked.inspect(&[]).await;
    assert!(broken.code == 1 && broken.out.contains("answered 500"), "{}", broken.out);
}

#[tokio::test]
async fn another_ca_and_another_name_are_told_from_a_server_that_is_down() {
    let looked = Looked::at(&[("a", V1_36)]).await;
    let name = looked.inspect(&["--tls-server-name=nobody.example"]).await;
    assert!(name.code == 1 && name.out.contains("--tls-server-name"), "{}", name.out);
    looked.write_kubeconfig(BOB, PKI.front_proxy_ca.cert_pem());
    let ca = looked.inspect(&[]).await;
    assert!(ca.code == 1 && ca.out.contains("certificate is not to be trusted"), "{}", ca.out);
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_exits_64_with_a_sentence() {
    let looked = Looked::at(&[("a", V1_36), ("b", V1_36)]).await;
    let unknown = looked.inspect(&["--context=nobody"]).await;
    assert!(unknown.code == 64 && unknown.err.contains("it has a, b"), "{}", unknown.err);
    let folder = looked.folder.path();
    let none = inspect(&[], &[("HOME", folder.to_str().unwrap())]).await;
    assert!(none.code == 64 && none.err.contains("there is no kubeconfig"), "{}", none.err);
    let missing = inspect(&["--kubeconfig=/nonexistent/config"], &[]).await;
    assert!(missing.code == 64 && missing.err.contains("/nonexistent/config"), "{}", missing.err);
    std::fs::write(folder.join("broken"), "clusters: {").unwrap();
    let broken = format!("--kubeconfig={}", folder.join("broken").display());
    let broken = inspect(&[&broken], &[]).await;
    assert!(broken.code == 64 && broken.err.contains("YAML"), "{}", broken.err);
    let both = looked.inspect(&["--admin=127.0.0.1:1", "--context=a"]).await;
    assert_eq!(both.code, 64);
}

#[tokio::test]
async fn a_credential_plugin_that_fails_is_the_servers_reason_and_one_that_hangs_is_not_waited_for() {
    let looked = Looked::at(&[("a", V1_36)]).await;
    let with = |command: &str, arguments: &str| {
        let text = std::fs::read_to_string(looked.kubeconfig()).unwrap();
        let (before, _) = text.split_once("users:").unwrap();
        let plugin = format!(
            "users:\n- name: me\n  user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: '{command}', \
             args: {arguments}, interactiveMode: Never}}}}\n"
        );
        std::fs::write(looked.kubeconfig(), before.to_owned() + &plugin).unwrap();
    };
    let token = format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{BOB}"}}}}"#
    );
    with("/bin/echo", &format!("['{token}']"));
    let good = looked.inspect(&[]).await;
    assert_eq!(good.code, 0, "{}{}", good.out, good.err);
    with("/nonexistent/plugin", "[]");
    let missing = looked.inspect(&[]).await;
    assert!(missing.code == 1 && missing.out.contains("no credentials that can be used"), "{}", missing.out);
    with("/bin/sleep", "['60']");
    let started = Instant::now();
    let hangs = looked.inspect(&["--timeout=300ms"]).await;
    assert!(hangs.code == 1 && started.elapsed() < Duration::from_secs(10), "{}", hangs.out);
}

#[tokio::test]
async fn the_admin_address_of_a_proxy_shows_what_it_knows() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = format!("--admin={}", proxy.app.admin);
    let ended = inspect(&[&admin], &[("COLUMNS", "80")]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(row(&ended.out, POLICIES), [POLICIES, "–", "✓"]);
    assert_eq!(row(&ended.out, "v132")[..3], ["v132", "1.32", "fresh"]);
    // One shape, whoever tells it.
    let json = inspect(&[&admin, "-o", "json", "--all"], &[]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let page = proxy.page("/debug/discovery/diff?all&format=json").await.json();
    assert_eq!((&json["rows"], &json["summary"]), (&page["rows"], &page["summary"]));
    let diff = inspect(&[&admin, "--diff", "v136", "v132", "--fail-on-skew"], &[]).await;
    assert!(diff.code == 1 && diff.out.contains("Only in v136 ("), "{}{}", diff.out, diff.err);
    let unknown = inspect(&[&admin, "--diff", "v136", "x"], &[]).await;
    assert!(unknown.code == 64 && unknown.err.contains("v132, v136"), "{}", unknown.err);

    let nobody = inspect(&[&format!("--admin=127.0.0.1:{}", free_port())], &[]).await;
    assert!(nobody.code == 1 && nobody.err.contains("--admin-bind-address"), "{}", nobody.err);
    let tls = inspect(&[&format!("--admin={}", cluster.server("v132").addr()), "--timeout=2s"], &[]).await;
    assert!(tls.code == 1 && tls.err.contains("--admin"), "{}", tls.err);
}

#[tokio::test]
async fn the_configuration_of_a_proxy_names_servers_that_are_asked_as_it_would() {
    let looked = Looked::at(&[("old", V1_32), ("new", V1_36)]).await;
    let folder: &Path = looked.folder.path();
    let pki = folder.join("pki");
    PKI.write(&pki, false).unwrap();
    let servers: String = looked
        .cluster
        .servers()
        .map(|server| format!("- {{name: {}, url: '{}'}}\n", server.id(), server.url()))
        .collect();
    let text = format!(
        "apiServers:\n{servers}tlsCertFile: pki/proxy.crt\ntlsPrivateKeyFile: pki/proxy.key\nclientCaFile: pki/ca.crt\n\
         peerCaFile: pki/ca.crt\nproxyClientCertFile: pki/front-proxy-client.crt\n\
         proxyClientKeyFile: pki/front-proxy-client.key\n"
    );
    let file = folder.join("proxy.yaml");
    std::fs::write(&file, text).unwrap();
    let ended = inspect(&["--config", file.to_str().unwrap()], &[("COLUMNS", "80")]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(row(&ended.out, POLICIES).len(), 3, "{}", ended.out);
    let asked = looked.cluster.server("new").log().matching(|request| request.target == "/apis");
    let ours = crate::kit::PROXY_USER;
    assert!(asked.iter().all(|request| request.user.as_ref().is_some_and(|user| user.name == ours)));
    let wrong = inspect(&["--config", "/nonexistent.yaml"], &[]).await;
    assert_eq!(wrong.code, 64, "{}", wrong.err);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let looked = Looked::at(&[("a", V1_36)]).await;
    let mut child = Command::new(PROGRAM)
        .args(["inspect", "--all", "-o", "json"])
        .env_clear()
        .env("KUBECONFIG", looked.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 1];
    out.read_exact(&mut first).await.unwrap();
    drop(out);
    let ended = tokio::time::timeout(crate::kit::DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}
