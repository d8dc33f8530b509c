//! One of both proxies, or a server behind one, dies and comes back.

use std::net::SocketAddr;

use kube_peer_proxy::discovery::catalog::Freshness::Stale;

use super::{CONFIG_MAPS, Chain, POLICIES, RELICS, chain, loop_header, well};
use crate::kit::{As, Client, PKI, Proxy, Reply, V2, until};

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

async fn until_found(proxy: &Proxy, path: &str) {
    let client = admin(proxy).await;
    until(&format!("{path} is served"), async || (client.get(path).await.status == 200).then_some(())).await;
}

/// 503 with a word on when to try again.
#[track_caller]
fn is_unavailable(reply: &Reply) {
    reply.refused(503);
    assert_eq!(reply.header("retry-after"), "1");
}

/// `other`, gone and back at the same address.
async fn without_other(mut chain: Chain, during: impl AsyncFnOnce(&Chain)) {
    let at = SocketAddr::from(([127, 0, 0, 1], 0));
    let again = chain.cluster.proxy().server("a", chain.one.address()).home("b").trusts_front_proxies();
    let gone = std::mem::replace(&mut chain.other, again.listen(at).start().await);
    drop(gone);
    chain.to_other.refuse().await;
    chain.to_other.reset();
    during(&chain).await;
    chain.to_other.lead_to(chain.other.address());
    chain.to_other.accept_again().await;
    well(&chain.one).await;
    until_found(&chain.one, POLICIES).await;
    until_found(&chain.other, RELICS).await;
}

#[tokio::test]
async fn without_the_far_proxy_the_near_server_is_served_and_the_rest_is_a_503_until_it_is_back() {
    let chain = chain(|proxy| proxy).await;
    let before = admin(&chain.one).await.get_with("/apis", V2).await;
    without_other(chain, async |chain| {
        chain.one.until_it_is("b", Stale).await;
        let admin = admin(&chain.one).await;
        assert_eq!(admin.get(CONFIG_MAPS).await.status, 200);
        assert_eq!(admin.get(RELICS).await.status, 200);
        is_unavailable(&admin.get(POLICIES).await);
        let document = admin.get_with("/apis", V2).await;
        assert!(document.text().contains("mutatingadmissionpolicies"), "it is away and not gone");
        assert_ne!(document.header("etag"), before.header("etag"));
    })
    .await;
}

#[tokio::test]
async fn without_the_near_server_the_far_one_stands_in_through_both_proxies() {
    let chain = chain(|proxy| proxy).await;
    chain.cluster.server("a").stop().await;
    chain.one.until_it_is("a", Stale).await;
    chain.forget();
    let client = admin(&chain.one).await;
    assert_eq!(client.get(CONFIG_MAPS).await.status, 200);
    assert_eq!(loop_header(&chain.only("b")), ["true"]);
    is_unavailable(&client.get(RELICS).await);
    // From the other side the same, and no request goes to and fro.
    let far = admin(&chain.other).await;
    assert_eq!(far.get(CONFIG_MAPS).await.status, 200);
    is_unavailable(&far.get(RELICS).await);
    chain.cluster.server("a").restart().await.unwrap();
    until_found(&chain.one, RELICS).await;
    until_found(&chain.other, RELICS).await;
}

/// The far proxy lives and says of its server that this is away; to the near one that must be the same as a
/// server that is away.
#[tokio::test]
async fn i6_both_say_the_same_of_a_server_that_dies_and_comes_back() {
    let chain = chain(|proxy| proxy).await;
    let same = async |what: &str| {
        until(what, async || {
            let mut seen = Vec::new();
            for proxy in chain.proxies() {
                seen.push(admin(proxy).await.get_with("/apis", V2).await);
            }
            let well = seen.iter().all(|reply| reply.status == 200);
            (well && seen[0].body == seen[1].body).then(|| seen[0].header("etag").to_owned())
        })
        .await
    };
    let before = same("before").await;
    for name in ["a", "b"] {
        let server = chain.cluster.server(name);
        server.stop().await;
        for proxy in chain.proxies() {
            proxy.until_it_is(name, Stale).await;
        }
        assert_ne!(same("while it is away").await, before, "what only {name} has is Stale now");
        server.restart().await.unwrap();
        until("the same as before", async || (same("after").await == before).then_some(())).await;
    }
}

#[tokio::test]
async fn a_front_moves_to_the_other_sidecar_when_one_dies() {
    let chain = chain(|proxy| proxy).await;
    let front = chain.front().await;
    let Chain { cluster, one, other, .. } = chain;
    drop(other);
    front.until_healthy("b", false).await;
    for _ in 0..6 {
        let client = admin(&front).await;
        assert_eq!(client.get(CONFIG_MAPS).await.status, 200);
        assert_eq!(client.get(RELICS).await.status, 200);
        is_unavailable(&client.get(POLICIES).await);
    }
    drop((cluster, one));
}
