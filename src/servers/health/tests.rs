use std::time::Duration;

use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;
use crate::{
    limits::{EJECTION_BACKOFF, HALF_OPEN_QUIET},
    metrics::Metrics,
};

/// A server that was well until now.
fn well() -> Health {
    let health = Health::default();
    health.contact();
    health.fetched(Ok(()));
    health.heard(Word::Ready, Instant::now());
    assert!(health.is_healthy());
    health
}

async fn probed_ready(health: &Health) {
    tokio::time::advance(Duration::from_millis(200)).await;
    health.heard(Word::Ready, Instant::now());
}

/// Exchanges fail beside good probes until the server is ejected.
async fn fail(health: &Health) {
    for _ in 0..20 {
        if health.standing().state == State::Ejected {
            return;
        }
        health.begin().failed();
        probed_ready(health).await;
    }
    panic!("never ejected");
}

async fn half_open() -> Health {
    let health = well();
    fail(&health).await;
    tokio::time::advance(EJECTION_BACKOFF).await;
    probed_ready(&health).await;
    assert_eq!((health.standing().state, health.rank()), (State::HalfOpen, Rank::Well));
    health
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_lost_is_not_healthy_before_it_says_twice_that_it_is_ready() {
    let health = well();
    health.lost("connection refused");
    assert!(!health.is_healthy());
    health.connected(true);
    assert_eq!((health.is_healthy(), health.rank()), (false, Rank::There));
    // It starts, and says so.
    for _ in 0..5 {
        health.heard(Word::NotReady, Instant::now());
        assert_eq!(health.rank(), Rank::There, "no floor makes it healthy");
    }
    probed_ready(&health).await;
    assert!(!health.is_healthy() && health.wants_follow_up());
    probed_ready(&health).await;
    assert_eq!((health.is_healthy(), health.rank()), (true, Rank::Well));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_twice_that_it_is_not_ready_is_spared_and_still_there() {
    let health = well();
    health.heard(Word::NotReady, Instant::now());
    assert!(health.is_healthy() && !health.is_ready());
    health.heard(Word::NotReady, Instant::now());
    assert_eq!((health.is_healthy(), health.rank()), (false, Rank::Spared));
    assert_eq!(health.standing().reason, Some(Reason::NotReady));
    health.lost("connection refused");
    assert_eq!((health.rank(), health.standing().reason), (Rank::Away, Some(Reason::Connect)));
}

#[tokio::test(start_paused = true)]
async fn failed_exchanges_make_us_look_and_eject_only_beside_good_probes() {
    let health = well();
    for _ in 0..3 {
        health.begin().failed();
    }
    tokio::time::timeout(Duration::from_millis(1), health.changed()).await.expect("somebody looks");
    for _ in 0..100 {
        tokio::time::advance(Duration::from_millis(50)).await;
        health.begin().failed();
    }
    assert!(health.is_healthy(), "no probe says anything");
    fail(&health).await;
    assert_eq!((health.rank(), health.standing().reason), (Rank::Spared, Some(Reason::Passive)));
    assert!(health.half_open_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_half_open_server_gets_one_exchange_at_a_time() {
    let health = half_open().await;
    let trial = health.begin();
    assert_eq!(health.rank(), Rank::Spared);
    // Whoever is asked nevertheless, as the last one, leaves the trial its place.
    drop(health.begin());
    assert_eq!(health.rank(), Rank::Spared);
    drop(trial);
    assert_eq!(health.rank(), Rank::Well, "a client that went away has tried nothing");
    health.begin().answered();
    assert_eq!(health.standing().state, State::Healthy);
}

#[test]
fn of_many_who_come_at_once_one_has_the_trial() {
    const CALLERS: usize = 8;
    for _ in 0..200 {
        let health = std::sync::Arc::new(Health::default());
        health.place.store(Place::HalfOpen as u8, Ordering::Relaxed);
        let together = std::sync::Arc::new(std::sync::Barrier::new(CALLERS));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (health, together) = (health.clone(), together.clone());
                std::thread::spawn(move || {
                    together.wait();
                    let turn = health.begin();
                    let spare = turn.is_spare();
                    // Whoever has it keeps it until all have asked.
                    together.wait();
                    spare
                })
            })
            .collect();
        let spares = callers.into_iter().map(|caller| caller.join().unwrap()).filter(|spare| *spare);
        assert_eq!(spares.count(), CALLERS - 1);
        assert!(!health.begin().is_spare(), "and the next one has it again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_ejects_for_twice_the_time() {
    let health = half_open().await;
    health.begin().failed();
    let standing = health.standing();
    assert_eq!(
        (standing.state, standing.until),
        (State::Ejected, Some(Instant::now() + EJECTION_BACKOFF * 2))
    );
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_server_was_half_open_is_no_trial() {
    let health = well();
    let (early, late) = (health.begin(), health.begin());
    fail(&health).await;
    tokio::time::advance(EJECTION_BACKOFF).await;
    probed_ready(&health).await;
    early.failed();
    late.answered();
    assert_eq!(health.standing().state, State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_never_ends_does_not_keep_a_server_half_open_for_ever() {
    let health = half_open().await;
    let _hangs = health.begin();
    tokio::time::advance(HALF_OPEN_QUIET).await;
    probed_ready(&health).await;
    assert_eq!((health.standing().state, health.rank()), (State::Healthy, Rank::Well));
}

#[tokio::test(start_paused = true)]
async fn each_ejection_is_counted_once_with_its_first_reason() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let health = Health::new("a".into(), metrics.servers);
    health.contact();
    health.fetched(Ok(()));
    health.heard(Word::Ready, Instant::now());
    fail(&health).await;
    health.lost("connection refused");
    health.connected(true);
    while health.standing().reason == Some(Reason::Connect) {
        probed_ready(&health).await;
    }
    health.begin().answered();
    for word in [Word::NotReady, Word::Slow, Word::Slow] {
        health.heard(word, Instant::now());
    }
    health.lost("connection refused");
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let counted: Vec<&str> =
        text.lines().filter(|line| line.starts_with("kube_peer_proxy_server_ejections_total{")).collect();
    assert_eq!(counted.len(), 2, "{counted:?}");
    for reason in ["passive", "slow"] {
        let line = format!(r#"kube_peer_proxy_server_ejections_total{{server="a",reason="{reason}"}} 1"#);
        assert!(counted.contains(&&*line), "{counted:?}");
    }
}
