//! Servers that the configuration does not name: leases, endpoint slices and DNS do.

mod dns;
mod flapping;
mod leases;
mod names;
mod reload;
mod rubbish;
mod slices;
mod trust;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube_peer_proxy::discovery::catalog::{Freshness, Knowledge};
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{Builder, Recorded, ResourceSpec, RunningServer, Server, Store};
use kube_peer_proxy::servers;
use serde_json::{Value, json};

use crate::kit::client::Protocol;
use crate::kit::{As, Client, PKI, PROXY_USER, Proxy, ProxyBuilder, Reply, V2, eventually, until};

/// Only those servers that were given them have them.
const WIDGETS: &str = "/apis/example.com/v1/widgets";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const LOOPBACK: &str = "127.0.0.0/8";

/// A control plane whose servers come and go.
struct Town {
    store: Arc<Store>,
    servers: BTreeMap<&'static str, RunningServer>,
}

// === impl Town ===

impl Town {
    /// With one server, which is there all the time and has no widgets: 1.32, and a host of the same name.
    async fn with(home: &'static str) -> Self {
        let mut town = Self { store: Store::new(), servers: BTreeMap::new() };
        town.add(home, V1_32, |server| server).await;
        town
    }

    /// One more server, whose host has its name; it puts its address nowhere unless it is told to.
    async fn add(
        &mut self,
        name: &'static str,
        version: Recorded,
        describe: impl FnOnce(Builder) -> Builder,
    ) {
        self.add_at(name, [127, 0, 0, 1], version, describe).await;
    }

    async fn add_at(
        &mut self,
        name: &'static str,
        ip: [u8; 4],
        version: Recorded,
        describe: impl FnOnce(Builder) -> Builder,
    ) {
        let builder = Server::builder(name).version(version).pki(&PKI).store(Arc::clone(&self.store));
        let server = describe(builder).start(SocketAddr::from((ip, 0))).await.unwrap();
        self.servers.insert(name, server);
    }

    /// 1.36 with widgets and a lease that nobody renews meanwhile.
    async fn add_leased(&mut self, name: &'static str) {
        self.add(name, V1_36, |server| leased(server, name)).await;
        self.give_widgets(name);
    }

    fn give_widgets(&self, name: &str) {
        self[name].discovery().add_resource(
            "example.com",
            "v1",
            &ResourceSpec::new("widgets", "Widget", false),
        );
    }

    /// Writes what servers and attackers write.
    async fn clerk(&self) -> Clerk {
        let server = self.servers.values().next().unwrap();
        Clerk(Client::connect(server.addr(), As::Certificate(&PKI.admin), Protocol::H2).await)
    }

    /// A sidecar of `home`, which is all that it is told of, as `name`.
    fn proxy(&self, source: &str, name: &str, home: &str) -> ProxyBuilder {
        let source = source.to_owned();
        ProxyBuilder::new().server(name, self[home].addr()).home(name).flags(|args| {
            args.peer_source = Some(source);
            args.peer_allowed_cidrs = vec![LOOPBACK.to_owned()];
        })
    }

    /// How often a server was asked by us for its discovery.
    fn fetches(&self, name: &str) -> usize {
        let ours = |user: &str| user == PROXY_USER;
        let fetch = |target: &str| target == "/apis";
        self[name]
            .log()
            .matching(|request| {
                request.user.as_ref().is_some_and(|user| ours(&user.name)) && fetch(&request.target)
            })
            .len()
    }
}

impl std::ops::Index<&str> for Town {
    type Output = RunningServer;

    fn index(&self, name: &str) -> &RunningServer {
        &self.servers[name]
    }
}

fn leased(server: Builder, hostname: &str) -> Builder {
    server.identity_lease(hostname).advertise_address(true).lease_renewal(Duration::from_secs(3600))
}

/// Somebody with a pen.
struct Clerk(Client);

// === impl Clerk ===

impl Clerk {
    async fn create(&self, collection: &str, object: &Value) {
        let reply = self.0.post(collection, object).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }

    async fn patch(&self, target: &str, patch: &Value) {
        let asked = self.0.ask(Method::PATCH, target).header("content-type", "application/merge-patch+json");
        let reply = asked.json(patch).whole().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    async fn delete(&self, target: &str) {
        assert_eq!(self.0.ask(Method::DELETE, target).whole().await.status, 200);
    }

    /// Where the lease of a host is.
    async fn lease_of(&self, hostname: &str) -> String {
        let leases = self.0.get(LEASES).await.json();
        let items = leases["items"].as_array().unwrap();
        let found = items
            .iter()
            .find(|lease| lease["metadata"]["labels"]["kubernetes.io/hostname"] == hostname)
            .unwrap_or_else(|| panic!("{hostname} has a lease: {leases}"));
        format!("{LEASES}/{}", found["metadata"]["name"].as_str().unwrap())
    }
}

/// An identity lease, renewed so many seconds ago and good for an hour.
fn lease(name: &str, hostname: &str, address: &str, renewed_ago: i64) -> Value {
    let renewed = time::OffsetDateTime::now_utc() - time::Duration::seconds(renewed_ago);
    let renewed = renewed.replace_nanosecond(0).unwrap();
    let renewed = renewed.format(&time::format_description::well_known::Rfc3339).unwrap();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name,
            "labels": {
                "apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": hostname,
            },
            "annotations": { "kubernetes.io/peer-advertise-address": address },
        },
        "spec": {
            "holderIdentity": format!("{name}_1"), "leaseDurationSeconds": 3600,
            "renewTime": renewed.replace('Z', ".000000Z"),
        },
    })
}

/// Makes the source be looked at, as a signal does, until something is so.
async fn looking<T>(proxy: &Proxy, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    until(what, async || {
        proxy.app.reloader.check_now();
        ask().await
    })
    .await
}

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

/// What is known of a server; none if there is none of this name.
fn known(proxy: &Proxy, name: &str) -> Option<Knowledge> {
    let now = proxy.app.proxy.load_full();
    let number = now.fleet.position(name)?;
    Some(now.book.catalog().servers[number].clone())
}

fn freshness(proxy: &Proxy, name: &str) -> Option<Freshness> {
    known(proxy, name).map(|known| known.freshness())
}

async fn until_it_is(proxy: &Proxy, name: &str, wanted: Freshness) {
    eventually(&format!("{name} is {wanted:?}"), || freshness(proxy, name) == Some(wanted)).await;
}

async fn until_gone(proxy: &Proxy, name: &str) {
    eventually(&format!("{name} is gone"), || freshness(proxy, name).is_none()).await;
}

/// It left, and that is settled.
async fn until_departed(proxy: &Proxy, name: &str) {
    eventually(&format!("{name} has departed"), || {
        known(proxy, name).is_some_and(|known| known.departed && known.freshness() == Freshness::Stale)
    })
    .await;
}

/// The names of all servers.
fn names(proxy: &Proxy) -> Vec<String> {
    proxy.app.proxy.load().fleet.iter().map(|server| server.name.to_string()).collect()
}

fn the(proxy: &Proxy, name: &str) -> Arc<servers::Server> {
    let now = proxy.app.proxy.load_full();
    Arc::clone(now.fleet.get(now.fleet.position(name).unwrap()))
}

/// How a group-version is marked in the merged document; none if it is not listed.
async fn marked(client: &Client, group: &str, version: &str) -> Option<String> {
    let document = client.get_with("/apis", V2).await.json();
    let items = document["items"].as_array().unwrap();
    let group = items.iter().find(|item| item["metadata"]["name"] == group)?;
    let version = group["versions"].as_array().unwrap().iter().find(|item| item["version"] == version)?;
    Some(version["freshness"].as_str().unwrap().to_owned())
}

async fn refused(proxy: &Proxy, source: &str, reason: &str) -> f64 {
    let labels = [format!("source=\"{source}\""), format!("reason=\"{reason}\"")];
    proxy.metric("kube_peer_proxy_peer_source_refused_total", &[&labels[0], &labels[1]]).await
}

/// How many servers there are of a kind: `static`, `seen` or `departed`.
async fn counted(proxy: &Proxy, state: &str) -> f64 {
    proxy.metric("kube_peer_proxy_peer_source_servers", &[&format!("state=\"{state}\"")]).await
}

#[track_caller]
fn try_again(reply: &Reply) -> String {
    assert_eq!(reply.header("retry-after"), "1");
    reply.refused(503)
}
