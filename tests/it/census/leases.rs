//! Identity leases in `kube-system`.

use http::StatusCode;
use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale, Unknown};
use kube_peer_proxy::embedded::DiscoveryFault as Fault;
use kube_peer_proxy::embedded::ListFault;
use tokio::time::Instant;

use super::*;
use crate::kit::PROXIED;

#[tokio::test]
async fn a_server_that_writes_its_lease_becomes_a_peer_and_requests_are_rerouted_to_it() {
    let mut town = Town::with("cp1").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 404, "everybody was heard, and nobody has them");

    town.add_leased("cp2").await;
    until_it_is(&proxy, "cp2", Fresh).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let asked = town["cp2"].log().matching(|request| request.target == WIDGETS);
    assert_eq!(asked[0].headers[PROXIED], "true");
    assert_eq!(asked[0].user.as_ref().unwrap().name, "kubernetes-admin");
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Current");
    assert_eq!(names(&proxy), ["cp1", "cp2"]);
    assert_eq!(the(&proxy, "cp2").authority, town["cp2"].addr().to_string());
    assert_eq!((counted(&proxy, "static").await, counted(&proxy, "seen").await), (1.0, 1.0));
}

/// The leases cannot be read at first: who the peers are is not known, and so what they serve is not.
#[tokio::test]
async fn i8_what_a_peer_of_the_source_serves_is_no_404_before_the_source_was_heard() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let fault = ListFault::Document(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR));
    town["cp1"].faults().list("leases", Some(fault));
    let proxy = town.proxy("leases", "cp1", "cp1").unready().start().await;
    until_it_is(&proxy, "cp1", Fresh).await;
    let admin = admin(&proxy).await;
    let message = try_again(&admin.get(WIDGETS).await);
    assert!(message.contains("--peer-source"), "{message}");
    assert_eq!(admin.get("/api/v1/namespaces").await.status, 200, "what home has is home's");
    assert_eq!(proxy.page("/readyz").await.status, 500);

    town["cp1"].faults().clear();
    until("the widgets are served", async || {
        let status = admin.get(WIDGETS).await.status;
        assert!(matches!(status.as_u16(), 200 | 503), "{status}");
        (status == 200).then_some(())
    })
    .await;
    until("ready", async || (proxy.page("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(admin.get("/apis/nobody.example/v1/things").await.status, 404);
}

/// It is as if it were cut off from its etcd: its watches are open, and nothing new is in them.
#[tokio::test]
async fn a_server_that_is_not_ready_is_not_asked_first_who_the_others_are() {
    let mut town = Town::with("cp2").await;
    let cut_off = Server::builder("cp1").version(V1_32).pki(&PKI).store(Store::new());
    let cut_off = cut_off.start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    cut_off.faults().ready(false);
    let proxy = town.proxy("leases", "cp2", "cp2").server("cp1", cut_off.addr()).unready().start().await;
    eventually("cp1 said that it is not ready", || !the(&proxy, "cp1").health.is_ready()).await;
    town.add_leased("cp3").await;
    eventually("cp3 is there", || names(&proxy) == ["cp1", "cp2", "cp3"]).await;
}

#[tokio::test]
async fn i6_sidecars_of_different_homes_name_servers_alike_and_give_the_same_document() {
    let mut town = Town::with("cp1").await;
    for name in ["cp2", "cp3"] {
        town.add_leased(name).await;
    }
    town.servers.remove("cp1");
    town.add("cp1", V1_32, |server| leased(server, "cp1")).await;
    let mut seen = Vec::new();
    for home in ["cp1", "cp2", "cp3"] {
        let proxy = town.proxy("leases", home, home).start().await;
        for server in ["cp1", "cp2", "cp3"] {
            until_it_is(&proxy, server, Fresh).await;
        }
        let admin = admin(&proxy).await;
        let mut documents = Vec::new();
        for path in ["/api", "/apis"] {
            let reply = admin.get_with(path, V2).await;
            documents.push((reply.header("etag").to_owned(), reply.body));
        }
        seen.push((names(&proxy), documents));
    }
    assert_eq!(seen[0].0, ["cp1", "cp2", "cp3"]);
    assert!(seen.iter().all(|other| *other == seen[0]));
}

#[tokio::test]
async fn a_server_that_leaves_in_good_order_stays_stale_and_is_fresh_again_after_one_fetch() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);

    town["cp2"].shut_down(Duration::ZERO).await;
    until_departed(&proxy, "cp2").await;
    let message = try_again(&admin.get(WIDGETS).await);
    assert!(message.contains("cp2"), "it was tried: {message}");
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Stale");
    assert_eq!(marked(&admin, "apps", "v1").await.unwrap(), "Current");
    assert_eq!(admin.get("/apis/nobody.example/v1/things").await.status, 404, "nothing is unknown");
    assert_eq!((counted(&proxy, "seen").await, counted(&proxy, "departed").await), (0.0, 1.0));

    town["cp2"].faults().discovery(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    town["cp2"].restart().await.unwrap();
    eventually("it is named again", || known(&proxy, "cp2").is_some_and(|known| !known.departed)).await;
    until_it_is(&proxy, "cp2", Unknown).await;
    try_again(&admin.get("/apis/nobody.example/v1/things").await);
    town["cp2"].faults().clear();
    until_it_is(&proxy, "cp2", Fresh).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Current");
}

/// The lease goes and comes back, the process is there all the time.
#[tokio::test]
async fn a_returned_server_is_unknown_until_one_conditional_fetch_succeeded() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    let clerk = town.clerk().await;
    let path = clerk.lease_of("cp2").await;
    clerk.delete(&path).await;
    until_departed(&proxy, "cp2").await;
    assert_eq!(admin.get(WIDGETS).await.status, 200, "it is still there, so it still answers");
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Stale");

    town["cp2"].faults().discovery(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let name = path.rsplit('/').next().unwrap();
    clerk.create(LEASES, &lease(name, "cp2", &town["cp2"].addr().to_string(), 0)).await;
    let mut seen = Vec::new();
    eventually("it is named again", || {
        let known = known(&proxy, "cp2").unwrap();
        seen.push((known.departed, known.freshness()));
        !known.departed
    })
    .await;
    until_it_is(&proxy, "cp2", Unknown).await;
    assert!(!seen.contains(&(false, Fresh)), "{seen:?}");
    let before = town.fetches("cp2");
    eventually("it is asked", || town.fetches("cp2") > before).await;
    assert_eq!(freshness(&proxy, "cp2"), Some(Unknown), "an answer that failed is none");
    town["cp2"].faults().clear();
    until_it_is(&proxy, "cp2", Fresh).await;
    let fetches = town["cp2"].log().matching(|request| request.target == "/apis");
    let last = fetches.iter().rev().find(|fetch| fetch.status == Some(StatusCode::NOT_MODIFIED));
    assert!(last.is_some_and(|fetch| fetch.headers.contains_key("if-none-match")), "{fetches:?}");
}

#[tokio::test]
async fn a_server_whose_lease_expired_is_stale_and_answers_as_long_as_it_lives() {
    let mut town = Town::with("cp1").await;
    town.add("cp2", V1_36, |server| server).await;
    town.give_widgets("cp2");
    let clerk = town.clerk().await;
    clerk.create(LEASES, &lease("apiserver-cp2", "cp2", &town["cp2"].addr().to_string(), 7200)).await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    until_departed(&proxy, "cp2").await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Stale");
    assert_eq!(counted(&proxy, "departed").await, 1.0);

    // Renewed, and then let go of: the same again.
    clerk
        .patch(
            &format!("{LEASES}/apiserver-cp2"),
            &json!({ "spec": { "renewTime": "2222-02-02T00:00:00.000000Z" } }),
        )
        .await;
    until_it_is(&proxy, "cp2", Fresh).await;
    clerk.patch(&format!("{LEASES}/apiserver-cp2"), &json!({ "spec": { "holderIdentity": "" } })).await;
    until_departed(&proxy, "cp2").await;
    assert_eq!(freshness(&proxy, "cp2"), Some(Stale));
}

#[tokio::test]
async fn a_departed_server_is_forgotten_after_forget_after_and_not_before() {
    const FORGET_AFTER: Duration = Duration::from_secs(4);
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1");
    let proxy = proxy.configure(|config| config.discovery.forget_after = FORGET_AFTER).start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let left = Instant::now();
    town["cp2"].shut_down(Duration::ZERO).await;
    until_departed(&proxy, "cp2").await;
    try_again(&admin.get(WIDGETS).await);
    until_gone(&proxy, "cp2").await;
    assert!(left.elapsed() >= FORGET_AFTER);
    assert_eq!(admin.get(WIDGETS).await.status, 404);
    assert_eq!(marked(&admin, "example.com", "v1").await, None);
    assert_eq!((names(&proxy), counted(&proxy, "departed").await), (vec!["cp1".to_owned()], 0.0));
    // What was counted stays, what it is now is nothing.
    let gauges =
        ["server_healthy", "server_freshness", "informer_live", "informer_objects", "upstream_connections"];
    let metrics = proxy.page("/metrics").await;
    let now = metrics.text().lines().filter(|line| gauges.iter().any(|gauge| line.contains(gauge)));
    let of = |name: &str| now.clone().filter(|line| line.contains(name)).count();
    assert!(of("server=\"cp1\"") > gauges.len());
    assert_eq!(of("server=\"cp2\""), 0);
}

#[tokio::test]
async fn a_lease_with_another_holder_makes_its_server_unknown_until_one_fetch_succeeded() {
    let mut town = Town::with("cp1").await;
    town.add_leased("cp2").await;
    let proxy = town.proxy("leases", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let server = the(&proxy, "cp2");
    let clerk = town.clerk().await;
    let path = clerk.lease_of("cp2").await;
    town["cp2"].faults().discovery(Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    clerk.patch(&path, &json!({ "spec": { "holderIdentity": "another-process" } })).await;
    until_it_is(&proxy, "cp2", Unknown).await;
    try_again(&admin.get("/apis/nobody.example/v1/things").await);
    assert_eq!(admin.get(WIDGETS).await.status, 200, "what it had it may well have");
    town["cp2"].faults().clear();
    until_it_is(&proxy, "cp2", Fresh).await;
    assert!(Arc::ptr_eq(&server, &the(&proxy, "cp2")), "its connections are kept");
}
