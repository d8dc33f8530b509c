//! Two real clusters that share nothing, each with its own PKI and etcd, and callers of neither (I13).

use std::net::{Ipv4Addr, SocketAddr};

use http::Method;
use kube_peer_proxy::{
    app::{App, Listeners},
    config::{Config, ServeArgs},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{
    fleet, fleets,
    kit::{
        audit,
        client::{Client, Dial},
        cluster::Cluster,
        eventually,
        files::{Files, Who},
    },
};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// A proxy before both; `a` is home.
struct Demo {
    callers: Files,
    app: App,
    _folder: TempDir,
}

impl Demo {
    async fn start(a: &Cluster, b: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let callers = Files::write(folder.path().to_owned());
        let server = |cluster: &Cluster| {
            let server = &cluster.servers[0];
            let file = |name: &str| cluster.files.path(name);
            json!({
                "name": server.name, "url": server.url(), "trustDomain": server.name, "caFile": file("ca.crt"),
                "proxyClientCertFile": file("front-proxy-client.crt"),
                "proxyClientKeyFile": file("front-proxy-client.key"),
            })
        };
        let rule = |domain: &str| {
            json!({
                "trustDomain": domain, "users": ["*"],
                "asUserPrefix": "demo:", "asGroups": ["demo-viewers"],
            })
        };
        let file = json!({
            "tlsCertFile": "proxy.crt", "tlsPrivateKeyFile": "proxy.key", "clientCaFile": "ca.crt",
            "trustDomain": "demo", "home": "a", "accessLog": "off", "shutdownDelayDuration": "0",
            "apiServers": [server(a), server(b)], "identityMap": [rule("a"), rule("b")],
        });
        let path = folder.path().join("proxy.yaml");
        std::fs::write(&path, file.to_string()).unwrap();
        let args = ServeArgs { config: Some(path), ..ServeArgs::default() };
        let loaded = Config::load_with(&args, &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let [clients, admin] = [TcpListener::bind(any).await.unwrap(), TcpListener::bind(any).await.unwrap()];
        let app = App::build(&loaded, Listeners { clients: vec![clients], admin, metrics: None }).unwrap();
        tokio::time::timeout(super::kit::DEADLINE, app.readiness.ready()).await.unwrap();
        Self { callers, app, _folder: folder }
    }

    async fn client(&self, who: Who) -> Client {
        Dial::new(&self.callers, self.app.addresses[0], who).connect().await.unwrap()
    }
}

/// What the group of the demo may do in a cluster.
async fn allow(cluster: &Cluster) {
    let rbac = |kind: &str| format!("/apis/rbac.authorization.k8s.io/v1/{kind}");
    let reads = json!(["get", "list", "watch"]);
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": reads },
        { "apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": reads },
    ]);
    let role = json!({ "metadata": { "name": "demo-viewers" }, "rules": rules });
    cluster.create(&rbac("clusterroles"), &role).await;
    let binding = json!({
        "metadata": { "name": "demo-viewers" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "demo-viewers" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "demo-viewers" }],
    });
    cluster.create(&rbac("clusterrolebindings"), &binding).await;
}

async fn audited(cluster: &Cluster, id: &str) -> Value {
    audit::entry(&cluster.servers[0], id).await["user"].clone()
}

#[tokio::test]
async fn i13_callers_of_neither_cluster_are_what_the_map_makes_of_them_in_each() {
    let (a, b) = fleet!(fleets::apart().await);
    allow(&a).await;
    allow(&b).await;
    let demo = Demo::start(&a, &b).await;
    let demo_user = |name: &str| json!({ "username": format!("demo:{name}"), "groups": ["demo-viewers", "system:authenticated"] });
    for (who, name) in [(Who::Alice, "alice"), (Who::Admin, "kubernetes-admin")] {
        let client = demo.client(who).await;
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let seen = client.post(REVIEWS, &review).await.unwrap().json()["status"]["userInfo"].clone();
        assert_eq!(seen, demo_user(name));
        eventually("what he may read he reads, in either", async || {
            let [pods, policies] =
                [client.get(PODS).await.unwrap().status, client.get(POLICIES).await.unwrap().status];
            (pods == 200 && policies == 200).then_some(())
        })
        .await;
        let ids = [
            ("audit-id", format!("{name}-pods"), PODS, &a),
            ("audit-id", format!("{name}-map"), POLICIES, &b),
        ];
        for (header, id, path, cluster) in ids {
            assert_eq!(client.get_with(path, &[(header, &id)]).await.unwrap().status, 200);
            assert_eq!(audited(cluster, &id).await, demo_user(name), "{path}");
        }
        // Whatever groups his certificate has.
        assert_eq!(client.get(SECRETS).await.unwrap().status, 403);
        let one = format!("{POLICIES}/none");
        let deleted = client.call(Method::DELETE, &one, &[], "".into()).await.unwrap();
        assert_eq!(deleted.status, 403, "{}", deleted.text());
        assert!(deleted.text().contains(&format!("demo:{name}")), "by the cluster: {}", deleted.text());
        let merged = client.get("/apis").await.unwrap();
        assert_eq!(merged.status, 200);
    }

    // Both clusters know this token, and one is asked.
    let bob = demo.client(Who::AdminToken).await;
    assert_eq!(bob.get(SECRETS).await.unwrap().status, 200);
    let refused = bob.get_with(POLICIES, &[]).await.unwrap();
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (403, Some("Forbidden")));
    assert!(refused.text().contains("a token goes only to servers of a"), "{}", refused.text());
    let seen = |cluster: &Cluster| {
        let log = std::fs::read_to_string(cluster.servers[0].dir.join("audit.log")).unwrap();
        log.contains("admin-by-token")
    };
    eventually("home wrote down whom it answered", async || seen(&a).then_some(())).await;
    assert!(!seen(&b));
}
