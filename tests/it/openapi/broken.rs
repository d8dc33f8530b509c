//! Servers whose OpenAPI is broken, enormous, slow or away.

use std::time::{Duration, Instant};

use super::api::Fault;
use super::*;
use crate::kit::Wire;

const FAULTS: [Fault; 5] =
    [Fault::Status(500), Fault::Redirect, Fault::Garbage, Fault::Endless, Fault::Aborted];

fn bounded(proxy: ProxyBuilder) -> ProxyBuilder {
    proxy.home("a").configure(|config| {
        let bounds = &mut config.discovery.openapi;
        (bounds.max_index, bounds.max_document) = (100_000, 100_000);
        bounds.index_age = Duration::from_millis(50);
        (bounds.retry, bounds.retry_too_large) = (Duration::from_millis(50), Duration::from_millis(50));
    })
}

#[tokio::test]
async fn a_peer_whose_openapi_is_broken_is_left_out_until_it_is_not() {
    for fault in FAULTS {
        let (a, b) = two();
        b.fail(Some(fault));
        let scene = scene_with(&[&a, &b], bounded).await;
        let admin = scene.admin().await;
        let keys: Vec<_> = index(&admin).await.into_keys().collect();
        assert_eq!(keys, ["api/v1", "apis/apps/v1", "version"], "{fault:?}");
        let v2 = admin.get("/openapi/v2").await;
        assert_eq!(v2.status, 200, "{fault:?}");
        assert!(v2.text().contains("deployments") && !v2.text().contains("cronjobs"), "{fault:?}");
        for document in ["v3-index", "v2-json"] {
            let labels = ["server=\"b\"", &format!("document=\"{document}\""), "result=\"failed\""];
            let failed = scene.proxy.metric("kube_peer_proxy_openapi_fetches_total", &labels).await;
            assert!(failed >= 1.0, "{fault:?} {document}");
        }
        let shown = scene.proxy.debug("servers").await["servers"][1]["openapi"].clone();
        assert_eq!(shown["index"], "failed", "{fault:?}");
        assert!(
            shown["lastError"].is_string() && shown["documentErrors"]["/openapi/v2"].is_string(),
            "{shown}"
        );
        b.fail(None);
        until("its entries are there", async || {
            index(&admin).await.contains_key("apis/batch/v1").then_some(())
        })
        .await;
        assert_eq!(scene.proxy.debug("servers").await["servers"][1]["openapi"]["index"], "good");
    }
}

#[tokio::test]
async fn what_was_good_once_stays_when_it_breaks() {
    for fault in FAULTS {
        let (a, b) = two();
        let scene = scene_with(&[&a, &b], bounded).await;
        let admin = scene.admin().await;
        let before = index(&admin).await;
        let v2 = admin.get("/openapi/v2").await;
        b.fail(Some(fault));
        let fetches = b.fetches("/openapi/v3");
        until("it was asked again", async || {
            assert_eq!(index(&admin).await, before, "{fault:?}");
            (b.fetches("/openapi/v3") > fetches + 1).then_some(())
        })
        .await;
        assert_eq!(admin.get("/openapi/v2").await.body, v2.body, "{fault:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_delays_the_first_answer_by_the_grace_and_no_other() {
    let (a, b) = two();
    b.fail(Some(Fault::Silent));
    let grace = Duration::from_millis(500);
    let scene = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(move |config| config.discovery.openapi.grace = grace)
    })
    .await;
    let admin = scene.admin().await;
    for target in ["/openapi/v3", "/openapi/v2"] {
        let begin = Instant::now();
        assert_eq!(admin.get(target).await.status, 200);
        assert!(begin.elapsed() >= grace, "{target}: {:?}", begin.elapsed());
        let begin = Instant::now();
        for _ in 0..5 {
            assert_eq!(admin.get(target).await.status, 200);
        }
        assert!(begin.elapsed() < grace, "{target}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn home_answers_itself_when_only_we_cannot_read_its_openapi() {
    let (a, b) = two();
    a.fail(Some(Fault::Garbage));
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    for target in ["/openapi/v3", "/openapi/v2"] {
        assert_eq!(admin.get(target).await.text(), "<html>no, nothing</html>", "{target}");
    }
}

#[tokio::test]
async fn i8_what_only_a_peer_has_that_is_away_is_503_and_stays_listed() {
    let (a, b) = two();
    let (home, peer) = (a.start().await, b.start().await);
    let wire = Wire::to(peer.address).await;
    let proxy = ProxyBuilder::new().server("a", home.address).server("b", wire.address).hasty().home("a");
    let proxy = proxy.start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let before = index(&admin).await;
    let v2 = admin.get("/openapi/v2").await;
    wire.refuse().await;
    wire.reset();
    for target in ["/openapi/v3/apis/batch/v1", &*before["apis/batch/v1"]] {
        let reply = admin.get(target).await;
        assert!(reply.refused(503).contains("apis/batch/v1"));
        assert_ne!(reply.header("retry-after"), "");
    }
    assert_eq!(index(&admin).await, before);
    assert_eq!(admin.get("/openapi/v2").await.body, v2.body);
    // Home has less of this one, and less is more than nothing.
    let reply = admin.get("/openapi/v3/apis/apps/v1").await;
    assert_eq!((reply.status.as_u16(), reply.header("x-answered-by")), (200, "a"));
    assert_eq!(admin.get("/openapi/v3/api/v1").await.header("x-answered-by"), "a");
    wire.accept_again().await;
    until("it answers again", async || {
        (admin.get(&before["apis/batch/v1"]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn i8_what_only_home_has_that_is_away_is_no_404_of_a_peer() {
    let (a, b) = two();
    a.serve("apis/own/v1", &["things"]);
    let (home, peer) = (a.start().await, b.start().await);
    let wire = Wire::to(home.address).await;
    let proxy = ProxyBuilder::new().server("a", wire.address).server("b", peer.address).hasty().home("a");
    let proxy = proxy.start().await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    assert_eq!(admin.get("/openapi/v3/apis/own/v1").await.status, 200);
    wire.refuse().await;
    wire.reset();
    proxy.until_healthy("a", false).await;
    assert!(admin.get("/openapi/v3/apis/own/v1").await.refused(503).contains("apis/own/v1"));
    assert_eq!(admin.get("/openapi/v3/api/v1").await.header("x-answered-by"), "b");
    assert!(index(&admin).await.contains_key("apis/own/v1"));
}

#[tokio::test]
async fn what_is_gone_everywhere_is_404_as_soon_as_that_is_known() {
    let (a, b) = two();
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    assert_eq!(admin.get("/openapi/v3/apis/batch/v1").await.status, 200);
    b.withdraw("apis/batch/v1");
    let codes = until("it is gone", async || {
        let reply = admin.get("/openapi/v3/apis/batch/v1").await;
        match reply.status.as_u16() {
            503 => None,
            code => Some(code),
        }
    })
    .await;
    assert_eq!(codes, 404);
    assert!(!index(&admin).await.contains_key("apis/batch/v1"));
}

#[tokio::test]
async fn i8_what_a_peer_that_was_never_heard_may_have_is_503() {
    let (a, b) = two();
    b.fail(Some(Fault::Status(500)));
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    // Its discovery lists one of them.
    let reply = admin.get("/openapi/v3/apis/batch/v1").await;
    assert!(reply.refused(503).contains("not every API server's index"));
    assert_eq!(admin.get("/openapi/v3/apis/nope/v1").await.status, 404);
}

#[tokio::test]
async fn a_united_document_goes_without_the_part_that_cannot_be_had_and_is_not_kept() {
    let (a, b) = mixed();
    b.fail_at(MIXED, Some(Fault::Garbage));
    let scene = scene(&[&a, &b]).await;
    let admin = scene.admin().await;
    let address = index(&admin).await["apis/mixed/v1"].clone();
    let reply = admin.get(&address).await;
    assert_eq!((reply.status.as_u16(), reply.header("cache-control")), (200, "no-cache, private"));
    assert!(reply.text().contains("apples") && !reply.text().contains("berries"));
    a.fail_at(MIXED, Some(Fault::Garbage));
    let neither = scene_with(&[&a, &b], |proxy| proxy.home("a")).await;
    let reply = neither.admin().await.get(MIXED).await;
    assert!(reply.refused(503).contains("apis/mixed/v1"));
}

#[tokio::test]
async fn documents_above_the_limits_are_left_out() {
    let (a, b) = two();
    let names: Vec<String> = (0..3000).map(|number| format!("resource{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    b.serve("apis/big/v1", &names);
    let scene = scene_with(&[&a, &b], bounded).await;
    let admin = scene.admin().await;
    assert!(index(&admin).await.contains_key("apis/big/v1"), "its index is small");
    assert!(!admin.get("/openapi/v2").await.text().contains("cronjobs"));
    let errors = scene.proxy.debug("servers").await["servers"][1]["openapi"]["documentErrors"].clone();
    assert_eq!(errors["/openapi/v2"], "larger than 100000 bytes");
    let few = scene_with(&[&a, &b], |proxy| {
        proxy.home("a").configure(|config| config.discovery.openapi.max_entries = 3)
    })
    .await;
    let admin = few.admin().await;
    assert!(!index(&admin).await.contains_key("apis/big/v1"));
    assert!(index(&admin).await.contains_key("apis/apps/v1"), "three are few enough");
}
