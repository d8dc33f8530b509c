//! What kubectl is told when somebody presses TAB behind `kubectl peers`.
//!
//! kubectl calls a program with the words so far, of which the last is the one to complete (maybe empty). It prints a
//! candidate on each line, a description behind a tab, and at last a colon and a number: 4 says that file names are no
//! candidates (cobra's `ShellCompDirectiveNoFileComp`), 0 that they are.

use std::fmt::Write as _;

use clap::{Arg, Command, ValueHint};

/// The lines for these words.
pub(super) fn candidates(command: Command, words: &[String]) -> String {
    let mut command = command;
    command.build();
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let mut here = &command;
    let mut awaited = None;
    for word in before {
        if awaited.take().is_some() {
            continue;
        }
        match here.find_subcommand(word) {
            Some(below) => here = below,
            None => awaited = flag(here, word).filter(|flag| flag.get_action().takes_values()),
        }
    }
    let mut lines = String::new();
    let mut files = false;
    let mut line = |text: &str, help: Option<String>| {
        if text.starts_with(last) {
            let help = help.unwrap_or_default();
            // Writing to a String does not fail.
            let _ = writeln!(lines, "{text}\t{}", help.lines().next().unwrap_or_default());
        }
    };
    if let Some(flag) = awaited {
        files = matches!(flag.get_value_hint(), ValueHint::FilePath | ValueHint::AnyPath);
        for value in flag.get_possible_values() {
            line(value.get_name(), value.get_help().map(ToString::to_string));
        }
    } else if last.starts_with('-') {
        for flag in here.get_arguments().filter(|flag| !flag.is_hide_set()) {
            if let Some(long) = flag.get_long() {
                line(&format!("--{long}"), flag.get_help().map(ToString::to_string));
            }
        }
    } else {
        for below in here.get_subcommands().filter(|below| !below.is_hide_set()) {
            line(below.get_name(), below.get_about().map(ToString::to_string));
        }
    }
    let _ = writeln!(lines, ":{}", if files { 0 } else { 4 });
    lines
}

/// The flag that a word is.
fn flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let long = word.strip_prefix("--").filter(|long| !long.contains('='));
    let short = word.strip_prefix('-').and_then(|rest| rest.chars().next()).filter(|_| word.len() == 2);
    command.get_arguments().find(|flag| match (long, short) {
        (Some(long), _) => flag.get_long() == Some(long),
        (None, Some(short)) => flag.get_short() == Some(short),
        (None, None) => false,
    })
}
