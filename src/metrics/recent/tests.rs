use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const LIST: Decided<'_> = Decided {
    verb: "list",
    group: "apps",
    version: "v1",
    resource: "deployments",
    home: None,
    server: None,
    reason: "peers-serve",
    status: 200,
};

#[test]
fn a_list_never_has_more_than_its_limit_and_the_oldest_goes() {
    let recent = Recent::default();
    let names: Vec<String> = (0..=limits::MAX_RECENT_DECISIONS).map(|number| format!("r{number}")).collect();
    for name in &names {
        recent.rerouted(Decided { resource: name, ..LIST }, SECOND);
        recent.refused(Decided { resource: name, status: 503, ..LIST }, SECOND);
    }
    let now = recent.snapshot();
    for list in [now.rerouted, now.refused] {
        assert_eq!(list.len(), limits::MAX_RECENT_DECISIONS);
        assert_eq!(list[0].resource, *names.last().unwrap());
        assert_eq!(list.last().unwrap().resource, names[1], "the first one had to go");
    }
}

#[tokio::test(start_paused = true)]
async fn alike_ones_share_an_entry_with_the_latest_time() {
    let recent = Recent::default();
    recent.rerouted(LIST, SECOND);
    recent.rerouted(Decided { verb: "get", ..LIST }, SECOND);
    advance(SECOND).await;
    recent.rerouted(LIST, 2 * SECOND);
    let now = recent.snapshot().rerouted;
    let shown: Vec<_> = now.iter().map(|entry| (entry.verb, entry.times, entry.took)).collect();
    assert_eq!(shown, [("list", 2, 2 * SECOND), ("get", 1, SECOND)]);
    assert_eq!(now[0].at, now[1].at + SECOND);
}

#[test]
fn whatever_differs_makes_an_entry_of_its_own() {
    let recent = Recent::default();
    let (a, b) = ("a".into(), "b".into());
    let all = [
        LIST,
        Decided { verb: "watch", ..LIST },
        Decided { group: "", ..LIST },
        Decided { version: "v2", ..LIST },
        Decided { resource: "pods", ..LIST },
        Decided { home: Some(&a), ..LIST },
        Decided { home: Some(&b), ..LIST },
        Decided { server: Some(&b), ..LIST },
        Decided { reason: "home-unhealthy", ..LIST },
        Decided { status: 404, ..LIST },
    ];
    for decided in all.into_iter().chain(all) {
        recent.rerouted(decided, SECOND);
    }
    let now = recent.snapshot().rerouted;
    assert_eq!(now.len(), all.len());
    assert!(now.iter().all(|entry| entry.times == 2), "{now:?}");
}

#[test]
fn i12_what_strangers_write_is_not_kept_and_nothing_is_kept_at_length() {
    let recent = Recent::default();
    let long = "é".repeat(limits::MAX_DECIDED_NAME);
    for status in [400, 401, 429] {
        recent.refused(Decided { verb: "S3CR3T", group: "s3cr3t", resource: &long, status, ..LIST }, SECOND);
    }
    recent.refused(Decided { verb: "S3CR3T", group: &long, resource: &long, status: 503, ..LIST }, SECOND);
    let now = recent.snapshot().refused;
    assert!(now.iter().all(|entry| entry.verb == "other"));
    assert_eq!(now.len(), 4);
    for entry in &now[1..] {
        assert_eq!((entry.group.as_str(), entry.version.as_str(), entry.resource.as_str()), ("", "", ""));
    }
    assert!(now[0].group.len() <= limits::MAX_DECIDED_NAME && long.starts_with(&now[0].group));
    recent.refused(Decided { verb: "S3CR3T", group: &long, resource: &long, status: 503, ..LIST }, SECOND);
    assert_eq!(recent.snapshot().refused.len(), 4, "what was cut alike is alike");
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_that_of_the_last_whole_seconds_and_nothing_when_nothing_goes() {
    let recent = Recent::default();
    assert_eq!(recent.snapshot().rate(), 0.0);
    for _ in 0..3 {
        (0..5).for_each(|_| recent.rerouted(LIST, SECOND));
        advance(SECOND).await;
    }
    assert_eq!(recent.snapshot().rate(), 15.0 / limits::RATE_SECONDS as f64);
    let seconds = recent.snapshot().seconds;
    assert_eq!(seconds.len(), limits::RATE_HISTORY);
    assert_eq!(seconds[limits::RATE_HISTORY - 4..], [0, 5, 5, 5]);
    recent.rerouted(LIST, SECOND);
    assert_eq!(recent.snapshot().seconds, seconds, "the second that runs does not count yet");

    advance(SECOND * limits::RATE_SECONDS as u32).await;
    assert_eq!(recent.snapshot().rate(), 1.0 / limits::RATE_SECONDS as f64);
    advance(SECOND).await;
    assert_eq!(recent.snapshot().rate(), 0.0);
    for idle in [limits::RATE_HISTORY as u32, 1_000_000] {
        advance(SECOND * idle).await;
        assert_eq!(recent.snapshot().seconds, [0; limits::RATE_HISTORY], "after {idle} s");
        recent.rerouted(LIST, SECOND);
        advance(SECOND).await;
        assert_eq!(recent.snapshot().seconds.iter().sum::<u32>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_no_reroutes() {
    let recent = Recent::default();
    recent.refused(Decided { status: 503, ..LIST }, SECOND);
    advance(SECOND).await;
    assert_eq!(recent.snapshot().rate(), 0.0);
    assert!(recent.snapshot().rerouted.is_empty());
}
