//! A checker that cannot fail proves nothing: each kind of lie is told to it.

use proptest::prelude::*;

use super::{
    super::history::{Ack, Change, Kind::*, State, Step, Truth},
    Fault, Finding, check,
};
use crate::watch_checker::history::{Kind, Revision};

fn change(at: Revision, kind: Kind, name: &str) -> Change {
    Change { at, kind, name: name.to_owned(), value: Some(at * 10) }
}

fn told(at: Revision, kind: Kind, name: &str) -> Step {
    Step::Event(change(at, kind, name))
}

fn state(objects: &[(&str, Revision)]) -> State {
    objects.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
}

/// `x` was there at 5; the revisions between are other resources'.
fn truth() -> Truth {
    let changes = vec![
        change(11, Added, "a"),
        change(13, Added, "b"),
        change(14, Modified, "a"),
        change(17, Deleted, "a"),
        change(18, Modified, "b"),
        change(21, Added, "a"),
    ];
    Truth::new(state(&[("x", 5)]), changes)
}

const END: Revision = 21;

/// Lists in the beginning, watches to the end.
fn good() -> Vec<Step> {
    vec![
        Step::Listed { at: 10, objects: state(&[("x", 5)]) },
        Step::Watching { from: 10 },
        told(11, Added, "a"),
        told(13, Added, "b"),
        Step::Bookmark { at: 13 },
        told(14, Modified, "a"),
        Step::Ended { cleanly: false, torn: true },
        Step::Watching { from: 14 },
        Step::Bookmark { at: 16 },
        Step::Ended { cleanly: true, torn: false },
        Step::Watching { from: 16 },
        Step::Expired,
        Step::Listed { at: 17, objects: state(&[("b", 13), ("x", 5)]) },
        Step::Watching { from: 17 },
        told(18, Modified, "b"),
        told(21, Added, "a"),
    ]
}

/// What is found after something was changed.
#[track_caller]
fn found(change: impl FnOnce(&mut Vec<Step>)) -> Vec<(usize, Fault)> {
    let mut history = good();
    change(&mut history);
    check(&truth(), &history, END).into_iter().map(|Finding { step, fault }| (step, fault)).collect()
}

#[test]
fn a_true_history_is_found_true_however_it_is_cut() {
    assert_eq!(found(|_| ()), []);
    let mut at_once = good();
    at_once.retain(|step| matches!(step, Step::Event(_)));
    // All that was told, and what the list told instead.
    at_once.insert(3, told(17, Deleted, "a"));
    at_once.splice(0..0, good()[..2].to_vec());
    assert_eq!(check(&truth(), &at_once, END), []);
    assert_eq!(check(&truth(), &[Step::Listed { at: 30, objects: truth().state_at(30) }], END), []);
}

#[test]
fn a_gap_is_found_in_the_midst_of_a_watch_before_a_bookmark_and_between_two_watches() {
    let missing = |at| Fault::Gap(truth().at(at).unwrap().clone());
    assert!(found(|all| drop(all.remove(2))).contains(&(2, missing(11))), "in the midst");
    assert_eq!(found(|all| drop(all.remove(3)))[0], (3, missing(13)), "before a bookmark");
    let late = found(|all| {
        all.remove(5);
        all[6] = Step::Watching { from: 13 };
    });
    assert!(late.contains(&(7, missing(14))), "over a reconnect: {late:?}");
    // Whoever goes on from too far ahead has a gap as well as having gone astray.
    let ahead = found(|all| all[7] = Step::Watching { from: 15 });
    assert_eq!(ahead, [(7, Fault::Astray { seen: 14 })]);
}

#[test]
fn a_write_that_is_told_twice_is_found() {
    assert_eq!(found(|all| all.insert(4, told(13, Added, "b"))), [(4, Fault::Duplicate)]);
    assert_eq!(
        found(|all| all.insert(8, told(14, Modified, "a"))),
        [(8, Fault::Duplicate)],
        "after a reconnect"
    );
    assert_eq!(found(|all| all.insert(14, told(17, Deleted, "a"))), [(14, Fault::Reordered)], "after a list");
}

#[test]
fn a_wrong_order_is_found() {
    let seen = found(|all| all.swap(2, 3));
    let gap = Fault::Gap(truth().at(11).unwrap().clone());
    assert_eq!(seen[..2], [(2, gap), (3, Fault::Reordered)], "{seen:?}");
}

#[test]
fn what_never_happened_or_happened_otherwise_is_found() {
    assert_eq!(found(|all| all.insert(4, told(12, Added, "c"))), [(4, Fault::Phantom)]);
    let other = |at| Fault::Other(truth().at(at).unwrap().clone());
    assert!(found(|all| all[2] = told(11, Added, "c")).contains(&(2, other(11))), "another object");
    assert!(found(|all| all[5] = told(14, Deleted, "a")).contains(&(5, other(14))), "another kind");
    let with_another_value = found(|all| {
        all[2] = Step::Event(Change { value: Some(0), ..change(11, Added, "a") });
    });
    assert_eq!(with_another_value, [(2, other(11))]);
}

#[test]
fn a_kind_that_does_not_fit_what_was_known_is_found() {
    // The list forgot `a`, so that its deletion comes out of the blue.
    let forgotten = found(|all| {
        all[0] = Step::Listed { at: 11, objects: state(&[("x", 5)]) };
        all[1] = Step::Watching { from: 11 };
        all.remove(2);
    });
    assert_eq!(forgotten[0], (0, Fault::WrongList { expected: state(&[("a", 11), ("x", 5)]) }));
    assert!(forgotten.contains(&(4, Fault::Impossible)), "{forgotten:?}");
}

#[test]
fn a_list_that_is_wrong_or_old_is_found() {
    let expected = state(&[("b", 13), ("x", 5)]);
    let echo = found(|all| {
        all[12] = Step::Listed { at: 17, objects: state(&[("a", 14), ("b", 13), ("x", 5)]) };
    });
    assert!(echo.contains(&(12, Fault::WrongList { expected })), "{echo:?}");
    let old = found(|all| all[12] = Step::Listed { at: 12, objects: truth().state_at(12) });
    assert!(old.contains(&(12, Fault::Backwards { seen: 16 })), "{old:?}");
    assert!(found(|all| all[8] = Step::Bookmark { at: 12 }).contains(&(8, Fault::Backwards { seen: 14 })));
}

#[test]
fn a_watch_that_ends_well_in_the_midst_of_a_line_is_found() {
    assert_eq!(found(|all| all[6] = Step::Ended { cleanly: true, torn: true }), [(6, Fault::Torn)]);
}

#[test]
fn who_never_arrives_is_found_and_who_arrives_with_another_view_too() {
    assert_eq!(found(|all| drop(all.pop())), [(15, Fault::Behind { end: END })]);
    let wrong = found(|all| all[12] = Step::Listed { at: 17, objects: state(&[("b", 13)]) });
    assert!(matches!(wrong.last(), Some((16, Fault::WrongEnd { .. }))), "{wrong:?}");
}

#[test]
fn what_a_writer_was_promised_and_did_not_happen_is_found() {
    let ack = |at, kind, name: &str, value| Ack { at, kind, name: name.to_owned(), value };
    let good = [ack(Some(11), Added, "a", 110), ack(None, Deleted, "a", 0)];
    assert_eq!(truth().reconcile(&good), [""; 0]);
    for bad in [
        ack(Some(12), Added, "a", 120),
        ack(Some(11), Added, "b", 110),
        ack(Some(11), Modified, "a", 110),
        ack(Some(11), Added, "a", 111),
        ack(None, Deleted, "b", 0),
    ] {
        assert_eq!(truth().reconcile(std::slice::from_ref(&bad)).len(), 1, "{bad:?}");
    }
    let twice = [good[1].clone(), good[1].clone()];
    assert_eq!(truth().reconcile(&twice).len(), 1, "deleted once, promised twice");
}

/// A truth of some objects, and the history of somebody who sees it all in one watch.
fn any_truth() -> impl Strategy<Value = (Truth, Vec<Step>)> {
    prop::collection::vec((0..4usize, any::<bool>(), 1..4u64), 1..60).prop_map(|picks| {
        let (mut there, mut at, mut changes) = ([false; 4], 100, Vec::new());
        for (number, delete, ahead) in picks {
            at += ahead;
            let kind = match (there[number], delete) {
                (false, _) => Added,
                (true, true) => Deleted,
                (true, false) => Modified,
            };
            there[number] = kind != Deleted;
            changes.push(change(at, kind, &format!("o{number}")));
        }
        let mut steps = vec![Step::Listed { at: 100, objects: State::new() }, Step::Watching { from: 100 }];
        steps.extend(changes.iter().cloned().map(Step::Event));
        (Truth::new(State::new(), changes), steps)
    })
}

proptest! {
    #[test]
    fn no_single_lie_passes((truth, steps) in any_truth(), at in any::<prop::sample::Index>(), lie in 0..4u8) {
        let end = match steps.last() { Some(Step::Event(last)) => last.at, _ => unreachable!() };
        prop_assert_eq!(check(&truth, &steps, end), []);
        let events = steps.len() - 2;
        let at = 2 + at.index(events);
        let mut lied = steps.clone();
        match lie {
            0 => drop(lied.remove(at)),
            1 => lied.insert(at, steps[at].clone()),
            2 if at > 2 => lied.swap(at - 1, at),
            _ => {
                let Step::Event(change) = &mut lied[at] else { unreachable!() };
                change.at += 1000;
            }
        }
        prop_assert!(!check(&truth, &lied, end).is_empty(), "{lied:?}");
    }
}
