//! `--discovery-cache-dir`: what was known of servers outlives us.

use std::fs;
use std::path::Path;

use kube_peer_proxy::discovery::catalog::Freshness::{Fresh, Unknown};
use kube_peer_proxy::discovery::refresh::Trigger;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::ResourceSpec;
use kube_peer_proxy::ops::telemetry::LogFormat;
use serde_json::Value;
use tempfile::TempDir;

use crate::kit::{As, BOB, Capture, Client, Cluster, PKI, Proxy, ProxyBuilder, V2, Wire, until};

const WIDGETS: &str = "/apis/example.com/v1/widgets";

/// Two servers, of which only the newer one has widgets.
async fn two() -> (Cluster, TempDir) {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let widgets = ResourceSpec::new("widgets", "Widget", false);
    cluster.server("v136").discovery().add_resource("example.com", "v1", &widgets);
    (cluster, tempfile::tempdir().unwrap())
}

fn cached(proxy: ProxyBuilder, folder: &TempDir) -> ProxyBuilder {
    let folder = folder.path().join("cache").display().to_string();
    proxy.flags(|args| args.discovery_cache_dir = Some(folder))
}

fn file(folder: &TempDir, server: &str) -> std::path::PathBuf {
    folder.path().join("cache").join(format!("{server}.discovery"))
}

async fn admin(proxy: &Proxy) -> Client {
    proxy.h2(As::Certificate(&PKI.admin)).await
}

async fn written(proxy: &Proxy, server: &str, result: &str) -> f64 {
    proxy.metric("kube_peer_proxy_discovery_cache_writes_total", &[server, result]).await
}

async fn loaded(proxy: &Proxy, server: &str, result: &str) -> f64 {
    proxy.metric("kube_peer_proxy_discovery_cache_loads_total", &[server, result]).await
}

/// A proxy that ran until everything was written.
async fn ran_before(cluster: &Cluster, folder: &TempDir) {
    let proxy = cached(cluster.proxy().home("v132"), folder).start().await;
    proxy.until_lists_are_read().await;
    proxy.app.shutdown().await;
}

/// Its discovery is fetched once more, at once.
async fn fetched(proxy: &Proxy, server: &str) {
    let proxy = proxy.app.proxy.load_full();
    proxy.refresh[proxy.fleet.position(server).unwrap()].ask_and_wait(Trigger::Write).await;
}

async fn freshness(admin: &Client, group: &str) -> Option<Value> {
    let document = admin.get_with("/apis", V2).await.json();
    let items = document["items"].as_array().unwrap().clone();
    let group = items.into_iter().find(|item| item["metadata"]["name"] == group)?;
    Some(group["versions"][0]["freshness"].clone())
}

#[tokio::test]
async fn i8_what_only_a_server_has_that_is_away_when_we_start_is_listed_as_stale_and_is_no_404() {
    let (cluster, folder) = two().await;
    ran_before(&cluster, &folder).await;
    cluster.server("v136").stop().await;
    let proxy = cached(cluster.proxy().home("v132"), &folder).start().await;
    assert_eq!((proxy.freshness("v132"), proxy.freshness("v136")), (Fresh, Unknown));
    assert_eq!(loaded(&proxy, "v136", "used").await, 1.0);
    let admin = admin(&proxy).await;
    assert_eq!(freshness(&admin, "example.com").await, Some("Stale".into()));
    assert_eq!(freshness(&admin, "apps").await, Some("Current".into()), "a fresh server has it too");
    let reply = admin.get(WIDGETS).await;
    assert!(reply.refused(503).contains("v136"), "{}", reply.text());
    assert_eq!(reply.header("retry-after"), "1");
    let reply = admin.get("/apis/nobody.example/v1/things").await;
    assert!(reply.refused(503).contains("v136"), "it may have come there meanwhile: {}", reply.text());
    assert_eq!(admin.get("/apis/apps/v1/deployments").await.status, 200);

    let (v136, before) = (cluster.server("v136"), written(&proxy, "v136", "ok").await);
    v136.log().clear();
    v136.restart().await.unwrap();
    proxy.until_it_is("v136", Fresh).await;
    assert_eq!(freshness(&admin, "example.com").await, Some("Current".into()));
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    let fetches = v136
        .log()
        .matching(|request| request.target == "/apis" && request.headers.contains_key("if-none-match"));
    assert_eq!(fetches[0].status.unwrap(), 304, "what was loaded is only confirmed");
    assert_eq!(written(&proxy, "v136", "ok").await, before, "and not written again");
}

#[tokio::test]
async fn i8_a_proxy_whose_servers_are_all_away_says_503_and_knows_everything_as_soon_as_they_are_back() {
    let (cluster, folder) = two().await;
    ran_before(&cluster, &folder).await;
    for server in cluster.servers() {
        server.stop().await;
    }
    let proxy = cached(cluster.proxy().home("v132"), &folder).start().await;
    let admin = admin(&proxy).await;
    for path in ["/apis", WIDGETS, "/apis/apps/v1/deployments", "/apis/nobody.example/v1/things"] {
        let reply = admin.get(path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("retry-after")),
            (503, "1"),
            "{path}: {}",
            reply.text()
        );
    }
    cluster.server("v132").restart().await.unwrap();
    proxy.until_it_is("v132", Fresh).await;
    assert_eq!(freshness(&admin, "example.com").await, Some("Stale".into()));
    assert_eq!(admin.get("/apis/apps/v1/deployments").await.status, 200);
}

#[tokio::test]
async fn i7_a_server_that_starts_without_its_crds_is_not_believed_over_what_we_kept() {
    let (cluster, folder) = two().await;
    ran_before(&cluster, &folder).await;
    let server = cluster.server("v136");
    server.faults().ready(false);
    server.discovery().remove_group_version("example.com", "v1");
    let proxy = cached(cluster.proxy().home("v132"), &folder).start().await;
    let error = proxy.target("v136").health.last_error().unwrap();
    assert!(error.contains("example.com/v1"), "{error}");
    let admin = admin(&proxy).await;
    assert_eq!(freshness(&admin, "example.com").await, Some("Stale".into()));
    assert_eq!(admin.get(WIDGETS).await.status, 503);
    server.faults().ready(true);
    until("it is believed", async || freshness(&admin, "example.com").await.is_none().then_some(())).await;
    assert_eq!(admin.get(WIDGETS).await.status, 404);
}

#[tokio::test]
async fn a_file_that_is_not_right_is_ignored_with_one_warning_and_replaced() {
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 6] = [
        ("checksum", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("does not begin", |path| fs::write(path, "rubbish").unwrap()),
        ("its format is 9", |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("\"format\":1", "\"format\":9", 1)).unwrap();
        }),
        ("it is of API server", |path| {
            fs::copy(path.with_file_name("v132.discovery"), path).unwrap();
        }),
        ("larger than", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(kube_peer_proxy::limits::MAX_CACHE_FILE_BYTES + 1).unwrap();
        }),
        ("no regular file", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        }),
    ];
    let (cluster, folder) = two().await;
    ran_before(&cluster, &folder).await;
    for (fault, spoil) in spoils {
        spoil(&file(&folder, "v136"));
        let logs = Capture::start("warn", LogFormat::Json);
        let proxy = cached(cluster.proxy().home("v132"), &folder).start().await;
        assert_eq!(loaded(&proxy, "v136", "ignored").await, 1.0, "{fault}");
        let text = logs.text();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("discovery cache is ignored")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].contains(fault) && lines[0].contains("v136.discovery"), "{}", lines[0]);
        assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
        proxy.app.shutdown().await;
        assert!(
            fs::read_to_string(file(&folder, "v136")).unwrap().contains("\"server\":\"v136\""),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn what_was_kept_of_a_server_at_another_address_is_not_used() {
    let (cluster, folder) = two().await;
    ran_before(&cluster, &folder).await;
    let elsewhere = Wire::to(cluster.server("v136").addr()).await;
    elsewhere.refuse().await;
    let proxy = cached(cluster.proxy().home("v132"), &folder).server("v136", elsewhere.address).start().await;
    assert_eq!(loaded(&proxy, "v136", "ignored").await, 1.0);
    assert_eq!(freshness(&admin(&proxy).await, "example.com").await, None);
}

#[tokio::test]
async fn changes_that_come_one_after_another_are_written_together_and_none_is_lost() {
    let (cluster, folder) = two().await;
    let proxy = cached(cluster.proxy().home("v132"), &folder).start().await;
    proxy.until_lists_are_read().await;
    for number in 0..10 {
        let (group, spec) = (format!("g{number}.example"), ResourceSpec::new("widgets", "Widget", false));
        cluster.server("v136").discovery().add_resource(&group, "v1", &spec);
        fetched(&proxy, "v136").await;
    }
    assert!(written(&proxy, "v136", "ok").await <= 4.0, "not one for each change");
    proxy.app.shutdown().await;
    assert!(fs::read_to_string(file(&folder, "v136")).unwrap().contains("g9.example"));
}

#[tokio::test]
async fn a_directory_that_goes_away_is_a_warning_and_a_metric_and_nobody_else_notices() {
    let (cluster, folder) = two().await;
    let logs = Capture::start("warn", LogFormat::Json);
    cluster.servers().for_each(|server| server.faults().hang(true));
    let proxy = cached(cluster.proxy().home("v132"), &folder).unready().start().await;
    fs::remove_dir_all(folder.path().join("cache")).unwrap();
    fs::write(folder.path().join("cache"), "no directory any more").unwrap();
    cluster.servers().for_each(|server| server.faults().hang(false));
    proxy.until_lists_are_read().await;
    until("a write fails", async || (written(&proxy, "v136", "failed").await > 0.0).then_some(())).await;
    assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
    proxy.app.shutdown().await;
    let text = logs.text();
    let warnings =
        text.lines().filter(|line| line.contains("cache cannot be written") && line.contains("v136"));
    assert_eq!(warnings.count(), 1, "{text}");
}

#[tokio::test]
async fn i12_no_secret_is_in_the_files_and_nobody_elses_file_is_touched() {
    let (cluster, folder) = two().await;
    ran_before(&cluster, &folder).await;
    let other = file(&folder, "other");
    fs::write(&other, "another proxy's").unwrap();
    let proxy = cached(cluster.proxy().home("v132"), &folder).start().await;
    let bob = proxy.h1(As::Token(BOB)).await;
    assert_eq!(bob.get(WIDGETS).await.status, 200);
    assert_eq!(bob.get("/apis").await.status, 200);
    let widgets = ResourceSpec::new("more", "More", false);
    cluster.server("v136").discovery().add_resource("example.com", "v1", &widgets);
    fetched(&proxy, "v136").await;
    proxy.app.shutdown().await;
    assert_eq!(fs::read_to_string(&other).unwrap(), "another proxy's");
    for server in ["v132", "v136"] {
        let text = fs::read_to_string(file(&folder, server)).unwrap();
        for secret in [BOB, "PRIVATE KEY", "Bearer", "Authorization"] {
            assert!(!text.contains(secret), "{secret} in {server}'s file");
        }
    }
}
