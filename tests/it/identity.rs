//! Who a request is from, as the API server sees it.

mod certificates;
mod forwarded_for;
mod front_proxy;
mod headers;
mod tokens;

use kube_peer_proxy::api::user::{CREDENTIAL_ID, UserInfo};
use kube_peer_proxy::embedded::LoggedRequest;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use serde_json::{Value, json};

use crate::kit::{Client, Cluster, Proxy, Reply};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Home is 1.36, and nobody else is there.
async fn alone() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").trusts_front_proxies().start().await;
    (cluster, proxy)
}

/// `kubectl auth whoami`
async fn review(client: &Client) -> Reply {
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    client.post(REVIEWS, &body).await
}

async fn whoami(client: &Client) -> Value {
    let reply = review(client).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["status"]["userInfo"].clone()
}

/// The last request of a client at home.
fn last(cluster: &Cluster) -> LoggedRequest {
    cluster.asked("v136", |_| true).pop().expect("home was asked")
}

fn user_of(request: &LoggedRequest) -> &UserInfo {
    request.user.as_ref().expect("somebody was authenticated")
}

/// All values of a header as they arrived.
fn values(request: &LoggedRequest, name: &str) -> Vec<String> {
    request.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn who_am_i_is_the_same_through_the_proxy_as_directly() {
    use crate::kit::client::Protocol;
    use crate::kit::{As, BOB, PKI};
    use kube_peer_proxy::pki::Leaf;

    let (cluster, proxy) = alone().await;
    let jane = Leaf::client("first").common_name("jane").group("dev").group("ops").uid("u-1");
    let jane = PKI.cluster_ca.issue(&jane).unwrap();
    let direct = cluster.server("v136").addr();
    for who in [As::Certificate(&jane), As::Certificate(&PKI.admin), As::Token(BOB)] {
        let theirs = whoami(&Client::connect(direct, who, Protocol::H2).await).await;
        for ours in [proxy.h2(who).await, proxy.h1(who).await] {
            assert_eq!(whoami(&ours).await, theirs);
        }
    }
    let lines = [
        ("impersonate-user", "system:serviceaccount:a:b"),
        ("impersonate-uid", "u"),
        ("impersonate-extra-reason", "because"),
    ];
    let acting =
        |client: Client| lines.into_iter().fold(client, |client, (name, value)| client.with(name, value));
    let theirs =
        whoami(&acting(Client::connect(direct, As::Certificate(&PKI.admin), Protocol::H2).await)).await;
    assert_eq!(whoami(&acting(proxy.h2(As::Certificate(&PKI.admin)).await)).await, theirs);
}

#[tokio::test]
async fn an_older_server_loses_only_the_uid() {
    use crate::kit::{As, PKI};
    use kube_peer_proxy::pki::Leaf;

    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let jane = PKI.cluster_ca.issue(&Leaf::client("jane").group("dev").uid("u-1")).unwrap();
    let seen = whoami(&proxy.h2(As::Certificate(&jane)).await).await;
    assert_eq!((&seen["username"], &seen["uid"]), (&json!("jane"), &Value::Null));
    assert_eq!(seen["groups"], json!(["dev", "system:authenticated"]));
    assert!(seen["extra"][CREDENTIAL_ID][0].as_str().unwrap().starts_with("X509SHA256="));
}
