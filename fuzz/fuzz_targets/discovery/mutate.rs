//! Documents near a recorded one, so that what is behind the parser is reached, too.

use std::sync::LazyLock;

use kube_peer_proxy::embedded::Recorded;
use serde_json::{Value, json};

static TREE: LazyLock<Value> = LazyLock::new(|| Recorded::V1_35.apis());
static TEXT: LazyLock<String> = LazyLock::new(|| TREE.to_string());

/// Words that mean something somewhere, and some that don't.
const WORDS: [&str; 16] = [
    "",
    "apps",
    "v1",
    "v2",
    "deployments",
    "status",
    "scale",
    "get",
    "Current",
    "Stale",
    "Soon",
    "creationTimestamp",
    "freshness",
    "verbs",
    "metadata",
    "x-new",
];

/// The recorded text with cuts: where (two bytes), how many bytes go, how many come, and those.
pub(super) fn text(mut cuts: &[u8]) -> Vec<u8> {
    let mut text = TEXT.clone().into_bytes();
    while let [high, low, gone, come, rest @ ..] = cuts {
        let at = usize::from(u16::from_be_bytes([*high, *low])).min(text.len());
        let end = (at + usize::from(*gone)).min(text.len());
        let (new, rest) = rest.split_at(usize::from(*come).min(rest.len()));
        text.splice(at..end, new.iter().copied());
        cuts = rest;
    }
    text
}

/// The recorded tree with changes: what, an argument, and up to eight steps down from the root.
pub(super) fn tree(changes: &[u8]) -> Vec<u8> {
    let mut tree = TREE.clone();
    for change in changes.chunks(10).take(24) {
        let [what, argument, steps @ ..] = change else { break };
        let mut place = &mut tree;
        for step in steps {
            if !has_children(place) || *step == u8::MAX {
                break;
            }
            place = child(place, *step).expect("it has children");
        }
        alter(place, *what, *argument);
    }
    tree.to_string().into_bytes()
}

fn has_children(value: &Value) -> bool {
    value.as_array().is_some_and(|list| !list.is_empty())
        || value.as_object().is_some_and(|map| !map.is_empty())
}

fn child(value: &mut Value, step: u8) -> Option<&mut Value> {
    match value {
        Value::Array(list) => {
            let at = usize::from(step) % list.len();
            list.get_mut(at)
        }
        Value::Object(map) => {
            let at = usize::from(step) % map.len();
            map.values_mut().nth(at)
        }
        _ => None,
    }
}

fn alter(place: &mut Value, what: u8, argument: u8) {
    let word = WORDS[usize::from(argument) % WORDS.len()];
    let at = |length: usize| usize::from(argument) % length;
    match (what % 10, place) {
        (0, place) => *place = Value::Null,
        (1, place) => *place = json!([]),
        (2, place) => *place = json!({}),
        (3, place) => *place = json!(word),
        (4, place) => {
            let numbers = json!([i64::MIN, u64::MAX, -0.0, 1e-300, 0.1, 1e21]);
            *place = numbers[at(6)].clone();
        }
        (5, Value::Array(list)) if !list.is_empty() => list.push(list[at(list.len())].clone()),
        (6, Value::Array(list)) if !list.is_empty() => {
            let gone = at(list.len());
            list.remove(gone);
        }
        (7, Value::Array(list)) if !list.is_empty() => {
            let by = at(list.len());
            list.rotate_left(by);
        }
        (5, Value::Object(map)) => {
            let value = map.values().next().cloned().unwrap_or_default();
            map.insert(word.to_owned(), value);
        }
        (6, Value::Object(map)) => drop(map.shift_remove(word)),
        (7, Value::Object(map)) => drop(map.insert(word.to_owned(), json!({"x": [argument]}))),
        (8, place) => *place = json!([place.take()]),
        (9, place) => *place = json!({word: place.take()}),
        _ => {}
    }
}
