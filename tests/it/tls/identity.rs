//! An identity ends with its certificate, whatever TLS remembers.

use std::time::Duration;

use kube_peer_proxy::pki::Leaf;
use rustls::version::{TLS12, TLS13};

use super::{Speaker, proxied};
use crate::kit::{PKI, until};

#[tokio::test]
async fn a_resumed_session_does_not_outlive_the_certificate() {
    for version in [&TLS12, &TLS13] {
        let (_cluster, proxy) = proxied(|_| ()).await;
        let short = PKI.cluster_ca.issue(&Leaf::client("jane").lifetime(Duration::from_secs(6))).unwrap();
        let speaker = Speaker::new(&[version], Some(&short), &[]);
        let (first, resumed) = speaker.client(&proxy).await;
        assert!(!resumed);
        assert_eq!(first.get("/version").await.status, 200);
        let (second, resumed) = speaker.client(&proxy).await;
        assert!(resumed, "a session that can't be resumed proves nothing here");
        assert_eq!(second.get("/version").await.status, 200, "it is still jane");

        for open in [&first, &second] {
            let refused =
                until("a 401", async || Some(open.get("/version").await).filter(|reply| reply.status == 401))
                    .await;
            assert!(refused.refused(401).contains("expired"), "{}", refused.text());
            assert!(!open.is_over());
        }
        let (third, resumed) = speaker.client(&proxy).await;
        assert!(resumed);
        third.get("/version").await.refused(401);
    }
}
