//! What a proxy watches for itself on a server that stands behind another proxy.

use http::{Method, StatusCode};
use kube_peer_proxy::discovery::catalog::Freshness::Stale;
use kube_peer_proxy::embedded::LoggedRequest;
use kube_peer_proxy::servers::watched::Mode;
use serde_json::json;

use super::{Chain, chain, loop_header, values, well};
use crate::kit::client::Protocol;
use crate::kit::{As, Client, PKI, PROXY_USER, V2, until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn until_listed(chain: &Chain, listed: bool) {
    for proxy in chain.proxies() {
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        until(&format!("listed: {listed}"), async || {
            let document = admin.get_with("/apis", V2).await;
            (document.text().contains("far.example") == listed).then_some(())
        })
        .await;
    }
}

/// The proxies fetch once in an hour, unless somebody says that something has changed.
#[tokio::test]
async fn an_event_of_a_server_behind_another_proxy_is_heard_through_that() {
    let chain = chain(|proxy| proxy).await;
    chain.watched().await;
    assert_eq!(chain.one.target("b").watched.mode(), Mode::Watch);
    let direct =
        Client::connect(chain.cluster.server("b").addr(), As::Certificate(&PKI.admin), Protocol::H2).await;
    let definition = json!({
        "metadata": { "name": "widgets.far.example" },
        "spec": {
            "group": "far.example", "scope": "Cluster", "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true }],
        },
    });
    let reply = direct.post(DEFINITIONS, &definition).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    until_listed(&chain, true).await;
    direct.ask(Method::DELETE, &format!("{DEFINITIONS}/widgets.far.example")).whole().await;
    until_listed(&chain, false).await;
}

/// If it were not so, a proxy would take for a server's own what another one has in its place.
#[tokio::test]
async fn i3_what_a_proxy_watches_is_answered_by_the_far_server_or_nobody() {
    let chain = chain(|proxy| proxy).await;
    let watched = chain.watched().await;
    chain.forget();
    chain.cluster.server("b").stop().await;
    chain.one.until_it_is("b", Stale).await;
    chain.cluster.server("b").restart().await.unwrap();
    for proxy in chain.proxies() {
        well(proxy).await;
    }
    let through_other = |request: &LoggedRequest| {
        request.target.contains("watch=true") && !values(request, "x-forwarded-for").is_empty()
    };
    let log = chain.cluster.server("b").log();
    until("the server is watched again", async || {
        (log.matching(through_other).len() >= watched).then_some(())
    })
    .await;
    for server in ["a", "b"] {
        let ours =
            |request: &LoggedRequest| request.user.as_ref().is_some_and(|user| user.name == PROXY_USER);
        for request in chain.cluster.server(server).log().matching(ours) {
            assert_eq!(loop_header(&request), ["true"], "{}", request.target);
            let path: Vec<_> = values(&request, "x-forwarded-for");
            assert!(
                !path.iter().any(|path| path.contains(',')),
                "{server}: {} came by {path:?}",
                request.target
            );
        }
    }
}
