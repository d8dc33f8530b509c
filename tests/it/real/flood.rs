//! Clients without valid credentials cannot disturb those who have them (I4).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures_util::{StreamExt as _, stream};
use http::Method;
use http_body_util::BodyExt as _;
use kube_peer_proxy::servers::Class;
use serde_json::json;

use super::{
    fleet, fleets,
    kit::{DEADLINE, client::MERGE_PATCH, eventually, files::Who, proxy::Proxy},
    say,
};

const STRANGERS: usize = 4000;
const AT_ONCE: usize = 100;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Why the classes exist; if this fails, upstream has changed and they may not be needed any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_closes_an_h2_connection_on_which_somebody_failed_to_authenticate() {
    let fleet = fleet!(fleets::versions().await);
    for server in ["v132", "v135", "v136"] {
        for stranger in [Who::Anonymous, Who::Token("never-seen")] {
            let client = fleet.direct(server, stranger).await;
            let status = client.get("/api/v1/namespaces").await.unwrap().status;
            assert!([401, 403].contains(&status), "{status}");
            let closed = async || client.has_ended().then_some(());
            eventually(&format!("{server} closes the connection of {stranger:?}"), closed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_never_moves_a_token_callers_connection() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    let bob = proxy.client(Who::Bob).await;
    let map = json!({ "metadata": { "name": "flooded" }, "data": { "round": "0" } });
    assert_eq!(bob.post(CONFIG_MAPS, &map).await.unwrap().status, 201);
    // One answer proved the token, so the watch goes over the connection that is to survive.
    let path = format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Dflooded");
    let mut watch = bob.open(Method::GET, &path, &[], "".into()).await.unwrap().into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(DEADLINE, watch.frame()).await.expect("an event in time");
        let data = frame.expect("the watch goes on").unwrap().into_data().unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    };
    assert!(next().await.contains("ADDED"));
    let token = || proxy.connections("v136", Class::Token);
    assert_eq!(token().live, 1);
    let opened = |class| {
        let stats = proxy.connections("v136", class);
        (stats.live, stats.opening, stats.draining)
    };
    let before = opened(Class::Token);

    let over = Arc::new(AtomicBool::new(false));
    let flood = async {
        let clients = [
            proxy.client(Who::Anonymous).await,
            proxy.client(Who::Token("guess-1")).await,
            proxy.client(Who::Anonymous).await,
            proxy.client(Who::Token("guess-2")).await,
        ];
        let refused = stream::iter(0..STRANGERS)
            .map(|number| clients[number % clients.len()].get("/api/v1/namespaces/kube-system/secrets"))
            .buffer_unordered(AT_ONCE)
            .filter(|reply| {
                std::future::ready(matches!(reply, Ok(reply) if [401, 403].contains(&reply.status)))
            })
            .count()
            .await;
        over.store(true, Ordering::Relaxed);
        refused
    };
    let work = async {
        let (mut rounds, mut slowest) = (0_u32, 0);
        while !over.load(Ordering::Relaxed) {
            rounds += 1;
            let begun = Instant::now();
            let reply = bob.get(&format!("{CONFIG_MAPS}/flooded")).await.unwrap();
            slowest = slowest.max(begun.elapsed().as_millis());
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(opened(Class::Token), before, "in round {rounds}");
        }
        (rounds, slowest)
    };
    let begun = Instant::now();
    let (refused, (rounds, slowest)) = tokio::join!(flood, work);
    say!(
        "{STRANGERS} strangers in {:?}: {refused} refused by the server; meanwhile {rounds} GETs with a token, \
         all 200, slowest {slowest} ms",
        begun.elapsed(),
    );
    let shown = proxy.admin("/debug/servers").await;
    let mut servers = shown["servers"].as_array().unwrap().iter();
    let shown = &servers.find(|server| server["name"] == "v136").unwrap()["connections"];
    say!("connections: {shown}");
    assert_eq!(shown["token"]["live"], 1);
    // Some may meet our own cap of connections for strangers (503), or the server's for anonymous work (429).
    assert!(refused > STRANGERS / 2, "{refused}");
    assert!(rounds > 20, "{rounds}");

    // The watch that was open all the time is alive.
    let path = format!("{CONFIG_MAPS}/flooded");
    let change = bob.call(Method::PATCH, &path, &[MERGE_PATCH], r#"{"data": {"round": "1"}}"#.into());
    assert_eq!(change.await.unwrap().status, 200);
    let event = next().await;
    assert!(event.contains("MODIFIED") && event.contains(r#""round":"1""#), "{event}");
    bob.call(Method::DELETE, &path, &[], "".into()).await.unwrap();
    proxy.stop().await;
}
