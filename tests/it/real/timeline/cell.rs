//! A cell of the table: what was seen, in words, and what of it is wrong.

use std::fmt;

use super::{
    look::{Answer, At, Listed, Metered, Notes, SLOW, WatchEnd},
    say,
};

/// A hung server is declared dead after 10 s, and a busy machine takes its time.
const HANGS_AT_MOST: f32 = 13.;

/// Put before what is seen in some runs only.
const AT_TIMES: &str = "at times ";

/// Made of statements; wrong ones are bold.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell(Vec<Statement>);

#[derive(Clone, Debug)]
struct Statement {
    /// The same in every run.
    what: String,
    /// How often, how long.
    detail: String,
    wrong: bool,
}

/// What README.md says in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    what: String,
    at_times: bool,
    wrong: bool,
}

// === impl Cell ===

impl Cell {
    pub(super) fn say(&mut self, what: impl Into<String>) {
        self.say_if(true, what, "");
    }

    pub(super) fn wrong(&mut self, what: impl Into<String>) {
        self.say_if(false, what, "");
    }

    /// A detail is not the same in every run.
    pub(super) fn say_if(&mut self, right: bool, what: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Statement { what: what.into(), detail: detail.into(), wrong: !right });
    }

    /// Everything that is wrong.
    pub(super) fn wrongs(&self) -> Vec<String> {
        self.0.iter().filter(|one| one.wrong).map(|one| format!("{} {}", one.what, one.detail)).collect()
    }

    /// What a client was answered, and for how long.
    pub(super) fn answers(&mut self, notes: &Notes) {
        for (answer, seen) in kinds(&notes.answers) {
            let (right, what) = match answer {
                Answer::Found => (true, "200".to_owned()),
                Answer::Unavailable => (true, "503 with `Retry-After`".to_owned()),
                Answer::Pending => (false, "no answer".to_owned()),
                Answer::NotFound => (false, "404".to_owned()),
                Answer::Bare => (false, "503 without `Retry-After`".to_owned()),
                Answer::Broken => (false, "connection broken".to_owned()),
                Answer::Other(status) => (false, status.to_string()),
            };
            self.say_if(right, what, times(&seen));
        }
        let slowest = notes.answers.iter().map(|answer| answer.took).fold(0., f32::max);
        if slowest > SLOW {
            say!("    slowest answer {slowest:.1} s");
        }
        if slowest > HANGS_AT_MOST {
            self.say_if(false, "hangs for long", format!("({slowest:.1} s)"));
        }
    }

    /// What discovery said. If nobody serves the thing at the end, a document that says nothing of that is wrong.
    pub(super) fn discovery(&mut self, notes: &Notes, nobody_serves: bool) {
        for (listed, seen) in kinds(&notes.listed) {
            let (right, what) = match listed {
                Listed::Current => (true, "listed".to_owned()),
                Listed::Stale => (true, "listed as Stale".to_owned()),
                Listed::Refused(503) => (true, "discovery 503".to_owned()),
                Listed::Vanished => (false, "vanished from discovery".to_owned()),
                Listed::Refused(status) => (false, format!("discovery {status}")),
                Listed::Broken => (false, "discovery broken".to_owned()),
            };
            self.say_if(right, what, times(&seen));
        }
        if nobody_serves {
            self.discovery_at_the_end(notes);
        }
    }

    /// Nobody serves the thing by now, and discovery should have said so.
    pub(super) fn discovery_at_the_end(&mut self, notes: &Notes) {
        if let Some(At { at, what: Listed::Current, .. }) = notes.listed.last() {
            self.say_if(false, "listed as if it were served, to the end", format!("({at:.0} s)"));
        }
    }

    /// What our own page says of B over time, and our metrics at the end of that.
    pub(super) fn freshness(&mut self, notes: &Notes) {
        let kinds = kinds(&notes.freshness);
        if kinds.is_empty() {
            return;
        }
        let each: Vec<_> = kinds.iter().map(|(what, seen)| format!("{what} {}", times(seen))).collect();
        let known = kinds.iter().any(|(what, _)| *what != "fresh");
        let what = if known { "B is stale or unknown" } else { "B stays fresh" };
        self.say_if(true, what, each.join(", "));
    }

    /// What our metrics say of B at the end of these notes has to be this.
    pub(super) fn metrics(&mut self, notes: &Notes, well: bool) {
        let Some(At { what: Metered { healthy, fresh }, .. }) = notes.metered.last().copied() else { return };
        if (healthy, fresh) != (well, well) {
            self.wrong(format!("metrics: healthy {healthy}, fresh {fresh}"));
        }
    }

    pub(super) fn watch(&mut self, notes: &Notes, within: f32) {
        match notes.watch {
            None => {}
            Some(At { what: WatchEnd::Open, .. }) => self.wrong("the watch stays open, in silence"),
            Some(At { at, what, .. }) => {
                let how = if what == WatchEnd::Whole { "ends cleanly" } else { "ends as broken" };
                let late = if at < within { "" } else { ", late" };
                self.say_if(at < within, format!("the watch {how}{late}"), format!("after {at:.1} s"));
            }
        }
    }

    /// A watch that goes on to the end that it has without anybody between.
    pub(super) fn watch_as(&mut self, notes: &Notes, directly: &Notes) {
        let (Some(watch), Some(direct)) = (notes.watch, directly.watch) else { return };
        let same = watch.what == direct.what && (watch.at - direct.at).abs() < 5.;
        let detail = format!(
            "({:?} after {:.1} s, directly {:?} after {:.1} s)",
            watch.what, watch.at, direct.what, direct.at
        );
        let what =
            if same { "goes on and ends as one at B itself" } else { "ends otherwise than one at B itself" };
        self.say_if(same, what, detail);
    }

    pub(super) fn everything(&mut self, notes: &Notes, nobody_serves: bool) {
        self.answers(notes);
        self.discovery(notes, nobody_serves);
        self.freshness(notes);
    }

    pub(super) fn back(&mut self, after: Option<f32>) {
        match after {
            Some(seconds) => {
                self.say_if(true, "well again by itself", format!("{seconds:.1} s after B is ready"))
            }
            None => self.wrong("does not come back by itself"),
        }
    }
}

// === What README.md says ===

impl Cell {
    fn statements(&self) -> Vec<Shown> {
        let mut all: Vec<Shown> = Vec::new();
        for Statement { what, wrong, .. } in &self.0 {
            if !all.iter().any(|one| one.what == *what) {
                all.push(Shown { what: what.clone(), at_times: false, wrong: *wrong });
            }
        }
        all
    }

    /// What to show of this cell where so much is shown of earlier runs: what one of them did not see is seen at
    /// times.
    pub(super) fn shown_with(&self, earlier: &str) -> String {
        let (now, earlier) = (self.statements(), read(earlier));
        let in_both = |one: &Shown, other: &[Shown]| {
            other.is_empty() || other.iter().any(|that| that.what == one.what && !that.at_times)
        };
        let seen = now.iter().map(|one| Shown { at_times: !in_both(one, &earlier), ..one.clone() });
        let unseen = earlier.iter().filter(|one| now.iter().all(|that| that.what != one.what));
        let all = seen.chain(unseen.map(|one| Shown { at_times: true, ..one.clone() }));
        all.map(|one| one.to_string()).collect::<Vec<_>>().join("; ")
    }

    /// How README.md contradicts what was seen: it says what was not seen, or, if it has to say everything, does not
    /// say what was.
    pub(super) fn contradicted_by(&self, shown: &str, everything: bool) -> Vec<String> {
        let (now, shown) = (self.statements(), read(shown));
        let has = |all: &[Shown], one: &Shown| all.iter().any(|that| that.what == one.what);
        let unseen = shown.iter().filter(|one| !one.at_times && !has(&now, one));
        let untold = now.iter().filter(|one| everything && !has(&shown, one));
        let unseen = unseen.map(|one| format!("shown, but not seen: {one}"));
        unseen.chain(untold.map(|one| format!("seen, but not shown: {one}"))).collect()
    }
}

fn read(cell: &str) -> Vec<Shown> {
    let statements = cell.split("; ").filter(|one| !one.is_empty());
    statements
        .map(|one| {
            let bold = one.strip_prefix("**").and_then(|one| one.strip_suffix("**"));
            let bare = bold.unwrap_or(one);
            let rare = bare.strip_prefix(AT_TIMES);
            let what = rare.unwrap_or(bare).to_owned();
            Shown { what, at_times: rare.is_some(), wrong: bold.is_some() }
        })
        .collect()
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bold, rare) = (if self.wrong { "**" } else { "" }, if self.at_times { AT_TIMES } else { "" });
        write!(f, "{bold}{rare}{}{bold}", self.what)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Statement { what, detail, wrong }) in self.0.iter().enumerate() {
            let (between, bold) = (if number == 0 { "" } else { "; " }, if *wrong { "**" } else { "" });
            let space = if detail.is_empty() { "" } else { " " };
            write!(f, "{between}{bold}{what}{bold}{space}{detail}")?;
        }
        Ok(())
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
