//! What probes say, without swinging: one bad answer ejects nobody, one good answer brings nobody back.
//!
//! Pure: time is passed in.

use tokio::time::Instant;

use super::Reason;
use crate::limits::{FLAP_MEMORY, MAX_PROBES_TO_RETURN, PROBES_TO_EJECT, PROBES_TO_RETURN};

/// What a probe found out about a server that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `/readyz` said so, in time.
    Ready,
    /// `/readyz` said the opposite.
    NotReady,
    /// Nothing was said in time.
    Slow,
}

/// Whether a server is ejected for what probes and connects say.
#[derive(Debug, Default)]
pub(super) struct Hysteresis {
    ejected: Option<Reason>,
    /// It was ready once. Until then one bad answer is enough.
    proven: bool,
    /// Answers in a row.
    good: u32,
    bad: u32,
    /// How often it was ejected, as far as that is remembered, and when the last time.
    ejections: u32,
    last: Option<Instant>,
}

/// More ejections than this make no difference.
const MAX_EJECTIONS: u32 = (MAX_PROBES_TO_RETURN / PROBES_TO_RETURN).ilog2() + 1;

// === impl Hysteresis ===

impl Hysteresis {
    /// Why it is ejected, if it is.
    pub(super) fn ejected(&self) -> Option<Reason> {
        self.ejected
    }

    /// A probe was answered, or not in time.
    pub(super) fn heard(&mut self, word: Word, now: Instant) {
        let reason = match word {
            Word::Ready => {
                self.proven = true;
                self.bad = 0;
                self.good = self.good.saturating_add(1);
                if self.ejected.is_some() && self.good >= self.wanted(now) {
                    self.ejected = None;
                }
                return;
            }
            Word::NotReady => Reason::NotReady,
            Word::Slow => Reason::Slow,
        };
        self.good = 0;
        self.bad = self.bad.saturating_add(1);
        if self.ejected.is_none() && (!self.proven || self.bad >= PROBES_TO_EJECT) {
            self.eject(reason, now);
        }
    }

    /// A connect failed, or the server was declared dead.
    pub(super) fn lost(&mut self, now: Instant) {
        self.good = 0;
        match &mut self.ejected {
            Some(reason) => *reason = Reason::Connect,
            None => self.eject(Reason::Connect, now),
        }
    }

    /// How many good probes in a row it takes to come back.
    pub(super) fn wanted(&self, now: Instant) -> u32 {
        let doublings = self.remembered(now).saturating_sub(1);
        (PROBES_TO_RETURN << doublings).min(MAX_PROBES_TO_RETURN)
    }

    /// Whether one more probe, soon, may decide something.
    pub(super) fn wants_follow_up(&self) -> bool {
        if self.ejected.is_some() { self.good > 0 } else { self.bad > 0 }
    }

    fn eject(&mut self, reason: Reason, now: Instant) {
        self.ejections = (self.remembered(now) + 1).min(MAX_EJECTIONS);
        self.last = Some(now);
        self.ejected = Some(reason);
        self.good = 0;
    }

    fn remembered(&self, now: Instant) -> u32 {
        let since = self.last.map_or(0, |last| now.duration_since(last).as_secs() / FLAP_MEMORY.as_secs());
        self.ejections.saturating_sub(u32::try_from(since).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        Word::{NotReady, Ready, Slow},
        *,
    };

    fn proven(now: Instant) -> Hysteresis {
        let mut server = Hysteresis::default();
        server.heard(Ready, now);
        server
    }

    /// How many good probes in a row bring it back.
    fn until_back(server: &mut Hysteresis, now: Instant) -> u32 {
        let mut probes = 0;
        while server.ejected().is_some() {
            assert!(probes < 100, "never back");
            server.heard(Ready, now);
            probes += 1;
        }
        probes
    }

    #[test]
    fn two_bad_answers_in_a_row_eject_and_one_does_not() {
        let now = Instant::now();
        for (word, reason) in [(NotReady, Reason::NotReady), (Slow, Reason::Slow)] {
            let mut server = proven(now);
            for _ in 0..5 {
                server.heard(word, now);
                assert_eq!(server.ejected(), None);
                assert!(server.wants_follow_up());
                server.heard(Ready, now);
                assert!(!server.wants_follow_up());
            }
            server.heard(word, now);
            server.heard(word, now);
            assert_eq!(server.ejected(), Some(reason));
        }
    }

    #[test]
    fn a_server_that_was_never_ready_is_ejected_by_its_first_bad_answer() {
        let mut server = Hysteresis::default();
        server.heard(NotReady, Instant::now());
        assert_eq!(server.ejected(), Some(Reason::NotReady));
    }

    #[test]
    fn a_loss_ejects_at_once_and_is_the_reason_from_then_on() {
        let now = Instant::now();
        let mut server = proven(now);
        server.lost(now);
        assert_eq!(server.ejected(), Some(Reason::Connect));
        server.heard(NotReady, now);
        assert_eq!(server.ejected(), Some(Reason::Connect), "it starts");
        let mut server = proven(now);
        server.heard(NotReady, now);
        server.heard(NotReady, now);
        server.lost(now);
        assert_eq!(server.ejected(), Some(Reason::Connect), "it stopped after it had said that it would");
    }

    #[test]
    fn two_good_answers_in_a_row_bring_back_and_one_does_not() {
        let now = Instant::now();
        let mut server = proven(now);
        server.lost(now);
        assert!(!server.wants_follow_up());
        for _ in 0..5 {
            server.heard(Ready, now);
            assert!(server.ejected().is_some() && server.wants_follow_up());
            server.heard(NotReady, now);
        }
        assert_eq!(until_back(&mut server, now), 2);
    }

    #[test]
    fn each_further_ejection_within_a_minute_doubles_the_good_answers_wanted_up_to_a_bound() {
        let mut now = Instant::now();
        let mut server = proven(now);
        for wanted in [2, 4, 8, 8, 8] {
            now += Duration::from_secs(20);
            server.lost(now);
            assert_eq!(until_back(&mut server, now), wanted);
        }
        // One is forgotten each minute.
        for wanted in [8, 4, 2, 2] {
            assert_eq!(server.wanted(now), wanted);
            now += FLAP_MEMORY;
        }
        server.lost(now);
        assert_eq!(until_back(&mut server, now), 2);
    }

    #[test]
    fn a_server_that_is_up_and_down_every_half_second_stays_out() {
        let mut now = Instant::now();
        let mut server = proven(now);
        let mut changes = 0;
        // Five minutes, probed as often as follow-ups come.
        for probe in 0..1500 {
            let before = server.ejected().is_some();
            if probe / 3 % 2 == 0 {
                server.lost(now)
            } else {
                server.heard(Ready, now)
            }
            changes += u32::from(before != server.ejected().is_some());
            now += Duration::from_millis(200);
        }
        // Ejected, back once, ejected; later once for each time that a minute's memory fades.
        assert!(changes <= 11, "{changes} changes in five minutes");
    }
}
