//! Where a request came from.

use http::Method;
use kube_peer_proxy::embedded::Recorded::V1_36;

use super::{alone, last, values};
use crate::kit::{As, BOB, Cluster, PKI};

const BROUGHT: [(&str, &str); 4] = [
    ("x-forwarded-for", "1.2.3.4"),
    ("x-forwarded-for", "5.6.7.8"),
    ("x-real-ip", "1.2.3.4"),
    ("forwarded", "for=1.2.3.4"),
];

#[tokio::test]
async fn what_a_client_says_of_its_address_is_dropped_and_what_tcp_says_counts() {
    let (cluster, proxy) = alone().await;
    for who in [As::Certificate(&PKI.admin), As::Token(BOB), As::Nobody] {
        proxy.h2(who).await.ask(Method::GET, "/version").headers(&BROUGHT).whole().await;
        let seen = last(&cluster);
        assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!((values(&seen, "x-real-ip"), values(&seen, "forwarded")), (vec![], vec![]));
    }
}

#[tokio::test]
async fn a_trusted_front_proxys_chain_is_kept_and_continued() {
    let (cluster, proxy) = alone().await;
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await.with("x-remote-user", "jane");
    front.ask(Method::GET, "/version").headers(&BROUGHT).whole().await;
    assert_eq!(values(&last(&cluster), "x-forwarded-for"), ["1.2.3.4, 5.6.7.8, 127.0.0.1"]);
}

#[tokio::test]
async fn the_chain_of_a_trusted_network_is_kept_and_that_of_another_is_not() {
    let cluster = Cluster::start(&[V1_36]).await;
    for (network, expected) in [("127.0.0.0/8", "1.2.3.4, 5.6.7.8, 127.0.0.1"), ("10.0.0.0/8", "127.0.0.1")] {
        let proxy = cluster.proxy().home("v136");
        let proxy = proxy.flags(|args| args.trusted_proxy_cidrs = vec![network.into()]).start().await;
        proxy.h2(As::Token(BOB)).await.ask(Method::GET, "/version").headers(&BROUGHT).whole().await;
        assert_eq!(values(&last(&cluster), "x-forwarded-for"), [expected]);
    }
}
