//! I6 and I7: what is served while servers fail, stop, start and change.

use http::StatusCode;
use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Stale, Unknown};
use kube_peer_proxy::embedded::DiscoveryFault as Fault;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};
use kube_peer_proxy::embedded::ResourceSpec;
use serde_json::Value;
use std::time::Duration;

use crate::kit::{As, Client, Cluster, PKI, Proxy, V2, eventually, until};

const WIDGETS: &str = "/apis/example.com/v1/widgets";

fn widgets() -> ResourceSpec {
    ResourceSpec::new("widgets", "Widget", false)
}

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

/// A group-version of a document.
fn find<'a>(document: &'a Value, group: &str, version: &str) -> Option<&'a Value> {
    let items = document["items"].as_array().unwrap();
    let group = items.iter().find(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group)?;
    group["versions"].as_array().unwrap().iter().find(|item| item["version"] == version)
}

fn lists(version: &Value, resource: &str) -> bool {
    version["resources"].as_array().unwrap().iter().any(|item| item["resource"] == resource)
}

#[tokio::test]
async fn i7_no_way_of_failing_takes_away_what_was_known() {
    let ways = [
        ("status", Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        ("forbidden", Fault::Status(StatusCode::FORBIDDEN)),
        ("garbage", Fault::Garbage),
        ("truncated", Fault::Truncated),
        ("aborted", Fault::Aborted),
        ("endless", Fault::Endless),
        ("oversized", Fault::Oversized(2_000_000)),
        ("slow", Fault::Slow(Duration::from_millis(300))),
    ];
    let names = ways.iter().map(|(name, _)| *name).chain(["home"]);
    let cluster = Cluster::with(names.map(|name| (name, V1_32)), |builder| builder).await;
    for server in cluster.servers() {
        server.discovery().add_resource(&format!("{}.example", server.id()), "v1", &widgets());
    }
    let proxy =
        cluster.proxy().home("home").hasty().interval("200ms").file("discoveryMaxBytes", "1Mi").start().await;
    let admin = admin(&proxy).await;
    let before = admin.get_with("/apis", V2).await;

    for (name, fault) in ways {
        cluster.server(name).faults().discovery(Some(fault));
    }
    for (name, _) in ways {
        proxy.until_it_is(name, Stale).await;
        let known = proxy.app.proxy.load().book.catalog();
        let number = proxy.app.proxy.load().fleet.position(name).unwrap();
        assert!(known.servers[number].document.is_some(), "{name}");
        let error = proxy.target(name).health.last_error().unwrap();
        assert!(!error.is_empty(), "{name}");
    }
    // Of nobody fresh serves these any more, so they are Stale now; but they are all there.
    let during = admin.get_with("/apis", V2).await;
    assert_eq!(during.status, 200, "{}", during.text());
    for (name, _) in ways {
        let listed = find(&during.json(), &format!("{name}.example"), "v1").cloned().unwrap();
        assert_eq!(listed["freshness"], "Stale", "{name}");
    }

    cluster.servers().for_each(|server| server.faults().clear());
    for (name, _) in ways {
        proxy.until_it_is(name, Fresh).await;
    }
    let after = admin.get_with("/apis", V2).await;
    assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body));
}

#[tokio::test]
async fn i7_a_smaller_document_is_believed_only_while_the_server_says_that_it_is_ready() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let server = cluster.server("v136");
    server.discovery().add_resource("example.com", "v1", &widgets());
    let proxy = cluster.proxy().home("v132").interval("200ms").start().await;
    let admin = admin(&proxy).await;
    let listed = async || find(&admin.get_with("/apis", V2).await.json(), "example.com", "v1").is_some();
    assert!(listed().await);

    server.faults().ready(false);
    server.discovery().remove_group_version("example.com", "v1");
    eventually("the smaller document is doubted", || {
        proxy.target("v136").health.last_error().is_some_and(|error| error.contains("example.com/v1"))
    })
    .await;
    assert!(listed().await);
    assert_eq!(admin.get(WIDGETS).await.status, 503, "it is known of, and nobody has it");

    server.faults().ready(true);
    until("the smaller document is believed", async || (!listed().await).then_some(())).await;
    assert_eq!(admin.get(WIDGETS).await.status, 404);
}

#[tokio::test]
async fn i7_a_restarted_server_that_has_forgotten_its_crds_for_a_while_does_not_shrink_the_document() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let server = cluster.server("v136");
    server.discovery().add_resource("example.com", "v1", &widgets());
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    server.faults().ready(false);
    server.discovery().remove_group_version("example.com", "v1");
    server.restart().await.unwrap();
    eventually("it was asked after its restart", || {
        proxy.target("v136").health.last_error().is_some_and(|error| error.contains("not ready"))
    })
    .await;
    assert!(find(&admin.get_with("/apis", V2).await.json(), "example.com", "v1").is_some());
    server.discovery().add_resource("example.com", "v1", &widgets());
    server.faults().ready(true);
    proxy.until_it_is("v136", Fresh).await;
    assert!(find(&admin.get_with("/apis", V2).await.json(), "example.com", "v1").is_some());
}

#[tokio::test]
async fn a_stopped_servers_own_group_versions_become_stale_and_shared_ones_stay_current_and_whole() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    cluster.server("v136").discovery().add_resource("example.com", "v1", &widgets());
    let proxy = cluster.proxy().home("v132").start().await;
    cluster.server("v136").stop().await;
    proxy.until_it_is("v136", Stale).await;

    let admin = admin(&proxy).await;
    let document = admin.get_with("/apis", V2).await.json();
    assert_eq!(find(&document, "example.com", "v1").unwrap()["freshness"], "Stale");
    assert_eq!(find(&document, "resource.k8s.io", "v1").unwrap()["freshness"], "Stale");
    let shared = find(&document, "admissionregistration.k8s.io", "v1").unwrap();
    assert_eq!(shared["freshness"], "Current");
    assert!(lists(shared, "mutatingadmissionpolicies"), "only the stopped one has it");
    let core = admin.get_with("/api", V2).await.json();
    assert_eq!(find(&core, "", "v1").unwrap()["freshness"], "Current");

    let reply = admin.get("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies").await;
    assert!(reply.refused(503).contains("v136"));
    assert_eq!(reply.header("retry-after"), "1");
}

#[tokio::test]
async fn a_restarted_server_is_unknown_until_it_was_fetched_and_then_fresh() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let server = cluster.server("v136");
    server.stop().await;
    proxy.until_it_is("v136", Stale).await;
    server.faults().discovery(Some(Fault::Status(StatusCode::SERVICE_UNAVAILABLE)));
    server.restart().await.unwrap();
    proxy.until_it_is("v136", Unknown).await;
    let admin = admin(&proxy).await;
    admin.get("/apis/perhaps.example/v1/things").await.refused(503);
    server.faults().clear();
    proxy.until_it_is("v136", Fresh).await;
    assert_eq!(admin.get("/apis/perhaps.example/v1/things").await.status, 404);
}

#[tokio::test]
async fn i6_the_document_depends_on_who_knows_what_and_not_on_who_is_home_or_who_was_heard_first() {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let mut seen = Vec::new();
    for home in [None, Some("v132"), Some("v135"), Some("v136")] {
        let builder = cluster.proxy();
        let late = cluster.server(home.unwrap_or("v135"));
        late.faults().discovery(Some(Fault::Slow(Duration::from_millis(20))));
        let proxy = match home {
            Some(home) => builder.home(home),
            None => builder,
        };
        let proxy = proxy.start().await;
        late.faults().clear();
        for server in ["v132", "v135", "v136"] {
            proxy.until_it_is(server, Fresh).await;
        }
        let admin = admin(&proxy).await;
        for path in ["/api", "/apis"] {
            let reply = admin.get_with(path, V2).await;
            seen.push((path, reply.header("etag").to_owned(), reply.body));
        }
    }
    for path in ["/api", "/apis"] {
        let mut of_path = seen.iter().filter(|(of, ..)| *of == path);
        let first = of_path.next().unwrap();
        assert!(of_path.all(|other| other == first), "{path}");
    }
}

#[tokio::test]
async fn a_new_resource_is_served_after_the_refresh_interval() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").interval("200ms").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 404);
    cluster.server("v136").discovery().add_resource("example.com", "v1", &widgets());
    until("the widgets are served", async || (admin.get(WIDGETS).await.status == 200).then_some(())).await;
    assert!(find(&admin.get_with("/apis", V2).await.json(), "example.com", "v1").is_some());
}

#[tokio::test]
async fn a_group_version_whose_extension_server_is_away_at_home_is_served_by_a_peer_that_has_it() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    for server in cluster.servers() {
        server.discovery().add_resource("example.com", "v1", &widgets());
    }
    cluster.server("v132").discovery().set_stale("example.com", "v1", true);
    let proxy = cluster.proxy().home("v132").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    assert_eq!(cluster.asked_for("v136", WIDGETS).len(), 1);
    let document = admin.get_with("/apis", V2).await.json();
    assert_eq!(find(&document, "example.com", "v1").unwrap()["freshness"], "Current");
}

#[tokio::test]
async fn not_ready_before_every_server_was_asked_once() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    cluster.server("v136").faults().hang(true);
    let proxy = cluster.proxy().home("v132").file("discoveryFetchTimeout", "1m").unready().start().await;
    proxy.until_it_is("v132", Fresh).await;
    let page = proxy.page("/readyz").await;
    assert_eq!(page.status, 500);
    assert!(page.text().contains("[-]discovery failed"), "{}", page.text());
    assert_eq!(proxy.page("/livez").await.status, 200);
    cluster.server("v136").faults().hang(false);
    until("ready", async || (proxy.page("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(proxy.freshness("v136"), Fresh);
}

#[tokio::test]
async fn a_hanging_server_delays_nobody_but_itself() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let proxy = cluster.proxy().home("v132").hasty().interval("200ms").start().await;
    cluster.server("v136").faults().hang(true);
    cluster.server("v132").discovery().add_resource("example.com", "v1", &widgets());
    let admin = admin(&proxy).await;
    until("what the other one serves now", async || {
        find(&admin.get_with("/apis", V2).await.json(), "example.com", "v1").is_some().then_some(())
    })
    .await;
    proxy.until_it_is("v136", Stale).await;
}

#[tokio::test]
async fn a_server_that_answers_no_probe_for_stale_after_is_stale_and_keeps_its_watches() {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster
        .proxy()
        .home("v136")
        .file("healthProbeInterval", "200ms")
        .file("healthProbeTimeout", "500ms")
        .flags(|args| args.stale_after = Some("2s".into()))
        .start()
        .await;
    let admin = admin(&proxy).await;
    let watch = admin.ask(http::Method::GET, "/api/v1/namespaces?watch=1").begin().await;
    // It still answers PINGs.
    cluster.server("v136").faults().hang(true);
    proxy.until_it_is("v136", Stale).await;
    assert_eq!(proxy.target("v136").load.watches(), 1);
    cluster.server("v136").faults().hang(false);
    proxy.until_it_is("v136", Fresh).await;
    assert_eq!(proxy.target("v136").load.watches(), 1, "the watch that was open is the watch that is open");
    drop(watch);
}

/// A clock that somebody sets must not make servers stale, departed or forgotten.
#[test]
fn nothing_that_decides_on_freshness_or_on_who_there_is_reads_the_wall_clock() {
    // Times for people, when an old temporary file was written, what clients are told of caching, and the age of a
    // lease when it is first seen.
    const KNOWN: [&str; 5] = [
        "discovery/cache.rs",
        "discovery/cache/file.rs",
        "discovery/cache/place.rs",
        "discovery/openapi/document.rs",
        "servers/source/leases.rs",
    ];
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.join("servers"), source.join("discovery")];
    let mut found = std::collections::BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&source).unwrap().display().to_string();
            let text = std::fs::read_to_string(&path).unwrap();
            let reads = ["SystemTime::now", "Timestamp::now", "UnixTime::now", "now_utc"];
            if !name.ends_with("tests.rs") && reads.into_iter().any(|read| text.contains(read)) {
                found.insert(name);
            }
        }
    }
    let known: Vec<_> = found.iter().map(String::as_str).filter(|name| !KNOWN.contains(name)).collect();
    assert!(known.is_empty(), "{known:?}");
    assert!(found.contains("servers/source/leases.rs"), "it is looked for in the right place");
}
