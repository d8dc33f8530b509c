//! The decisions without I/O: which connection, when to PING, what of a body can be had back.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::Settings;
use super::liveness::{Liveness, Verdict};
use super::state::choose;

fn pick(rooms: &[(usize, usize)]) -> (Option<usize>, bool) {
    choose(rooms.iter().copied(), 0.8)
}

#[test]
fn one_connection_takes_everything_until_it_is_four_fifths_full() {
    assert_eq!(pick(&[(100, 0), (100, 0)]), (Some(0), false));
    assert_eq!(pick(&[(100, 79), (100, 0)]), (Some(0), false));
    assert_eq!(pick(&[(100, 80), (100, 0)]), (Some(1), false));
}

#[test]
fn the_connections_that_are_needed_share_the_load() {
    assert_eq!(pick(&[(100, 90), (100, 20), (100, 0)]), (Some(1), false));
    assert_eq!(pick(&[(10, 5), (100, 40)]), (Some(1), false), "by share, not by number");
}

#[test]
fn another_connection_is_wanted_once_all_are_four_fifths_full() {
    assert_eq!(pick(&[]), (None, true));
    assert_eq!(pick(&[(100, 79)]), (Some(0), false));
    assert_eq!(pick(&[(100, 80)]), (Some(0), true));
    assert_eq!(pick(&[(100, 100)]), (None, true));
    assert_eq!(pick(&[(0, 0)]), (None, true));
}

proptest! {
    #[test]
    fn a_stream_goes_only_where_there_is_room_and_is_refused_only_if_there_is_none(
        rooms in prop::collection::vec((0_usize..20, 0_usize..25), 0..12),
    ) {
        match pick(&rooms).0 {
            Some(index) => prop_assert!(rooms[index].1 < rooms[index].0),
            None => prop_assert!(rooms.iter().all(|(limit, in_use)| in_use >= limit)),
        }
    }

    #[test]
    fn when_the_load_falls_the_youngest_connections_run_empty(load in 1_usize..70, turns in 100_usize..400) {
        let mut rooms = [(100, 60), (100, 60), (100, 60)];
        // Old streams end oldest first, new ones come, the load stays under what one can carry.
        for _ in 0..3 * turns {
            if let Some(room) = rooms.iter_mut().rev().find(|(_, in_use)| *in_use > 0) {
                room.1 -= 1;
            }
            if rooms.iter().map(|(_, in_use)| in_use).sum::<usize>() < load {
                let index = pick(&rooms).0.unwrap();
                rooms[index].1 += 1;
            }
        }
        prop_assert_eq!((rooms[1].1, rooms[2].1), (0, 0));
    }
}

const S: Duration = Duration::from_secs(1);

/// A connection opened at second 0, with the default settings; times are in seconds.
struct Clock {
    zero: Instant,
    liveness: Liveness,
}

impl Clock {
    fn new() -> Self {
        Self { zero: Instant::now(), liveness: Liveness::new(&Settings::default()) }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.zero + S.mul_f64(seconds)
    }

    fn check(&mut self, now: f64, heard: f64, outstanding: usize, taken: u64) -> Verdict {
        let (now, heard) = (self.at(now), self.at(heard));
        self.liveness.check(now, heard, outstanding, taken)
    }
}

#[test]
fn a_server_that_falls_silent_is_dead_ten_seconds_later() {
    let mut clock = Clock::new();
    assert_eq!(clock.check(3.0, 2.0, 1, 1), Verdict::Wait(clock.at(7.0)));
    assert_eq!(clock.check(7.0, 2.0, 1, 1), Verdict::Ping(clock.at(12.0)));
    assert_eq!(clock.check(9.0, 2.0, 1, 1), Verdict::Wait(clock.at(12.0)));
    assert_eq!(clock.check(12.0, 2.0, 1, 1), Verdict::Dead);
}

#[test]
fn a_server_that_hung_unnoticed_is_dead_ten_seconds_after_the_next_request() {
    let mut clock = Clock::new();
    let mut now = 0.0;
    while now < 60.0 {
        let Verdict::Wait(next) = clock.check(now, 0.0, 0, 1) else { panic!("an idle one is left alone") };
        now = (next - clock.zero).as_secs_f64();
    }
    let request = now - 4.9;
    let Verdict::Ping(next) = clock.check(now, 0.0, 1, 2) else { panic!("a PING is due") };
    assert!(next - clock.at(request) <= 10 * S);
    let end = (next - clock.zero).as_secs_f64();
    assert_eq!(clock.check(end, 0.0, 1, 2), Verdict::Dead);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut clock = Clock::new();
    assert_eq!(clock.check(5.0, 0.0, 1, 1), Verdict::Ping(clock.at(10.0)));
    assert_eq!(clock.check(10.0, 9.0, 1, 1), Verdict::Wait(clock.at(14.0)));
    assert_eq!(clock.check(14.0, 9.0, 1, 1), Verdict::Ping(clock.at(19.0)));
}

#[test]
fn giving_up_on_a_hung_server_does_not_bring_it_back() {
    let mut clock = Clock::new();
    assert_eq!(clock.check(5.0, 0.0, 1, 1), Verdict::Ping(clock.at(10.0)));
    assert_eq!(clock.check(8.0, 0.0, 0, 1), Verdict::Wait(clock.at(10.0)));
    assert_eq!(clock.check(10.0, 0.0, 0, 1), Verdict::Dead);
}

#[test]
fn a_connection_is_idle_only_if_nobody_came_in_between() {
    let mut clock = Clock::new();
    assert!(matches!(clock.check(0.0, 0.0, 0, 7), Verdict::Wait(_)));
    assert!(matches!(clock.check(59.0, 0.0, 0, 7), Verdict::Wait(_)));
    assert!(matches!(clock.check(60.0, 0.0, 0, 8), Verdict::Wait(_)), "somebody came and went");
    assert!(matches!(clock.check(119.0, 0.0, 0, 8), Verdict::Wait(_)));
    assert_eq!(clock.check(120.0, 0.0, 0, 8), Verdict::Idle);
}
