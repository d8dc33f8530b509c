//! The admin listener.

use http::Method;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::limits;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::kit::{As, Client, Cluster, NOPEER, PKI, Proxy, V2, Wire};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

async fn two() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    (cluster, proxy)
}

#[tokio::test]
async fn every_page_is_there() {
    let (_cluster, proxy) = two().await;
    for (page, content_type) in [
        ("/", "text/plain"),
        ("/livez", "text/plain"),
        ("/readyz?verbose", "text/plain"),
        ("/metrics", "application/openmetrics-text"),
        ("/debug/servers", "application/json"),
        ("/debug/catalog", "application/json"),
        ("/debug/explain?path=/version", "application/json"),
    ] {
        let reply = proxy.page(page).await;
        assert_eq!(reply.status, 200, "{page}");
        assert!(
            reply.header("content-type").starts_with(content_type),
            "{page}: {}",
            reply.header("content-type")
        );
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!(proxy.page("/nowhere").await.status, 404);
}

#[tokio::test]
async fn only_get_and_head_and_only_by_a_loopback_name() {
    let (_cluster, proxy) = two().await;
    let client = Client::plain(proxy.app.admin).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        assert_eq!(client.ask(method, "/debug/servers").whole().await.status, 405);
    }
    let head = client.ask(Method::HEAD, "/debug/servers").whole().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for (host, code) in [("evil.example", 403), ("10.0.0.1:8090", 403), ("localhost:1", 200), ("[::1]", 200)]
    {
        let reply = Client::plain_as(proxy.app.admin, host).await.get("/metrics").await;
        assert_eq!(reply.status, code, "{host}");
    }
}

#[tokio::test]
async fn whoever_holds_connections_to_the_pages_keeps_no_probe_out() {
    let (_cluster, proxy) = two().await;
    let mut held = Vec::new();
    for _ in 0..2 * limits::MAX_ADMIN_CONNECTIONS {
        held.push(TcpStream::connect(proxy.app.admin).await.unwrap());
    }
    let probe = timeout(limits::HEADER_READ_TIMEOUT / 2, proxy.page("/livez")).await;
    assert_eq!(probe.expect("nobody has to be waited for").status, 200);
    let first = timeout(limits::HEADER_READ_TIMEOUT / 2, held[0].read(&mut [0; 1])).await;
    assert!(matches!(first, Ok(Ok(0) | Err(_))), "the longest one made room: {first:?}");
}

#[tokio::test]
async fn the_listener_for_scrapers_shows_health_and_metrics_only_and_to_any_name() {
    let cluster = Cluster::start(&[V1_32]).await;
    let proxy = cluster.proxy().home("v132");
    let proxy = proxy.flags(|args| args.metrics_bind_address = Some("127.0.0.1:0".into())).start().await;
    let scraper = Client::plain_as(proxy.metrics.unwrap(), "node-7.example:9100").await;
    for (page, code) in
        [("/metrics", 200), ("/livez", 200), ("/readyz", 200), ("/debug/servers", 404), ("/", 404)]
    {
        assert_eq!(scraper.get(page).await.status, code, "{page}");
    }
}

#[tokio::test]
async fn readyz_has_kube_apiservers_form() {
    let (_cluster, proxy) = two().await;
    assert_eq!(proxy.page("/readyz").await.text(), "ok");
    assert_eq!(
        proxy.page("/readyz?verbose").await.text(),
        "[+]ping ok\n[+]discovery ok\n[+]not-shutting-down ok\nreadyz check passed\n"
    );
    assert_eq!(proxy.page("/livez?verbose").await.text(), "[+]ping ok\nlivez check passed\n");
}

#[tokio::test]
async fn metrics_have_upstreams_names_where_upstream_has_the_metric() {
    let (cluster, proxy) = two().await;
    proxy.until_lists_are_read().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    for header in [V2, V2, NOPEER] {
        admin.get_with("/apis", header).await;
    }
    admin.get(POLICIES).await;
    cluster.server("v136").stop().await;
    admin.get(POLICIES).await.refused(503);
    proxy.until_healthy("v136", false).await;

    let rerouted = [
        "code=\"200\"",
        "group=\"admissionregistration.k8s.io\"",
        "version=\"v1\"",
        "mutatingadmissionpolicies",
    ];
    assert_eq!(proxy.metric("apiserver_rerouted_request_total", &rerouted).await, 1.0);
    assert!(proxy.metric("apiserver_peer_proxy_errors_total", &["type=\"proxy_transport\""]).await >= 1.0);
    assert!(proxy.metric("aggregator_discovery_peer_aggregated_cache_hits_total", &[]).await >= 1.0);
    assert!(proxy.metric("aggregator_discovery_peer_aggregated_cache_misses_total", &[]).await >= 1.0);
    assert_eq!(proxy.metric("aggregator_discovery_nopeer_requests_total", &[]).await, 1.0);
    assert!(
        proxy.metric("kube_peer_proxy_requests_total", &["server=\"v132\"", "class=\"identity\""]).await
            >= 1.0
    );
    assert_eq!(proxy.metric("kube_peer_proxy_server_healthy", &["v136"]).await, 0.0);
    assert!(proxy.metric("kube_peer_proxy_upstream_connects_total", &["v132", "ok"]).await >= 1.0);
    let page = proxy.page("/metrics").await;
    for name in [
        "kube_peer_proxy_request_duration_seconds_bucket",
        "kube_peer_proxy_requests_in_flight",
        "kube_peer_proxy_response_body_bytes",
        "kube_peer_proxy_client_connections",
        "kube_peer_proxy_discovery_last_sync_timestamp_seconds",
    ] {
        assert!(page.text().contains(name), "{name}");
    }
    assert!(page.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn labels_are_of_what_is_served_and_not_of_what_clients_ask_for() {
    let (cluster, proxy) = two().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    cluster.server("v132").stop().await;
    for number in 0..20 {
        admin.get(&format!("/apis/made-up-{number}.example/v1/things-{number}")).await;
        admin.ask(Method::from_bytes(format!("MADE{number}").as_bytes()).unwrap(), "/version").whole().await;
    }
    let page = proxy.page("/metrics").await;
    assert!(!page.text().contains("made-up") && !page.text().contains("MADE1"), "{}", page.text());
}

#[tokio::test]
async fn explain_says_where_a_request_would_go_and_why() {
    let (cluster, proxy) = two().await;
    let explain = async |query: &str| proxy.debug(&format!("explain?{query}")).await;
    let peer = explain(&format!("path={POLICIES}&verb=watch")).await;
    assert_eq!(
        (&peer["goes"], &peer["to"], &peer["reason"]),
        (&json!("peer"), &json!(["v136"]), &json!("peers-serve"))
    );
    assert_eq!(peer["request"]["verb"], "watch");
    let home = explain("path=/api/v1/namespaces/default/pods/p&verb=get").await;
    assert_eq!((&home["goes"], &home["reason"]), (&json!("home"), &json!("home-serves")));
    let other = explain(&format!("path={POLICIES}&verb=list&home=v136")).await;
    assert_eq!((&other["goes"], &other["home"]), (&json!("home"), &json!("v136")));
    assert_eq!(explain("path=/version").await["reason"], "not-a-resource");
    assert_eq!(explain("path=/apis/nobody.example/v1/things&verb=list").await["reason"], "nobody-serves");
    for merged in ["/apis", "/apis/apps/v1", "/openapi/v3/apis/apps/v1"] {
        let here = explain(&format!("path={merged}")).await;
        assert_eq!((&here["goes"], &here["reason"]), (&json!("here"), &json!("merged-document")), "{merged}");
    }
    for bad in
        ["", "?path=pods", "?path=/api/v1/pods&verb=eat", "?path=/api/v1//pods", "?path=/version&home=x"]
    {
        assert_eq!(proxy.page(&format!("/debug/explain{bad}")).await.status, 400, "{bad}");
    }
    assert!(cluster.asked("v136", |_| true).is_empty(), "nothing was sent");
}

#[tokio::test]
async fn servers_and_catalog_show_what_is_known() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let nowhere = Wire::loose().await;
    nowhere.refuse().await;
    let proxy = cluster.proxy().server("silent", nowhere.address).home("v132").start().await;
    let page = proxy.debug("servers").await;
    assert_eq!(page["home"], "v132");
    let servers = page["servers"].as_array().unwrap();
    let shown = |field: &str| servers.iter().map(|one| one[field].clone()).collect::<Vec<_>>();
    assert_eq!(shown("name"), [json!("silent"), json!("v132"), json!("v136")]);
    assert_eq!(shown("freshness"), [json!("unknown"), json!("fresh"), json!("fresh")]);
    assert_eq!(shown("version"), [json!(null), json!("1.32"), json!("1.36")]);
    assert!(servers[0]["lastError"].as_str().unwrap().contains("refused"));
    assert_eq!(proxy.page("/debug/discovery?server=silent").await.status, 503, "nothing is known of it");
    let catalog = proxy.debug("catalog").await;
    assert_eq!(catalog["groupVersions"]["v1"]["pods/resize"], json!(["v136"]));
    assert_eq!(catalog["groupVersions"]["v1"]["pods"], json!(["v132", "v136"]));
    let etag = proxy.h2(As::Certificate(&PKI.admin)).await.get_with("/apis", V2).await;
    assert_eq!(format!("\"{}\"", catalog["etags"]["/apis"].as_str().unwrap()), etag.header("etag"));
}

#[tokio::test]
async fn metrics_tell_how_many_connections_and_requests_a_server_has_now() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let watch = admin.ask(http::Method::GET, "/api/v1/namespaces?watch=1").begin().await;
    let identity = ["server=\"v136\"", "class=\"identity\""];
    assert_eq!(proxy.metric("kube_peer_proxy_upstream_streams", &identity).await, 1.0);
    let live = [identity[0], identity[1], "state=\"live\""];
    assert_eq!(proxy.metric("kube_peer_proxy_upstream_connections", &live).await, 1.0);
    drop(watch);
}
