//! Leases that nobody should believe.

use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::limits;
use kube_peer_proxy::ops::telemetry::LogFormat;
use kube_peer_proxy::servers::source::MAX_SERVERS;

use super::*;
use crate::kit::Capture;

#[tokio::test]
async fn leases_in_other_namespaces_and_without_the_label_are_nobodys() {
    let mut town = Town::with("cp1").await;
    town.add("stranger", V1_36, |server| server).await;
    town.give_widgets("stranger");
    let clerk = town.clerk().await;
    let at = town["stranger"].addr().to_string();
    let elsewhere = LEASES.replace("kube-system", "default");
    clerk.create(&elsewhere, &lease("apiserver-elsewhere", "elsewhere", &at, 0)).await;
    let mut unlabelled = lease("apiserver-unlabelled", "unlabelled", &at, 0);
    unlabelled["metadata"]["labels"]["apiserver.kubernetes.io/identity"] = json!("kube-scheduler");
    clerk.create(LEASES, &unlabelled).await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 404);

    // Also those that come later than another one which counts.
    clerk.create(&elsewhere, &lease("apiserver-late", "late", &at, 0)).await;
    town.add("cp2", V1_36, |server| leased(server, "cp2")).await;
    until_it_is(&proxy, "cp2", Fresh).await;
    assert_eq!(names(&proxy), ["cp1", "cp2"]);
    assert_eq!(admin.get(WIDGETS).await.status, 404);
    assert_eq!(town["stranger"].connections_accepted(), 0);
}

#[tokio::test]
async fn each_lease_with_rubbish_is_counted_and_logged_once_and_the_others_count() {
    let logs = Capture::start("info", LogFormat::Json);
    let mut town = Town::with("cp1").await;
    let clerk = town.clerk().await;
    let megabyte = "1".repeat(1_000_000);
    let rubbish = [
        ("nowhere", "", "no-address"),
        ("word", "somewhere", "bad-address"),
        ("name", "cp9.example:6443", "bad-address"),
        ("no-port", "127.0.0.1", "bad-address"),
        ("port", "127.0.0.1:99999", "bad-address"),
        ("port-0", "127.0.0.1:0", "bad-address"),
        ("url", "https://127.0.0.1:6443", "bad-address"),
        ("long", &*megabyte, "bad-address"),
        ("outside", "10.9.8.7:6443", "not-allowed"),
        ("metadata", "169.254.169.254:80", "not-allowed"),
        ("outside-6", "[2001:db8::1]:6443", "not-allowed"),
    ];
    for (name, address, _) in &rubbish {
        clerk.create(LEASES, &lease(name, name, address, 0)).await;
    }
    let huge_holder = json!({ "spec": { "holderIdentity": &megabyte } });
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    town.add_leased("cp2").await;
    clerk.patch(&clerk.lease_of("cp2").await, &huge_holder).await;
    until_it_is(&proxy, "cp2", Fresh).await;
    // Rubbish that stays where it is, seen again and again.
    for last in 1..=3 {
        let name = format!("last-{last}");
        clerk.create(LEASES, &lease(&name, &name, "", 0)).await;
        looking(&proxy, "the last one is counted", async || {
            (refused(&proxy, "leases", "no-address").await == f64::from(1 + last)).then_some(())
        })
        .await;
    }
    assert_eq!(refused(&proxy, "leases", "bad-address").await, 7.0);
    assert_eq!(refused(&proxy, "leases", "not-allowed").await, 3.0);
    assert_eq!(names(&proxy), ["cp1", "cp2"]);
    assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
    let text = logs.text();
    let told = text.lines().filter(|line| line.contains("not taken for an API server"));
    assert_eq!(told.count(), rubbish.len() + 3);
    assert!(text.lines().all(|line| line.len() < 4096), "nobody's megabyte is logged");
}

#[tokio::test]
async fn there_are_never_more_servers_than_there_can_be() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let clerk = town.clerk().await;
    for number in 1..=70 {
        // A port where nobody listens.
        let (name, at) = (format!("a{number:02}"), format!("127.1.1.{number}:1"));
        clerk.create(LEASES, &lease(&name, &name, &at, 0)).await;
    }
    looking(&proxy, "all leases are seen", async || {
        let seen = proxy.metric("kube_peer_proxy_informer_objects", &["server=\"cp1\"", "leases"]).await;
        (seen == 71.0 && names(&proxy).len() == MAX_SERVERS).then_some(())
    })
    .await;
    let too_many = refused(&proxy, "leases", "too-many").await;
    assert!(too_many >= 71.0 - 63.0, "{too_many}");
    assert_eq!(admin.get(WIDGETS).await.status, 200, "who was known stays");
    assert_eq!(admin.get("/api/v1/namespaces").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_leases_is_bounded_and_nobody_is_forgotten_for_it() {
    let logs = Capture::start("warn", LogFormat::Json);
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    let clerk = town.clerk().await;
    for number in 0..limits::MAX_INFORMED_PEERS {
        let mut flood = lease(&format!("flood-{number}"), "flood", "10.9.8.7:6443", 0);
        flood["metadata"]["labels"].as_object_mut().unwrap().remove("kubernetes.io/hostname");
        clerk.create(LEASES, &flood).await;
    }
    until("it is found to be too many", async || {
        let failed =
            proxy.metric("kube_peer_proxy_informer_errors_total", &["cp1", "leases", "too-many"]).await;
        (failed >= 1.0).then_some(())
    })
    .await;
    assert_eq!(names(&proxy), ["cp1", "cp2"]);
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Current");
    assert_eq!(freshness(&proxy, "cp2"), Some(Fresh));
    let held = proxy.metric("kube_peer_proxy_informer_objects", &["server=\"cp1\"", "leases"]).await;
    assert!(held <= limits::MAX_INFORMED_PEERS as f64, "{held}");
    let text = logs.text();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert!(count("not taken for an API server") <= 2, "one address, one line: {text}");
    assert!(
        (1..=2).contains(&count("cannot be watched here")),
        "one for each server that is watched: {text}"
    );
}
