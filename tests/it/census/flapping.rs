//! Servers that come and go.

use http_body_util::BodyExt as _;
use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::ops::telemetry::LogFormat;

use super::*;
use crate::kit::{Capture, DEADLINE};

#[tokio::test]
async fn a_server_that_comes_and_goes_all_the_time_costs_little_and_keeps_its_connections() {
    const TURNS: u64 = 4;
    let logs = Capture::start("info", LogFormat::Json);
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    let mut watch = admin.ask(Method::GET, &format!("{WIDGETS}?watch=1")).begin().await.into_body();
    let (server, fetched, clerk) = (the(&proxy, "cp2"), town.fetches("cp2"), town.clerk().await);
    let path = clerk.lease_of("cp2").await;
    let found = clerk.0.get(&path).await.json();
    let again = lease(path.rsplit('/').next().unwrap(), "cp2", &town["cp2"].addr().to_string(), 0);
    assert_eq!(found["metadata"]["name"], again["metadata"]["name"]);

    let (mut turns, mut written, mut was) = (0, 0_u64, false);
    until("it was seen to come and go", async || {
        clerk.delete(&path).await;
        clerk.create(LEASES, &again).await;
        clerk.delete(&path).await;
        let departed = known(&proxy, "cp2").unwrap().departed;
        turns += u64::from(departed != was);
        was = departed;
        clerk.create(LEASES, &again).await;
        written += 4;
        (turns >= TURNS).then_some(())
    })
    .await;
    assert!(written > 10 * TURNS, "it came and went more often than that: {written}");
    until_it_is(&proxy, "cp2", Fresh).await;
    eventually("it is there in the end", || !known(&proxy, "cp2").unwrap().departed).await;
    let fetches = town.fetches("cp2") - fetched;
    assert!(fetches as u64 <= 3 * (TURNS + 2), "{fetches} fetches for {turns} changes");
    assert!(Arc::ptr_eq(&server, &the(&proxy, "cp2")));

    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "news" } });
    assert_eq!(admin.post(WIDGETS, &widget).await.status, 201);
    let frame = tokio::time::timeout(DEADLINE, watch.frame()).await.unwrap().unwrap();
    let event = frame.expect("the watch lives").into_data().unwrap();
    assert!(event.windows(4).any(|window| window == b"news"));
    let text = logs.text();
    for what in ["is no longer named", "is named by its source again"] {
        let told = text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(told, 1, "{what}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_moves_all_the_time_is_told_of_once() {
    const MOVES: usize = 4;
    let logs = Capture::start("info", LogFormat::Json);
    let town = Town::with("cp1").await;
    let clerk = town.clerk().await;
    clerk.create(LEASES, &lease("one", "cp2", "127.1.1.1:1", 0)).await;
    let proxy = town.proxy("leases", "cp1", "cp1").unready().start().await;
    for number in 1..=MOVES {
        let at = format!("127.1.1.{number}:1");
        let annotations = json!({ "kubernetes.io/peer-advertise-address": at });
        clerk.patch(&format!("{LEASES}/one"), &json!({ "metadata": { "annotations": annotations } })).await;
        eventually("it moved", || names(&proxy).len() == 2 && the(&proxy, "cp2").authority == at).await;
    }
    let text = logs.text();
    let told = text.lines().filter(|line| line.contains("elsewhere") || line.contains("another address"));
    assert_eq!(told.count(), 1, "{text}");
}

#[tokio::test]
async fn who_asks_others_notices_nothing_of_one_that_comes_and_goes() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    town.add("cp3", V1_36, |server| leased(server, "cp3")).await;
    town["cp3"].discovery().add_resource("steady.example", "v1", &ResourceSpec::new("rocks", "Rock", false));
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    for server in ["cp2", "cp3"] {
        until_it_is(&proxy, server, Fresh).await;
    }
    let clerk = town.clerk().await;
    let path = clerk.lease_of("cp2").await;
    let again = lease(path.rsplit('/').next().unwrap(), "cp2", &town["cp2"].addr().to_string(), 0);
    let (mut turns, mut was) = (0, false);
    until("it was seen to come and go", async || {
        clerk.delete(&path).await;
        assert_eq!(admin.get("/apis/steady.example/v1/rocks").await.status, 200);
        assert_eq!(admin.get("/api/v1/namespaces").await.status, 200);
        assert_eq!(marked(&admin, "steady.example", "v1").await.as_deref(), Some("Current"));
        assert_eq!(admin.get(WIDGETS).await.status, 200, "it is there whatever is said of it");
        let departed = known(&proxy, "cp2").unwrap().departed;
        turns += u64::from(departed != was);
        was = departed;
        clerk.create(LEASES, &again).await;
        (turns >= 2).then_some(())
    })
    .await;
}
