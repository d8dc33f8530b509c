//! The matrix for issues and wikis.

use super::{
    pair,
    screen::{age, short_etag},
    table, verdict,
};
use crate::{
    discovery::skew::{Diff, Row, Skew},
    printable::clean,
};

/// The servers, the rows, and what it comes to.
pub(super) fn of_skew(skew: &Skew, all: bool) -> String {
    let rows: Vec<&Row> = skew.rows.iter().filter(|row| all || row.differs).collect();
    let mut text = servers(skew);
    if !rows.is_empty() {
        let names = skew.servers.iter().map(|server| escape(&server.name));
        text += &line(["Group/version".to_owned(), "Resource".to_owned()].into_iter().chain(names));
        text += &ruler(2, skew.servers.len());
        for row in rows {
            let cells = skew.servers.iter().map(|server| {
                row.cells
                    .get(&server.name)
                    .map_or_else(|| "?".to_owned(), |cell| escape(&table::note(row, cell)))
            });
            text += &line([code(&row.group_version()), code(&row.resource)].into_iter().chain(cells));
        }
        text.push('\n');
    }
    text + &escape(&verdict::of_skew(skew)) + "\n"
}

/// Two servers.
pub(super) fn of_diff(skew: &Skew, diff: &Diff) -> String {
    let both = skew.servers.iter().filter(|server| diff.servers.contains(&server.name)).cloned().collect();
    let mut text = servers(&Skew { servers: both, ..Skew::default() });
    for name in &diff.servers {
        let rows = diff.only_in.get(name).map(Vec::as_slice).unwrap_or_default();
        if !rows.is_empty() {
            text += &format!("Only in {}:\n\n", escape(name));
            for row in rows {
                text += &format!("- {} {}\n", code(&row.group_version()), code(&row.resource));
            }
            text.push('\n');
        }
    }
    if !diff.different.is_empty() {
        text += "Different:\n\n";
        for row in &diff.different {
            let words = escape(&pair::differences(row, diff).join("; "));
            text += &format!("- {} {}: {words}\n", code(&row.group_version()), code(&row.resource));
        }
        text.push('\n');
    }
    text + &escape(&verdict::of_diff(skew, diff)) + "\n"
}

fn servers(skew: &Skew) -> String {
    let mut text = line(["Server", "Version", "Freshness", "Age", "ETag"].map(str::to_owned)) + &ruler(5, 0);
    for server in &skew.servers {
        text += &line([
            escape(&server.name),
            escape(server.version.as_deref().unwrap_or("-")),
            server.freshness.as_str().to_owned(),
            server.age_seconds.map_or_else(|| "-".to_owned(), age),
            server.etags.get("/apis").map_or_else(|| "-".to_owned(), |etag| escape(&short_etag(etag))),
        ]);
    }
    text.push('\n');
    for server in skew.servers.iter().filter(|server| !server.known) {
        text += &format!("{}: {}\n\n", escape(&server.name), escape(&verdict::reason(server)));
    }
    text
}

fn line(fields: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", fields.into_iter().collect::<Vec<_>>().join(" | "))
}

fn ruler(left: usize, centred: usize) -> String {
    line(std::iter::repeat_n("---".to_owned(), left).chain(std::iter::repeat_n(":-:".to_owned(), centred)))
}

fn code(text: &str) -> String {
    format!("`{}`", clean(text).replace('`', "'").replace('|', "\\|"))
}

/// Text that is nothing but text in Markdown.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in clean(text).chars() {
        if matches!(char, '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '#') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
