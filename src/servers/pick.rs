//! Which of several servers is asked.

use super::source::{Fleet, ServerSet};

/// The one of several to try: a healthy one before others, then the one with the least outstanding.
///
/// `tie` breaks ties, so that equally busy servers share; pass a random number.
pub fn best(fleet: &Fleet, candidates: ServerSet, tie: usize) -> Option<usize> {
    let count = candidates.len().max(1);
    let healthy = fleet.healthy();
    let rank = |(position, index): &(usize, usize)| {
        let load = &fleet.get(*index).load;
        (!healthy.contains(*index), load.requests(), load.watches(), (position + tie) % count)
    };
    candidates.iter().enumerate().min_by_key(rank).map(|(_, index)| index)
}

/// The less busy of two healthy servers chosen at random; of any two if none is healthy.
///
/// `random` gives a number below its argument.
pub fn least_of_two(
    fleet: &Fleet,
    among: ServerSet,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    let healthy = among.intersection(fleet.healthy());
    let candidates: Vec<usize> = if healthy.is_empty() { among } else { healthy }.iter().collect();
    let busy = |index: usize| {
        let load = &fleet.get(index).load;
        (load.requests(), load.watches())
    };
    match candidates.len() {
        0 => None,
        1 => Some(candidates[0]),
        count => {
            let first = random(count);
            let second = (first + 1 + random(count - 1)) % count;
            let (first, second) = (candidates[first], candidates[second]);
            Some(if busy(second) < busy(first) { second } else { first })
        }
    }
}
