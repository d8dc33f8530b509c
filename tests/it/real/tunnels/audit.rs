//! Who is let in, and what the server writes down about it.

use serde_json::{Value, json};

use super::{
    super::{
        fleet,
        kit::{audit, elsewhere, eventually, files::Who, kubelet::POD, server::ApiServer},
    },
    Scene, Way,
};

/// From where requests come, which is not where the proxy's come from.
const FROM: [u8; 4] = [127, 0, 0, 2];

/// What the servers say about the requests to a path with this in it, once one of them says anything.
async fn told<'a>(scene: &'a Scene, way: &Way, marker: &str) -> (&'a ApiServer, Vec<Value>) {
    eventually(&format!("an audit entry about {marker}"), async || {
        let servers = scene.fleet.cluster.servers.iter();
        let mut servers = servers.filter(|server| way.server.is_none_or(|name| name == server.name));
        servers.find_map(|server| {
            let entries = audit::about(server, marker);
            // Written when all is over; the entry about the answer's head comes before.
            entries.iter().any(|entry| entry["stage"] == "ResponseComplete").then_some((server, entries))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_upgraded_and_from_where() {
    let scene = fleet!(Scene::set().await);
    let mut direct = Vec::new();
    let mut routes = scene.routes();
    for route in &mut routes {
        route.addr = elsewhere::lead(FROM, route.addr).await;
    }
    let ways = [Who::Alice, Who::Bob].into_iter().flat_map(|who| scene.ways_along(&routes, who));
    for way in ways {
        let marker = format!("marker-{}", way.name);
        way.kubectl.run(&["exec", POD, "--", "echo", &marker]).await;
        let (server, entries) = told(&scene, &way, &marker).await;
        for entry in &entries {
            // In one attempt, and in the protocol that it was to be: kubectl would try another by itself.
            assert_eq!(entry["auditID"], entries[0]["auditID"], "{}", way.name);
            assert_eq!(entry["verb"], if way.websocket { "get" } else { "create" }, "{}", way.name);
            assert_eq!(entry["objectRef"]["subresource"], "exec", "{}", way.name);
            assert_eq!(entry["responseStatus"]["code"], 101, "{}: {entry}", way.name);
            let user = &entry["user"];
            let (name, group) =
                if way.who == Who::Alice { ("alice", "testers") } else { ("bob", "night-shift") };
            assert_eq!(user["username"], name, "{}", way.name);
            assert_eq!(user["groups"], json!(["devs", group, "system:authenticated"]), "{}", way.name);
            let through = json!(["127.0.0.2", "127.0.0.1"]);
            let from = if way.proxied { through } else { json!(["127.0.0.2"]) };
            assert_eq!(entry["sourceIPs"], from, "{}", way.name);

            // What else is known of somebody depends on the server.
            if !way.proxied {
                direct.push((server.name, way.who, user.clone()));
            }
            let same = direct.iter().find(|(name, who, _)| (*name, *who) == (server.name, way.who));
            assert!(way.server.is_none() || same.is_some(), "{}: nothing to compare with", way.name);
            assert!(same.is_none_or(|(_, _, direct)| direct == user), "{}: {user} for {same:?}", way.name);
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_in_the_words_of_the_server() {
    let scene = fleet!(Scene::set().await);
    let port = format!(":{}", scene.kubelet.pod_port);
    for who in [Who::Carol, Who::Dave] {
        let ways = scene.ways_of(who);
        for args in [&["exec", POD, "--", "true"][..], &["attach", POD], &["port-forward", POD, &port]] {
            let mut direct = Vec::new();
            for way in &ways {
                let seen = way.kubectl.try_run(args).await;
                let reason = "pods \"pod\" is forbidden: User";
                assert!(!seen.ok && seen.err.contains(reason), "{}: {seen:?}", way.name);
                let kind = (way.server, way.websocket, way.kubectl.version);
                if way.proxied && way.server.is_some() {
                    let (_, same) = direct.iter().find(|(other, _)| *other == kind).unwrap();
                    assert_eq!(&seen, same, "{}: {args:?}", way.name);
                }
                direct.push((kind, seen));
            }
        }
    }
    scene.end().await;
}
