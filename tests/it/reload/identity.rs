//! Whoever may call is decided anew when the CAs change: on open connections and in resumed sessions.

use kube_peer_proxy::pki::Authority;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::kit::{As, BOB};

#[tokio::test]
async fn callers_of_a_ca_that_is_removed_get_401_on_their_open_connections() {
    let (cluster, proxy) = alone().await;
    let other = Authority::new("other").unwrap();
    let jane = other.issue(&Leaf::client("jane")).unwrap();
    let open = proxy.h2(As::Certificate(&jane)).await;
    open.get("/version").await.refused(401);

    let ours = PKI.cluster_ca.cert_pem();
    replace(&proxy.file("clients.crt"), format!("{ours}{}", other.cert_pem()));
    until("jane is known, on the connection from before", async || {
        (open.get("/version").await.status == 200).then_some(())
    })
    .await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let with_token = proxy.h2(As::Certificate(&jane)).await;
    assert_eq!(with_token.get("/version?with-token").await.status, 200);

    replace(&proxy.file("clients.crt"), ours);
    let refused =
        until("a 401", async || Some(open.get("/version").await).filter(|reply| reply.status == 401)).await;
    assert!(refused.refused(401).contains("--client-ca-file"), "{}", refused.text());
    assert!(!open.is_over(), "the connection is the same");
    for _ in 0..3 {
        open.get("/version?refused").await.refused(401);
    }
    assert!(cluster.asked_for("v136", "/version?refused").is_empty());
    assert_eq!(admin.get("/version").await.status, 200, "others are who they were");
    let with_token = with_token.with("authorization", &format!("Bearer {BOB}"));
    assert_eq!(with_token.get("/version?bob").await.status, 200);
    let seen = cluster.asked_for("v136", "/version?bob");
    assert_eq!(seen[0].user.as_ref().unwrap().name, "bob", "the token beside the certificate counts now");
}

#[tokio::test]
async fn a_resumed_session_brings_no_removed_ca_back() {
    for version in [&TLS12, &TLS13] {
        let (_cluster, proxy) = alone().await;
        let other = Authority::new("other").unwrap();
        let jane = other.issue(&Leaf::client("jane")).unwrap();
        let ours = PKI.cluster_ca.cert_pem();
        replace(&proxy.file("clients.crt"), format!("{ours}{}", other.cert_pem()));
        until_reloads(&proxy, "ok", 1.0).await;
        let speaker = Speaker::new(&[version], Some(&jane), &[]);
        for again in [false, true] {
            let (client, resumed) = speaker.client(&proxy).await;
            assert_eq!(client.get("/version").await.status, 200);
            assert_eq!(resumed, again, "a session that can't be resumed proves nothing here");
        }
        replace(&proxy.file("clients.crt"), ours);
        until_reloads(&proxy, "ok", 2.0).await;
        let (client, resumed) = speaker.client(&proxy).await;
        assert!(!resumed, "sessions of the old configuration are none of the new one");
        client.get("/version").await.refused(401);
        let (client, _) = speaker.client(&proxy).await;
        client.get("/version").await.refused(401);
    }
}

#[tokio::test]
async fn a_front_proxy_whose_ca_is_removed_speaks_for_nobody() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = attentive(cluster.proxy().home("v136").trusts_front_proxies()).start().await;
    let front = proxy.h2(As::Certificate(&PKI.front_proxy_client)).await.with("x-remote-user", "jane");
    assert_eq!(front.get("/version").await.status, 200);
    replace(&proxy.file("front-proxy-ca.crt"), Authority::new("front-proxy-ca").unwrap().cert_pem());
    until("a 401", async || Some(front.get("/version").await).filter(|reply| reply.status == 401)).await;
}
