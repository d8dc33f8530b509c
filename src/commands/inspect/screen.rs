//! What text is written to: how wide it is, and whether it has colours.

use std::{
    env,
    io::{IsTerminal as _, stdout},
};

use crate::printable::clean;

/// For a terminal that does not say how wide it is.
const USUAL: usize = 80;
/// For a file or a pipe, where nothing is cut and lines are searched.
const FILE: usize = 200;
/// Nothing is made for less.
const NARROWEST: usize = 40;

/// What text is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// In characters.
    pub width: usize,
    /// Whether it shows colours.
    pub colour: bool,
}

/// A colour, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Doubtful,
    Faint,
    Strong,
}

// === impl Screen ===

impl Screen {
    /// Standard output: as wide as `COLUMNS` or the terminal says, with colours on a terminal unless `NO_COLOR` is set
    /// (<https://no-color.org>).
    #[must_use]
    pub fn of_stdout() -> Self {
        let terminal = stdout().is_terminal();
        let said = env::var("COLUMNS").ok().and_then(|text| text.parse::<usize>().ok());
        let asked = || terminal_size::terminal_size_of(stdout()).map(|(width, _)| usize::from(width.0));
        let width = said.filter(|width| *width > 0).or_else(|| asked().filter(|_| terminal));
        let width = width.unwrap_or(if terminal { USUAL } else { FILE }).max(NARROWEST);
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { width, colour: terminal && !refused && !dumb }
    }

    /// Text in a colour.
    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Doubtful => "33",
            Ink::Faint => "2",
            Ink::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A paragraph, broken into lines; all but the first are indented.
    pub(super) fn wrap(self, text: &str, indent: usize) -> String {
        let mut lines = vec![String::new()];
        let mut used = 0;
        for word in text.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > self.width {
                lines.push(" ".repeat(indent));
                used = indent;
            } else if used > 0 {
                used += 1;
                last(&mut lines).push(' ');
            }
            last(&mut lines).push_str(word);
            used += length;
        }
        lines.join("\n")
    }
}

fn last(lines: &mut [String]) -> &mut String {
    let index = lines.len() - 1;
    &mut lines[index]
}

/// How long ago, for people.
pub(super) fn age(seconds: f64) -> String {
    const STEPS: [(f64, f64, &str); 4] =
        [(120.0, 1.0, "s"), (7_200.0, 60.0, "m"), (172_800.0, 3_600.0, "h"), (f64::INFINITY, 86_400.0, "d")];
    if seconds < 1.0 {
        return "now".to_owned();
    }
    let step = STEPS.into_iter().find(|(below, ..)| seconds < *below);
    step.map_or_else(|| "?".to_owned(), |(_, unit, name)| format!("{:.0}{name}", (seconds / unit).floor()))
}

/// An ETag as far as it is needed to tell it from others.
pub(super) fn short_etag(etag: &str) -> String {
    const ENOUGH: usize = 8;
    let digits = etag.trim_start_matches("W/").trim_matches('"');
    if digits.chars().count() <= ENOUGH {
        clean(digits)
    } else {
        clean(&digits.chars().take(ENOUGH).chain(['…']).collect::<String>())
    }
}
