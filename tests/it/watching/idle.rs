//! Where nothing happens, nothing is fetched but the resync.

use http::header::IF_NONE_MATCH;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use tokio::time::Instant;

use super::*;
use crate::kit::Cluster;

#[tokio::test]
async fn an_idle_server_is_fetched_for_the_resync_only_with_a_condition() {
    let cluster = Cluster::start(&[V1_32, V1_36]).await;
    let rare = |proxy: crate::kit::ProxyBuilder| proxy.file("healthProbeInterval", "5s");
    let proxy = rare(cluster.proxy().home("v132")).watching().start().await;
    for name in ["v132", "v136"] {
        until_quiet(&proxy, name).await;
    }
    let total = async || syncs(&proxy, "v132", &[]).await + syncs(&proxy, "v136", &[]).await;
    let before = total().await;
    let log = cluster.server("v136").log();
    log.clear();
    pass(Duration::from_secs(8 * 60)).await;
    assert_eq!(total().await, before, "nothing is fetched");
    assert!(is_watched(&proxy, "v136") && is_watched(&proxy, "v132"));
    assert!(asked_of(cluster.server("v136"), DECISIVE[0], true).len() <= 3, "watches last four minutes");

    pass(Duration::from_secs(4 * 60)).await;
    for name in ["v132", "v136"] {
        assert_eq!(syncs(&proxy, name, &["trigger=\"resync\"", "result=\"unchanged\""]).await, 1.0, "{name}");
    }
    assert_eq!(total().await, before + 2.0);
    let fetched = log.matching(|request| is_our_own(request) && request.target == "/apis");
    assert!(fetched.iter().all(|request| request.headers.contains_key(IF_NONE_MATCH)));
    assert!(fetched.iter().all(|request| request.status == Some(StatusCode::NOT_MODIFIED)));
    assert_eq!(fetched.len(), 1);
    for resource in DECISIVE {
        assert!(asked_of(cluster.server("v136"), resource, false).is_empty(), "nothing is listed again");
    }
}

/// In the clock's own time, in which an answer takes none.
#[tokio::test]
async fn the_resync_of_servers_is_not_in_step() {
    const RESYNC: Duration = Duration::from_secs(120);
    const ROUNDS: usize = 4;
    let names = ["s0", "s1", "s2", "s3"];
    let cluster = Cluster::with(names.map(|name| (name, V1_36)), |server| server).await;
    let proxy = cluster.proxy().watching().file("discoveryResync", "2m").file("healthProbeInterval", "5s");
    let proxy = proxy.start().await;
    for name in names {
        until_quiet(&proxy, name).await;
    }
    let fetches = |name: &str| cluster.fetches(name, "/apis");
    let mut counts = names.map(fetches);
    let mut times: [Vec<Instant>; 4] = Default::default();
    let (began, step) = (Instant::now(), Duration::from_millis(100));
    while times.iter().any(|times| times.len() < ROUNDS) {
        assert!(began.elapsed() < RESYNC.mul_f64(1.1 * ROUNDS as f64) + RESYNC, "{times:?}");
        pass(step).await;
        for (number, name) in names.iter().enumerate() {
            let before = std::mem::replace(&mut counts[number], fetches(name));
            assert!(counts[number] <= before + 1, "{name} is fetched once at a time");
            if counts[number] > before {
                times[number].push(Instant::now());
            }
        }
    }
    let waits: Vec<Duration> =
        times.iter().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0])).collect();
    let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
    let a_moment = Duration::from_secs(1);
    assert!(least > RESYNC.mul_f64(0.9) - a_moment && most < RESYNC.mul_f64(1.1) + a_moment, "{waits:?}");
    // Of a dozen, drawn from 24 s: all so close together once in a thousand million times.
    assert!(most - least > Duration::from_secs(3), "{waits:?}");
}
