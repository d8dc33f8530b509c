//! Two sidecars in series before real servers, each the other's peer.
//!
//! `near` stands beside `less` (1.32 without batch/v1) and knows `v136` by the address of `far`, which stands beside
//! that and knows `less` by the address of `near`.

use std::net::{Ipv4Addr, SocketAddr};

use kube_peer_proxy::{api::media_type::ACCEPT_V2, discovery::catalog::Freshness};
use serde_json::{Value, json};

use super::{
    fleet, fleets,
    kit::{
        audit,
        client::{Dial, Reply},
        cluster::Cluster,
        eventually,
        files::Who,
        free_port,
        proxy::Proxy,
    },
    say,
    whoami::{FROM, callers},
};

const NOPEER: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer";
const PROXIED: (&str, &str) = ("x-kubernetes-peer-proxied", "true");
/// Only `v136` serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Chain {
    near: Proxy,
    far: Proxy,
    addresses: [SocketAddr; 2],
}

/// One of the two: beside `home`, with `peer` at the other one's address.
async fn sidecar(
    cluster: &'static Cluster,
    at: SocketAddr,
    home: &str,
    peer: &str,
    other: SocketAddr,
) -> Proxy {
    Proxy::launch(cluster, at, &[], Some(home), |args| {
        args.api_server =
            vec![format!("{home}={}", cluster.server(home).url()), format!("{peer}=https://{other}")];
        args.discovery_refresh_interval = Some("1s".into());
        // For tokens and nobody: clients come from elsewhere.
        args.trusted_proxy_cidrs = vec!["127.0.0.1/32".into()];
    })
    .await
}

impl Chain {
    async fn start(cluster: &'static Cluster) -> Self {
        let [near, far] = [free_port(), free_port()].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let addresses = [near, far];
        let near = sidecar(cluster, addresses[0], "less", "v136", addresses[1]).await;
        let far = Self::far(cluster, addresses).await;
        let chain = Self { near, far, addresses };
        chain.well().await;
        chain
    }

    async fn far(cluster: &'static Cluster, [near, far]: [SocketAddr; 2]) -> Proxy {
        sidecar(cluster, far, "v136", "less", near).await
    }

    async fn well(&self) {
        for proxy in [&self.near, &self.far] {
            proxy.until_all_are_healthy().await;
            eventually("everything is known", async || {
                let catalog = proxy.app.proxy.load().book.catalog();
                catalog.servers.iter().all(|server| server.freshness() == Freshness::Fresh).then_some(())
            })
            .await;
        }
    }

    async fn stop(self) {
        tokio::join!(self.near.stop(), self.far.stop());
    }
}

async fn document(proxy: &Proxy, path: &str, accept: &str) -> Reply {
    let reply = proxy.client(Who::Admin).await.get_with(path, &[("accept", accept)]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_at_the_far_server_who_he_is_there_directly_and_in_its_audit_log_too() {
    let fleet = fleet!(fleets::versions().await);
    let chain = Chain::start(fleet.cluster).await;
    let server = fleet.server("v136");
    for (caller, who, headers) in callers() {
        let direct = Dial::new(&fleet.files, server.addr, who).from(FROM).connect().await.unwrap();
        let through = chain.near.dial(who).from(FROM).connect().await.unwrap();
        let expected = direct.get_with(POLICIES, &headers).await.unwrap();
        let seen = through.get_with(POLICIES, &headers).await.unwrap();
        assert_eq!(seen.status, expected.status, "{caller}: {}", seen.text());
        if expected.status == 401 {
            continue;
        }
        let near = audit::entries(fleet.server("less"), seen.header("audit-id"));
        assert_eq!(near, [] as [Value; 0], "{caller}");
        let expected = audit::entry(server, expected.header("audit-id")).await;
        let seen = audit::entry(server, seen.header("audit-id")).await;
        say!("{caller:52} {} {} from {}", seen["responseStatus"]["code"], seen["user"], seen["sourceIPs"]);
        for field in ["user", "impersonatedUser", "verb", "requestURI"] {
            assert_eq!(seen[field], expected[field], "{caller}: {field}");
        }
        assert_eq!(expected["sourceIPs"], json!(["127.0.0.2"]), "{caller}");
        assert_eq!(seen["sourceIPs"], json!(["127.0.0.2", "127.0.0.1"]), "{caller}");
    }
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_no_request_is_sent_on_twice_and_what_nobody_has_is_one_404() {
    let fleet = fleet!(fleets::versions().await);
    let chain = Chain::start(fleet.cluster).await;
    let (less, v136) = (fleet.server("less"), fleet.server("v136"));
    let unknown = "/apis/nobody.example.com/v1/things";
    // proxy, path, headers, status, who answers, who never hears of it
    let table = [
        (&chain.near, CRON_JOBS, vec![], 200, v136, less),
        (&chain.near, CRON_JOBS, vec![PROXIED], 404, less, v136),
        (&chain.near, CONFIG_MAPS, vec![], 200, less, v136),
        (&chain.far, CONFIG_MAPS, vec![], 200, v136, less),
        (&chain.near, unknown, vec![], 404, less, v136),
        (&chain.far, unknown, vec![], 404, v136, less),
        (&chain.far, "/apis/batch/v1/nothings", vec![], 404, v136, less),
    ];
    for (proxy, path, headers, status, answers, other) in table {
        let reply = proxy.client(Who::Admin).await.get_with(path, &headers).await.unwrap();
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        // `header` insists on one value, `entry` on one entry.
        let id = reply.header("audit-id");
        audit::entry(answers, id).await;
        assert_eq!(audit::entries(other, id), [] as [Value; 0], "{path}");
    }
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_the_same_at_both_own_where_asked_for_and_without_echoes() {
    let fleet = fleet!(fleets::versions().await);
    let chain = Chain::start(fleet.cluster).await;
    for (proxy, home) in [(&chain.near, "less"), (&chain.far, "v136")] {
        let direct = fleet.direct(home, Who::Admin).await;
        for path in ["/api", "/apis"] {
            let expected = direct.get_with(path, &[("accept", NOPEER)]).await.unwrap();
            for headers in [vec![("accept", NOPEER)], vec![("accept", NOPEER), PROXIED]] {
                let client = proxy.client(Who::Admin).await;
                let own = client.get_with(path, &headers).await.unwrap();
                assert_eq!((own.text(), own.header("etag")), (expected.text(), expected.header("etag")));
            }
        }
    }
    let until_both = async |listed: bool| {
        eventually(&format!("both say the same, with echoes: {listed}"), async || {
            let (near, far) = (
                document(&chain.near, "/apis", ACCEPT_V2).await,
                document(&chain.far, "/apis", ACCEPT_V2).await,
            );
            let lists = |reply: &Reply| reply.lists("chains.example.com", "v1", "echoes");
            let settled = lists(&near) == listed && lists(&far) == listed;
            (settled && near.body == far.body && near.header("etag") == far.header("etag")).then_some(())
        })
        .await;
    };
    until_both(false).await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "metadata": { "name": "echoes.chains.example.com" },
        "spec": {
            "group": "chains.example.com", "scope": "Cluster",
            "names": { "plural": "echoes", "kind": "Echo" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    for _ in 0..2 {
        fleet.create(definitions, &definition).await;
        until_both(true).await;
        let admin = chain.near.client(Who::Admin).await;
        let one = format!("{definitions}/echoes.chains.example.com");
        let reply = admin.call(http::Method::DELETE, &one, &[], "".into()).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        until_both(false).await;
        // It does not come back with the next rounds of each asking the other.
        let generations =
            || [&chain.near, &chain.far].map(|proxy| proxy.app.proxy.load().book.catalog().generation);
        let before = generations();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        until_both(false).await;
        assert_eq!(generations(), before, "nothing moves");
    }
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_far_proxy_its_server_is_away_and_back_with_it() {
    let fleet = fleet!(fleets::versions().await);
    let mut chain = Chain::start(fleet.cluster).await;
    let admin = chain.near.client(Who::Admin).await;
    assert_eq!(admin.get(POLICIES).await.unwrap().status, 200);
    let Chain { near, far, addresses } = chain;
    far.stop().await;
    let away = eventually("a 503", async || {
        let reply = admin.get(POLICIES).await.unwrap();
        assert_ne!(reply.status, 404);
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert_eq!(away.header("retry-after"), "1");
    assert_eq!(admin.get(CONFIG_MAPS).await.unwrap().status, 200);
    assert!(document(&near, "/apis", ACCEPT_V2).await.lists(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicies"
    ));
    chain = Chain { near, far: Chain::far(fleet.cluster, addresses).await, addresses };
    chain.well().await;
    assert_eq!(admin.get(POLICIES).await.unwrap().status, 200);
    chain.stop().await;
}
