//! Tables of what was seen here, as README.md shows them: written with `KPP_WRITE_TABLES=1`, compared otherwise.

use std::{
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Tests that write do so one after the other.
static WRITING: Mutex<()> = Mutex::new(());

/// A table between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
pub(crate) struct Table {
    name: &'static str,
    /// Line by line, without the heading.
    pub(crate) rows: Vec<Vec<String>>,
}

/// Whether what is seen now is to be shown from now on.
pub(crate) fn is_to_be_written() -> bool {
    env::var_os("KPP_WRITE_TABLES").is_some_and(|asked| asked == "1")
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn marker(name: &str, what: &str) -> String {
    format!("<!-- {name}:{what} -->\n")
}

// === impl Table ===

impl Table {
    /// As it is shown.
    pub(crate) fn read(name: &'static str) -> Self {
        let text = fs::read_to_string(path()).unwrap();
        let (_, rest) = text.split_once(&marker(name, "begin")).expect("README.md has the marker");
        let (lines, _) = rest.split_once(&marker(name, "end")).expect("README.md has the marker");
        let cells = |line: &str| {
            let line = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
            line.expect("a line of a table").split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        Self { name, rows: lines.lines().skip(2).map(cells).collect() }
    }

    /// The cell in the row that begins so; empty if there is none.
    pub(crate) fn cell(&self, row: &str, column: usize) -> &str {
        let row = self.rows.iter().find(|cells| cells[0] == row);
        row.and_then(|cells| cells.get(column)).map_or("", String::as_str)
    }

    /// From now on it is shown so.
    pub(crate) fn write(&self, heading: &[&str]) {
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
        let rule = vec!["---".to_owned(); heading.len()];
        let lines: String =
            [&heading, &rule].into_iter().chain(&self.rows).map(|cells| line(cells)).collect();
        let text = fs::read_to_string(path()).unwrap();
        let (begin, end) = (marker(self.name, "begin"), marker(self.name, "end"));
        let (before, rest) = text.split_once(&begin).expect("README.md has the marker");
        let (_, after) = rest.split_once(&end).expect("README.md has the marker");
        fs::write(path(), format!("{before}{begin}{lines}{end}{after}")).unwrap();
    }
}
