//! Who is asking.

use std::time::Duration;

use http::Method;
use kube_peer_proxy::embedded::{Recorded, RunningServer};
use kube_peer_proxy::pki::{Authority, Credential, FRONT_PROXY_CLIENT, Leaf};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::client::{Client, Reply};
use super::{BOB, DEADLINE, PKI, builder, server_and_bob, start};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn review(server: &RunningServer, cert: Option<&Credential>, headers: &[(&str, &str)]) -> Reply {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    Client::h2(server, cert).await.call(Method::POST, REVIEWS, headers, Some(&review)).await
}

async fn whoami(server: &RunningServer, cert: Option<&Credential>, headers: &[(&str, &str)]) -> Value {
    let reply = review(server, cert, headers).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["status"]["userInfo"].clone()
}

#[tokio::test]
async fn a_client_certificate_gives_last_common_name_groups_uid_and_credential_id() {
    let server = start(builder()).await;
    let leaf = Leaf::client("first").common_name("alice").group("dev").group("ops").uid("u-7");
    let user = whoami(&server, Some(&PKI.cluster_ca.issue(&leaf).unwrap()), &[]).await;
    assert_eq!(user["username"], "alice");
    assert_eq!(user["uid"], "u-7");
    assert_eq!(user["groups"], json!(["dev", "ops", "system:authenticated"]));
    let id = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    let hex = id.strip_prefix("X509SHA256=").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
}

#[tokio::test]
async fn two_uids_or_an_empty_one_are_a_401() {
    let server = start(builder()).await;
    for leaf in [Leaf::client("alice").uid("1").uid("2"), Leaf::client("alice").uid("")] {
        let certificate = PKI.cluster_ca.issue(&leaf).unwrap();
        assert_eq!(review(&server, Some(&certificate), &[]).await.status, 401);
    }
}

#[tokio::test]
async fn a_token_gives_its_user_and_a_bad_one_a_401_status() {
    let server = start(builder()).await;
    let user = whoami(&server, None, &[BOB]).await;
    assert_eq!(user, json!({ "username": "bob", "groups": ["dev", "system:authenticated"] }));

    let reply = review(&server, None, &[("authorization", "Bearer wrong")]).await;
    assert_eq!(reply.status, 401);
    assert_eq!((&reply.json()["reason"], &reply.json()["code"]), (&json!("Unauthorized"), &json!(401)));
}

#[tokio::test]
async fn an_unverifiable_certificate_is_a_401_unless_a_token_comes_with_it() {
    let server = start(builder()).await;
    let stranger = Authority::new("kubernetes").unwrap().issue(&Leaf::client("alice")).unwrap();
    let hour_ago = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    let leaf = Leaf::client("alice").validity(hour_ago - Duration::from_secs(60), hour_ago);
    let expired = PKI.cluster_ca.issue(&leaf).unwrap();
    for certificate in [stranger, expired] {
        assert_eq!(review(&server, Some(&certificate), &[]).await.status, 401);
        assert_eq!(whoami(&server, Some(&certificate), &[BOB]).await["username"], "bob");
    }
}

const CLAIM: [(&str, &str); 6] = [
    ("x-remote-user", "carol"),
    ("x-remote-uid", "u-9"),
    ("x-remote-group", "dev"),
    ("x-remote-group", "ops"),
    ("x-remote-extra-scopes%2fx", "one"),
    ("x-remote-extra-scopes%2fx", "two"),
];

#[tokio::test]
async fn the_front_proxy_speaks_for_whom_it_names() {
    let server = start(builder()).await;
    let user = whoami(&server, Some(&PKI.front_proxy_client), &CLAIM).await;
    assert_eq!(
        user,
        json!({
            "username": "carol", "uid": "u-9", "groups": ["dev", "ops", "system:authenticated"],
            "extra": { "scopes/x": ["one", "two"] },
        })
    );
}

#[tokio::test]
async fn servers_before_1_33_lose_the_uid_that_a_front_proxy_names() {
    let server = start(builder().version(Recorded::V1_32)).await;
    let user = whoami(&server, Some(&PKI.front_proxy_client), &CLAIM).await;
    assert_eq!((&user["username"], &user["uid"]), (&json!("carol"), &Value::Null));
}

#[tokio::test]
async fn only_a_front_proxy_with_an_allowed_name_is_believed() {
    let server = start(builder()).await;
    let other_name = PKI.front_proxy_ca.issue(&Leaf::client("mallory")).unwrap();
    let other_ca = PKI.cluster_ca.issue(&Leaf::client(FRONT_PROXY_CLIENT)).unwrap();
    assert_eq!(review(&server, Some(&other_name), &CLAIM).await.status, 401);
    assert_eq!(whoami(&server, Some(&other_ca), &CLAIM).await["username"], FRONT_PROXY_CLIENT);
    // Without a user header it proves nothing, and the certificate is none of the client CA's.
    assert_eq!(review(&server, Some(&PKI.front_proxy_client), &[]).await.status, 401);
}

#[tokio::test]
async fn anonymous_callers_may_read_health_and_version_only() {
    let server = start(builder()).await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(Client::h2(&server, None).await.get(path).await.status, 200, "{path}");
    }
    let reply = Client::h2(&server, None).await.get("/apis").await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.json()["message"], r#"forbidden: User "system:anonymous" cannot get path "/apis""#);
    let reply = Client::h2(&server, None).await.get("/api/v1/namespaces/x/pods").await;
    let message = r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "x""#;
    assert_eq!(reply.json()["message"], message);

    let strict = start(builder().anonymous(false)).await;
    assert_eq!(Client::h2(&strict, None).await.get("/healthz").await.status, 401);
}

#[tokio::test]
async fn anonymous_and_401_answers_end_the_h2_connection_but_not_http_1_1() {
    let server = start(builder()).await;
    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        let mut client = Client::h2(&server, None).await;
        client.call(Method::GET, "/version", headers, None).await;
        assert!(client.ended().await, "GOAWAY ends it");
    }
    let mut client = Client::h1(&server, None).await;
    for _ in 0..2 {
        assert_eq!(client.get("/version").await.status, 200);
    }
    let mut bob = Client::h2(&server, None).await.with(BOB);
    for _ in 0..2 {
        assert_eq!(bob.get("/version").await.status, 200);
    }
}

#[tokio::test]
async fn the_authorizer_is_asked_with_user_path_and_kubernetes_verb() {
    let nosy = builder().authorizer(|user, path, verb| {
        user.name == "bob" && path == "/api/v1/namespaces/default/pods" && verb == "list"
    });
    let server = start(nosy).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    assert_eq!(bob.get("/api/v1/namespaces/default/pods").await.status, 200);
    assert_eq!(bob.get("/api/v1/namespaces/default/pods?watch=1").await.status, 403);
    assert_eq!(bob.get("/api/v1/namespaces/default/pods/x").await.status, 403);
    assert_eq!(bob.get("/version").await.status, 403);
}

#[tokio::test]
async fn only_masters_impersonate() {
    let (server, _) = server_and_bob().await;
    let headers = [
        ("impersonate-user", "dave"),
        ("impersonate-uid", "u-3"),
        ("impersonate-group", "qa"),
        ("impersonate-extra-reason", "test"),
    ];
    let expected = json!({
        "username": "dave", "uid": "u-3", "groups": ["qa", "system:authenticated"],
        "extra": { "reason": ["test"] },
    });
    assert_eq!(whoami(&server, Some(&PKI.admin), &headers).await, expected);
    let bob = [&headers[..], &[BOB]].concat();
    assert_eq!(review(&server, None, &bob).await.status, 403);

    let logged = server.log().wait_for(DEADLINE, |request| request.acting.is_some()).await.unwrap();
    assert_eq!(logged.user.unwrap().name, "kubernetes-admin");
    assert_eq!(logged.acting.unwrap().name, "dave");
}

#[tokio::test]
async fn may_i_is_answered_by_the_authorizer_for_resources_and_for_paths() {
    let readers = builder().authorizer(|user, path, verb| {
        user.name == "bob" && (verb == "create" || path.starts_with("/apis/batch/v1/namespaces/a/jobs/x"))
    });
    let server = start(readers).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (spec, allowed) in [
        (json!({ "resourceAttributes": { "verb": "create", "resource": "pods" } }), true),
        (json!({ "resourceAttributes": { "verb": "get", "resource": "pods" } }), false),
        (
            json!({ "resourceAttributes": {
                "verb": "get", "group": "batch", "version": "*", "namespace": "a", "resource": "jobs", "name": "x",
            } }),
            true,
        ),
        (json!({ "nonResourceAttributes": { "verb": "get", "path": "/version" } }), false),
        (json!({ "nonResourceAttributes": { "verb": "create", "path": "/version" } }), true),
    ] {
        let reply = bob.post(reviews, &json!({ "kind": "SelfSubjectAccessReview", "spec": spec })).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["status"]["allowed"]),
            (201, &json!(allowed)),
            "{spec}"
        );
    }
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let reply = bob.post(rules, &json!({ "spec": { "namespace": "default" } })).await;
    assert_eq!(reply.json()["status"]["incomplete"], true);
}
