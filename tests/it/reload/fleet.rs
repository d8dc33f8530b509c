//! Another list of API servers: who comes, who goes, who is somewhere else, and that nobody else notices.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use kube_peer_proxy::discovery::catalog::Freshness;
use kube_peer_proxy::discovery::informer::Informers;
use kube_peer_proxy::embedded::Recorded::V1_32;
use kube_peer_proxy::ops::telemetry::LogFormat;
use kube_peer_proxy::servers::Server;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::kit::{As, BOB, Capture, DEADLINE, V2, eventually};

mod home;
mod load;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

/// `a` is a 1.32, the others are 1.36.
async fn cluster() -> Cluster {
    Cluster::with([("a", V1_32), ("b", V1_36), ("c", V1_36), ("d", V1_36)], |builder| builder).await
}

/// A proxy before some of the servers, which stand in its file; `a` is home.
async fn before(cluster: &Cluster, names: &[&str]) -> Proxy {
    before_with(cluster, names, ProxyBuilder::new()).await
}

async fn before_with(cluster: &Cluster, names: &[&str], proxy: ProxyBuilder) -> Proxy {
    let proxy = attentive(proxy).listed().file("home", "a");
    let at = |proxy: ProxyBuilder, name: &&str| proxy.server(name, cluster.server(name).addr());
    names.iter().fold(proxy, at).start().await
}

fn entry(name: &str, at: SocketAddr) -> Value {
    json!({ "name": name, "url": format!("https://{at}") })
}

/// Each server, as it is called and as who it is.
fn list(cluster: &Cluster, servers: &[(&str, &str)]) -> Vec<Value> {
    servers.iter().map(|(name, who)| entry(name, cluster.server(who).addr())).collect()
}

/// The servers are these from now on.
async fn change(proxy: &Proxy, servers: Vec<Value>) {
    let before = reloads(proxy, "ok").await;
    set(proxy, "apiServers", &Value::from(servers).to_string());
    until_reloads(proxy, "ok", before + 1.0).await;
}

async fn names(proxy: &Proxy) -> Vec<String> {
    let page = proxy.debug("servers").await;
    let name = |server: &Value| server["name"].as_str().unwrap().to_owned();
    page["servers"].as_array().unwrap().iter().map(name).collect()
}

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

/// The next frames of a watch, until this is in them.
async fn told(watch: &mut http::Response<hyper::body::Incoming>, name: &str) {
    let mut seen = String::new();
    while !seen.contains(name) {
        let frame = timeout(DEADLINE, watch.body_mut().frame()).await.expect("the event in time");
        let frame = frame.expect("the watch goes on").expect("and is whole");
        seen += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
}

async fn until_dropped(what: &str, server: &Weak<Server>) {
    eventually(&format!("nothing is left of {what}"), || server.strong_count() == 0).await;
}

// === Who comes and goes ===

#[tokio::test]
async fn an_added_server_is_asked_and_listed_and_one_that_is_removed_is_forgotten_at_once() {
    const HEALTHY: &str = "kube_peer_proxy_server_healthy";
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    admin.get(POLICIES).await.refused(404);
    let alone = admin.get_with("/apis", V2).await.body;

    change(&proxy, list(&cluster, &[("a", "a"), ("b", "b")])).await;
    until("it is routed to", async || (admin.get(POLICIES).await.status == 200).then_some(())).await;
    assert_eq!(names(&proxy).await, ["a", "b"]);
    let merged = admin.get_with("/apis", V2).await;
    assert!(merged.text().contains("mutatingadmissionpolicies") && !alone.is_empty());
    proxy.until_healthy("b", true).await;
    until("it is shown", async || (proxy.metric(HEALTHY, &["server=\"b\""]).await == 1.0).then_some(()))
        .await;

    let gone = Arc::downgrade(&proxy.target("b"));
    let asked = cluster.asked_for("b", POLICIES).len();
    change(&proxy, list(&cluster, &[("a", "a")])).await;
    admin.get(POLICIES).await.refused(404);
    assert_eq!(admin.get_with("/apis", V2).await.body, alone);
    assert_eq!(names(&proxy).await, ["a"]);
    assert_eq!(cluster.asked_for("b", POLICIES).len(), asked);
    until_dropped("it", &gone).await;
    assert!(cluster.server("b").wait_for_connections(DEADLINE, |open| *open == 0).await);
    until("nothing is shown of it", async || {
        (!proxy.page("/metrics").await.text().contains("server=\"b\"")).then_some(())
    })
    .await;
    // Its tasks are over: nobody asks it anything.
    let (count, probes) = (cluster.server("b").log().count(), cluster.fetches("a", "/readyz"));
    eventually("others are probed", || cluster.fetches("a", "/readyz") >= probes + 5).await;
    assert_eq!(cluster.server("b").log().count(), count);

    // And it may come back.
    change(&proxy, list(&cluster, &[("a", "a"), ("b", "b")])).await;
    until("it is back", async || (admin.get(POLICIES).await.status == 200).then_some(())).await;
    until("it is shown", async || (proxy.metric(HEALTHY, &["server=\"b\""]).await == 1.0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_server_with_another_name_goes_on_as_that_without_a_gap() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get(POLICIES).await.status, 200);
    let gone = Arc::downgrade(&proxy.target("b"));
    change(&proxy, list(&cluster, &[("a", "a"), ("renamed", "b")])).await;
    assert_eq!(admin.get(POLICIES).await.status, 200, "what it serves is known");
    assert_eq!(names(&proxy).await, ["a", "renamed"]);
    proxy.until_it_is("renamed", Freshness::Fresh).await;
    until_dropped("the old one", &gone).await;
    until("nothing is shown of the old name", async || {
        (!proxy.page("/metrics").await.text().contains("server=\"b\"")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_at_another_address_gets_what_is_new_and_watches_stay_where_they_are() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let bob = proxy.h2(As::Token(BOB)).await;
    assert_eq!(bob.get("/version").await.status, 200);
    let watched = format!("{POLICIES}?watch=1");
    let mut watches = Vec::new();
    for client in [&admin, &bob] {
        watches.push(client.ask(Method::GET, &watched).begin().await);
    }
    assert_eq!(cluster.asked_for("b", &watched).len(), 2);
    let before = Arc::downgrade(&proxy.target("b"));

    change(&proxy, list(&cluster, &[("a", "a"), ("b", "c")])).await;
    let asked = cluster.asked_for("b", POLICIES).len();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": "news" },
    });
    assert_eq!(admin.post(POLICIES, &policy).await.status, 201);
    assert_eq!((cluster.asked_for("c", POLICIES).len(), cluster.asked_for("b", POLICIES).len()), (1, asked));
    for watch in &mut watches {
        told(watch, "news").await;
    }
    assert!(before.strong_count() > 0, "the watches are on it");
    proxy.until_it_is("b", Freshness::Fresh).await;
    // Only what watches need is open still.
    assert!(cluster.server("b").wait_for_connections(DEADLINE, |open| *open <= 2).await);
    drop(watches);
    until_dropped("the old one", &before).await;
    assert!(cluster.server("b").wait_for_connections(DEADLINE, |open| *open == 0).await);
    assert_eq!(
        proxy.metric("kube_peer_proxy_server_healthy", &["server=\"b\""]).await,
        1.0,
        "its name is in use"
    );
}

#[tokio::test]
async fn another_server_name_or_other_headers_make_another_server_and_another_order_makes_none() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let both = list(&cluster, &[("a", "a"), ("b", "b")]);
    for (key, value) in [
        ("serverName", json!("localhost")),
        ("requestheaderUsernameHeaders", json!(["X-Remote-User", "X-Who"])),
    ] {
        let mut other = both.clone();
        other[1][key] = value;
        let (a, b) = (proxy.target("a"), Arc::downgrade(&proxy.target("b")));
        change(&proxy, other).await;
        assert!(Arc::ptr_eq(&a, &proxy.target("a")));
        until_dropped("the old one", &b).await;
        assert_eq!(admin.get(POLICIES).await.status, 200, "{key}");
    }
    change(&proxy, both.clone()).await;
    let (a, b) = (proxy.target("a"), proxy.target("b"));
    // The last of these servers is new, and what is found out of it is no news of the order.
    proxy.until_it_is("b", Freshness::Fresh).await;
    proxy.until_lists_are_read().await;
    let generation = proxy.app.proxy.load().book.catalog().generation;
    change(&proxy, both.into_iter().rev().collect()).await;
    assert!(Arc::ptr_eq(&a, &proxy.target("a")) && Arc::ptr_eq(&b, &proxy.target("b")));
    assert!(proxy.app.proxy.load().book.catalog().generation <= generation + 1, "nothing is made anew");
}

// === Who stays ===

#[tokio::test]
async fn what_is_known_of_servers_that_stay_is_kept() {
    const SYNCS: &str = "kube_peer_proxy_discovery_sync_total";
    let cluster = cluster().await;
    let proxy = before_with(&cluster, &["a", "b"], ProxyBuilder::new().interval("1h")).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for name in ["a", "b"] {
        proxy.until_it_is(name, Freshness::Fresh).await;
    }
    proxy.until_lists_are_read().await;
    assert_eq!(admin.get("/openapi/v2").await.status, 200);
    let of_a = "server=\"a\"";
    let seen = async || {
        let labels = [of_a, "document=\"v2-json\"", "result=\"changed\""];
        let read = proxy.metric("kube_peer_proxy_openapi_fetches_total", &labels).await;
        (proxy.metric(SYNCS, &[of_a]).await, cluster.fetches("a", "/apis"), read)
    };
    let first = seen().await;
    assert!(first.2 >= 1.0, "it was read once");
    let document = |name: &str| {
        let proxy = proxy.app.proxy.load();
        let catalog = proxy.book.catalog();
        catalog.servers[proxy.fleet.position(name).unwrap()].document.clone().unwrap()
    };
    let known = document("a");
    for servers in
        [&[("a", "a"), ("b", "b"), ("c", "c")][..], &[("a", "a"), ("c", "c")], &[("a", "a"), ("c", "d")]]
    {
        change(&proxy, list(&cluster, servers)).await;
        assert_eq!(proxy.freshness("a"), Freshness::Fresh);
        assert!(Arc::ptr_eq(&known, &document("a")));
        assert_eq!(admin.get("/openapi/v2").await.status, 200);
    }
    proxy.until_it_is("c", Freshness::Fresh).await;
    assert_eq!(seen().await, first, "it was asked nothing that was known");
}

#[tokio::test]
async fn who_stays_is_watched_on_and_nothing_is_listed_again() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let live = || proxy.target("a").watched.informers().values().filter(|one| one.live).count();
    eventually("it is watched", || live() == Informers::RESOURCES.len()).await;
    let asked = || {
        let ours = |path: &str| Informers::RESOURCES.iter().any(|resource| path.ends_with(resource));
        let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        cluster.server("a").log().matching(|request| ours(&path(&request.target))).len()
    };
    let first = asked();
    assert_eq!(first, 2 * Informers::RESOURCES.len(), "each was listed and watched");
    for servers in [&[("a", "a"), ("b", "b"), ("c", "c")][..], &[("a", "a"), ("c", "c")]] {
        change(&proxy, list(&cluster, servers)).await;
        proxy.until_it_is("c", Freshness::Fresh).await;
        eventually("it is watched", || live() == Informers::RESOURCES.len()).await;
    }
    assert_eq!(asked(), first);
}

#[tokio::test]
async fn i1_names_of_a_server_that_leaves_are_stripped_as_long_as_a_request_may_reach_it() {
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a"]).await;
    let bob = proxy.h2(As::Token(BOB)).await;
    let reaches = async |number: usize| {
        let target = format!("/version?{number}");
        let asked = bob.get_with(&target, ("x-corp-user", "root")).await;
        assert_eq!(asked.status, 200);
        cluster.asked_for("a", &target)[0].headers.contains_key("x-corp-user")
    };
    assert!(reaches(0).await, "it means nothing to anybody");
    let mut both = list(&cluster, &[("a", "a"), ("b", "b")]);
    both[1]["requestheaderUsernameHeaders"] = json!(["X-Corp-User"]);
    change(&proxy, both).await;
    assert!(!reaches(1).await);
    // A request that began before.
    let under_way = proxy.target("b");
    change(&proxy, list(&cluster, &[("a", "a")])).await;
    assert!(!reaches(2).await);
    set(&proxy, "requestTimeout", "59s");
    until_reloads(&proxy, "ok", 3.0).await;
    assert!(!reaches(3).await);
    let gone = Arc::downgrade(&under_way);
    drop(under_way);
    until_dropped("it", &gone).await;
    set(&proxy, "requestTimeout", "58s");
    until_reloads(&proxy, "ok", 4.0).await;
    assert!(reaches(4).await);
}

// === Files of its own ===

#[tokio::test]
async fn a_server_with_certificates_of_its_own_is_rekeyed_by_them_alone_and_warned_of() {
    const EXPIRY: &str = "kube_peer_proxy_certificate_expiration_timestamp_seconds";
    let logs = Capture::start("info", LogFormat::Json);
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let client = |days: u64| {
        let leaf = Leaf::client("front-proxy-client").lifetime(Duration::from_secs(days * 86_400));
        PKI.front_proxy_ca.issue(&leaf).unwrap()
    };
    replace_pair(&proxy, "own", &client(30));
    replace(&proxy.file("own-ca.crt"), PKI.cluster_ca.cert_pem());
    let mut servers = list(&cluster, &[("a", "a"), ("b", "b")]);
    for (key, file) in
        [("caFile", "own-ca.crt"), ("proxyClientCertFile", "own.crt"), ("proxyClientKeyFile", "own.key")]
    {
        servers[1][key] = json!(file);
    }
    set(&proxy, "allowSharedIdentity", "true");
    until_reloads(&proxy, "ok", 1.0).await;
    change(&proxy, servers).await;
    let asked = async |number: usize| {
        let (home, peer) = (format!("/version?{number}"), format!("{POLICIES}?{number}"));
        for target in [&home, &peer] {
            assert_eq!(admin.get(target).await.status, 200, "{target}");
        }
        let on = |name: &str, target: &str| cluster.asked_for(name, target)[0].clone();
        (on("a", &home), on("b", &peer))
    };
    let (a, b) = asked(1).await;

    let soon = client(3);
    replace_pair(&proxy, "own", &soon);
    until_reloads(&proxy, "ok", 3.0).await;
    let (a_now, b_now) = asked(2).await;
    assert_eq!(a_now.connection, a.connection, "it is none of its concern");
    assert!(b_now.connection != b.connection && b_now.leaf.as_ref() == Some(&soon.cert));
    let text = logs.text();
    let warning = text.lines().find(|line| line.contains("expires soon")).expect("a warning");
    assert!(warning.contains("proxy-client") && warning.contains("\"server\":\"b\""), "{warning}");
    let labels = |name: &'static str| ["certificate=\"proxy-client\"", name];
    let (of_a, of_b) = (
        proxy.metric(EXPIRY, &labels("server=\"a\"")).await,
        proxy.metric(EXPIRY, &labels("server=\"b\"")).await,
    );
    assert!(of_a - of_b > 300.0 * 86_400.0, "{of_a} {of_b}");

    let both = format!(
        "{}{}",
        kube_peer_proxy::pki::Authority::new("other").unwrap().cert_pem(),
        PKI.cluster_ca.cert_pem()
    );
    replace(&proxy.file("own-ca.crt"), both);
    until_reloads(&proxy, "ok", 4.0).await;
    let (a_then, b_then) = asked(3).await;
    assert_eq!(a_then.connection, a.connection);
    assert_ne!(b_then.connection, b_now.connection);
}

// === What is bad ===

#[tokio::test]
async fn a_list_with_a_fault_changes_nothing_and_is_told_with_its_key() {
    let logs = Capture::start("info", LogFormat::Json);
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let fleet = proxy.app.proxy.load().fleet.clone();
    let mut no_ca = list(&cluster, &[("a", "a"), ("c", "c")]);
    no_ca[1]["caFile"] = json!("nowhere.crt");
    let mut bad_ca = no_ca.clone();
    bad_ca[1]["caFile"] = json!("bad.crt");
    fs::write(proxy.file("bad.crt"), "nothing").unwrap();
    for (number, (servers, key, words)) in [
        (list(&cluster, &[("b", "b")]), "home (", "a is not among the API servers"),
        (list(&cluster, &[("a", "a"), ("b", "b"), ("b", "c")]), "name (", "two API servers named b"),
        (list(&cluster, &[("a", "a"), ("b", "b"), ("c", "b")]), "url (", "are the same address"),
        (no_ca, "caFile (", "nowhere.crt can't be read"),
        (bad_ca, "caFile (", "bad.crt has no certificate in it"),
    ]
    .into_iter()
    .enumerate()
    {
        set(&proxy, "apiServers", &Value::from(servers).to_string());
        until_reloads(&proxy, "failed", (number + 1) as f64).await;
        let text = logs.text();
        let line = text.lines().rfind(|line| line.contains("is refused")).expect("it is told");
        assert!(line.contains("ERROR") && line.contains(key) && line.contains(words), "{words}: {line}");
        assert!(proxy.app.proxy.load().fleet.is_same(&fleet));
        assert_eq!(admin.get(POLICIES).await.status, 200);
    }
    assert_eq!(proxy.metric("kube_peer_proxy_config_last_reload_successful", &[]).await, 0.0);
    change(&proxy, list(&cluster, &[("a", "a"), ("c", "c")])).await;
    until("the good one works", async || (admin.get(POLICIES).await.status == 200).then_some(())).await;
    assert_eq!(names(&proxy).await, ["a", "c"]);
}
