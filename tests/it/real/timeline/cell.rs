//! A cell of the table: what was seen, in words, and what of it is wrong.

use std::fmt;

use super::look::{Answer, At, Listed, Notes, SLOW, WatchEnd};

/// A hung server is declared dead after 10 s, and a busy machine takes its time.
const HANGS_AT_MOST: f32 = 13.;

/// Made of statements; wrong ones are bold.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    said: Vec<String>,
    pub(super) wrong: Vec<String>,
}

// === impl Cell ===

impl Cell {
    pub(super) fn say(&mut self, what: impl Into<String>) {
        self.said.push(what.into());
    }

    pub(super) fn wrong(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.said.push(format!("**{what}**"));
        self.wrong.push(what);
    }

    pub(super) fn say_if(&mut self, right: bool, what: impl Into<String>) {
        if right {
            self.say(what);
        } else {
            self.wrong(what);
        }
    }

    /// What a client was answered, and for how long.
    pub(super) fn answers(&mut self, notes: &Notes) {
        for (answer, seen) in kinds(&notes.answers) {
            let times = times(&seen);
            match answer {
                Answer::Found => self.say(format!("200 {times}")),
                Answer::Unavailable => self.say(format!("503 with Retry-After {times}")),
                Answer::Pending => self.wrong(format!("no answer {times}")),
                Answer::NotFound => self.wrong(format!("404 {times}")),
                Answer::Bare => self.wrong(format!("503 without Retry-After {times}")),
                Answer::Broken => self.wrong(format!("connection broken {times}")),
                Answer::Other(status) => self.wrong(format!("{status} {times}")),
            }
        }
        let slowest = notes.answers.iter().map(|answer| answer.took).fold(0., f32::max);
        if slowest > SLOW {
            self.say_if(slowest < HANGS_AT_MOST, format!("slowest answer {slowest:.1} s"));
        }
    }

    /// What discovery said. If nobody serves the thing at the end, a document that says nothing of that is wrong.
    pub(super) fn discovery(&mut self, notes: &Notes, nobody_serves: bool) {
        for (listed, seen) in kinds(&notes.listed) {
            let times = times(&seen);
            match listed {
                Listed::Current => self.say(format!("listed {times}")),
                Listed::Stale => self.say(format!("listed as Stale {times}")),
                Listed::Refused(503) => self.say(format!("discovery 503 {times}")),
                Listed::Vanished => self.wrong(format!("vanished {times}")),
                Listed::Refused(status) => self.wrong(format!("discovery {status} {times}")),
                Listed::Broken => self.wrong(format!("discovery broken {times}")),
            }
        }
        if nobody_serves {
            self.discovery_at_the_end(notes);
        }
    }

    /// Nobody serves the thing by now, and discovery should have said so.
    pub(super) fn discovery_at_the_end(&mut self, notes: &Notes) {
        if let Some(At { at, what: Listed::Current, .. }) = notes.listed.last() {
            self.wrong(format!("after {at:.0} s still listed as Current though nobody serves it"));
        }
    }

    pub(super) fn freshness(&mut self, notes: &Notes) {
        let kinds = kinds(&notes.freshness);
        if !kinds.is_empty() {
            let each: Vec<_> = kinds.iter().map(|(what, seen)| format!("{what} {}", times(seen))).collect();
            self.say(format!("B is {}", each.join(", ")));
        }
    }

    pub(super) fn watch(&mut self, notes: &Notes, within: f32) {
        match notes.watch {
            None => {}
            Some(At { what: WatchEnd::Open, .. }) => self.wrong("the watch stays open, in silence"),
            Some(At { at, what, .. }) => {
                let how = if what == WatchEnd::Whole { "ends cleanly" } else { "is torn" };
                self.say_if(at < within, format!("the watch {how} after {at:.1} s"));
            }
        }
    }

    pub(super) fn everything(&mut self, notes: &Notes, nobody_serves: bool) {
        self.answers(notes);
        self.discovery(notes, nobody_serves);
        self.freshness(notes);
    }

    pub(super) fn back(&mut self, after: Option<f32>) {
        match after {
            Some(seconds) if seconds < 0.05 => self.say("well again as soon as B is ready"),
            Some(seconds) => self.say(format!("well again {seconds:.1} s after B is ready")),
            None => self.wrong("does not come back by itself"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said.join("; "))
    }
}

/// Observations by what was seen, each kind where it was first seen.
fn kinds<T: Copy + PartialEq>(seen: &[At<T>]) -> Vec<(T, Vec<At<T>>)> {
    let mut kinds: Vec<(T, Vec<At<T>>)> = Vec::new();
    for one in seen {
        match kinds.iter_mut().find(|(what, _)| *what == one.what) {
            Some((_, all)) => all.push(*one),
            None => kinds.push((one.what, vec![*one])),
        }
    }
    kinds
}

fn times<T>(seen: &[At<T>]) -> String {
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    format!("×{} ({:.0}–{:.0} s)", seen.len(), first.at, last.at + last.took)
}

/// A letter for each second, the worst that was seen in it.
pub(super) fn strip(notes: &Notes) -> [String; 3] {
    let answer = |answer: &At<Answer>| match answer.what {
        _ if answer.took > SLOW => ('h', 5),
        Answer::Pending => ('?', 4),
        Answer::Found => ('2', 0),
        Answer::Unavailable => ('5', 1),
        Answer::Bare => ('b', 2),
        Answer::Broken => ('x', 3),
        Answer::Other(_) => ('o', 3),
        Answer::NotFound => ('4', 6),
    };
    let listed = |listed: &At<Listed>| match listed.what {
        Listed::Current => ('C', 0),
        Listed::Stale => ('S', 1),
        Listed::Refused(_) => ('5', 2),
        Listed::Broken => ('x', 3),
        Listed::Vanished => ('V', 4),
    };
    let fresh = |fresh: &At<&'static str>| (fresh.what.chars().next().unwrap(), 0);
    [seconds(&notes.answers, answer), seconds(&notes.listed, listed), seconds(&notes.freshness, fresh)]
}

fn seconds<T>(seen: &[At<T>], letter: impl Fn(&At<T>) -> (char, u8)) -> String {
    let mut line: Vec<(char, u8)> = Vec::new();
    for one in seen {
        let (second, new) = (one.at as usize, letter(one));
        if line.len() <= second {
            line.resize(second + 1, ('.', 0));
        }
        if line[second].0 == '.' || line[second].1 < new.1 {
            line[second] = new;
        }
    }
    line.into_iter().map(|(letter, _)| letter).collect()
}
