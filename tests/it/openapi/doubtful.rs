//! Servers that are too old, too big, too late, or say what is not so.

use std::time::{Duration, Instant};

use super::api::Fault;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

#[tokio::test]
async fn servers_that_know_protobuf_by_its_older_name_only_are_united_too() {
    let (a, b) = mixed();
    a.grow_old();
    b.grow_old();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    for (target, accept) in [(MIXED, V3_PROTOBUF), ("/openapi/v2", V2_PROTOBUF)] {
        let reply = admin.get_with(target, ("accept", accept)).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, accept), "{target}");
        assert!(contains(&reply.body, "apples") && contains(&reply.body, "berries"), "{target}");
    }
}

#[tokio::test]
async fn a_peer_that_has_more_does_not_keep_home_from_answering() {
    const APPS: &str = "/openapi/v3/apis/apps/v1";
    for fault in [Fault::Silent, Fault::Status(500), Fault::Status(503)] {
        let (a, b) = two();
        let scene = scene_with(&[&a, &b], |proxy| {
            proxy.home("a").configure(|config| config.discovery.openapi.grace = Duration::from_millis(500))
        })
        .await;
        let admin = scene.admin().await;
        let address = index(&admin).await["apis/apps/v1"].clone();
        assert_eq!(admin.get(&address).await.header("x-answered-by"), "b");
        b.fail_at(APPS, Some(fault));
        let begin = Instant::now();
        let reply = admin.get(APPS).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-answered-by")), (200, "a"), "{fault:?}");
        // Under the hash of another one's home says where its own is.
        let reply = admin.get(&address).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-answered-by")), (301, ""), "{fault:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{fault:?}");
    }
}

#[tokio::test]
async fn what_only_a_peer_has_fails_in_its_own_words() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let address = index(&admin).await["apis/batch/v1"].clone();
    b.fail_at("/openapi/v3/apis/batch/v1", Some(Fault::Status(500)));
    assert_eq!(admin.get(&address).await.status, 500);
}

#[tokio::test]
async fn where_no_server_has_version_3_home_says_so() {
    let (a, b) = two();
    for api in [&a, &b] {
        api.fail_at("/openapi/v3", Some(Fault::Status(404)));
    }
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    assert_eq!(admin.get("/openapi/v3").await.status, 404);
    b.fail(None);
    until("it has one", async || (admin.get("/openapi/v3").await.status == 200).then_some(())).await;
    assert!(index(&admin).await.contains_key("apis/batch/v1"));
}

#[tokio::test]
async fn what_came_since_somebody_asked_last_is_in_the_next_answer() {
    let (a, b) = mixed();
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(|config| {
            let bounds = &mut config.discovery.openapi;
            (bounds.index_age, bounds.document_age) = (Duration::ZERO, HOUR);
        })
    })
    .await;
    let admin = scene.admin().await;
    let before = index(&admin).await;
    assert_eq!(admin.get(&before["apis/mixed/v1"]).await.status, 200);
    b.have("logs");
    b.reword();
    let after = index(&admin).await;
    assert!(after.contains_key("logs"));
    assert_ne!(after["apis/mixed/v1"], before["apis/mixed/v1"]);
    let reply = admin.get(&after["apis/mixed/v1"]).await;
    assert_eq!((reply.status.as_u16(), reply.header("cache-control")), (200, "public, immutable"));
}

#[tokio::test]
async fn i8_what_discovery_lists_and_an_index_from_before_does_not_is_503() {
    let (a, b) = two();
    let scene = scene_with(&[&a, &b], |proxy| proxy.home("a").interval("1s")).await;
    let admin = scene.admin().await;
    index(&admin).await;
    b.fail_at("/openapi/v3", Some(Fault::Status(500)));
    b.serve("apis/new/v1", &["things"]);
    let catalog = || scene.proxy.app.proxy.load().book.catalog();
    let generation = catalog().generation;
    eventually("the catalog is another", || catalog().generation > generation).await;
    let target = "/openapi/v3/apis/new/v1";
    assert!(admin.get(target).await.refused(503).contains("apis/new/v1"));
    assert_eq!(admin.get("/openapi/v3/apis/nope/v1").await.status, 404);
    b.fail(None);
    until("it is there", async || (admin.get(target).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn home_serves_itself_what_is_too_large_for_us_and_is_not_asked_for_it_each_time() {
    let (a, b) = two();
    let names: Vec<String> = (0..3000).map(|number| format!("resource{number}")).collect();
    a.serve("apis/big/v1", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(|config| {
            let bounds = &mut config.discovery.openapi;
            (bounds.max_document, bounds.retry) = (100_000, Duration::ZERO);
        })
    })
    .await;
    let admin = scene.admin().await;
    for _ in 0..5 {
        for accept in ["application/json", V2_PROTOBUF] {
            let reply = admin.get_with("/openapi/v2", ("accept", accept)).await;
            assert_eq!((reply.status.as_u16(), reply.header("x-answered-by")), (200, "a"));
            assert!(reply.body.len() > 100_000 && contains(&reply.body, "resource2999"), "{accept}");
        }
        let reply = admin.get("/openapi/v3/apis/big/v1").await;
        assert_eq!((reply.status.as_u16(), reply.body.len() > 100_000), (200, true));
    }
    assert_eq!(a.fetches("/openapi/v2"), 2, "once for each encoding");
}

#[tokio::test]
async fn equal_tags_of_unlike_documents_hide_nothing() {
    for tag in ["1", &"A0".repeat(64)] {
        let (a, b) = two();
        a.tag(tag);
        b.tag(tag);
        let scene = scene(&[&a, &b]).await;
        let admin = scene.admin().await;
        for accept in ["application/json", V2_PROTOBUF] {
            let reply = admin.get_with("/openapi/v2", ("accept", accept)).await;
            assert!(contains(&reply.body, "cronjobs"), "{tag} {accept}");
        }
    }
}

#[tokio::test]
async fn only_so_many_documents_of_one_server_are_on_their_way() {
    let (a, b) = (Api::new("a", &[]), Api::new("b", &[]));
    let keys: Vec<String> = (0..6).map(|number| format!("apis/m{number}/v1")).collect();
    for key in &keys {
        a.serve(key, &["apples"]);
        b.serve(key, &["berries"]);
    }
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(|config| {
            let bounds = &mut config.discovery.openapi;
            (bounds.grace, bounds.fetches) = (Duration::from_millis(500), 2);
        })
    })
    .await;
    let admin = scene.admin().await;
    index(&admin).await;
    b.fail_at("/openapi/v3/apis/m", Some(Fault::Silent));
    let targets = keys.iter().map(|key| format!("/openapi/v3/{key}"));
    let replies = futures_util::future::join_all(targets.map(async |target| admin.get(&target).await)).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.text().contains("apples")));
    let on_their_way = b.asked(true).iter().filter(|asked| asked.target.contains("/apis/m")).count();
    assert_eq!(on_their_way, 2);
}

#[tokio::test]
async fn what_came_for_somebody_who_is_gone_counts_as_what_it_weighs() {
    let (a, b) = mixed();
    let names: Vec<String> = (0..200).map(|number| format!("resource{number}")).collect();
    b.serve("apis/mixed/v1", &names.iter().map(String::as_str).collect::<Vec<_>>());
    b.fail_at(MIXED, Some(Fault::Late(Duration::from_millis(500))));
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(|config| config.discovery.openapi.cache = 5000)
    })
    .await;
    let admin = scene.admin().await;
    index(&admin).await;
    let gone = tokio::time::timeout(Duration::from_millis(250), admin.get(MIXED)).await;
    assert!(gone.is_err());
    let labels = ["server=\"b\"", "document=\"v3-json\"", "result=\"changed\""];
    until("it has come", async || {
        (scene.proxy.metric("kube_peer_proxy_openapi_fetches_total", &labels).await >= 1.0).then_some(())
    })
    .await;
    let library = Arc::clone(&scene.proxy.app.proxy.load().library);
    eventually("it is given up", || {
        library.sweep();
        library.state(1).bytes == 0
    })
    .await;
}

#[tokio::test]
async fn what_is_announced_as_too_large_is_not_waited_for() {
    let (a, b) = two();
    b.fail(Some(Fault::Announced));
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(|config| config.discovery.openapi.grace = HOUR)
    })
    .await;
    let admin = scene.admin().await;
    assert_eq!(admin.get("/openapi/v3").await.status, 200);
    assert_eq!(admin.get("/openapi/v2").await.status, 200);
    let shown = scene.proxy.debug("servers").await["servers"][1]["openapi"].clone();
    for error in [&shown["lastError"], &shown["documentErrors"]["/openapi/v2"]] {
        assert!(error.as_str().is_some_and(|error| error.starts_with("larger than")), "{shown}");
    }
}

#[tokio::test]
async fn i10_no_way_of_asking_gets_around_home() {
    let (a, b) = mixed();
    b.serve("apis/batch/v1", &["cronjobs"]);
    let scene = scene(&[&a, &b]).await;
    // Who is allowed leaves nothing to others, not even to a token that begins alike.
    let hash = format!("/openapi/v3/apis/batch/v1?hash={}", b.hash("apis/batch/v1"));
    let admin = scene.admin().await;
    for target in ["/openapi/v3", "/openapi/v2", MIXED, &hash] {
        assert_eq!(admin.get(target).await.status, 200, "{target}");
    }
    let before = b.asked(false).len();
    a.refuse();
    let bob = scene.proxy.h2(As::Token(BOB)).await;
    for target in [
        "/openapi/v3?x=y",
        "/openapi/v3/",
        "/openapi/v3?hash=x",
        "/openapi/v2/",
        "/openapi/v2?x=/apis",
        "/%6fpenapi/v2",
        "/openapi/v%33",
        "/OpenAPI/v3",
        "//openapi/v3",
        "/openapi//v3",
        "/openapi/v3/apis%2Fbatch/v1",
        "/openapi/v3/apis/./batch/v1",
        "/openapi/v3/apis/mixed/v%31",
        &hash,
        &format!("{MIXED}?hash=x"),
        &format!("{MIXED}/"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = bob.ask(method.clone(), target).header("if-none-match", "*").whole().await;
            assert!(reply.status.is_client_error(), "{method} {target}: {}", reply.status);
        }
    }
    assert_eq!(b.asked(false).len(), before, "peers hear nothing of it");
}
