//! The configuration changes while a source is on.

use http_body_util::BodyExt as _;
use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::servers::source::MAX_SERVERS;

use super::*;
use crate::kit::DEADLINE;

const LOOPBACK_ONLY: &str = "[127.0.0.0/8]";

/// Its servers are in its file, so that they can change.
fn proxy(town: &Town, peers: &str) -> ProxyBuilder {
    ProxyBuilder::new()
        .file("apiServers", &servers(town, ""))
        .file("peerSource", "leases")
        .file("peerAllowedCidrs", peers)
        .file("reloadCheckInterval", "20ms")
        .home("cp1")
}

fn servers(town: &Town, more: &str) -> String {
    format!("[{{ name: cp1, url: 'https://{}' }}{more}]", town["cp1"].addr())
}

/// Changes the configuration file, whose keys are one a line, and waits until that is in use.
async fn set(proxy: &Proxy, key: &str, value: &str) {
    let ok = async || proxy.metric("kube_peer_proxy_config_reloads_total", &["result=\"ok\""]).await;
    let before = ok().await;
    let file = proxy.file("proxy.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let others: String =
        text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
    std::fs::write(file.with_extension("new"), format!("{others}{key}: {value}\n")).unwrap();
    std::fs::rename(file.with_extension("new"), &file).unwrap();
    until("it is in use", async || (ok().await > before).then_some(())).await;
}

#[tokio::test]
async fn a_reload_keeps_the_servers_that_the_source_named_and_their_connections() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    town.add("cp3", V1_32, |server| server).await;
    let proxy = proxy(&town, "[127.0.0.0/8]").start().await;
    let admin = admin(&proxy).await;
    let mut watch = admin.ask(Method::GET, &format!("{WIDGETS}?watch=1")).begin().await.into_body();
    let before = the(&proxy, "cp2");
    set(&proxy, "requestTimeout", "70s").await;
    assert!(Arc::ptr_eq(&before, &the(&proxy, "cp2")));

    let more = format!(", {{ name: cp3, url: 'https://{}' }}", town["cp3"].addr());
    set(&proxy, "apiServers", &servers(&town, &more)).await;
    assert_eq!(names(&proxy), ["cp1", "cp2", "cp3"]);
    set(&proxy, "apiServers", &servers(&town, "")).await;
    assert_eq!(names(&proxy), ["cp1", "cp2"]);
    assert!(Arc::ptr_eq(&before, &the(&proxy, "cp2")));
    assert_eq!(freshness(&proxy, "cp2"), Some(Fresh));

    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "news" } });
    assert_eq!(admin.post(WIDGETS, &widget).await.status, 201);
    let frame = tokio::time::timeout(DEADLINE, watch.frame()).await.unwrap().unwrap();
    assert!(frame.expect("the watch lives").is_data());
}

#[tokio::test]
async fn a_server_of_the_source_can_be_taken_into_the_configuration_and_out_of_it() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = proxy(&town, "[127.0.0.0/8]").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let before = the(&proxy, "cp2");
    for (more, fixed) in
        [(format!(", {{ name: cp2, url: 'https://{}' }}", town["cp2"].addr()), 2.0), (String::new(), 1.0)]
    {
        set(&proxy, "apiServers", &servers(&town, &more)).await;
        assert_eq!(names(&proxy), ["cp1", "cp2"]);
        assert_eq!(counted(&proxy, "static").await, fixed);
        assert!(Arc::ptr_eq(&before, &the(&proxy, "cp2")), "its connections are kept");
        assert_eq!(admin.get(WIDGETS).await.status, 200);
    }
}

#[tokio::test]
async fn i11_who_is_outside_of_narrower_ranges_is_forgotten_at_once_and_back_in_wider_ones() {
    let mut town = Town::with("cp1").await;
    town.add_at("far", [127, 9, 0, 1], V1_36, |server| leased(server, "far")).await;
    town.give_widgets("far");
    let proxy = proxy(&town, "[127.0.0.0/8]").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    set(&proxy, "peerAllowedCidrs", "[127.0.0.0/24]").await;
    assert_eq!(names(&proxy), ["cp1"]);
    assert_eq!(admin.get(WIDGETS).await.status, 404);
    set(&proxy, "peerAllowedCidrs", "[127.0.0.0/24, 127.9.0.0/24]").await;
    until_it_is(&proxy, "far", Fresh).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
}

#[tokio::test]
async fn what_servers_of_the_source_have_in_common_can_change() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = proxy(&town, LOOPBACK_ONLY).file("peerCaFile", "ca.crt").start().await;
    let admin = admin(&proxy).await;
    let before = the(&proxy, "cp2");
    std::fs::copy(proxy.file("ca.crt"), proxy.file("other.crt")).unwrap();
    set(&proxy, "peerCaFile", "other.crt").await;
    assert!(Arc::ptr_eq(&before, &the(&proxy, "cp2")), "the same server, and the same certificates in it");
    set(&proxy, "peerServerName", "localhost").await;
    assert!(!Arc::ptr_eq(&before, &the(&proxy, "cp2")), "whoever was trusted before may be another");
    until_it_is(&proxy, "cp2", Fresh).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
}

#[tokio::test]
async fn of_a_server_that_is_forgotten_no_file_is_left() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let proxy = proxy(&town, LOOPBACK_ONLY).flags(|args| args.discovery_cache_dir = Some(path)).start().await;
    let files = || {
        let all = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let all = all.filter_map(|name| name.into_string().ok()).filter(|name| !name.starts_with('.'));
        all.collect::<std::collections::BTreeSet<_>>()
    };
    eventually("both have one", || files().len() == 2).await;
    set(&proxy, "peerAllowedCidrs", "[127.9.0.0/24]").await;
    assert_eq!(names(&proxy), ["cp1"]);
    eventually("one of them is gone", || files().len() == 1).await;
    assert!(files().iter().all(|name| name.contains("cp1")));
}

/// It is known that it moved, and not yet told, when something else is reloaded.
#[tokio::test]
async fn a_server_that_moves_just_before_a_reload_is_not_looked_for_where_it_was() {
    let town = Town::with("cp1").await;
    let clerk = town.clerk().await;
    clerk.create(LEASES, &lease("one", "cp2", "127.1.1.1:1", 0)).await;
    let proxy = proxy(&town, LOOPBACK_ONLY).unready().start().await;
    eventually("cp2 is there", || names(&proxy) == ["cp1", "cp2"]).await;
    let path = format!("{LEASES}/one");
    let moves = async |to: &str| {
        let annotations = json!({ "kubernetes.io/peer-advertise-address": to });
        clerk.patch(&path, &json!({ "metadata": { "annotations": annotations } })).await;
    };
    moves("127.1.1.2:1").await;
    eventually("it moved", || the(&proxy, "cp2").authority == "127.1.1.2:1").await;
    moves("127.1.1.3:1").await;
    clerk.create(LEASES, &lease("bad", "bad", "10.9.9.9:1", 0)).await;
    until("both were read", async || (refused(&proxy, "leases", "not-allowed").await > 0.0).then_some(()))
        .await;
    set(&proxy, "requestTimeout", "70s").await;
    eventually("it is where it is now", || the(&proxy, "cp2").authority == "127.1.1.3:1").await;
}

/// Whoever there is no room for any more goes, and not the proxy.
#[tokio::test]
async fn a_configuration_with_more_servers_has_room_for_them_in_a_full_fleet() {
    let town = Town::with("cp1").await;
    let clerk = town.clerk().await;
    for number in 1..=MAX_SERVERS {
        // A port where nobody listens.
        let (name, at) = (format!("a{number:02}"), format!("127.1.1.{number}:1"));
        clerk.create(LEASES, &lease(&name, &name, &at, 0)).await;
    }
    let proxy = proxy(&town, "[127.0.0.0/8]").unready().start().await;
    eventually("the fleet is full", || names(&proxy).len() == MAX_SERVERS).await;
    let more: String =
        (1..=3).map(|number| format!(", {{ name: z{number}, url: 'https://127.2.2.{number}:1' }}")).collect();
    set(&proxy, "apiServers", &servers(&town, &more)).await;
    let now = names(&proxy);
    assert_eq!(now.len(), MAX_SERVERS);
    assert!(
        ["z1", "z2", "z3", "cp1", "a01"].iter().all(|name| now.iter().any(|other| other == name)),
        "{now:?}"
    );
    set(&proxy, "requestTimeout", "70s").await;
    assert_eq!(admin(&proxy).await.get("/api/v1/namespaces").await.status, 200);
}
