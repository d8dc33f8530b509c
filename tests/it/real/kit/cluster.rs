//! An etcd and the kube-apiservers that share it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    binaries::Binaries,
    client::{Client, Dial},
    eventually,
    files::{Files, Who},
    free_port,
    kubelet::Kubelet,
    process::{DIES_WITH_PARENT, Process},
    server::{ApiServer, Spec},
};

pub(crate) struct Cluster {
    pub(crate) files: Files,
    pub(crate) servers: Vec<ApiServer>,
    /// Where etcd answers clients, gRPC and JSON, without TLS.
    pub(crate) etcd: SocketAddr,
    kubelet: OnceCell<Kubelet>,
    _etcd: Process,
}

/// Groups in which alice and bob may do everything. (No controller fills the built-in role `edit` here.)
/// That of CRDs is among them because kubectl looks there for a kind of which home's OpenAPI does not tell.
const GROUPS: [&str; 8] = [
    "",
    "apps",
    "batch",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "discovery.k8s.io",
    "networking.k8s.io",
    "stories.example.com",
];

/// For [`kube_peer_proxy`] itself.
const RIGHTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/compose/kubernetes/rbac.yaml"));

// === impl Cluster ===

impl Cluster {
    /// Starts everything; some four seconds per server.
    pub(crate) async fn start(name: &str, binaries: &Binaries, specs: &[Spec]) -> Self {
        let files = Files::write(folder(name));
        let (client_port, peer_port) = (free_port(), free_port());
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let etcd: Vec<String> = DIES_WITH_PARENT
            .map(str::to_owned)
            .into_iter()
            .chain([
                binaries.etcd.display().to_string(),
                format!("--data-dir={}", files.path("etcd")),
                format!("--listen-client-urls={}", url(client_port)),
                format!("--advertise-client-urls={}", url(client_port)),
                format!("--listen-peer-urls={}", url(peer_port)),
            ])
            .collect();
        let etcd = Process::start(&etcd, &files.dir.join("etcd.log")).unwrap();
        let servers: Vec<ApiServer> = specs
            .iter()
            .map(|spec| {
                let binary = binaries.apiservers[&spec.version].display().to_string();
                ApiServer::new(spec, &binary, &url(client_port), &files)
            })
            .collect();
        let etcd_at = (Ipv4Addr::LOCALHOST, client_port).into();
        let cluster = Self { files, servers, etcd: etcd_at, kubelet: OnceCell::new(), _etcd: etcd };
        // One after the other: two new servers that create the first Service's address at the same time can both
        // fail to, and one of them ends.
        for server in &cluster.servers {
            server.start();
            server.ready(&cluster.files).await;
        }
        cluster.allow().await;
        cluster
    }

    pub(crate) fn server(&self, name: &str) -> &ApiServer {
        self.servers.iter().find(|server| server.name == name).unwrap()
    }

    /// SIGKILL for all its API servers: nobody needs them any more.
    pub(crate) fn kill_all(&self) {
        self.servers.iter().for_each(ApiServer::kill);
    }

    /// Its kubelet; started, at this address, by the first who asks.
    pub(crate) async fn kubelet(&self, binaries: &Binaries, address: Ipv4Addr) -> Result<&Kubelet, String> {
        self.kubelet.get_or_try_init(|| Kubelet::start(self, binaries, address)).await
    }

    /// A client that talks to one server directly.
    pub(crate) async fn direct(&self, name: &str, who: Who) -> Client {
        Dial::new(&self.files, self.server(name).addr, who).connect().await.unwrap()
    }

    /// Creates an object as admin, at the first server.
    pub(crate) async fn create(&self, path: &str, object: &Value) {
        let admin = self.direct(self.servers[0].name, Who::Admin).await;
        eventually(&format!("{path} takes an object"), async || {
            let reply = admin.post(path, object).await.unwrap();
            (reply.status == 201 || reply.status == 409).then_some(())
        })
        .await;
    }

    async fn allow(&self) {
        let rbac = |kind: &str| format!("/apis/rbac.authorization.k8s.io/v1/{kind}");
        let devs = json!([{ "apiGroups": GROUPS, "resources": ["*"], "verbs": ["*"] }]);
        let readers = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }]);
        for (name, rules) in [("devs", devs), ("readers", readers)] {
            let role = json!({ "metadata": { "name": name }, "rules": rules });
            self.create(&rbac("clusterroles"), &role).await;
        }
        for (name, role, group) in [
            ("devs", "devs", "devs"),
            ("readers", "readers", "readers"),
            // Who is nobody may ask who he is, so that the answer can be compared.
            ("nobodies", "system:basic-user", "system:unauthenticated"),
        ] {
            let binding = json!({
                "metadata": { "name": name },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group }],
            });
            self.create(&rbac("clusterrolebindings"), &binding).await;
        }
        // What operators are told to give us.
        let admin = self.direct(self.servers[0].name, Who::Admin).await;
        for object in RIGHTS.split("\n---\n") {
            let field = |name: &str| object.lines().find_map(|line| line.strip_prefix(name));
            let kind = format!("{}s", field("kind: ").unwrap().to_lowercase());
            let namespace = field("  namespace: ").map(|name| format!("namespaces/{name}/"));
            let path = rbac(&format!("{}{kind}", namespace.unwrap_or_default()));
            eventually(&format!("{path} takes an object"), async || {
                let yaml = [("content-type", "application/yaml")];
                let made = admin.call(Method::POST, &path, &yaml, object.into()).await.unwrap();
                matches!(made.status, 201 | 409).then_some(())
            })
            .await;
        }
    }
}

/// A folder that is this process' own; those of processes that are gone are removed.
fn folder(name: &str) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let of = path
            .to_str()
            .and_then(|path| path.rsplit_once("real-"))
            .and_then(|(_, rest)| rest.split_once('-'));
        if of.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(path);
        }
    }
    let folder = parent.join(format!("real-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
