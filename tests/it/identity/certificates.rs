//! Client certificates, good and bad.

use std::time::Duration;

use kube_peer_proxy::api::user::CREDENTIAL_ID;
use kube_peer_proxy::pki::{Authority, Leaf};
use sha2::{Digest, Sha256};

use super::{alone, last, review, user_of, values};
use crate::kit::client::Protocol;
use crate::kit::{As, BOB, Client, PKI, certificate, until};

#[tokio::test]
async fn the_last_common_name_all_organizations_the_uid_and_the_fingerprint_are_stamped() {
    let (cluster, proxy) = alone().await;
    let leaf =
        Leaf::client("first").common_name("second").common_name("jane").group("b").group("a").uid("u-1");
    let jane = PKI.cluster_ca.issue(&leaf).unwrap();
    for client in [proxy.h2(As::Certificate(&jane)).await, proxy.h1(As::Certificate(&jane)).await] {
        client.get("/version").await;
        let seen = last(&cluster);
        assert_eq!(values(&seen, "x-remote-user"), ["jane"]);
        assert_eq!(values(&seen, "x-remote-uid"), ["u-1"]);
        assert_eq!(values(&seen, "x-remote-group"), ["b", "a"]);
        let digest: String = Sha256::digest(&jane.cert).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(user_of(&seen).extra, [(CREDENTIAL_ID.to_owned(), format!("X509SHA256={digest}"))]);
        assert!(seen.certificate, "on a connection with the front-proxy certificate");
    }
}

#[tokio::test]
async fn authorization_of_a_caller_with_a_certificate_is_dropped() {
    let (cluster, proxy) = alone().await;
    let jane = certificate("jane", &[]);
    let client = proxy.h2(As::Certificate(&jane)).await.with("authorization", &format!("Bearer {BOB}"));
    client.get("/version").await;
    let seen = last(&cluster);
    assert_eq!((user_of(&seen).name.as_str(), values(&seen, "authorization").len()), ("jane", 0));
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_a_401_and_no_failed_handshake_and_a_token_beside_it_counts() {
    let (cluster, proxy) = alone().await;
    let now = time::OffsetDateTime::now_utc();
    let (day, hour) = (time::Duration::DAY, time::Duration::HOUR);
    let stranger = Authority::new("stranger").unwrap().issue(&Leaf::client("jane")).unwrap();
    let expired = PKI.cluster_ca.issue(&Leaf::client("jane").validity(now - day, now - hour)).unwrap();
    let early = PKI.cluster_ca.issue(&Leaf::client("jane").validity(now + hour, now + day)).unwrap();
    let serving = PKI.cluster_ca.issue(&Leaf::server("jane")).unwrap();
    let uids = PKI.cluster_ca.issue(&Leaf::client("jane").uid("a").uid("b")).unwrap();
    for bad in [&stranger, &expired, &early, &serving, &uids] {
        let client = proxy.h2(As::Certificate(bad)).await;
        let message = review(&client).await.refused(401);
        assert!(message.starts_with("Unauthorized"), "{message}");
        assert!(cluster.asked("v136", |_| true).is_empty());
    }
    for bad in [&stranger, &expired, &early, &serving, &uids] {
        let client = proxy.h2(As::Certificate(bad)).await.with("authorization", &format!("Bearer {BOB}"));
        assert_eq!(client.get("/version").await.status, 200);
        let seen = last(&cluster);
        assert_eq!((user_of(&seen).name.as_str(), seen.certificate), ("bob", false));
        assert_eq!(values(&seen, "x-remote-user"), [""; 0]);
    }
}

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_no_longer_counts() {
    let (_cluster, proxy) = alone().await;
    let short = PKI.cluster_ca.issue(&Leaf::client("jane").lifetime(Duration::from_secs(2))).unwrap();
    let client = proxy.h2(As::Certificate(&short)).await;
    assert_eq!(client.get("/version").await.status, 200);
    let refused =
        until("a 401", async || Some(client.get("/version").await).filter(|reply| reply.status == 401)).await;
    assert!(refused.refused(401).contains("expired"), "{}", refused.text());
    assert!(!client.is_over(), "the connection is the same");
}

#[tokio::test]
async fn a_certificate_without_a_common_name_names_nobody() {
    let (cluster, proxy) = alone().await;
    let nameless = PKI.cluster_ca.issue(&Leaf::client("").group("dev")).unwrap();
    proxy.h2(As::Certificate(&nameless)).await.get("/version").await;
    assert_eq!(user_of(&last(&cluster)).name, "system:anonymous");
}

#[tokio::test]
async fn a_certificate_shown_over_tls_1_2_counts_as_well() {
    let (cluster, proxy) = alone().await;
    let jane = certificate("jane", &["dev"]);
    let stranger = Authority::new("stranger").unwrap().issue(&Leaf::client("jane")).unwrap();
    let old = async |who| Client::connect(proxy.address(), who, Protocol::OldTls).await;
    assert_eq!(old(As::Certificate(&jane)).await.get("/version").await.status, 200);
    assert_eq!(user_of(&last(&cluster)).name, "jane");
    old(As::Certificate(&stranger)).await.get("/version").await.refused(401);
}
