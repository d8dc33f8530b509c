//! What proxies that know each other say that the servers serve.

use super::{Chain, chain, spec};
use crate::kit::client::Protocol;
use crate::kit::{As, Client, NOPEER, PKI, PROXIED, Proxy, ProxyBuilder, Reply, V2, eventually, until};

const PATHS: [&str; 2] = ["/api", "/apis"];

async fn document(proxy: &Proxy, path: &str) -> Reply {
    let reply = proxy.h2(As::Certificate(&PKI.admin)).await.get_with(path, V2).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

/// Waits until both list, or do not list, a group; and then their documents are the same.
async fn until_both(chain: &Chain, group: &str, listed: bool) {
    for proxy in chain.proxies() {
        until(&format!("{group} listed: {listed}"), async || {
            (document(proxy, "/apis").await.text().contains(group) == listed).then_some(())
        })
        .await;
    }
    same_at(&chain.proxies()).await;
}

async fn same_at(proxies: &[&Proxy]) {
    for path in PATHS {
        let first = document(proxies[0], path).await;
        for proxy in &proxies[1..] {
            let next = document(proxy, path).await;
            assert_eq!((next.header("etag"), &next.body), (first.header("etag"), &first.body), "{path}");
        }
    }
}

#[tokio::test]
async fn i6_the_merged_document_is_the_same_at_both_and_at_a_front_before_them() {
    let chain = chain(|proxy| proxy).await;
    let front = chain.front().await;
    same_at(&[&chain.one, &chain.other, &front]).await;
    // And the same as if they knew the servers themselves.
    let plain = chain.cluster.proxy().home("a").start().await;
    same_at(&[&chain.one, &plain]).await;
    let text = document(&chain.one, "/apis").await;
    assert!(text.text().contains("old.example.com") && text.text().contains("mutatingadmissionpolicies"));
}

#[tokio::test]
async fn nopeer_and_whatever_a_peer_asks_for_are_the_own_homes_through_every_proxy() {
    let chain = chain(|proxy| proxy).await;
    for (proxy, home) in [(&chain.one, "a"), (&chain.other, "b")] {
        let who = As::Certificate(&PKI.admin);
        let direct = Client::connect(chain.cluster.server(home).addr(), who, Protocol::H2).await;
        for path in PATHS {
            for accept in [NOPEER, ("accept", "application/json")] {
                let expected = direct.get_with(path, accept).await;
                // As a peer would ask, and as a client.
                let mut clients = vec![proxy.h2(who).await.with(PROXIED, "true")];
                if accept == NOPEER {
                    clients.push(proxy.h2(who).await);
                }
                for client in clients {
                    let seen = client.get_with(path, accept).await;
                    assert_eq!((&seen.body, seen.header("etag")), (&expected.body, expected.header("etag")));
                }
            }
        }
    }
}

/// Each knows the other's answer. If one took it for news of the other's server, what is gone would live on in
/// the two for ever.
#[tokio::test]
async fn what_is_gone_from_a_server_vanishes_from_both_and_does_not_come_back_as_an_echo() {
    let chain = chain(|proxy| proxy.interval("200ms")).await;
    for server in ["a", "b"] {
        let group = format!("{server}.example");
        let discovery = chain.cluster.server(server).discovery();
        discovery.add_resource(&group, "v1", &spec("widgets", "Widget"));
        until_both(&chain, &group, true).await;
        discovery.remove_group_version(&group, "v1");
        until_both(&chain, &group, false).await;
        // A few more rounds of each asking the other.
        let before = fetches(&chain);
        eventually("more rounds", || fetches(&chain).iter().zip(before).all(|(now, then)| *now >= then + 4))
            .await;
        until_both(&chain, &group, false).await;
    }
}

/// How often each server's own document was fetched, by whichever proxy.
fn fetches(chain: &Chain) -> [usize; 2] {
    ["a", "b"].map(|server| chain.cluster.fetches(server, "/apis"))
}

#[tokio::test]
async fn the_far_proxy_asks_its_home_each_time_so_that_a_304_is_the_servers_own() {
    let chain = chain(|proxy| proxy.interval("200ms")).await;
    let seen = until("a fetch through both", async || {
        let log = chain.cluster.server("b").log();
        let mut fetches = log.matching(|request| {
            request.target == "/apis" && request.headers.get_all("x-forwarded-for").iter().next().is_some()
        });
        fetches.pop().filter(|request| request.status.is_some())
    })
    .await;
    assert_eq!(seen.status.unwrap(), 304, "{seen:?}");
    assert_eq!(super::loop_header(&seen), ["true"]);
    assert_eq!(seen.user.as_ref().unwrap().name, "system:kube-peer-proxy");
    assert!(super::values(&seen, "accept")[0].contains("profile=nopeer"));
}

#[tokio::test]
async fn a_proxy_that_does_not_trust_the_other_one_is_found_out_with_the_flags_that_are_missing() {
    let chain = chain(|proxy| proxy).await;
    let distrustful = chain.cluster.proxy().home("b").start().await;
    let near = ProxyBuilder::new()
        .server("a", chain.cluster.server("a").addr())
        .server("b", distrustful.address())
        .home("a")
        .start()
        .await;
    let error = until("the fetch failed", async || near.target("b").health.last_error()).await;
    assert!(error.contains("401") && error.contains("--requestheader-"), "{error}");
    assert!(!near.target("b").health.is_healthy());
}
