//! Beside Kubernetes' own Mixed Version Proxy: `a` lacks batch/v1, `b` has beta APIs besides, both have it on.

use kube_peer_proxy::api::media_type::ACCEPT_V2;
use serde_json::Value;

use super::{
    fleet, fleets,
    kit::{
        audit,
        client::{Client, Reply},
        cluster::Cluster,
        eventually,
        files::Who,
        proxy::Proxy,
    },
    say,
};

const NOPEER: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer";
const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";

async fn apis(client: &Client, accept: &str) -> Reply {
    let reply = client.get_with("/apis", &[("accept", accept)]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

/// Both servers' document once each has heard of the other; they agree on it then.
pub(super) async fn native_document(fleet: &Cluster) -> Reply {
    let (a, b) = (fleet.direct("a", Who::Admin).await, fleet.direct("b", Who::Admin).await);
    eventually("the native proxies know each other", async || {
        let [at_a, at_b] = [apis(&a, ACCEPT_V2).await, apis(&b, ACCEPT_V2).await];
        let complete = at_a.lists("batch", "v1", "cronjobs");
        (complete && at_a.header("etag") == at_b.header("etag")).then_some(at_a)
    })
    .await
}

/// The names under which upstream orders servers: their identity leases, by host name.
async fn leases(fleet: &Cluster) -> Vec<(String, &'static str)> {
    let admin = fleet.direct("a", Who::Admin).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases\
                ?labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver";
    let leases = admin.get(path).await.unwrap().json();
    let name = |server: &str| {
        let host = format!("kpp-{server}");
        let mut all = leases["items"].as_array().unwrap().iter().map(|lease| &lease["metadata"]);
        let lease = all.find(|metadata| metadata["labels"]["kubernetes.io/hostname"] == *host);
        lease.unwrap_or_else(|| panic!("{server} has no lease: {leases}"))["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    ["a", "b"].into_iter().map(|server| (name(server), server)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_merged_document_is_byte_for_byte_the_native_proxys_whichever_is_home() {
    let fleet = fleet!(fleets::native().await);
    let native = native_document(&fleet).await;
    let leases = leases(&fleet).await;
    let servers: Vec<_> = leases.iter().map(|(lease, server)| (lease.as_str(), *server)).collect();
    for home in 0..2 {
        let proxy = Proxy::start(fleet.cluster, &servers, Some(servers[home].0), |_| ()).await;
        let client = proxy.client(Who::Admin).await;
        let ours = eventually("our document has the native ETag", async || {
            let ours = apis(&client, ACCEPT_V2).await;
            (ours.header("etag") == native.header("etag")).then_some(ours)
        })
        .await;
        assert_eq!(ours.text(), native.text());
        for header in ["content-type", "etag", "vary", "cache-control"] {
            assert_eq!(ours.header(header), native.header(header), "{header}");
        }
        say!("{} bytes, {} groups, ETag {}", ours.body.len(), ours.groups().len(), ours.header("etag"));
        let unchanged = [("accept", ACCEPT_V2), ("if-none-match", native.header("etag"))];
        assert_eq!(client.get_with("/apis", &unchanged).await.unwrap().status, 304);
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nopeer_is_byte_for_byte_homes_own() {
    let fleet = fleet!(fleets::native().await);
    for home in ["a", "b"] {
        let proxy = Proxy::of(fleet.cluster, Some(home)).await;
        let expected = apis(&fleet.direct(home, Who::Admin).await, NOPEER).await;
        let ours = apis(&proxy.client(Who::Admin).await, NOPEER).await;
        assert_eq!(ours.text(), expected.text());
        for header in ["content-type", "etag", "vary", "cache-control"] {
            assert_eq!(ours.header(header), expected.header(header), "{header}");
        }
        assert_eq!(ours.lists("batch", "v1", "cronjobs"), home == "b");
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_we_reroute_reaches_the_peer_once_and_the_native_proxy_never() {
    let fleet = fleet!(fleets::native().await);
    let (a, b) = (fleet.server("a"), fleet.server("b"));
    let proxy = Proxy::of(fleet.cluster, Some("a")).await;
    let client = proxy.client(Who::Alice).await;
    let reply = client.get(CRON_JOBS).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    // `header` insists on one value; the native proxy's answers have two.
    let id = reply.header("audit-id");
    assert_eq!(audit::entry(b, id).await["user"]["username"], "alice");
    assert_eq!(audit::entries(a, id), [] as [Value; 0]);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_one_404_and_makes_no_loop() {
    let fleet = fleet!(fleets::native().await);
    native_document(&fleet).await;
    let (a, b) = (fleet.server("a"), fleet.server("b"));
    let proxy = Proxy::of(fleet.cluster, Some("a")).await;
    let client = proxy.client(Who::Admin).await;
    for path in ["/apis/batch/v9/namespaces/default/cronjobs", "/apis/nobody.example.com/v1/things"] {
        let reply = client.get(path).await.unwrap();
        assert_eq!(reply.status, 404, "{}", reply.text());
        let id = reply.header("audit-id");
        audit::entry(a, id).await;
        assert_eq!(audit::entries(b, id), [] as [Value; 0], "{path}");
    }
    // Who says that his request was sent on already gets home's own answer, which home does not send on either.
    let reply = client.get_with(CRON_JOBS, &[("x-kubernetes-peer-proxied", "true")]).await.unwrap();
    assert_eq!(reply.status, 404, "{}", reply.text());
    audit::entry(a, reply.header("audit-id")).await;
    assert_eq!(audit::entries(b, reply.header("audit-id")), [] as [Value; 0]);
    proxy.stop().await;
}
