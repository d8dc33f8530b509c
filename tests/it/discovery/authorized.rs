//! I10: nobody reads a merged document whom home would refuse to read `/apis`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::{Method, Response, StatusCode};
use kube_peer_proxy::body;
use kube_peer_proxy::embedded::Recorded::{self, V1_32, V1_36};
use kube_peer_proxy::embedded::{LoggedRequest, ResourceSpec};
use kube_peer_proxy::servers::Class;
use serde_json::json;

use crate::kit::{As, BOB, Cluster, EVE, PKI, Proxy, ProxyBuilder, Stub, V2, certificate, until};

/// Two servers of which `v132` is home, and yes is remembered for so long.
async fn remembering(ttl: &str) -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132");
    let proxy = proxy.flags(|args| args.discovery_authorization_ttl = Some(ttl.to_owned())).start().await;
    (cluster, proxy)
}

fn questions(cluster: &Cluster) -> Vec<LoggedRequest> {
    cluster.asked("v132", |request| matches!(request.target.as_str(), "/apis" | "/api"))
}

#[tokio::test]
async fn i10_whom_home_does_not_know_gets_homes_401() {
    let cluster = Cluster::with([("v132", V1_32), ("v136", V1_36)], |builder| builder.anonymous(false)).await;
    let proxy = cluster.proxy().home("v132").start().await;
    for who in [As::Nobody, As::Token("unknown")] {
        let reply = proxy.h1(who).await.get_with("/apis", V2).await;
        assert_eq!(reply.refused(401), "Unauthorized");
    }
    assert_eq!(proxy.h1(As::Token(BOB)).await.get_with("/apis", V2).await.status, 200);
}

#[tokio::test]
async fn i10_whom_home_forbids_gets_homes_403_and_nobody_elses_yes_helps_him() {
    let cluster = Cluster::with([("v132", V1_32), ("v136", V1_36)], |builder| {
        builder.authorizer(|user, path, _| user.name != "eve" || !path.starts_with("/api"))
    })
    .await;
    let proxy = cluster.proxy().home("v132").start().await;
    let eve = certificate("eve", &["ops"]);
    for (who, code) in [
        (As::Token(BOB), 200),
        (As::Token(EVE), 403),
        (As::Certificate(&PKI.admin), 200),
        (As::Certificate(&eve), 403),
        (As::Token(EVE), 403),
    ] {
        let reply = proxy.h2(who).await.get_with("/apis", V2).await;
        assert_eq!(reply.status, code);
        assert_eq!(reply.text().contains("mutatingadmissionpolicies"), code == 200);
    }
}

#[tokio::test]
async fn i10_an_anonymous_caller_gets_what_home_says_to_him() {
    let (_cluster, proxy) = remembering("1m").await;
    let reply = proxy.h2(As::Nobody).await.get_with("/apis", V2).await;
    assert!(reply.refused(403).contains("system:anonymous"));
}

#[tokio::test]
async fn i10_other_answers_pass_and_are_not_remembered() {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for code in [429, 500, 503, 418] {
        cluster.server("v132").faults().answer_all(Some(StatusCode::from_u16(code).unwrap()));
        let reply = admin.get_with("/apis", V2).await;
        assert_eq!(reply.refused(code), "the server fails because it was told to");
    }
    cluster.server("v132").faults().clear();
    assert_eq!(admin.get_with("/apis", V2).await.status, 200);
    cluster.server("v132").faults().answer_all(Some(StatusCode::FORBIDDEN));
    assert_eq!(admin.get_with("/apis", V2).await.status, 200, "but a yes is remembered");
}

#[tokio::test]
async fn i10_a_home_that_fails_does_not_decide_and_a_peer_is_asked() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    cluster.server("v132").faults().answer_all(Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(admin.get_with("/apis", V2).await.status, 200);
    let asked = cluster.asked_for("v136", "/apis");
    assert_eq!(asked[0].headers[crate::kit::PROXIED], "true", "a peer that sends it on no further");
    let jane = crate::kit::certificate("jane", &["dev"]);
    let jane = proxy.h2(As::Certificate(&jane)).await;
    // Last, for the next probe takes it for unhealthy.
    cluster.server("v136").faults().answer_all(Some(StatusCode::FORBIDDEN));
    assert_eq!(jane.get_with("/apis", V2).await.status, 403, "and its no is a no");
}

#[tokio::test]
async fn i10_a_yes_is_remembered_and_then_asked_for_again() {
    let (cluster, proxy) = remembering("200ms").await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    until("a second question", async || {
        assert_eq!(admin.get_with("/apis", V2).await.status, 200);
        (questions(&cluster).len() > 1).then_some(())
    })
    .await;
    let remembered = proxy.metric("kube_peer_proxy_discovery_authorizations_total", &["cached"]).await;
    assert!(remembered > 1.0, "{remembered} in between");
}

#[tokio::test]
async fn i10_with_a_ttl_of_zero_every_request_is_a_question() {
    let (cluster, proxy) = remembering("0s").await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..3 {
        assert_eq!(admin.get_with("/apis", V2).await.status, 200);
    }
    assert_eq!(questions(&cluster).len(), 3);
}

#[tokio::test]
async fn i10_what_is_remembered_is_for_one_caller_one_impersonation_and_one_path() {
    let (cluster, proxy) = remembering("1m").await;
    let (jane, twin) = (certificate("jane", &["dev"]), certificate("jane", &["ops"]));
    let callers = [
        As::Certificate(&PKI.admin),
        As::Certificate(&jane),
        As::Certificate(&twin),
        As::Token(BOB),
        As::Token(EVE),
    ];
    let mut expected = 0;
    for who in callers {
        let client = proxy.h2(who).await;
        for _ in 0..2 {
            assert_eq!(client.get_with("/apis", V2).await.status, 200);
        }
        expected += 1;
        assert_eq!(questions(&cluster).len(), expected);
    }
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let users = [("impersonate-user", "jane"), ("impersonate-user", "bob")];
    let groups = [("impersonate-group", "a"), ("impersonate-group", "b")];
    for lines in [&users[..1], &users[1..], &[users[0], groups[0]], &[users[0], groups[1]]] {
        for _ in 0..2 {
            assert_eq!(
                admin.ask(Method::GET, "/apis").headers(lines).headers(&[V2]).whole().await.status,
                200
            );
        }
        expected += 1;
        assert_eq!(questions(&cluster).len(), expected, "{lines:?}");
    }
    admin.get_with("/api", V2).await;
    assert_eq!(questions(&cluster).len(), expected + 1);
}

#[tokio::test]
async fn i10_the_question_carries_the_caller_and_nothing_that_changes_the_form_of_the_answer() {
    let (cluster, proxy) = remembering("1m").await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let brought = [
        ("accept-encoding", "gzip"),
        ("impersonate-user", "jane"),
        ("impersonate-group", "a"),
        ("impersonate-group", "b"),
        ("impersonate-extra-scopes", "s"),
        ("audit-id", "meet"),
        ("if-none-match", "\"mine\""),
        ("range", "bytes=0-1"),
        ("user-agent", "kubectl/v1"),
    ];
    let reply = admin.ask(Method::GET, "/apis?timeout=32s").headers(&brought).headers(&[V2]).whole().await;
    assert_eq!(reply.status, 200);
    let question = &questions(&cluster)[0];
    let values = |name: &str| {
        let values = question.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(question.acting.as_ref().unwrap().name, "jane");
    assert_eq!(values("impersonate-group"), ["a", "b"]);
    assert_eq!(values("impersonate-extra-scopes"), ["s"]);
    assert_eq!((values("audit-id"), values("user-agent")), (vec!["meet".into()], vec!["kubectl/v1".into()]));
    assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
    assert!(values("accept")[0].contains("profile=nopeer") && values("accept")[0].contains("v=v2"));
    assert!(values("accept-encoding").is_empty() && values("range").is_empty());
    assert_ne!(values("if-none-match"), ["\"mine\""]);
    assert_eq!(question.status, Some(StatusCode::NOT_MODIFIED), "it costs home nothing");
    assert!(question.certificate);
}

#[tokio::test]
async fn i10_a_tokens_question_goes_over_the_tokens_class_of_connection() {
    let (cluster, proxy) = remembering("0s").await;
    let bob = proxy.h2(As::Token(BOB)).await;
    bob.get_with("/apis", V2).await;
    bob.get_with("/apis", V2).await;
    let seen: Vec<_> = questions(&cluster).iter().map(|one| (one.certificate, one.version)).collect();
    assert_eq!(seen, [(false, http::Version::HTTP_11), (false, http::Version::HTTP_2)]);
    assert!(proxy.connections("v132", Class::Token).live > 0);
}

#[tokio::test]
async fn a_change_that_an_authorization_shows_is_fetched_with_our_own_identity() {
    let (cluster, proxy) = remembering("0s").await;
    let widgets = ResourceSpec::new("widgets", "Widget", false);
    cluster.server("v132").discovery().add_resource("example.com", "v1", &widgets);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    until("the widgets are there", async || {
        admin.get_with("/apis", V2).await.text().contains("widgets").then_some(())
    })
    .await;
    assert_eq!(cluster.fetches("v132", "/apis"), 2);
}

#[tokio::test]
async fn a_client_without_aggregated_discovery_shows_changes_too() {
    let (cluster, proxy) = remembering("0s").await;
    let widgets = ResourceSpec::new("widgets", "Widget", false);
    cluster.server("v132").discovery().add_resource("example.com", "v1", &widgets);
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    until("the group is there", async || {
        admin.get("/apis").await.text().contains("example.com").then_some(())
    })
    .await;
    assert_eq!(admin.get("/apis/example.com/v1").await.json()["resources"][0]["name"], "widgets");
    assert_eq!(cluster.fetches("v132", "/apis"), 2);
}

#[tokio::test]
async fn what_home_tells_a_caller_never_enters_the_catalog() {
    let asked_by_callers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked_by_callers);
    let stub = Stub::start(move |request| {
        let ours = request.headers()["x-remote-user"] == "system:kube-peer-proxy";
        let mut answer = Stub::as_136(request.uri().path()).unwrap();
        if !ours {
            count.fetch_add(1, SeqCst);
            let rogue = Recorded::V1_36.apis().to_string().replace("\"apps\"", "\"rogue.example\"");
            answer = Response::builder()
                .header("content-type", V2.1)
                .header("etag", "\"rogue\"")
                .body(body::full(rogue))
                .unwrap();
        }
        async move { answer }
    })
    .await;
    let proxy = ProxyBuilder::new().server("stub", stub.address).home("stub");
    let proxy = proxy.flags(|args| args.discovery_authorization_ttl = Some("0s".into())).start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let reply = admin.get_with("/apis", V2).await;
    assert_eq!(asked_by_callers.load(SeqCst), 1);
    assert!(!reply.text().contains("rogue.example"));
    until("a fetch of our own", async || {
        let fetched = proxy.metric("kube_peer_proxy_discovery_sync_total", &["trigger=\"changed\""]).await;
        (fetched > 0.0).then_some(())
    })
    .await;
    let document = admin.get_with("/apis", V2).await.json();
    let groups: Vec<_> =
        document["items"].as_array().unwrap().iter().map(|one| &one["metadata"]["name"]).collect();
    assert!(groups.contains(&&json!("apps")) && !groups.contains(&&json!("rogue.example")));
}
