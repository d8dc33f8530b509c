//! Two servers side by side, for people.

use comfy_table::{Attribute, Cell as Field, Color};

use super::{
    screen::{Ink, Screen},
    table, verdict,
};
use crate::{
    discovery::skew::{Aspect, Cell, Diff, Row, Skew},
    printable::clean,
};

/// What only one has, what only the other has, and what both have differently.
pub(super) fn render(skew: &Skew, diff: &Diff, screen: Screen) -> String {
    let servers = skew.servers.iter().filter(|server| diff.servers.contains(&server.name)).cloned().collect();
    let both = Skew { servers, ..Skew::default() };
    let mut text = table::list(&both, screen) + "\n";
    for name in &diff.servers {
        let rows = diff.only_in.get(name).map(Vec::as_slice).unwrap_or_default();
        if !rows.is_empty() {
            text += &heading(&format!("Only in {} ({})", clean(name), rows.len()), screen);
            text += &lines(rows, screen, |row| clean(&row.kind));
            text.push('\n');
        }
    }
    if !diff.different.is_empty() {
        text += &heading(&format!("Different ({})", diff.different.len()), screen);
        text += &lines(&diff.different, screen, |row| differences(row, diff).join("; "));
        text.push('\n');
    }
    text + &screen.wrap(&verdict::of_diff(skew, diff), 0) + "\n"
}

fn heading(text: &str, screen: Screen) -> String {
    screen.paint(Ink::Strong, text) + "\n"
}

fn lines(rows: &[Row], screen: Screen, what: impl Fn(&Row) -> String) -> String {
    let mut table = table::plain(screen);
    let mut last = String::new();
    for row in rows {
        let version = clean(&row.group_version());
        if version != last {
            table.add_row([Field::new(format!("  {version}")).fg(Color::Cyan)]);
        }
        let name = Field::new(format!("    {}", clean(&row.resource)));
        table.add_row([name, Field::new(what(row)).add_attribute(Attribute::Dim)]);
        last = version;
    }
    table::text(&mut table)
}

/// In words, what each of them has that the other has not.
pub(super) fn differences(row: &Row, diff: &Diff) -> Vec<String> {
    let cells = || diff.servers.iter().filter_map(|name| Some((clean(name), row.cells.get(name)?)));
    let said = |what: &str, of: &dyn Fn(&Cell) -> String| {
        let each: Vec<String> = cells().map(|(name, cell)| format!("{} in {name}", of(cell))).collect();
        format!("{what} {}", each.join(", "))
    };
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { clean(text) };
    let words = row.differs_in.iter().map(|aspect| match aspect {
        Aspect::Presence => said("presence:", &|cell| cell.state.as_str().to_owned()),
        Aspect::Verbs => {
            let lacks = cells().filter_map(|(name, cell)| {
                let lacks = row.lacking(cell);
                (!lacks.is_empty()).then(|| format!("{name} lacks {}", clean(&lacks.join(", "))))
            });
            lacks.collect::<Vec<_>>().join(", ")
        }
        Aspect::Scope => said("scope", &|cell| or_none(&cell.scope)),
        Aspect::Kind => said("kind", &|cell| or_none(&cell.kind)),
    });
    words.collect()
}
