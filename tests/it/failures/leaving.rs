//! A connection that works is nobody's to close, whatever becomes of new ones.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::servers::Class;
use serde_json::json;
use tokio::time::timeout;

use crate::kit::client::Protocol;
use crate::kit::{As, BOB, Client, Cluster, DEADLINE, PKI, Proxy, Tunnel, Wire, eventually, until};
use crate::watching::until_watched;

const WATCH: &str = "/api/v1/configmaps?watch=1";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const EXEC: &str = "/api/v1/namespaces/default/pods/p/exec?command=sh&stdin=true";
/// As `hasty` has it.
const DEAD_AFTER: Duration = Duration::from_secs(1);

struct Watch {
    class: Class,
    _client: Client,
    body: Incoming,
}

/// A watch in each class of connections, and a tunnel.
struct UnderWay {
    watches: Vec<Watch>,
    tunnel: Tunnel,
}

// === impl UnderWay ===

impl UnderWay {
    async fn begin(proxy: &Proxy) -> Self {
        let mut watches = Vec::new();
        // An unproven token is the first one that is asked.
        for (class, who) in [
            (Class::Unproven, As::Token(BOB)),
            (Class::Token, As::Token(BOB)),
            (Class::Identity, As::Certificate(&PKI.admin)),
        ] {
            let client = proxy.h2(who).await;
            let watch = client.ask(Method::GET, WATCH).begin().await;
            assert_eq!(watch.status(), 200);
            assert_eq!(proxy.connections("v136", class).in_use, 1, "{class:?}");
            watches.push(Watch { class, _client: client, body: watch.into_body() });
        }
        let tunnel = Tunnel::ask(proxy.address(), As::Certificate(&PKI.admin), EXEC, "websocket", &[]).await;
        assert_eq!(tunnel.status(), 101);
        Self { watches, tunnel }
    }

    /// Every one of them brings what it should.
    async fn all_work(&mut self, admin: &Client, name: &str) {
        let made = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        assert_eq!(admin.post(CONFIG_MAPS, &made).await.status, 201);
        for Watch { class, body, .. } in &mut self.watches {
            let mut seen = String::new();
            while !seen.contains(name) {
                let frame = timeout(DEADLINE, body.frame()).await.expect("the event in time");
                let frame = frame.unwrap_or_else(|| panic!("the watch of {class:?} ended"));
                let frame = frame.unwrap_or_else(|error| panic!("the watch of {class:?} is torn: {error}"));
                seen += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
            }
        }
        self.tunnel.send(b"ping").await;
        assert_eq!(self.tunnel.next(4).await, b"ping");
    }
}

/// Long after a server could have been given up, and has been asked again and again.
async fn long_without_contact(proxy: &Proxy, server: &str) {
    let failed = async || proxy.metric("kube_peer_proxy_server_probes_total", &[server, "failed"]).await;
    let health = &proxy.target(server).health;
    eventually("no contact for long", || {
        health.last_contact().is_some_and(|last| last.elapsed() > 2 * DEAD_AFTER)
    })
    .await;
    let before = failed().await;
    until("probes that failed", async || (failed().await >= before + 3.0).then_some(())).await;
}

#[tokio::test]
async fn what_is_under_way_at_a_server_that_leaves_goes_on_while_it_refuses_connections() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v136").hasty().start().await;
    let mut under_way = UnderWay::begin(&proxy).await;
    let server = cluster.server("v136");
    let leaving = server.shut_down(DEADLINE);
    let seen = async {
        long_without_contact(&proxy, "v136").await;
        // The other one takes the write.
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        under_way.all_work(&admin, "late").await;
        drop(under_way);
    };
    tokio::join!(leaving, seen);
    eventually("nothing is left of them", || {
        Class::ALL.iter().all(|class| {
            let stats = proxy.connections("v136", *class);
            stats.live + stats.draining == 0
        })
    })
    .await;
}

#[tokio::test]
async fn a_server_that_leaves_does_not_wait_for_our_own_watches() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().start().await;
    let server = cluster.server("v136");
    until_watched(&proxy, "v136").await;
    // Only what is open holds it up.
    timeout(DEADLINE / 2, server.shut_down(2 * DEADLINE)).await.expect("it ends");
    eventually("nobody is connected", || proxy.connections("v136", Class::Own).live == 0).await;
}

#[tokio::test]
async fn a_quiet_connection_goes_on_as_long_as_another_is_heard_though_new_ones_get_no_answer() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let wire = Wire::to(cluster.server("v136").addr()).await;
    // Without watches of our own, which would be heard as well.
    let proxy =
        cluster.proxy().server("v136", wire.address).home("v136").hasty().interval("1h").start().await;
    let mut under_way = UnderWay::begin(&proxy).await;
    // Who connects from now on waits for ever, and our own connection is gone.
    wire.lead_nowhere();
    cluster.server("v136").send_goaway();
    long_without_contact(&proxy, "v136").await;
    let admin =
        Client::connect(cluster.server("v132").addr(), As::Certificate(&PKI.admin), Protocol::H2).await;
    under_way.all_work(&admin, "quiet").await;

    // PINGs are what was heard.
    let UnderWay { mut watches, mut tunnel } = under_way;
    let unproven = watches.remove(0);
    drop(watches);
    let (rest, _) = timeout(DEADLINE, tunnel.rest()).await.expect("the tunnel ends");
    assert!(rest.is_empty());
    let end = timeout(DEADLINE, async { unproven.body.collect().await.is_err() }).await;
    assert!(end.expect("the watch ends"), "as broken");
}

#[tokio::test]
async fn everything_at_a_server_that_hangs_ends_in_bounded_time() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v136").hasty().start().await;
    let UnderWay { watches, mut tunnel } = UnderWay::begin(&proxy).await;
    cluster.server("v136").faults().freeze(true);
    let within = super::wires::DEAD_WITHIN;
    for Watch { class, body, .. } in watches {
        let end = timeout(within, body.collect()).await.unwrap_or_else(|_| panic!("{class:?} goes on"));
        assert!(end.is_err(), "{class:?} ends as broken");
    }
    timeout(within, tunnel.rest()).await.expect("the tunnel ends");
    cluster.server("v136").faults().freeze(false);
}
