//! A kubelet of ours, with the node and the pod that kube-apiserver knows of it.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use http::Method;
use kube_peer_proxy::pki::Leaf;
use serde_json::{Value, json};

use super::{
    binaries::Binaries,
    client::MERGE_PATCH,
    cluster::Cluster,
    eventually,
    files::Who,
    free_port,
    process::{DIES_WITH_PARENT, Process},
};

/// What the node, the pod and its container are called.
pub(crate) const NODE: &str = "node";
pub(crate) const POD: &str = "pod";
pub(crate) const CONTAINER: &str = "main";

pub(crate) struct Kubelet {
    /// Where commands run; the container's log is the file `log` in it.
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    /// Where the pod serves HTTP.
    pub(crate) pod_port: u16,
    _process: Process,
}

// === impl Kubelet ===

impl Kubelet {
    /// Starts it at an address of this machine, and tells the cluster of it.
    pub(crate) async fn start(
        cluster: &Cluster,
        binaries: &Binaries,
        address: Ipv4Addr,
    ) -> Result<Self, String> {
        let binary = binaries.kubelet()?.display().to_string();
        let files = &cluster.files;
        let serving = Leaf::server("system:node:node").names(&[address.to_string()]);
        let serving = files.pki.cluster_ca.issue(&serving).unwrap();
        let root = files.dir.join("kubelet");
        fs::create_dir_all(&root).unwrap();
        fs::write(files.path("kubelet.crt"), &serving.cert_pem).unwrap();
        fs::write(files.path("kubelet.key"), &serving.key_pem).unwrap();
        let (port, pod_port) = (free_port(), free_port());
        let flags = [
            format!("--address={address}"),
            format!("--port={port}"),
            format!("--pod-port={pod_port}"),
            format!("--tls-cert-file={}", files.path("kubelet.crt")),
            format!("--tls-private-key-file={}", files.path("kubelet.key")),
            format!("--client-ca-file={}", files.path("ca.crt")),
            format!("--root={}", root.display()),
        ];
        let words = DIES_WITH_PARENT.map(str::to_owned).into_iter().chain([binary]).chain(flags);
        let process = Process::start(&words.collect::<Vec<_>>(), &files.dir.join("kubelet.log")).unwrap();
        let kubelet = Self { root, port, pod_port, _process: process };
        eventually("the kubelet listens", async || {
            tokio::net::TcpStream::connect((address, port)).await.ok()
        })
        .await;
        kubelet.announce(cluster, address).await;
        Ok(kubelet)
    }

    async fn announce(&self, cluster: &Cluster, address: Ipv4Addr) {
        let node = json!({ "metadata": { "name": NODE } });
        let node_status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": address.to_string() }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": self.port } },
        }});
        let pod = json!({
            "metadata": { "name": POD, "namespace": "default" },
            "spec": { "nodeName": NODE, "containers": [{ "name": CONTAINER, "image": "none", "stdin": true }] },
        });
        let running = json!({ "name": CONTAINER, "ready": true, "restartCount": 0, "image": "none",
            "imageID": "none", "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } });
        let pod_status = json!({ "status": {
            "phase": "Running",
            "hostIP": address.to_string(),
            "podIP": address.to_string(), "podIPs": [{ "ip": address.to_string() }],
            "containerStatuses": [running],
        }});
        for (path, name, object, status) in [
            ("/api/v1/nodes", NODE, node, node_status),
            ("/api/v1/namespaces/default/pods", POD, pod, pod_status),
        ] {
            cluster.create(path, &object).await;
            self.patch(cluster, &format!("{path}/{name}/status"), &status).await;
        }
    }

    async fn patch(&self, cluster: &Cluster, path: &str, change: &Value) {
        let admin = cluster.direct(cluster.servers[0].name, Who::Admin).await;
        let change = change.to_string().into();
        let reply = admin.call(Method::PATCH, path, &[MERGE_PATCH], change).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}
