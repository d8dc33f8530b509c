//! Who is looked at: native servers alone, or plain ones with us beside A.

use std::{sync::Arc, time::Duration};

use http::Method;
use kube_peer_proxy::api::media_type::ACCEPT_V2;
use serde_json::{Value, json};

use super::super::kit::{
    binaries::Binaries,
    client::{Dial, Reply},
    cluster::Cluster,
    files::Who,
    proxy::Proxy,
    server::{ApiServer, Spec},
};

/// One column of the table. Requests enter at A.
pub(super) struct Column {
    pub(super) cluster: &'static Cluster,
    /// Ours; none where A's own Mixed Version Proxy is at work.
    pub(super) proxy: Option<Proxy>,
}

pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const STORIES: &str = "stories.example.com";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

// === impl Column ===

impl Column {
    /// Servers that know of each other by themselves.
    pub(super) async fn native(binaries: &Binaries, specs: &[Spec]) -> Arc<Self> {
        let specs: Vec<Spec> = specs.iter().map(|spec| spec.native()).collect();
        let cluster = Box::leak(Box::new(Cluster::start("timeline-native", binaries, &specs).await));
        Arc::new(Self { cluster, proxy: None })
    }

    /// Servers that do not, and us beside A, knowing these.
    pub(super) async fn ours(binaries: &Binaries, specs: &[Spec]) -> Arc<Self> {
        let cluster = Box::leak(Box::new(Cluster::start("timeline-ours", binaries, specs).await));
        let names: Vec<_> = specs.iter().map(|spec| (spec.name, spec.name)).collect();
        let proxy = Proxy::start(cluster, &names, Some("a"), |_| ()).await;
        Arc::new(Self { cluster, proxy: Some(proxy) })
    }

    /// The same servers with another proxy.
    pub(super) fn through(&self, proxy: Proxy) -> Arc<Self> {
        Arc::new(Self { cluster: self.cluster, proxy: Some(proxy) })
    }

    /// The way in.
    pub(super) fn dial(&self) -> Dial<'static> {
        match &self.proxy {
            Some(proxy) => proxy.dial(Who::Admin),
            None => Dial::new(&self.cluster.files, self.cluster.server("a").addr, Who::Admin),
        }
    }

    pub(super) fn b(&self) -> &ApiServer {
        self.cluster.server("b")
    }

    /// Starts a server again and waits until it says that it is ready.
    pub(super) async fn restart(&self, name: &str) {
        self.cluster.server(name).start();
        self.cluster.server(name).ready(&self.cluster.files).await;
    }

    /// Past both proxies, to A.
    pub(super) async fn at_a(&self, method: Method, path: &str, object: &Value) -> Reply {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if object.is_null() { String::new() } else { object.to_string() };
        let a = self.cluster.direct("a", Who::Admin).await;
        a.call(method, path, &[("content-type", kind)], body.into()).await.unwrap()
    }

    /// The path of a server's identity lease, if it is there.
    pub(super) async fn lease(&self, server: &str) -> Option<String> {
        let all = self.at_a(Method::GET, LEASES, &Value::Null).await.json();
        let host = format!("kpp-{server}");
        let mut items = all["items"].as_array()?.iter().map(|lease| &lease["metadata"]);
        let lease = items.find(|metadata| metadata["labels"]["kubernetes.io/hostname"] == *host)?;
        Some(format!("{LEASES}/{}", lease["name"].as_str()?))
    }

    /// Makes a CRD with these versions, or gives it these.
    pub(super) async fn define(&self, plural: &str, kind: &str, versions: &[&str]) {
        let schema =
            json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
        let versions: Vec<Value> = versions
            .iter()
            .enumerate()
            .map(|(number, name)| json!({ "name": name, "served": true, "storage": number == 0, "schema": schema }))
            .collect();
        let group = format!("{plural}.{STORIES}");
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group, "scope": "Cluster", "names": { "plural": plural, "kind": kind },
                "versions": versions,
            },
        });
        let made = self.at_a(Method::POST, CRDS, &definition).await;
        if made.status == 409 {
            let path = format!("{CRDS}/{plural}.{group}");
            let changed = self.at_a(Method::PATCH, &path, &definition).await;
            assert_eq!(changed.status, 200, "{}", changed.text());
        } else {
            assert_eq!(made.status, 201, "{}", made.text());
        }
    }

    pub(super) async fn undefine(&self, plural: &str) {
        let path = format!("{CRDS}/{plural}.{plural}.{STORIES}");
        let gone = self.at_a(Method::DELETE, &path, &Value::Null).await;
        assert_eq!(gone.status, 200, "{}", gone.text());
    }

    /// Whether B is known with these CRDs: they are what could come back. Natively A's word must do, which counts for
    /// everybody's CRDs.
    pub(super) async fn b_is_known_with(&self, plurals: &[&str]) -> bool {
        let group_versions = match &self.proxy {
            Some(proxy) => proxy.admin("/debug/catalog").await["groupVersions"].clone(),
            None => {
                let a = self.cluster.direct("a", Who::Admin).await;
                let apis = a.get_with("/apis", &[("accept", ACCEPT_V2)]).await.unwrap();
                let listed = |plural: &&str| apis.lists(&format!("{plural}.{STORIES}"), "v1", plural);
                return plurals.iter().all(listed);
            }
        };
        plurals.iter().all(|plural| {
            let by = &group_versions[format!("{plural}.{STORIES}/v1")][*plural];
            by.as_array().is_some_and(|servers| servers.iter().any(|server| server == "b"))
        })
    }

    /// Ours only: the 503s that we gave because our view was outdated.
    pub(super) async fn skips(&self) -> f64 {
        match &self.proxy {
            Some(proxy) => proxy.metric("kube_peer_proxy_stale_skips_total").await,
            None => 0.,
        }
    }
}

/// How long things are watched in vain.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
