//! However many reasons there are to fetch, a server is asked by one fetch at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use kube_peer_proxy::api::gvr::GroupVersionResource;
use kube_peer_proxy::discovery::refresh::Trigger;
use kube_peer_proxy::embedded::{RouteFault, RunningServer};
use serde_json::json;

use super::*;
use crate::kit::{PROXY_USER, Proxy, until};

const TRIGGERS: [Trigger; 9] = [
    Trigger::Crd,
    Trigger::ApiService,
    Trigger::Lease,
    Trigger::EndpointSlice,
    Trigger::Health,
    Trigger::Reconnect,
    Trigger::RouteNotFound,
    Trigger::Changed,
    Trigger::Write,
];

/// Fetches of each document that are under way at a server: what it was asked and has not begun to answer.
fn under_way(server: &RunningServer) -> BTreeMap<String, usize> {
    let waiting = server.log().matching(|request| {
        // Before a request is let through, nobody has looked whose it is.
        let ours = request.headers.get("x-remote-user").is_some_and(|user| user == PROXY_USER);
        ours && ["/api", "/apis"].contains(&&*request.target) && request.status.is_none()
    });
    waiting.into_iter().fold(BTreeMap::new(), |mut counts, request| {
        *counts.entry(request.target).or_default() += 1;
        counts
    })
}

/// Everything that clients and we ourselves can do to have a fetch, all at once.
async fn reasons(proxy: &Proxy, admin: &Client, round: usize) {
    let state = proxy.app.proxy.load_full();
    let ask = async {
        for _ in 0..3 {
            for (trigger, refresh) in
                TRIGGERS.into_iter().flat_map(|one| state.refresh.iter().map(move |r| (one, r)))
            {
                refresh.ask(trigger);
            }
            tokio::task::yield_now().await;
        }
        let waiting =
            state.refresh.iter().flat_map(|refresh| TRIGGERS.map(|trigger| refresh.ask_and_wait(trigger)));
        join_all(waiting).await;
    };
    let definition = json!({
        "metadata": { "name": format!("widgets.g{round}.example") },
        "spec": {
            "group": format!("g{round}.example"), "scope": "Cluster",
            "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true }],
        },
    });
    let write = async {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        assert_eq!(admin.post(definitions, &definition).await.status, 201);
        join_all((0..8).map(|_| admin.get_with("/apis", V2))).await;
    };
    let denied = join_all((0..8).map(|_| admin.get("/apis/apps/v1/deployments")));
    tokio::join!(ask, write, denied);
}

#[tokio::test]
async fn whatever_asks_for_it_a_server_is_fetched_by_one_at_a_time() {
    let cluster = three().await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let deployments =
        GroupVersionResource { group: "apps".into(), version: "v1".into(), resource: "deployments".into() };
    cluster.server("v132").faults().missing(deployments, Some(RouteFault::Status));
    // Long enough that nobody misses a fetch who looks so often.
    let (answer, look) = (Duration::from_millis(500), Duration::from_millis(5));
    cluster.servers().for_each(|server| server.faults().delay(Some(answer)));
    let names = ["v132", "v135", "v136"];
    let before = names.map(|name| cluster.fetches(name, "/apis"));
    let mut most: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let all = async {
        for round in 0..2 {
            reasons(&proxy, &admin, round).await;
        }
    };
    let watching = async {
        loop {
            for name in names {
                for (path, count) in under_way(cluster.server(name)) {
                    let most = most.entry((name, path)).or_default();
                    *most = count.max(*most);
                }
            }
            tokio::time::sleep(look).await;
        }
    };
    tokio::select! {
        () = all => {}
        () = watching => {}
    }
    let expected =
        names.into_iter().flat_map(|name| ["/api", "/apis"].map(|path| ((name, path.to_owned()), 1)));
    assert_eq!(most, expected.collect());
    for (name, before) in names.into_iter().zip(before) {
        let fetches = cluster.fetches(name, "/apis") - before;
        assert!(fetches >= 4, "{name}: {fetches} fetches are not many reasons");
    }
    cluster.servers().for_each(|server| server.faults().delay(None));
    until("what was asked for is listed", async || {
        admin.get_with("/apis", V2).await.text().contains("g1.example").then_some(())
    })
    .await;
}
