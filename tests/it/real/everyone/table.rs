//! What every client can do at one place, as a table.

use std::{collections::BTreeMap, fmt::Write as _};

/// How one command went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Ok,
    /// It failed, or printed (warnings included) something else than where everything is served. With what it said.
    Fails(String),
    /// That client has no such command.
    Absent,
}

/// Commands in the order in which they were first run, by client.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: BTreeMap<String, BTreeMap<&'static str, Cell>>,
}

// === impl Cell ===

impl Cell {
    pub(crate) fn of(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Fails, |()| Self::Ok)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fails(_) => "**FAILS**",
            Self::Absent => "–",
        }
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn add(&mut self, client: &str, cells: Vec<(&'static str, Cell)>) {
        for (column, cell) in cells {
            if !self.columns.contains(&column) {
                self.columns.push(column);
            }
            self.rows.entry(client.to_owned()).or_default().insert(column, cell);
        }
    }

    fn cell(&self, client: &str, column: &str) -> &Cell {
        self.rows.get(client).and_then(|row| row.get(column)).unwrap_or(&Cell::Absent)
    }

    /// Every failure, in one line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let cells = self
            .rows
            .iter()
            .flat_map(|(client, row)| row.iter().map(move |(what, cell)| (client, what, cell)));
        cells
            .filter_map(|(client, what, cell)| match cell {
                Cell::Fails(said) => Some(format!("{client}: {what}: {}", short(said))),
                Cell::Ok | Cell::Absent => None,
            })
            .collect()
    }

    pub(crate) fn ok(&self) -> usize {
        self.rows.values().flat_map(BTreeMap::values).filter(|cell| **cell == Cell::Ok).count()
    }

    /// Markdown: a column for each command, a row for each client, or for several kubectls whose rows are the same;
    /// `before → here` where they differ.
    pub(crate) fn beside(&self, before: &Self) -> String {
        let mut rows: Vec<(String, String, String)> = Vec::new();
        for client in self.rows.keys() {
            let cell = |column| match (before.cell(client, column).word(), self.cell(client, column).word()) {
                (there, here) if there == here => here.to_owned(),
                (there, here) => format!("{there} → {here}"),
            };
            let cells: Vec<_> = self.columns.iter().map(|column| cell(column)).collect();
            let cells = cells.join(" | ");
            match rows.last_mut() {
                Some((first, last, same)) if *same == cells && first.starts_with("kubectl ") => {
                    last.clone_from(client)
                }
                _ => rows.push((client.clone(), client.clone(), cells)),
            }
        }
        let mut text = format!("| client | {} |\n|---", self.columns.join(" | "));
        text += &"|---".repeat(self.columns.len());
        text += "|\n";
        for (first, last, cells) in rows {
            let to = if first == last {
                String::new()
            } else {
                format!(" to {}", last.trim_start_matches("kubectl "))
            };
            let _ = writeln!(text, "| {first}{to} | {cells} |");
        }
        text
    }
}

/// One line, of what can be read.
fn short(said: &str) -> String {
    let line = said.trim().replace('\n', " / ");
    line.chars().take(250).collect()
}
