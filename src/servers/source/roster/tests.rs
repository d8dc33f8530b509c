use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

fn allowed() -> Allowed {
    Allowed::new(&["10.0.0.0/8".parse().unwrap()])
}

fn at(name: &str, last: u8) -> Sighting {
    Sighting::new(name, [10, 0, 0, last].into(), 6443, &allowed()).unwrap()
}

fn place(last: u8) -> Address {
    Address::new(&format!("10.0.0.{last}"), 6443)
}

fn roster(fixed: &[(&str, &str)]) -> Roster {
    let fixed = fixed.iter().map(|(name, host)| ((*name).into(), Address::new(host, 6443)));
    Roster::new(fixed, Settings::default())
}

fn all<const N: usize>(sightings: [Sighting; N]) -> Sightings {
    Sightings::All(sightings.into())
}

/// The list as it is, in short.
fn shown(roster: &Roster) -> Vec<String> {
    let state = |state| match state {
        State::Static => "static",
        State::Seen => "seen",
        State::Departed => "departed",
    };
    let members = roster.members();
    members.iter().map(|(name, m)| format!("{name} {} {}", m.address.host, state(m.state))).collect()
}

fn news_of(change: Option<Change>) -> Vec<(String, News)> {
    change.unwrap().news.into_iter().map(|(name, news)| (name.to_string(), news)).collect()
}

#[test]
fn a_server_that_is_no_longer_named_stays_departed_until_it_is_forgotten() {
    let (mut roster, start) = (roster(&[("a", "10.0.0.1")]), Instant::now());
    let change = roster.update(all([at("b", 2)]), start);
    assert_eq!(news_of(change), [("b".into(), News::Added(place(2)))]);
    // It was named all the time until then, however long ago the source said anything.
    let left = start + 30 * DAY;
    assert_eq!(news_of(roster.update(all([]), left)), [("b".into(), News::Departed)]);
    assert_eq!(roster.due(), Some(left + DAY));
    assert_eq!(roster.update(all([]), left + DAY - SECOND), None);
    assert_eq!(shown(&roster), ["a 10.0.0.1 static", "b 10.0.0.2 departed"]);
    assert_eq!(news_of(roster.tick(left + DAY)), [("b".into(), News::Removed)]);
    assert_eq!(shown(&roster), ["a 10.0.0.1 static"]);
    assert_eq!(roster.due(), None);
}

#[test]
fn a_departed_server_comes_back_by_its_name_and_its_day_begins_anew() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    roster.update(all([at("b", 2)]), start);
    roster.update(all([]), start + SECOND);
    let back = start + DAY / 2;
    assert_eq!(
        news_of(roster.update(all([at("b", 3)]), back)),
        [("b".into(), News::Moved(place(3))), ("b".into(), News::Returned)]
    );
    roster.update(all([]), back + SECOND);
    assert_eq!(roster.tick(back + DAY - SECOND), None);
    assert_eq!(shown(&roster), ["b 10.0.0.3 departed"]);
}

#[test]
fn one_that_is_named_as_having_left_departs_and_is_not_forgotten_while_it_is_named() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    roster.update(all([at("b", 2)]), start);
    let leaving = roster.update(all([at("b", 2).departed()]), start + SECOND);
    assert_eq!(news_of(leaving), [("b".into(), News::Departed)]);
    assert_eq!(roster.update(all([at("b", 2).departed()]), start + 5 * DAY), None);
    assert_eq!(shown(&roster), ["b 10.0.0.2 departed"]);
}

#[test]
fn the_configuration_counts_more_than_a_source() {
    let (mut roster, start) = (roster(&[("cp1", "127.0.0.1"), ("cp2", "10.0.0.2")]), Instant::now());
    let holder = |s: Sighting| s.held_by("x");
    roster.update(all([holder(at("cp1", 1)), holder(at("other-name", 2)), at("cp3", 3)]), start);
    assert_eq!(shown(&roster), ["cp1 127.0.0.1 static", "cp2 10.0.0.2 static", "cp3 10.0.0.3 seen"]);
    let members = Arc::clone(roster.published());
    assert!(["cp1", "cp2"].iter().all(|name| members[*name].holder.as_deref() == Some("x")));
    assert_eq!(
        roster.update(all([at("cp3", 3)]), start + SECOND),
        None,
        "nothing that a source says departs them"
    );
    assert_eq!(roster.turned_away(), []);
}

#[test]
fn another_holder_is_news_even_of_a_configured_server() {
    let (mut roster, start) = (roster(&[("a", "127.0.0.1")]), Instant::now());
    roster.update(all([at("a", 1).held_by("x"), at("b", 2).held_by("x")]), start);
    let change = roster.update(all([at("a", 1).held_by("y"), at("b", 2).held_by("y")]), start + SECOND);
    assert_eq!(news_of(change), [("a".into(), News::Restarted), ("b".into(), News::Restarted)]);
}

#[test]
fn a_server_that_the_operator_removed_is_gone_at_once() {
    let (mut roster, start) =
        (roster(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")]), Instant::now());
    roster.update(all([at("b", 2), at("c", 3)]), start);
    roster.update(all([at("c", 3)]), start + SECOND);
    let fixed = [("a".into(), place(1))];
    let change = roster.configure(fixed, Settings::default(), &allowed(), start + SECOND);
    assert_eq!(
        news_of(change),
        [("b".into(), News::Removed), ("c".into(), News::Released)],
        "the source still names c"
    );
    let fixed = [("a".into(), place(1)), ("c".into(), place(3))];
    let change = roster.configure(fixed, Settings::default(), &allowed(), start + SECOND);
    assert_eq!(news_of(change), [("c".into(), News::Adopted)]);
}

#[test]
fn i11_who_is_outside_of_the_ranges_that_are_now_allowed_is_gone() {
    let (mut roster, start) = (roster(&[("a", "192.0.2.1")]), Instant::now());
    roster.update(all([at("b", 2), at("c", 200)]), start);
    let narrow = Allowed::new(&["10.0.0.0/25".parse().unwrap()]);
    let fixed = [("a".into(), Address::new("192.0.2.1", 6443))];
    let change = roster.configure(fixed, Settings::default(), &narrow, start);
    assert_eq!(news_of(change), [("c".into(), News::Removed)]);
}

#[test]
fn a_renamed_server_does_not_stay_under_both_names() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    roster.update(all([at("old", 2)]), start);
    roster.update(all([at("new", 2)]), start + SECOND);
    assert_eq!(shown(&roster), ["new 10.0.0.2 seen"]);
    roster.update(all([at("new", 2), at("old", 2).departed()]), start + 2 * SECOND);
    assert_eq!(shown(&roster), ["new 10.0.0.2 seen"]);
    assert_eq!(roster.turned_away(), [Refused::new("old", Reason::Duplicate)]);
}

#[test]
fn of_two_with_one_name_or_one_address_the_lesser_is_taken() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    roster.update(all([at("b", 5), at("c", 5), at("a", 7), at("a", 6)]), start);
    assert_eq!(shown(&roster), ["a 10.0.0.6 seen", "b 10.0.0.5 seen"]);
    assert_eq!(roster.turned_away().len(), 2);
}

#[test]
fn ignorance_changes_nothing() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    roster.update(all([at("b", 2), at("c", 3)]), start);
    assert_eq!(roster.update(Sightings::Unknown, start + 300 * DAY), None);
    assert_eq!(roster.update(Sightings::Some(vec![at("b", 2)]), start + 300 * DAY), None);
    assert_eq!(shown(&roster), ["b 10.0.0.2 seen", "c 10.0.0.3 seen"]);
}

#[test]
fn one_that_comes_and_goes_ten_times_a_second_changes_the_list_once_a_second() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    let mut changes = 0;
    for tenth in 0..600u32 {
        let now = start + tenth * SECOND / 10;
        let sightings = if tenth % 2 == 0 { all([at("b", 2)]) } else { all([]) };
        changes += usize::from(roster.update(sightings, now).is_some());
    }
    assert!((1..=60).contains(&changes), "{changes}");
}

#[test]
fn a_change_that_came_too_soon_is_published_when_it_is_due() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    assert!(roster.update(all([at("b", 2)]), start).is_some());
    assert_eq!(roster.due(), None);
    assert_eq!(roster.update(all([at("b", 2), at("c", 3)]), start + SECOND / 2), None);
    assert_eq!(roster.due(), Some(start + SECOND));
    assert_eq!(news_of(roster.tick(start + SECOND)), [("c".into(), News::Added(place(3)))]);
}

#[test]
fn there_are_never_more_than_so_many_and_who_is_known_stays() {
    let (mut roster, start) = (roster(&[("fixed", "192.0.2.1")]), Instant::now());
    let flood = |range: std::ops::Range<u32>, prefix: &str| {
        range
            .map(|n| {
                let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
                Sighting::new(&format!("{prefix}{n:05}"), ip.into(), 6443, &allowed()).unwrap()
            })
            .collect::<Vec<_>>()
    };
    let known = flood(20_000..20_003, "z");
    roster.update(Sightings::All(known.clone()), start);
    let mut more = flood(0..10_000, "a");
    more.extend(known.iter().cloned());
    let change = roster.update(Sightings::All(more), start + SECOND).unwrap();
    assert_eq!(change.members.len(), MAX_SERVERS);
    assert!(known.iter().all(|one| change.members[one.name()].state == State::Seen));
    assert!(change.members.contains_key("a00000") && !change.members.contains_key("a00060"));
    assert_eq!(roster.turned_away().len(), 10_000 - 60);
}

#[test]
fn a_live_server_takes_the_place_of_the_one_that_departed_first() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    let settings = Settings { most: 3, ..Settings::default() };
    roster.configure([], settings, &allowed(), start);
    // Pods that are replaced one after the other, each by one with another address.
    roster.update(all([at("c", 1), at("a", 2)]), start + SECOND);
    roster.update(all([at("a", 2), at("d", 4)]), start + 2 * SECOND);
    roster.update(all([at("d", 4)]), start + 3 * SECOND);
    assert_eq!(shown(&roster), ["a 10.0.0.2 departed", "c 10.0.0.1 departed", "d 10.0.0.4 seen"]);
    let change = roster.update(all([at("d", 4), at("e", 5)]), start + 4 * SECOND);
    assert_eq!(news_of(change), [("c".into(), News::Removed), ("e".into(), News::Added(place(5)))]);
    assert_eq!(roster.turned_away(), [], "nobody is turned away whom nobody names");
    roster.update(all([at("d", 4), at("e", 5), at("f", 6)]), start + 5 * SECOND);
    assert_eq!(shown(&roster), ["d 10.0.0.4 seen", "e 10.0.0.5 seen", "f 10.0.0.6 seen"]);
    // Who is there makes no place, and who departed takes none from whom we know.
    roster.update(all([at("d", 4), at("e", 5), at("b", 7), at("f", 6)]), start + 6 * SECOND);
    assert_eq!(roster.turned_away(), [Refused::new("b", Reason::TooMany)]);
    roster.update(all([at("d", 4), at("e", 5), at("b", 7).departed()]), start + 7 * SECOND);
    assert_eq!(shown(&roster), ["d 10.0.0.4 seen", "e 10.0.0.5 seen", "f 10.0.0.6 departed"]);
}

/// Also where one half of each question to DNS fails, so that nobody ever departs.
#[test]
fn addresses_that_rotate_never_keep_out_who_is_there() {
    for whole in [true, false] {
        let (mut roster, start) = (roster(&[]), Instant::now());
        for round in 0..300u32 {
            let ip = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into();
            let pods = [round, round + 1].map(|n| Sighting::by_address(ip(n), 6443, &allowed()).unwrap());
            let names = pods.clone().map(|pod| Arc::clone(pod.name()));
            let pods = pods.into();
            let sightings = if whole { Sightings::All(pods) } else { Sightings::Some(pods) };
            roster.update(sightings, start + round * SECOND);
            let members = roster.published();
            assert!(members.len() <= MAX_SERVERS);
            let there = |name| members.get(name).is_some_and(|member| member.state == State::Seen);
            assert!(names.iter().all(there), "round {round}");
        }
    }
}

#[test]
fn more_servers_in_the_configuration_leave_less_room_for_others() {
    let (mut roster, start) = (roster(&[]), Instant::now());
    let settings = Settings { most: 3, ..Settings::default() };
    roster.configure([], settings, &allowed(), start);
    roster.update(all([at("a", 1), at("b", 2), at("c", 3)]), start + SECOND);
    roster.update(all([at("b", 2), at("c", 3)]), start + 2 * SECOND);
    let fixed = [("x".into(), place(9)), ("y".into(), place(8))];
    roster.configure(fixed, settings, &allowed(), start + 3 * SECOND);
    assert_eq!(shown(&roster), ["b 10.0.0.2 seen", "x 10.0.0.9 static", "y 10.0.0.8 static"]);
}

// === Whatever happens ===

#[derive(Clone, Debug)]
enum Step {
    All(Vec<Sighting>),
    Some(Vec<Sighting>),
    Unknown,
    Wait(u64),
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (0u8..12, 0u8..12, any::<bool>(), 0u8..3).prop_map(|(name, last, live, holder)| {
        let sighting = at(&format!("s{name}"), last).held_by(&holder.to_string());
        if live { sighting } else { sighting.departed() }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(sighting(), 0..10).prop_map(Step::All),
        1 => vec(sighting(), 0..10).prop_map(Step::Some),
        1 => Just(Step::Unknown),
        2 => (0u64..100_000).prop_map(Step::Wait),
    ]
}

/// A configuration with two servers, and room for three more.
fn small() -> Roster {
    let fixed = [("s0".into(), Address::new("127.0.0.1", 6443)), ("x".into(), place(1))];
    Roster::new(fixed, Settings { most: 5, ..Settings::default() })
}

fn walk(roster: &mut Roster, steps: &[Step], start: Instant, order: impl Fn(&mut Vec<Sighting>)) -> Instant {
    let mut now = start;
    for step in steps {
        let ordered = |sightings: &Vec<Sighting>| {
            let mut sightings = sightings.clone();
            order(&mut sightings);
            sightings
        };
        now += SECOND / 3;
        match step {
            Step::All(all) => drop(roster.update(Sightings::All(ordered(all)), now)),
            Step::Some(some) => drop(roster.update(Sightings::Some(ordered(some)), now)),
            Step::Unknown => drop(roster.update(Sightings::Unknown, now)),
            Step::Wait(seconds) => {
                now += Duration::from_secs(*seconds);
                roster.tick(now);
            }
        }
    }
    now
}

proptest! {
    #[test]
    fn the_order_in_which_things_arrive_does_not_matter(steps in vec(step(), 0..20), by in 0usize..10) {
        let (mut one, mut other, start) = (small(), small(), Instant::now());
        walk(&mut one, &steps, start, |_| {});
        walk(&mut other, &steps, start, |list| {
            list.reverse();
            if !list.is_empty() {
                let by = by % list.len();
                list.rotate_left(by);
            }
        });
        prop_assert_eq!(one.members(), other.members());
        prop_assert_eq!(one.published(), other.published());
    }

    #[test]
    fn nobody_is_lost_while_the_source_cannot_be_asked(steps in vec(step(), 0..20), days in 0u32..1000) {
        let (mut roster, start) = (small(), Instant::now());
        let now = walk(&mut roster, &steps, start, |_| {});
        let live = |members: &Members| {
            members.iter().filter(|(_, m)| m.state != State::Departed).map(|(n, _)| n.clone()).collect::<Vec<_>>()
        };
        let before = live(&roster.members());
        roster.update(Sightings::Unknown, now + days * DAY);
        prop_assert_eq!(before, live(&roster.members()));
    }

    #[test]
    fn there_is_room_for_so_many_and_the_configuration_is_always_there(steps in vec(step(), 0..30)) {
        let (mut roster, start) = (small(), Instant::now());
        for step in &steps {
            walk(&mut roster, std::slice::from_ref(step), start, |_| {});
            for members in [&roster.members(), &**roster.published()] {
                prop_assert!(members.len() <= 5);
                prop_assert_eq!(&members["s0"].address, &Address::new("127.0.0.1", 6443));
                prop_assert_eq!(&members["x"].address, &place(1));
                let addresses: BTreeSet<_> = members.values().map(|m| m.address.clone()).collect();
                prop_assert_eq!(addresses.len(), members.len(), "one server at each address");
            }
        }
    }

    #[test]
    fn i7_nobody_who_was_there_is_gone_before_his_time(steps in vec(step(), 0..20), next in vec(sighting(), 0..10)) {
        let (mut roster, start) = (small(), Instant::now());
        let now = walk(&mut roster, &steps, start, |_| {});
        let before = roster.members();
        roster.update(Sightings::All(next.clone()), now);
        let after = roster.members();
        let adopted = |name: &str| {
            next.iter().any(|s| &**s.name() == name && (s.address() == place(1)))
        };
        let addresses: BTreeSet<_> = after.values().map(|m| m.address.clone()).collect();
        for (name, member) in before {
            // Another has his address by now, or he has that of a configured one; or room is short for one who moved.
            let gone = !after.contains_key(&name);
            let claimed = next.iter().any(|s| s.address() == member.address);
            let replaced = claimed || addresses.contains(&member.address) || adopted(&name);
            prop_assert!(!gone || replaced || after.len() == 5, "{name}");
        }
    }

    #[test]
    fn who_saw_every_change_knows_the_list(steps in vec(step(), 0..20)) {
        let (mut roster, start) = (small(), Instant::now());
        let now = walk(&mut roster, &steps, start, |_| {});
        if let Some(due) = roster.due() {
            roster.tick(due.max(now));
        }
        roster.tick(now + 2 * SECOND);
        prop_assert_eq!(&**roster.published(), &roster.members());
    }
}
