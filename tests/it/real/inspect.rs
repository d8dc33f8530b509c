//! `inspect` before real servers, straight and through a proxy.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::{
    fleet, fleets,
    kit::{cluster::Cluster, files::Who, proxy::Proxy},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-peer-proxy");

/// What it said as JSON, and its exit code.
async fn inspect(arguments: &[String]) -> (Value, i32) {
    let mut command = Command::new(PROGRAM);
    let output =
        command.args(["inspect", "-o", "json"]).args(arguments).env_clear().stdin(Stdio::null()).output();
    let output = output.await.unwrap();
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (said, output.status.code().unwrap())
}

/// Arguments that ask these servers as this user.
fn straight(cluster: &Cluster, folder: &tempfile::TempDir, names: &[&str], who: Who) -> Vec<String> {
    let kubeconfig = cluster.files.kubeconfig(folder.path(), &cluster.server(names[0]).url(), who);
    let servers = names.iter().map(|name| format!("--server={name}={}", cluster.server(name).url()));
    [format!("--kubeconfig={}", kubeconfig.display())].into_iter().chain(servers).collect()
}

/// The state of a resource in each of these servers.
fn states<'a>(said: &'a Value, group: &str, resource: &str, names: &[&str]) -> Vec<&'a str> {
    let mut rows = said["rows"].as_array().unwrap().iter();
    let row = rows.find(|row| row["group"] == group && row["resource"] == resource);
    names
        .iter()
        .map(|name| row.map_or("no row", |row| row["cells"][*name]["state"].as_str().unwrap()))
        .collect()
}

const POLICIES: (&str, &str) = ("admissionregistration.k8s.io", "mutatingadmissionpolicies");

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_differ_in_what_they_differ_in_by_certificate_and_by_token() {
    let fleet = fleet!(fleets::versions().await);
    let (folder, names) = (tempfile::tempdir().unwrap(), ["v136", "v132"]);
    for who in [Who::Alice, Who::Bob] {
        let mut arguments = straight(fleet.cluster, &folder, &names, who);
        let (said, code) = inspect(&arguments).await;
        assert_eq!((code, &said["incomplete"]), (0, &Value::Bool(false)));
        assert_eq!(states(&said, POLICIES.0, POLICIES.1, &names), ["served", "notServed"]);
        assert_eq!(states(&said, "", "pods/resize", &names), ["served", "notServed"]);
        assert_eq!(states(&said, "apps", "deployments", &names), ["no row", "no row"]);
        let versions: Vec<_> =
            said["servers"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
        assert!(versions[0].as_str().unwrap().starts_with("v1.36."), "{versions:?}");
        arguments.push("--fail-on-skew".to_owned());
        assert_eq!(inspect(&arguments).await.1, 1);
    }
    let same = straight(fleet.cluster, &folder, &["v136"], Who::Admin);
    let twice = [&same[..], &[format!("--server=again={}", fleet.server("v136").url())]].concat();
    let (said, code) = inspect(&[&twice[..], &["--fail-on-skew".to_owned()]].concat()).await;
    assert_eq!((code, &said["summary"]["differing"]), (0, &Value::from(0)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_tells_of_its_servers_what_they_say_themselves() {
    let fleet = fleet!(fleets::versions().await);
    let (folder, names) = (tempfile::tempdir().unwrap(), ["less", "v132", "v135", "v136"]);
    let proxy = Proxy::of(fleet.cluster, Some("v132")).await;
    let (told, code) = inspect(&[format!("--admin={}", proxy.app.admin)]).await;
    assert_eq!(code, 0);
    assert_eq!(states(&told, "batch", "jobs", &names), ["notServed", "served", "served", "served"]);
    let (said, _) = inspect(&straight(fleet.cluster, &folder, &names, Who::Admin)).await;
    // What tests make meanwhile (custom resources) is in all of them, sooner or later.
    let builtin = |said: &Value| -> Vec<Value> {
        let rows = said["rows"].as_array().unwrap().iter();
        let builtin = rows.filter(|row| {
            let group = row["group"].as_str().unwrap();
            group.ends_with(".k8s.io") || !group.contains('.')
        });
        builtin.cloned().collect()
    };
    assert!(!builtin(&told).is_empty());
    assert_eq!(builtin(&told), builtin(&said));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proxies_for_its_peers_is_asked_for_its_own() {
    let fleet = fleet!(fleets::native().await);
    let (folder, names) = (tempfile::tempdir().unwrap(), ["a", "b"]);
    let (said, _) = inspect(&straight(fleet.cluster, &folder, &names, Who::Admin)).await;
    assert_eq!(states(&said, "batch", "jobs", &names), ["notServed", "served"]);
    let only = said["summary"]["only"]["b"].as_array().unwrap();
    assert!(only.contains(&Value::from("batch/v1")), "{only:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_aggregated_discovery_are_compared_with_those_that_have_it() {
    let fleet = fleet!(fleets::ages().await);
    let (folder, names) = (tempfile::tempdir().unwrap(), ["new", "middle", "old"]);
    let (said, code) = inspect(&straight(fleet.cluster, &folder, &names, Who::Admin)).await;
    assert_eq!((code, &said["incomplete"]), (0, &Value::Bool(false)));
    assert_eq!(states(&said, "extensions", "ingresses", &names), ["notServed", "notServed", "served"]);
    assert_eq!(states(&said, POLICIES.0, POLICIES.1, &names), ["served", "notServed", "notServed"]);
    let mut rows = said["rows"].as_array().unwrap().iter();
    let pods = rows.find(|row| row["group"] == "" && row["resource"] == "pods");
    assert!(pods.is_none(), "pods are pods since ever: {pods:?}");
}
