//! A front proxy before us says who is calling.

use http::Method;
use kube_peer_proxy::pki::Leaf;

use super::{alone, last, user_of, values, whoami};
use crate::kit::{As, BOB, PKI};

const TOLD: [(&str, &str); 6] = [
    ("x-remote-user", "jane"),
    ("x-remote-uid", "u-1"),
    ("x-remote-group", "b"),
    ("x-remote-group", "a"),
    ("x-remote-extra-scopes%2fmine", "one"),
    ("x-remote-extra-scopes%2fmine", "two"),
];

#[tokio::test]
async fn whom_a_trusted_front_proxy_tells_is_the_caller_whatever_authorization_says() {
    let (cluster, proxy) = alone().await;
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
    let token = format!("Bearer {BOB}");
    let reply =
        front.ask(Method::GET, "/version").headers(&TOLD).header("authorization", &token).whole().await;
    assert_eq!(reply.status, 200);
    let seen = last(&cluster);
    let user = user_of(&seen);
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "u-1"));
    assert_eq!(user.groups, ["b", "a", "system:authenticated"]);
    let scopes = ["one", "two"].map(|value| ("scopes/mine".to_owned(), value.to_owned()));
    assert_eq!(user.extra, scopes);
    assert_eq!(values(&seen, "authorization"), [""; 0]);
}

#[tokio::test]
async fn each_request_of_a_front_proxy_is_of_whom_it_tells() {
    let (_cluster, proxy) = alone().await;
    for name in ["jane", "joe", "jane"] {
        let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await.with("x-remote-user", name);
        assert_eq!(whoami(&front).await["username"], name);
    }
}

#[tokio::test]
async fn i1_a_front_proxy_of_another_name_or_another_ca_is_not_believed() {
    let (cluster, proxy) = alone().await;
    let wrong_name = PKI.front_proxy_ca.issue(&Leaf::client("somebody")).unwrap();
    let refused = proxy.h2(As::Certificate(&wrong_name)).await;
    refused.ask(Method::GET, "/version").headers(&TOLD).whole().await.refused(401);
    let wrong_ca = PKI.cluster_ca.issue(&Leaf::client("front-proxy-client")).unwrap();
    proxy.h2(As::Certificate(&wrong_ca)).await.ask(Method::GET, "/version").headers(&TOLD).whole().await;
    assert_eq!(user_of(&last(&cluster)).name, "front-proxy-client", "it is a client like any other");
}

#[tokio::test]
async fn a_front_proxy_that_tells_no_user_has_a_certificate_that_does_not_count() {
    let (cluster, proxy) = alone().await;
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
    front.get("/version").await.refused(401);
    front.get_with("/version", ("x-remote-user", "")).await.refused(401);
    let token = format!("Bearer {BOB}");
    assert_eq!(front.get_with("/version", ("authorization", &token)).await.status, 200);
    assert_eq!(user_of(&last(&cluster)).name, "bob");
}

#[tokio::test]
async fn i4_an_anonymous_user_told_by_a_front_proxy_goes_unproven_and_unstamped() {
    let (cluster, proxy) = alone().await;
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await;
    let lines = [("x-remote-user", "system:anonymous"), ("x-remote-group", "system:unauthenticated")];
    front.ask(Method::GET, "/version").headers(&lines).header("authorization", "Bearer x").whole().await;
    let seen = last(&cluster);
    assert_eq!((user_of(&seen).name.as_str(), seen.version), ("system:anonymous", http::Version::HTTP_11));
    assert!(!seen.certificate);
    assert_eq!((values(&seen, "x-remote-user"), values(&seen, "authorization")), (vec![], vec![]));
}
