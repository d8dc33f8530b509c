//! What was said already: the same thing is told once in a while, however often it happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Remembers what was told, up to a number of things. What would be one too many is not told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    last: BTreeMap<String, Instant>,
    most: usize,
    again_after: Duration,
}

// === impl Told ===

impl Told {
    pub(super) fn new(most: usize, again_after: Duration) -> Self {
        Self { last: BTreeMap::new(), most, again_after }
    }

    /// Whether it is time to tell this; it counts as told then.
    pub(super) fn is_news(&mut self, what: &str, now: Instant) -> bool {
        let recent = |told: &Instant| now.saturating_duration_since(*told) < self.again_after;
        if self.last.get(what).is_some_and(recent) {
            return false;
        }
        if self.last.len() >= self.most {
            self.last.retain(|_, told| recent(told));
        }
        let room = self.last.len() < self.most;
        if room {
            self.last.insert(what.to_owned(), now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while_and_never_more_than_a_number_of_things() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut told = Told::new(10, hour);
        assert!(told.is_news("a", start));
        assert!(!told.is_news("a", start + hour / 2));
        assert_eq!((0..1000).filter(|n| told.is_news(&format!("n{n}"), start)).count(), 9);
        assert_eq!(told.last.len(), 10);
        assert!(told.is_news("a", start + hour));
        assert!(told.is_news("b", start + hour), "what is long ago makes room");
    }
}
