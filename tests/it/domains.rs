//! I13: what a caller is in one trust domain he is in no other, unless the operator says what he is there.

mod anew;
mod crossing;
mod discovery;
mod explained;
mod home;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{Builder, LoggedRequest, ResourceSpec, RunningServer, Server, user};
use kube_peer_proxy::pki::{Credential, Leaf, Pki};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{As, BOB, Cluster, EVE, PKI, PROXY_USER, ProxyBuilder};

/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// The PKI of the other cluster. Its CAs have the same names, and other keys.
static OTHER: LazyLock<Pki> = LazyLock::new(|| Pki::generate(&[]).unwrap());

/// Two clusters that share nothing: `a` is a 1.32 whose CA is also that of the proxy's callers, `b` a 1.36.
struct Two {
    a: Cluster,
    b: RunningServer,
    files: TempDir,
}

impl Two {
    async fn start() -> Self {
        Self::with(|a| a, |b| b).await
    }

    async fn with(of_a: impl Fn(Builder) -> Builder, of_b: impl FnOnce(Builder) -> Builder) -> Self {
        let a = Cluster::with([("a", V1_32)], of_a).await;
        let builder = Server::builder("b")
            .version(V1_36)
            .pki(&OTHER)
            // Tokens that would make their bearers masters there.
            .token(BOB, user("root", &["system:masters"]))
            .token(EVE, user("root", &["system:masters"]))
            .test_endpoints(true);
        let b = of_b(builder).start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        b.discovery().add_resource(
            "example.com",
            "v1",
            &ResourceSpec::new("widgets", "Widget", true).subresource("proxy"),
        );
        let files = tempfile::tempdir().unwrap();
        OTHER.write(files.path(), false).unwrap();
        Self { a, b, files }
    }

    /// A proxy before both whose home is `a`; callers are of `a`, too.
    fn proxy(&self) -> ProxyBuilder {
        let proxy =
            ProxyBuilder::new().home("a").file("trustDomain", "a").file("identityMap", &rules("demo:"));
        self.servers(proxy, "a")
    }

    /// A proxy whose callers are of neither.
    fn foreign(&self) -> ProxyBuilder {
        let in_both = json!([viewers("a", "demo:"), viewers("b", "demo:")]).to_string();
        let proxy = ProxyBuilder::new().home("a").file("trustDomain", "demo").file("identityMap", &in_both);
        self.servers(proxy, "a")
    }

    fn servers(&self, proxy: ProxyBuilder, domain_of_a: &str) -> ProxyBuilder {
        let servers = json!([{ "name": "a", "trustDomain": domain_of_a }, self.entry("b")]);
        let proxy = proxy.server("a", self.a.server("a").addr()).server("b", self.b.addr());
        proxy.file("apiServers", &servers.to_string())
    }

    /// What the file says of a server of the other cluster.
    fn entry(&self, name: &str) -> Value {
        entry(self.files.path(), name)
    }

    /// What clients asked of `a`.
    fn at_a(&self) -> Vec<LoggedRequest> {
        self.a.asked("a", |_| true)
    }

    /// What clients asked of `b`.
    fn at_b(&self) -> Vec<LoggedRequest> {
        asked(&self.b)
    }
}

fn entry(files: &Path, name: &str) -> Value {
    let path = |file: &str| files.join(file).display().to_string();
    json!({
        "name": name, "trustDomain": "b", "caFile": path("ca.crt"),
        "proxyClientCertFile": path("front-proxy-client.crt"),
        "proxyClientKeyFile": path("front-proxy-client.key"),
    })
}

fn asked(server: &RunningServer) -> Vec<LoggedRequest> {
    server.log().matching(|request| request.user.as_ref().is_none_or(|user| user.name != PROXY_USER))
}

/// Everybody of the group `dev`, and `kubernetes-admin`, is a viewer in a domain, under his name behind a prefix.
fn viewers(domain: &str, prefix: &str) -> Value {
    json!({
        "trustDomain": domain, "users": ["kubernetes-admin"], "groups": ["dev"],
        "asUserPrefix": prefix, "asGroups": ["viewers"],
    })
}

fn rules(prefix: &str) -> String {
    json!([viewers("b", prefix)]).to_string()
}

/// Of the group `dev`, with a UID.
fn jane() -> Credential {
    PKI.cluster_ca.issue(&Leaf::client("jane").group("dev").group("ops").uid("u-1")).unwrap()
}

/// Of no group that a rule names.
fn stranger() -> Credential {
    PKI.client("mallory", &["ops"]).unwrap()
}

/// Who somebody is to the server that answered, and nothing else of him came along.
#[track_caller]
fn is_only(request: &LoggedRequest, name: &str) {
    let seen = request.user.as_ref().expect("somebody");
    let groups = ["viewers", "system:authenticated"].map(str::to_owned).to_vec();
    assert_eq!((seen.name.as_str(), &seen.groups), (name, &groups), "{request:?}");
    assert!(seen.uid.is_empty() && seen.extra.is_empty(), "{seen:?}");
    for name in request.headers.keys().map(http::HeaderName::as_str) {
        let identity = name.starts_with("x-remote-") && !matches!(name, "x-remote-user" | "x-remote-group");
        let other =
            matches!(name, "authorization" | "cookie" | "x-b-user") || name.starts_with("impersonate-");
        assert!(!identity && !other, "{name} in {request:?}");
    }
}

/// A `Status` that says Forbidden, and why.
#[track_caller]
fn forbidden(reply: &crate::kit::Reply, words: &str) {
    let message = reply.refused(403);
    assert_eq!(reply.json()["reason"], "Forbidden", "{message}");
    assert!(reply.header("retry-after").is_empty(), "there is nothing to wait for");
    assert!(message.contains(words), "{message:?} has no {words:?}");
}
