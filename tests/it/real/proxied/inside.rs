//! What runs in a network of its own; by itself it is ignored.

use std::env;

use bytes::Bytes;
use http::Method;
use kube_peer_proxy::pki::base64;
use serde_json::{Value, json};

use super::{
    super::{
        fleet, fleets,
        kit::{
            audit,
            client::Dial,
            eventually,
            files::Who,
            kubectl::Kubectl,
            kubelet::{CONTAINER, NODE, POD},
            websocket::WebSocket,
        },
        tunnels::{Route, Scene},
    },
    ADDRESS, INSIDE,
};

/// From where requests come, which is not where the proxy's come from.
const FROM: [u8; 4] = [127, 0, 0, 2];

async fn scene() -> Result<Scene, String> {
    assert!(env::var_os(INSIDE).is_some(), "this is for a network in which {ADDRESS} is local");
    Scene::of(fleets::pair().await?, ADDRESS).await
}

fn dial(scene: &Scene, route: &Route, who: Who) -> Dial<'static> {
    Dial::new(&scene.fleet.cluster.files, route.addr, who).from(FROM)
}

fn node(rest: &str) -> String {
    format!("/api/v1/nodes/{NODE}/proxy{rest}")
}

fn pod(scene: &Scene, rest: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{POD}:{}/proxy{rest}", scene.kubelet.pod_port)
}

/// What is the same whichever way it came.
fn told(body: &[u8]) -> Value {
    let Ok(mut told) = serde_json::from_slice::<Value>(body) else {
        return json!(String::from_utf8_lossy(body));
    };
    told["remote"] = Value::Null;
    if let Some(headers) = told["headers"].as_object_mut() {
        headers.remove("X-Forwarded-For");
        // The proxy gives every request one.
        headers.remove("Audit-Id");
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn requests_to_nodes_and_pods_and_their_answers_are_those_without_the_proxy() {
    let scene = fleet!(scene().await);
    let body: Bytes = (0..5_000_000_u32).map(|index| index.to_be_bytes()[2]).collect();
    let get = |path: String| (Method::GET, path, Bytes::new());
    let requests = [
        get(node("/healthz")),
        get(node("/pods")),
        get(node("/nothing")),
        get(format!("/api/v1/nodes/{NODE}:{}/proxy/healthz", scene.kubelet.port)),
        get(pod(&scene, "/request?a=%2F&b=1&a=2&c=%20+")),
        get(pod(&scene, "/request/")),
        get(pod(&scene, "/request/a%20b/%C3%A4/%2Fc//d/./e/")),
        get(pod(&scene, "/bytes?n=5000000")),
        get(pod(&scene, "")),
        (Method::POST, pod(&scene, "/echo"), body),
        (Method::PUT, pod(&scene, "/request"), Bytes::from_static(b"something")),
        (Method::DELETE, pod(&scene, "/request"), Bytes::new()),
        (Method::PATCH, pod(&scene, "/request"), Bytes::from_static(b"something")),
        (Method::OPTIONS, pod(&scene, "/request"), Bytes::new()),
    ];
    for who in [Who::Alice, Who::Bob] {
        for h1 in [false, true] {
            let mut direct = Vec::new();
            for route in scene.routes() {
                for (method, path, body) in &requests {
                    // Each over a connection of its own, for some answers close it.
                    let dial = dial(&scene, &route, who);
                    let client = if h1 { dial.h1() } else { dial }.connect().await.unwrap();
                    let sent = [("x-mine", "1"), ("x-mine", "2"), ("content-type", "text/plain")];
                    let case = format!("{} {who:?} h1={h1} {method} {path}", route.name);
                    let seen = client.call(method.clone(), path, &sent, body.clone()).await;
                    let seen = seen.unwrap_or_else(|error| panic!("{case}: {error}"));
                    if path.contains("/request") {
                        let headers = seen.json()["headers"].clone();
                        let names = headers.as_object().unwrap().keys();
                        let secret =
                            |name: &&String| name.starts_with("X-Remote") || *name == "Authorization";
                        assert_eq!(names.clone().find(secret), None, "{case}");
                        let from = if route.proxied { "127.0.0.2, 127.0.0.1" } else { "127.0.0.2" };
                        assert_eq!(headers["X-Forwarded-For"], json!([from]), "{case}");
                    }
                    let same = (route.server, method.clone(), path.clone());
                    let answer = (seen.status, seen.header("content-type").to_owned(), told(&seen.body));
                    if route.proxied
                        && let Some((_, expected)) = direct.iter().find(|(of, _)| *of == same)
                    {
                        assert!(answer == *expected, "{case}: {answer:?} instead of {expected:?}");
                    }
                    if !route.proxied {
                        direct.push((same, answer));
                    }
                }
            }
        }
    }
    scene.end().await;
}

/// Messages of all kinds of length come back as they are, and then it closes as it should.
async fn talk(case: &str, mut socket: WebSocket) {
    assert_eq!(socket.status, 101, "{case}: {}", socket.body);
    for length in [1, 125, 126, 70_000, 1_000_000] {
        let message: Vec<u8> = (0..length).map(|index: u32| index.to_be_bytes()[3]).collect();
        socket.send(&message).await.unwrap();
        assert!(socket.receive().await.unwrap() == Some(message), "{case}: {length}");
    }
    socket.close().await.unwrap_or_else(|error| panic!("{case}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn a_websocket_goes_through_to_nodes_and_pods() {
    let scene = fleet!(scene().await);
    for route in scene.routes() {
        for who in [Who::Alice, Who::Bob] {
            for path in [node("/ws"), pod(&scene, "/ws")] {
                let socket = dial(&scene, &route, who).websocket(&path, &[]).await.unwrap();
                talk(&format!("{} {who:?} {path}", route.name), socket).await;
            }
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn a_browser_s_websocket_brings_its_token_as_a_subprotocol() {
    let scene = fleet!(scene().await);
    for route in scene.routes() {
        for (token, status) in [("bob-token", 101), ("dave-token", 403), ("never-seen", 401)] {
            let marker = format!("{}-{token}", route.name);
            let path = pod(&scene, &format!("/ws?{marker}"));
            let encoded = base64(token.as_bytes());
            let protocols =
                format!("base64url.bearer.authorization.k8s.io.{}, mine", encoded.trim_end_matches('='));
            let dial = dial(&scene, &route, Who::Anonymous);
            let socket = dial.websocket(&path, &[("Sec-WebSocket-Protocol", &protocols)]).await.unwrap();
            assert_eq!(socket.status, status, "{marker}: {}", socket.body);
            if status != 101 {
                continue;
            }
            talk(&marker, socket).await;
            let entry = eventually("the audit log tells of it", async || {
                let mut servers = scene.fleet.cluster.servers.iter();
                servers.find_map(|server| audit::about(server, &marker).pop())
            });
            let entry = entry.await;
            assert_eq!(entry["user"]["username"], "bob", "{marker}");
            let proxied = json!(["127.0.0.2", "127.0.0.1"]);
            let from = if route.proxied { proxied } else { json!(["127.0.0.2"]) };
            assert_eq!(entry["sourceIPs"], from, "{marker}");
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn a_watch_may_be_a_websocket() {
    let scene = fleet!(scene().await);
    for route in scene.routes() {
        for who in [Who::Alice, Who::Bob] {
            // From what the server has: for the latest it would ask etcd how far it is, and before 3.5 that doesn't
            // tell, so that a watch may be refused with an ERROR event as long as no pod changes.
            let path = "/api/v1/namespaces/default/pods?watch=true&resourceVersion=0";
            // Here kube-apiserver insists on one.
            let origin = [("Origin", "https://example.com")];
            let mut socket = dial(&scene, &route, who).websocket(path, &origin).await.unwrap();
            assert_eq!(socket.status, 101, "{} {who:?}: {}", route.name, socket.body);
            let event = socket.receive().await.unwrap().unwrap();
            let event: Value = serde_json::from_slice(&event).unwrap();
            assert_eq!(event["object"]["metadata"]["name"], POD, "{} {who:?}: {event}", route.name);
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn a_refused_upgrade_is_answered_in_the_words_of_the_server() {
    let scene = fleet!(scene().await);
    let paths = [
        pod(&scene, "/ws"),
        pod(&scene, "/healthz"),
        format!("/api/v1/namespaces/default/pods/none/exec?command=true&container={CONTAINER}&stdout=true"),
        "/nothing".to_owned(),
    ];
    for who in [Who::Alice, Who::Bob, Who::Carol, Who::Dave, Who::Token("never-seen"), Who::Anonymous] {
        let mut direct = Vec::new();
        for route in scene.routes() {
            for path in &paths {
                let seen = dial(&scene, &route, who).websocket(path, &[]).await.unwrap();
                let case = format!("{} {who:?} {path}", route.name);
                let of = (route.server, path);
                let answer = (seen.status, seen.headers.get("content-type").cloned(), seen.body);
                if route.proxied {
                    let expected = direct.iter().find(|(other, _)| *other == of);
                    assert!(
                        expected.is_none_or(|(_, expected)| *expected == answer),
                        "{case}: {answer:?} instead of {expected:?}"
                    );
                } else {
                    direct.push((of, answer));
                }
            }
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn kubectl_reads_from_nodes_and_pods() {
    let scene = fleet!(scene().await);
    for route in scene.routes() {
        for who in [Who::Alice, Who::Bob] {
            let url = format!("https://{}", route.addr);
            let kubectl = Kubectl::newest(scene.fleet.binaries, &scene.fleet.cluster.files, &url, who);
            assert_eq!(kubectl.run(&["get", "--raw", &node("/healthz")]).await, "ok", "{}", route.name);
            let bytes = kubectl.run(&["get", "--raw", &pod(&scene, "/bytes?n=100")]).await;
            assert_eq!(bytes.len(), 100, "{}", route.name);
        }
    }
    scene.end().await;
}
