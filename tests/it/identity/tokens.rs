//! Tokens and nothing at all.

use super::{alone, last, user_of, values};
use crate::kit::{As, BOB};

#[tokio::test]
async fn a_token_is_passed_on_untouched_and_never_beside_our_certificate() {
    let (cluster, proxy) = alone().await;
    let bob = proxy.h2(As::Token(BOB)).await;
    for _ in 0..4 {
        assert_eq!(bob.get("/version").await.status, 200);
    }
    let asked = cluster.asked("v136", |_| true);
    assert_eq!(asked.len(), 4);
    for seen in asked {
        assert_eq!((user_of(&seen).name.as_str(), seen.certificate), ("bob", false));
        assert_eq!(values(&seen, "authorization"), [format!("Bearer {BOB}")]);
        assert!(seen.headers.keys().all(|name| !name.as_str().starts_with("x-remote-")));
    }
}

#[tokio::test]
async fn a_token_that_nobody_knows_gets_the_servers_401() {
    let (cluster, proxy) = alone().await;
    let reply = proxy.h2(As::Token("unknown")).await.get("/version").await;
    assert_eq!(reply.refused(401), "Unauthorized");
    assert_eq!(last(&cluster).user, None);
}

#[tokio::test]
async fn who_brings_nothing_is_anonymous_there_and_nothing_is_stamped() {
    let (cluster, proxy) = alone().await;
    assert_eq!(proxy.h2(As::Nobody).await.get("/version").await.status, 200);
    let seen = last(&cluster);
    assert_eq!((user_of(&seen).name.as_str(), seen.certificate), ("system:anonymous", false));
    assert!(seen.headers.keys().all(|name| !name.as_str().starts_with("x-remote-")));
}
