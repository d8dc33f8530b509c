//! Many watches and one connection's limit: kube-apiserver takes 100 streams on each.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future, stream};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kube_peer_proxy::servers::Class;
use serde_json::json;

use super::{
    fleet, fleets,
    kit::{DEADLINE, client::Client, files::Who, proxy::Proxy},
    say,
};

const WATCHES: usize = 1000;
const PER_CONNECTION: usize = 100;
/// kube-apiserver's priority and fairness answers 429 to bursts of watches that are much bigger.
const OPENED_AT_ONCE: usize = 25;
const GETS: usize = 400;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Median and 99th percentile of some GETs in a row, all of which have to succeed.
async fn latencies(client: &Client, name: &str) -> (Duration, Duration) {
    let mut took = Vec::new();
    for _ in 0..GETS {
        let begun = Instant::now();
        let reply = client.get(&format!("{CONFIG_MAPS}/{name}")).await.unwrap();
        took.push(begun.elapsed());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    took.sort();
    (took[GETS / 2], took[GETS * 99 / 100])
}

async fn watch(client: &Client, name: &str) -> Incoming {
    let path = format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let answer = client.open(Method::GET, &path, &[], "".into()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    next(&mut body, "ADDED").await;
    body
}

async fn next(body: &mut Incoming, kind: &str) {
    let frame = tokio::time::timeout(DEADLINE, body.frame()).await.expect("an event in time");
    let event = frame.expect("the watch goes on").unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&event).contains(kind));
}

async fn a_get_stays_fast(who: Who, class: Class) {
    let fleet = fleet!(fleets::versions_alone().await);
    let proxy = Proxy::of(fleet.cluster, Some("v136")).await;
    let client = proxy.client(who).await;
    let name = format!("watched-by-{}", class.as_str());
    let map = json!({ "metadata": { "name": name } });
    assert_eq!(client.post(CONFIG_MAPS, &map).await.unwrap().status, 201);

    let direct = latencies(&fleet.direct("v136", who).await, &name).await;
    latencies(&client, &name).await;
    let idle = latencies(&client, &name).await;
    let begun = Instant::now();
    let mut watchers = Vec::new();
    for _ in 0..WATCHES / PER_CONNECTION {
        watchers.push(proxy.client(who).await);
    }
    let all = (0..WATCHES).map(|number| watch(&watchers[number % watchers.len()], &name));
    let mut open: Vec<_> = stream::iter(all).buffer_unordered(OPENED_AT_ONCE).collect().await;
    let opening = begun.elapsed();
    let busy = latencies(&client, &name).await;
    let stats = proxy.connections("v136", class);

    // Each of them still hears what happens.
    let path = format!("{CONFIG_MAPS}/{name}");
    let begun = Instant::now();
    client.call(Method::DELETE, &path, &[], "".into()).await.unwrap();
    future::join_all(open.iter_mut().map(|body| next(body, "DELETED"))).await;
    say!(
        "{}: GET median {:?}, p99 {:?} directly; through us {:?}, {:?} with no watch; {:?}, {:?} with {WATCHES} watches, opened in \
         {opening:?}, over {} connections with {} streams; one event reached all in {:?}",
        class.as_str(),
        direct.0,
        direct.1,
        idle.0,
        idle.1,
        busy.0,
        busy.1,
        stats.live,
        stats.in_use,
        begun.elapsed(),
    );
    assert!(stats.live >= WATCHES / PER_CONNECTION, "{stats:?}");
    assert!(stats.in_use >= WATCHES, "{stats:?}");
    assert!(busy.0 < idle.0 * 20 && busy.0 < Duration::from_millis(250), "{idle:?} {busy:?}");
    drop(open);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_stays_fast_beside_1000_watches_by_certificate() {
    a_get_stays_fast(Who::Alice, Class::Identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_stays_fast_beside_1000_watches_by_token() {
    a_get_stays_fast(Who::Bob, Class::Token).await;
}
