//! The sidecar of `compose/kubeadm` on two control-plane nodes, a 1.36 and a 1.35, as the real kubeadm makes them.
//!
//! No kubelet runs here. What one would do with a manifest, this does: it starts the command line that stands in it, and
//! asks its probes. Each node is a network namespace with an address of its own, so that what is bound to the node's
//! address and what to loopback is what it would be.

mod node;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    fleet, fleets,
    kit::{
        binaries::{Binaries, Version},
        eventually,
        process::Process,
    },
    say,
};
use node::{Node, yaml};

const V1_36: Version = Version(1, 36);
const V1_35: Version = Version(1, 35);
const A: &str = "10.77.0.1";
const B: &str = "10.77.0.2";
const ETCD: &str = "http://10.77.0.1:2379";
/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
/// Where kube-apiserver is, seen from its node.
const HIDDEN: &str = "https://127.0.0.1:6443";

struct Plane {
    binaries: &'static Binaries,
    kubectl: String,
    kubeadm: String,
    a: Node,
    b: Node,
    _etcd: Process,
}

fn compose(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose").join(name)
}

/// The number that a metric has.
fn metric(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
    line.trim().parse().unwrap()
}

// === impl Plane ===

impl Plane {
    /// Both nodes as they are after kubeadm made their certificates, with an etcd and nothing else that runs.
    async fn start() -> Result<Self, String> {
        let binaries = Binaries::with(&[V1_36, V1_35])?;
        let kubeadm = binaries.client("kubeadm")?.display().to_string();
        let kubectl = binaries.kubectls.get(&V1_36).ok_or("no kubectl 1.36")?.display().to_string();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("real-{}-kubeadm", std::process::id()));
        let (a, b) = (Node::start(&dir.join("a"), A).await, Node::start(&dir.join("b"), B).await);
        a.connect(&b).await;
        let etcd = binaries.etcd.display().to_string();
        let data = dir.join("etcd").display().to_string();
        let etcd = [
            etcd.as_str(),
            "--data-dir",
            &data,
            "--listen-client-urls",
            ETCD,
            "--advertise-client-urls",
            ETCD,
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
        ];
        let etcd = a.spawn("etcd.log", &etcd);
        let plane = Self { binaries, kubectl, kubeadm, a, b, _etcd: etcd };
        plane.prepare(&plane.a, "v1.36.3", ("cp1", "cp2"), B).await;
        // As `kubeadm join --control-plane` has them from the first node.
        for name in ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"] {
            let name = format!("pki/{name}");
            fs::copy(plane.a.file(&name), plane.b.file(&name)).unwrap();
        }
        plane.prepare(&plane.b, "v1.35.6", ("cp2", "cp1"), A).await;
        Ok(plane)
    }

    /// Certificates, kubeconfigs, and the proxy's files, as README.md has it done.
    async fn prepare(&self, node: &Node, version: &str, names: (&str, &str), peer: &str) {
        let own = node.etc.join("kube-peer-proxy");
        fs::create_dir_all(own.join("patches")).unwrap();
        let patch = "kube-apiserver+json.yaml";
        fs::copy(compose("kubeadm/patches").join(patch), own.join("patches").join(patch)).unwrap();

        let text = fs::read_to_string(compose("kubeadm/kubeadm.yaml")).unwrap();
        let text = node.here(&text.replace("NODE_IP", node.ip));
        // That of the cluster, with what differs on this machine.
        let text = format!(
            "{text}apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: {version}\n\
             certificatesDir: {}\netcd: {{external: {{endpoints: [{ETCD:?}]}}}}\n",
            node.file("pki")
        );
        fs::write(node.file("kubeadm.yaml"), text).unwrap();
        self.kubeadm(node, &["config", "validate"]).await;
        self.kubeadm(node, &["init", "phase", "certs", "all"]).await;
        let folder = format!("--kubeconfig-dir={}", node.etc.display());
        for who in ["admin", "super-admin"] {
            self.kubeadm(node, &["init", "phase", "kubeconfig", who, &folder]).await;
        }

        let text = fs::read_to_string(compose("kubeadm/config.yaml")).unwrap();
        let text = text.replace("NODE_IP", node.ip).replace("PEER_IP", peer);
        let text = text.replace("NODE_NAME", names.0).replace("PEER_NAME", names.1);
        fs::write(own.join("config.yaml"), node.here(&text)).unwrap();
    }

    async fn kubeadm(&self, node: &Node, words: &[&str]) -> String {
        let config = node.file("kubeadm.yaml");
        let words = [&[self.kubeadm.as_str()], words, &["--config", &config]].concat();
        node.run(&words).await
    }

    /// What kubeadm writes for the kubelet.
    async fn manifest(&self, node: &Node) -> Value {
        fs::create_dir_all(node.etc.join("manifests")).unwrap();
        self.kubeadm(node, &["init", "phase", "control-plane", "apiserver", "--dry-run"]).await;
        yaml(&node.etc.join("manifests/kube-apiserver.yaml"))
    }

    /// Starts kube-apiserver with the command line of a manifest.
    fn kube_apiserver(&self, node: &Node, version: Version, manifest: &Value) -> Process {
        let command = &manifest["spec"]["containers"][0]["command"];
        let command: Vec<_> = command.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(command[0], "kube-apiserver");
        let program = self.binaries.apiservers[&version].display().to_string();
        let hostname = format!("kpp-{}", node.ip);
        // Its identity lease is named after the host.
        let script = r#"hostname "$0" && exec "$@""#;
        let start = ["unshare", "--uts", "sh", "-c", script, &hostname, &program];
        node.spawn("kube-apiserver.log", &[&start[..], &command[1..]].concat())
    }

    /// Starts the container of the static pod: as its user, without capabilities.
    fn proxy(&self, node: &Node) -> Process {
        let pod = yaml(&compose("kubeadm/kube-peer-proxy.yaml"));
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["securityContext"]["capabilities"]["drop"], serde_json::json!(["ALL"]));
        assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 0);
        let args: Vec<_> = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| node.here(arg.as_str().unwrap()))
            .collect();
        let confined = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"];
        let mut words = [&confined[..], &[env!("CARGO_BIN_EXE_kube-peer-proxy")]].concat();
        words.extend(args.iter().map(String::as_str));
        node.spawn("proxy.log", &words)
    }

    /// kubectl with a kubeconfig of the node, which leads where kubeadm said.
    async fn kubectl(&self, node: &Node, words: &[&str]) -> node::Ended {
        let config = node.file("admin.conf");
        node.try_run(&[&[self.kubectl.as_str(), "--kubeconfig", &config], words].concat()).await
    }

    /// The same; has to succeed.
    async fn get(&self, node: &Node, words: &[&str]) -> String {
        let ended = self.kubectl(node, words).await;
        assert!(ended.ok, "{words:?} on {}: {}{}", node.ip, ended.out, ended.err);
        ended.out
    }

    async fn until_it_works(&self, node: &Node, words: &[&str]) -> String {
        eventually(&format!("{words:?} works on {}", node.ip), async || {
            let ended = self.kubectl(node, words).await;
            ended.ok.then_some(ended.out)
        })
        .await
    }
}

/// What a probe of a manifest asks.
fn probe_url(manifest: &Value, probe: &str) -> String {
    let container = &manifest["spec"]["containers"][0];
    let asked = &container[probe]["httpGet"];
    let port = container["ports"].as_array().into_iter().flatten().find(|port| port["name"] == asked["port"]);
    let port = port.map_or(&asked["port"], |port| &port["containerPort"]);
    let scheme = asked["scheme"].as_str().unwrap_or("HTTP").to_lowercase();
    format!("{scheme}://{}:{port}{}", asked["host"].as_str().unwrap(), asked["path"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_takes_the_address_of_a_kubeadm_node_and_nobody_changes_anything() {
    let _peace = fleets::peace().await;
    let plane = fleet!(Plane::start().await);
    let (a, b) = (&plane.a, &plane.b);

    // What kubeadm makes of the patch.
    let manifest = plane.manifest(a).await;
    let command = manifest["spec"]["containers"][0]["command"].to_string();
    for flag in ["--bind-address=127.0.0.1", "--advertise-address=10.77.0.1", "--secure-port=6443"] {
        assert_eq!(command.matches(flag).count(), 1, "{flag}: {command}");
    }
    for (probe, path) in [("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "livez")]
    {
        assert_eq!(probe_url(&manifest, probe), format!("{HIDDEN}/{path}"));
    }
    // The way back of README.md ends at what kubeadm writes without it.
    let back = format!("/--bind-address=127.0.0.1/d; s/host: 127.0.0.1/host: {A}/");
    let undone = a.run(&["sed", &back, &a.file("manifests/kube-apiserver.yaml")]).await;
    let patch = a.etc.join("kube-peer-proxy/patches/kube-apiserver+json.yaml");
    fs::remove_file(patch).unwrap();
    plane.manifest(a).await;
    assert_eq!(undone, fs::read_to_string(a.file("manifests/kube-apiserver.yaml")).unwrap());
    let manifest_b = plane.manifest(b).await;

    // The proxies are there first, and know nothing yet: that is no 404.
    let mut proxy_a = plane.proxy(a);
    let mut proxy_b = plane.proxy(b);
    let pod = yaml(&compose("kubeadm/kube-peer-proxy.yaml"));
    a.until_it_answers(&probe_url(&pod, "livenessProbe"), 200).await;
    a.until_it_answers(&format!("https://{A}:6443{POLICIES}"), 503).await;

    let mut server_a = plane.kube_apiserver(a, V1_36, &manifest);
    let liveness = probe_url(&manifest, "livenessProbe");
    a.until_it_answers(&probe_url(&manifest, "readinessProbe"), 200).await;
    let server_b = plane.kube_apiserver(b, V1_35, &manifest_b);
    b.until_it_answers(&probe_url(&manifest_b, "readinessProbe"), 200).await;
    for node in [a, b] {
        node.until_it_answers(&probe_url(&pod, "readinessProbe"), 200).await;
        node.until_it_answers(&format!("http://{}:8091/readyz", node.ip), 200).await;
    }

    // As `kubeadm init` does it, so that admin.conf is somebody.
    let root = a.file("super-admin.conf");
    let bind = [
        plane.kubectl.as_str(),
        "--kubeconfig",
        &root,
        "create",
        "clusterrolebinding",
        "kubeadm:cluster-admins",
        "--clusterrole=cluster-admin",
        "--group=kubeadm:cluster-admins",
    ];
    a.run(&bind).await;
    let rbac = compose("kubernetes/rbac.yaml").display().to_string();
    plane.until_it_works(a, &["apply", "-f", &rbac]).await;
    for node in [a, b] {
        let whoami = plane.until_it_works(node, &["auth", "whoami", "-o", "json"]).await;
        assert!(whoami.contains("kubernetes-admin") && whoami.contains("kubeadm:cluster-admins"), "{whoami}");
    }

    // The service `kubernetes` leads to the proxies, for kube-apiserver advertises what it did before.
    eventually("both nodes are endpoints", async || {
        let words = ["-n", "default", "get", "endpointslice", "kubernetes", "-o", "json"];
        let ended = plane.kubectl(a, &words).await;
        (ended.out.contains(A) && ended.out.contains(B) && ended.out.contains("6443")).then_some(())
    })
    .await;

    // From one node to the other: proxy, proxy, kube-apiserver.
    assert_eq!(b.probe(&format!("{HIDDEN}/livez")).await, Some(200));
    let direct =
        ["--server", HIDDEN, "--tls-server-name", "kubernetes.default.svc", "get", "--raw", POLICIES];
    let refused = plane.kubectl(b, &direct).await;
    assert!(
        refused.err.contains("NotFound"),
        "1.35 itself does not serve them: {}{}",
        refused.out,
        refused.err
    );
    let listed = plane.until_it_works(b, &["get", "--raw", POLICIES]).await;
    assert!(listed.contains("MutatingAdmissionPolicyList"), "{listed}");
    plane.get(b, &["create", "serviceaccount", "walker"]).await;
    plane
        .get(
            b,
            &[
                "create",
                "clusterrolebinding",
                "walker",
                "--clusterrole=cluster-admin",
                "--serviceaccount=default:walker",
            ],
        )
        .await;
    let token = plane.get(b, &["create", "token", "walker"]).await;
    // Nothing of the administrator in it.
    let config = b.dir_file("token.conf");
    fs::write(&config, "").unwrap();
    let server = format!("--server=https://{B}:6443");
    let (authority, bearer) =
        (format!("--certificate-authority={}", b.file("pki/ca.crt")), format!("--token={}", token.trim()));
    let by_token = [plane.kubectl.as_str(), "--kubeconfig", &config, &server, &authority, &bearer];
    let listed = b.run(&[&by_token[..], &["get", "mutatingadmissionpolicies"]].concat()).await;
    assert_eq!(listed, "", "an empty list is no error");

    // The proxy dies; kube-apiserver is no worse off, and its kubelet sees that.
    proxy_a.kill();
    assert_eq!(a.probe(&format!("https://{A}:6443/livez")).await, None);
    assert_eq!(a.probe(&liveness).await, Some(200));
    proxy_a = plane.proxy(a);
    plane.until_it_works(a, &["get", "namespaces"]).await;
    plane.until_it_works(b, &["get", "--raw", POLICIES]).await;

    // kubeadm renews a certificate in place: the file that is mounted stays the one, and is read again.
    let reloads = async || {
        let page = a.run(&["curl", "-s", &format!("http://{A}:8091/metrics")]).await;
        metric(&page, "kube_peer_proxy_config_reloads_total{result=\"ok\"}")
    };
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(a.file("pki/apiserver.crt")).unwrap());
    let (before, inode_before) = (reloads().await, inode());
    plane.kubeadm(a, &["certs", "renew", "apiserver"]).await;
    assert_eq!(inode(), inode_before);
    eventually("the renewed certificate is in use", async || (reloads().await > before).then_some(())).await;

    // While its kube-apiserver is away a node stays of use, and what it should be asked is the proxy.
    server_a.kill();
    plane.until_it_works(a, &["get", "namespaces"]).await;
    assert_eq!(a.probe(&format!("http://{A}:8091/readyz")).await, Some(200));
    let home = a.probe(&format!("https://{A}:6443/readyz")).await;
    say!("on a node whose kube-apiserver is away https://NODE_IP:6443/readyz answers {home:?}");
    // A proxy that is restarted meanwhile remembers what only the one that is away serves.
    proxy_b.kill();
    proxy_b = plane.proxy(b);
    let group = ["get", "--raw", "/apis/admissionregistration.k8s.io/v1"];
    let listed = plane.until_it_works(b, &group).await;
    assert!(listed.contains("mutatingadmissionpolicies"), "{listed}");
    let refused = plane.kubectl(b, &["get", "--raw", POLICIES]).await;
    assert!(refused.err.contains("ServiceUnavailable"), "{}{}", refused.out, refused.err);

    // At start, whom the servers believe was held against the configuration: it is the same but for the UID, for which
    // kubeadm names no header.
    let log = fs::read_to_string(a.dir_file("proxy.log")).unwrap();
    assert!(
        log.contains("and it reads that from nowhere, so the UID that a certificate names is lost"),
        "{log}"
    );
    assert!(!log.lines().any(|line| line.contains("WARN") && line.contains("authentication")), "{log}");
    drop((proxy_a, proxy_b, server_b));
}
