//! How many requests may be under way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts short requests, from their head to the beginning of their answer: as long as a server keeps them waiting,
/// which the request timeout bounds.
#[derive(Clone, Debug, Default)]
pub struct Seats(Arc<AtomicUsize>);

/// One request's seat; free again when dropped.
#[derive(Debug)]
pub struct Seat(Seats);

// === impl Seats ===

impl Seats {
    /// A seat, unless `max` are taken.
    pub fn take(&self, max: usize) -> Option<Seat> {
        let seat = self.take_anyway();
        // Whoever comes while another one is turned away is turned away, too; the next one is not.
        (self.0.load(Ordering::Relaxed) <= max).then_some(seat)
    }

    /// How many are taken now.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A seat, and be it one too many.
    pub fn take_anyway(&self) -> Seat {
        self.0.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_given_out_up_to_the_limit_and_come_back() {
        let seats = Seats::default();
        let (one, two) = (seats.take(2).unwrap(), seats.take(2).unwrap());
        assert!(seats.take(2).is_none());
        let _more = seats.take_anyway();
        drop(one);
        assert!(seats.take(2).is_none());
        drop(two);
        assert!(seats.take(2).is_some());
    }
}
