//! How many clients may come in: in all, from one place, and at the door at the same time.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{AbortHandle, AbortRegistration};

/// Counts the connections of all listeners of a process.
#[derive(Debug)]
pub struct Gate {
    max: usize,
    max_per_source: Option<usize>,
    max_handshakes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    sources: HashMap<IpAddr, usize>,
    /// In the order in which they began, with where they come from.
    handshakes: BTreeMap<u64, (IpAddr, AbortHandle)>,
    begun: u64,
}

/// Why a connection is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many as there may be are open.
    Total,
    /// As many as there may be from that source are open.
    Source,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    source: Option<IpAddr>,
}

/// A handshake in progress, until it is dropped.
#[derive(Debug)]
pub struct Handshake {
    gate: Arc<Gate>,
    number: u64,
}

// === impl Gate ===

impl Gate {
    /// Lets in so many at most.
    pub fn new(max: usize, max_per_source: Option<usize>, max_handshakes: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_source, max_handshakes, state: Mutex::default() })
    }

    /// A place for one more connection.
    ///
    /// # Errors
    /// If there is none.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Refusal> {
        let mut state = self.state();
        if state.open >= self.max {
            return Err(Refusal::Total);
        }
        state.open += 1;
        Ok(Place { gate: Arc::clone(self), source: None })
    }

    /// A handshake begins. If there are too many, one is given up for it: of the source that has most of them the one
    /// that has lasted longest. An honest one is through in milliseconds, so those are the ones that somebody holds
    /// open to keep others out.
    pub fn handshake(self: &Arc<Self>, address: IpAddr) -> (Handshake, AbortRegistration) {
        let (abort, registration) = AbortHandle::new_pair();
        let mut state = self.state();
        if state.handshakes.len() >= self.max_handshakes
            && let Some(number) = state.most_suspicious()
            && let Some((_, longest)) = state.handshakes.remove(&number)
        {
            longest.abort();
        }
        state.begun += 1;
        let number = state.begun;
        state.handshakes.insert(number, (source(address), abort));
        (Handshake { gate: Arc::clone(self), number }, registration)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Only asked when all places are taken, so nothing is counted before.
    fn most_suspicious(&self) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (source, _) in self.handshakes.values() {
            *counts.entry(*source).or_default() += 1;
        }
        let most = counts.values().max()?;
        self.handshakes.iter().find(|(_, (source, _))| counts[source] == *most).map(|(number, _)| *number)
    }
}

/// Whom an address stands for: whoever has one of IPv6 has the network of 64 bits that it is in.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

// === impl Refusal ===

impl Refusal {
    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "max-connections",
            Self::Source => "max-connections-per-source",
        }
    }
}

// === impl Place ===

impl Place {
    /// Counts the connection as one from there, too.
    ///
    /// # Errors
    /// If there are too many.
    pub fn from(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let Some(max) = self.gate.max_per_source else { return Ok(()) };
        let source = source(address);
        let mut state = self.gate.state();
        let count = state.sources.entry(source).or_default();
        if *count >= max {
            return Err(Refusal::Source);
        }
        *count += 1;
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.open -= 1;
        if let Some(source) = self.source
            && let Some(count) = state.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                state.sources.remove(&source);
            }
        }
    }
}

// === impl Handshake ===

impl Drop for Handshake {
    fn drop(&mut self) {
        self.gate.state().handshakes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{AbortRegistration, Abortable, pending};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let gate = Gate::new(2, None, 1);
        let (one, _two) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().unwrap_err(), Refusal::Total);
        drop(one);
        gate.enter().unwrap();
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let gate = Gate::new(100, Some(1), 1);
        let place = |from: &str| {
            let mut place = gate.enter().unwrap();
            place.from(ip(from)).map(|()| place)
        };
        let one = place("10.0.0.1").unwrap();
        assert_eq!(place("10.0.0.1").unwrap_err(), Refusal::Source);
        assert_eq!(place("::ffff:10.0.0.1").unwrap_err(), Refusal::Source);
        let _other = place("10.0.0.2").unwrap();
        let _six = place("2001:db8::1").unwrap();
        assert_eq!(place("2001:db8::ffff:1").unwrap_err(), Refusal::Source);
        let _elsewhere = place("2001:db8:0:1::1").unwrap();
        drop(one);
        place("10.0.0.1").unwrap();
        assert_eq!(gate.state().sources.len(), 3, "what nobody has is not remembered");
    }

    #[tokio::test]
    async fn the_longest_handshake_makes_room_for_a_new_one() {
        let gate = Gate::new(100, None, 2);
        let lasting = |registration: AbortRegistration| Abortable::new(pending::<()>(), registration);
        let gate_handshake = |from: &str| gate.handshake(ip(from));
        let (first, registration) = gate_handshake("10.0.0.1");
        let first_ends = lasting(registration);
        let (second, registration) = gate_handshake("10.0.0.1");
        drop((second, registration));
        let (_third, registration) = gate_handshake("10.0.0.1");
        let third = lasting(registration);
        assert!(!first_ends.is_aborted());
        let _fourth = gate_handshake("10.0.0.1");
        assert!(first_ends.await.is_err());
        assert!(!third.is_aborted());
        drop(first);
        assert_eq!(gate.state().handshakes.len(), 2);
    }

    #[tokio::test]
    async fn who_opens_many_handshakes_loses_his_own_and_not_an_older_one_of_somebody_else() {
        let gate = Gate::new(100, None, 3);
        let lasting = |registration: AbortRegistration| Abortable::new(pending::<()>(), registration);
        let (_slow, registration) = gate.handshake(ip("192.0.2.1"));
        let slow = lasting(registration);
        let (_one, registration) = gate.handshake(ip("10.0.0.1"));
        let one = lasting(registration);
        let _two = gate.handshake(ip("10.0.0.1"));
        let _three = gate.handshake(ip("10.0.0.1"));
        assert!(one.await.is_err());
        assert!(!slow.is_aborted());
    }
}
