//! `--discovery-refresh=watch`: what API servers say of their custom resource definitions and APIServices is what makes
//! us fetch, over real connections.

mod broken;
mod contact;
mod events;
mod idle;
mod lists;
mod manners;
mod refused;
mod restless;

use std::time::Duration;

use http::{Method, StatusCode};
use kube_peer_proxy::embedded::{LoggedRequest, RunningServer};
use kube_peer_proxy::limits;
use kube_peer_proxy::servers::watched::{InformerState, Mode};
use serde_json::{Value, json};

use crate::kit::client::Protocol;
use crate::kit::{As, Client, PKI, PROXY_USER, Proxy, V2, eventually, until};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// What decides how a server is asked.
const DECISIVE: [&str; 2] = ["customresourcedefinitions", "apiservices"];

/// An administrator of one API server, not through the proxy.
async fn at(server: &RunningServer) -> Client {
    Client::connect(server.addr(), As::Certificate(&PKI.admin), Protocol::H2).await
}

fn crd(group: &str, versions: &[&str]) -> Value {
    let version = |name: &&str| json!({ "name": name, "served": true, "storage": *name == versions[0] });
    json!({
        "metadata": { "name": format!("widgets.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced", "names": { "plural": "widgets", "kind": "Widget" },
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}

async fn create(admin: &Client, group: &str) {
    let reply = admin.post(CRDS, &crd(group, &["v1"])).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
}

async fn delete(admin: &Client, group: &str) {
    let reply = admin.ask(Method::DELETE, &format!("{CRDS}/widgets.{group}")).whole().await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

/// The versions of a group in merged discovery.
async fn versions(client: &Client, group: &str) -> Vec<String> {
    let document = client.get_with("/apis", V2).await.json();
    let groups = document["items"].as_array().unwrap();
    let found = groups.iter().find(|item| item["metadata"]["name"] == group);
    let versions = found.and_then(|group| group["versions"].as_array()).into_iter().flatten();
    versions.map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

async fn until_listed(client: &Client, group: &str, wanted: &[&str]) {
    until(&format!("{group} has {wanted:?}"), async || {
        (versions(client, group).await == wanted).then_some(())
    })
    .await;
}

fn informer(proxy: &Proxy, server: &str, resource: &'static str) -> InformerState {
    proxy.target(server).watched.informers().remove(resource).unwrap_or_default()
}

fn is_watched(proxy: &Proxy, server: &str) -> bool {
    proxy.target(server).watched.mode() == Mode::Watch
        && DECISIVE.into_iter().all(|resource| informer(proxy, server, resource).live)
}

pub(crate) async fn until_watched(proxy: &Proxy, server: &str) {
    eventually(&format!("{server} is watched"), || is_watched(proxy, server)).await;
}

/// Fetches of one server so far, by trigger and result; `""` counts all.
async fn syncs(proxy: &Proxy, server: &str, labels: &[&str]) -> f64 {
    let server = format!("server=\"{server}\"");
    let labels: Vec<&str> = labels.iter().copied().chain([&*server]).collect();
    proxy.metric("kube_peer_proxy_discovery_sync_total", &labels).await
}

/// Waits until the server is watched and was looked at behind what its first lists showed: now it is quiet.
async fn until_quiet(proxy: &Proxy, server: &str) {
    until_watched(proxy, server).await;
    pass(limits::EVENTS_FOLLOW_UPS[1] + Duration::from_secs(2)).await;
    assert!(is_watched(proxy, server));
}

fn is_our_own(request: &LoggedRequest) -> bool {
    request.user.as_ref().is_some_and(|user| user.name == PROXY_USER)
}

/// What a server was asked by the proxy about objects: to watch them, or to list them.
fn asked_of(server: &RunningServer, resource: &str, watch: bool) -> Vec<LoggedRequest> {
    server.log().matching(|request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        is_our_own(request) && path.ends_with(resource) && query.contains("watch=true") == watch
    })
}

/// The clock goes on for so long, in small steps so that what comes over sockets is not late.
async fn pass(time: Duration) {
    tokio::time::pause();
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::resume();
}
