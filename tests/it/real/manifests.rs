//! What `compose` has for kubeadm and for use inside a cluster, before real kube-apiservers: a dry run with strict
//! validation, so that a key that nobody knows is an error and not left out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kube_peer_proxy::config::{Config, ServeArgs};
use serde_json::{Value, json};

use super::{
    fleet, fleets,
    kit::{
        files::Who,
        kubectl::{Kubectl, Output},
    },
};
use crate::kit::PKI;

const APPLY: [&str; 5] = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];

fn compose(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(compose(name)).unwrap()
}

/// The pod of a Deployment, as its controller would make it.
fn pod_of(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "one", "namespace": deployment["metadata"]["namespace"], "labels": template["metadata"]["labels"],
        },
        "spec": template["spec"],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_apiservers_take_the_manifests_as_they_are() {
    let fleet = fleet!(fleets::versions().await);
    let static_pod = read("kubeadm/kube-peer-proxy.yaml");
    let folder = compose("kubernetes").display().to_string();
    for name in ["v135", "v136"] {
        let url = fleet.cluster.server(name).url();
        let kubectl = Kubectl::newest(fleet.binaries, &fleet.cluster.files, &url, Who::Admin);
        let said = kubectl.run_piped(&static_pod, &APPLY).await;
        assert_eq!(said.trim(), "pod/kube-peer-proxy created (server dry run)", "{name}");
        let misspelled = static_pod.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
        let Output { ok, err, .. } = kubectl.piped(&misspelled, &APPLY).await;
        assert!(!ok && err.contains("unknown field"), "{name}: {err}");

        // A dry run makes no namespace for the next object.
        kubectl.run_piped(&read("kubernetes/namespace.yaml"), &["apply", "-f", "-"]).await;
        let built = kubectl.run(&["kustomize", &folder]).await;
        let said = kubectl.run_piped(&built, &APPLY).await;
        let dry = said.lines().filter(|line| line.ends_with("(server dry run)")).count();
        let objects = built.split("\n---\n").count();
        assert_eq!(dry, objects, "{name}: {said}");
        assert!(objects >= 13, "{built}");
        assert!(!said.contains("Warning"), "{name}: {said}");

        let deployment = built.split("\n---\n").find(|object| object.contains("kind: Deployment")).unwrap();
        let deployment: Value = serde_saphyr::from_str(deployment).unwrap();
        let mut pod = pod_of(&deployment);
        // No controller makes the account's token here, and nobody asks for one.
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        kubectl.run_piped(&pod.to_string(), &APPLY).await;
        // The namespace lets in nothing that may do more.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let Output { ok, err, .. } = kubectl.piped(&pod.to_string(), &APPLY).await;
        assert!(!ok && err.contains("violates PodSecurity \"restricted"), "{name}: {err}");
    }
}

#[test]
fn the_static_pod_is_given_the_files_that_its_configuration_names_and_no_others() {
    let pod: Value = serde_saphyr::from_str(&read("kubeadm/kube-peer-proxy.yaml")).unwrap();
    let config = read("kubeadm/config.yaml");
    let named = |text: &str| {
        let words =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        let mut paths: Vec<_> = words.filter(|word| word.starts_with('/')).map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        paths
    };
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let mut mounted = Vec::new();
    for mount in mounts {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        assert_eq!(volume["hostPath"]["path"], mount["mountPath"], "the paths are the node's");
        let path = mount["mountPath"].as_str().unwrap();
        assert_eq!(mount["readOnly"] == true, path != "/var/lib/kube-peer-proxy", "{path}");
        mounted.push(path.to_owned());
    }
    mounted.sort();
    mounted.retain(|path| path != "/etc/kubernetes/kube-peer-proxy");
    assert_eq!(mounted, named(&config));

    // The other two configurations are sound, too, with files in the places that they name.
    let folder = tempfile::tempdir().unwrap();
    PKI.write(folder.path(), false).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let credentials = [
        ("/run/credentials/kube-peer-proxy.service/apiserver.", "apiserver."),
        ("/run/credentials/kube-peer-proxy.service/", ""),
        ("/serving/tls.", "apiserver."),
        ("/cluster/", ""),
        ("/front-proxy/tls.", "front-proxy-client."),
        ("/var/lib/kube-peer-proxy", "cache"),
        ("/cache", "cache"),
    ];
    fs::create_dir_all(file("cache")).unwrap();
    for name in ["systemd/config.yaml", "kubernetes/config.yaml"] {
        let nodes =
            [("NODE_IP", "10.0.0.1"), ("PEER_IP", "10.0.0.2"), ("NODE_NAME", "cp1"), ("PEER_NAME", "cp2")];
        let text = nodes.iter().fold(read(name), |text, (there, here)| text.replace(there, here));
        let text = credentials.iter().fold(text, |text, (there, here)| {
            text.replace(&format!(" {there}"), &format!(" {}", file(here)))
        });
        fs::write(file("compose.yaml"), text).unwrap();
        let args = ServeArgs { config: Some(file("compose.yaml").into()), ..ServeArgs::default() };
        let loaded =
            Config::load_with(&args, &|_| None).unwrap_or_else(|invalid| panic!("{name}: {invalid}"));
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}");
    }
    let unit = read("systemd/kube-peer-proxy.service");
    for path in named(&read("systemd/config.yaml")) {
        let Some(credential) = path.strip_prefix("/run/credentials/kube-peer-proxy.service/") else {
            continue;
        };
        assert_eq!(unit.matches(&format!("LoadCredential={credential}:")).count(), 1, "{credential}");
    }
}
