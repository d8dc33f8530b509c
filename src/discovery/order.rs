//! One order out of several (upstream: `k8s.io/apimachinery/pkg/util/sort`, `MergePreservingRelativeOrder`).
//!
//! Equal to upstream's helper down to its corners, because the order of a merged document is part of its ETag.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

/// All names of `lists`, each once, in an order that keeps to the lists where they agree.
///
/// 1. The first list that has every name, and none twice, is the answer, even if other lists contradict it.
/// 2. Else names are sorted topologically; only *neighbours* in a list constrain each other. Among names that
///    may come next, the smallest does.
/// 3. Where the lists contradict each other, all names are sorted alphabetically.
pub fn merge_preserving_relative_order<'a>(lists: &[Vec<&'a str>]) -> Vec<&'a str> {
    let mut nodes: BTreeMap<&'a str, Node<'a>> = BTreeMap::new();
    for list in lists {
        for &name in list {
            nodes.entry(name).or_default();
        }
    }
    if let Some(list) = lists.iter().find(|list| list.len() == nodes.len() && is_unique(list)) {
        return list.clone();
    }

    for (before, after) in lists.iter().flat_map(|list| list.windows(2)).map(|pair| (pair[0], pair[1])) {
        if nodes.entry(before).or_default().after.insert(after) {
            nodes.entry(after).or_default().waits_for += 1;
        }
    }
    topological(&mut nodes).unwrap_or_else(|| nodes.into_keys().collect())
}

/// What is known of a name.
#[derive(Default)]
struct Node<'a> {
    /// Names that directly follow this one somewhere.
    after: HashSet<&'a str>,
    /// How many names that directly precede this one are not placed yet.
    waits_for: usize,
}

/// Kahn's algorithm with a heap; none if the constraints go in a circle.
fn topological<'a>(nodes: &mut BTreeMap<&'a str, Node<'a>>) -> Option<Vec<&'a str>> {
    let mut ready: BinaryHeap<Reverse<&'a str>> =
        nodes.iter().filter(|(_, node)| node.waits_for == 0).map(|(name, _)| Reverse(*name)).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(name)) = ready.pop() {
        order.push(name);
        let after = nodes.get_mut(name).map(|node| std::mem::take(&mut node.after)).unwrap_or_default();
        for next in after {
            if let Some(node) = nodes.get_mut(next) {
                node.waits_for -= 1;
                if node.waits_for == 0 {
                    ready.push(Reverse(next));
                }
            }
        }
    }
    (order.len() == nodes.len()).then_some(order)
}

fn is_unique(list: &[&str]) -> bool {
    let mut seen = HashSet::with_capacity(list.len());
    list.iter().all(|name| seen.insert(*name))
}
