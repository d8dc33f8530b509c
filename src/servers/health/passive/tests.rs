use super::*;

const STEP: Duration = Duration::from_millis(300);

/// Exchanges fail one by one beside good probes, until the server is ejected; how many that takes.
fn fail_until_ejected(server: &mut Passive, now: &mut Instant) -> usize {
    for failures in 1..100 {
        *now += STEP;
        if server.failed(*now, 0) == Advice::Ejected {
            return failures;
        }
        server.probed(*now, *now);
    }
    panic!("never ejected");
}

fn until(server: &Passive) -> Instant {
    match server.state() {
        State::Ejected(until) => until,
        other => panic!("{other:?}"),
    }
}

#[test]
fn three_failures_make_us_look() {
    let mut server = Passive::default();
    let now = Instant::now();
    assert_eq!(
        [0; 4].map(|_| server.failed(now, 0)),
        [Advice::Wait, Advice::Wait, Advice::Look, Advice::Look]
    );
}

#[test]
fn failures_beside_good_probes_eject_for_a_time_that_doubles_up_to_a_bound() {
    let mut server = Passive::default();
    let mut now = Instant::now();
    assert!(fail_until_ejected(&mut server, &mut now) >= 5);
    for seconds in [5, 10, 20, 40, 60, 60, 60] {
        assert_eq!(until(&server) - now, Duration::from_secs(seconds));
        now = until(&server);
        server.probed(now, now);
        assert_eq!(server.state(), State::HalfOpen(now));
        server.tried(false, now);
    }
}

#[test]
fn one_answer_to_a_trial_closes_and_the_next_ejection_remembers_this_one_for_a_while() {
    for (well_for, seconds) in [(Duration::from_secs(1), 10), (FLAP_MEMORY, 5)] {
        let mut server = Passive::default();
        let mut now = Instant::now();
        fail_until_ejected(&mut server, &mut now);
        now = until(&server);
        server.probed(now, now);
        server.tried(true, now);
        assert_eq!(server.state(), State::Closed);
        now += well_for;
        assert!(fail_until_ejected(&mut server, &mut now) >= 5, "it starts anew");
        assert_eq!(until(&server) - now, Duration::from_secs(seconds));
    }
}

#[test]
fn before_its_time_is_over_no_probe_brings_it_back() {
    let mut server = Passive::default();
    let mut now = Instant::now();
    fail_until_ejected(&mut server, &mut now);
    let until = until(&server);
    while now < until {
        server.probed(now, now);
        server.tried(true, now);
        assert_eq!(server.state(), State::Ejected(until));
        now += STEP;
    }
}

#[test]
fn connections_that_die_together_are_one_accident() {
    let mut server = Passive::default();
    let now = Instant::now();
    for _ in 0..1000 {
        server.failed(now, 0);
    }
    server.probed(now, now);
    for _ in 0..1000 {
        assert_eq!(server.failed(now + PASSIVE_PATIENCE / 2, 0), Advice::Look);
    }
    assert_eq!(server.state(), State::Closed);
}

#[test]
fn a_probe_that_began_before_the_failures_says_nothing_of_them() {
    let mut server = Passive::default();
    let asked = Instant::now();
    for failures in 1..100 {
        let now = asked + STEP * failures;
        server.failed(now, 0);
        server.probed(asked, now);
    }
    assert_eq!(server.state(), State::Closed);
}

#[test]
fn failures_that_are_less_than_half_of_what_is_tried_eject_nobody() {
    for (answers_each, ejected) in [(0, true), (1, true), (2, false), (100, false)] {
        let mut server = Passive::default();
        let (mut now, mut answered) = (Instant::now(), 7_000);
        for _ in 0..30 {
            now += STEP;
            server.failed(now, answered);
            server.probed(now, now);
            answered += answers_each;
        }
        assert_eq!(server.state() != State::Closed, ejected, "{answers_each}");
    }
}

#[test]
fn failures_that_are_rare_eject_nobody() {
    let mut server = Passive::default();
    let mut now = Instant::now();
    for _ in 0..100 {
        now += PASSIVE_WINDOW / 4;
        server.failed(now, 0);
        server.probed(now, now);
        assert_eq!(server.state(), State::Closed);
    }
}

#[test]
fn a_loss_of_contact_explains_the_failures_before_it_and_shortens_an_ejection() {
    let mut server = Passive::default();
    let mut now = Instant::now();
    for _ in 0..4 {
        now += STEP;
        server.failed(now, 0);
        server.probed(now, now);
    }
    server.lost(now);
    assert!(fail_until_ejected(&mut server, &mut now) >= 5);
    server.lost(now);
    server.probed(now, now);
    assert_eq!(server.state(), State::HalfOpen(now));
}

#[test]
fn a_half_open_server_that_nobody_calls_is_well_after_a_while() {
    let mut server = Passive::default();
    let mut now = Instant::now();
    fail_until_ejected(&mut server, &mut now);
    now = until(&server);
    server.probed(now, now);
    server.probed(now + HALF_OPEN_QUIET / 2, now + HALF_OPEN_QUIET / 2);
    assert_eq!(server.state(), State::HalfOpen(now));
    server.probed(now + HALF_OPEN_QUIET, now + HALF_OPEN_QUIET);
    assert_eq!(server.state(), State::Closed);
}

#[test]
fn a_flood_of_failures_is_counted_in_bounded_space() {
    let mut server = Passive::default();
    let mut now = Instant::now();
    for _ in 0..100_000 {
        server.failed(now, 0);
        now += Duration::from_millis(1);
    }
    assert!(server.failures.0.len() <= 21, "{}", server.failures.0.len());
}
