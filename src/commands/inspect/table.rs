//! The matrix for people.

use comfy_table::{Attribute, Cell as Field, CellAlignment, Color, ContentArrangement, Table};

use super::{
    screen::{Ink, Screen, age, short_etag},
    verdict,
};
use crate::{
    discovery::{
        catalog::Freshness,
        skew::{Aspect, Cell, Row, ServerSeen, Skew, State},
    },
    printable::clean,
};

/// The name of a long subresource (`certificatesigningrequests/approval`) and its indentation fit into this.
const NAME: usize = 37;
/// Between columns.
const GAP: usize = 2;

/// The servers, the rows, and what it comes to.
pub(super) fn render(skew: &Skew, all: bool, screen: Screen) -> String {
    let rows: Vec<&Row> = skew.rows.iter().filter(|row| all || row.differs).collect();
    let heads = Heads::of(&skew.servers, screen.width);
    let mut text = servers(skew, &heads, screen) + "\n";
    if !rows.is_empty() {
        text += &matrix(&rows, skew, &heads, screen);
        text += "\n";
        text += &legend(&rows, skew, screen);
    }
    let hint = if rows.is_empty() && !all && !skew.rows.is_empty() { " (--all shows them)" } else { "" };
    text + &screen.wrap(&(verdict::of_skew(skew) + hint), 0) + "\n"
}

/// What stands above the servers' columns.
struct Heads {
    names: Vec<String>,
    /// Whether they are numbers, which the list of servers explains.
    numbered: bool,
}

impl Heads {
    fn of(servers: &[ServerSeen], width: usize) -> Self {
        let names: Vec<String> = servers.iter().map(|server| clean(&server.name)).collect();
        let used: usize = names.iter().map(|name| name.chars().count().max(3) + GAP).sum();
        let numbered = NAME + used > width;
        let names =
            if numbered { (1..=servers.len()).map(|number| number.to_string()).collect() } else { names };
        Self { names, numbered }
    }
}

/// A table without lines.
pub(super) fn plain(screen: Screen) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(screen.width).unwrap_or(u16::MAX));
    if screen.colour {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table
}

/// As text, without blanks at the ends of lines.
pub(super) fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, u16::try_from(GAP).unwrap_or(2)));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

pub(super) fn head(name: &str) -> Field {
    Field::new(name).add_attribute(Attribute::Bold)
}

/// The servers by themselves.
pub(super) fn list(skew: &Skew, screen: Screen) -> String {
    let names = skew.servers.iter().map(|server| clean(&server.name)).collect();
    servers(skew, &Heads { names, numbered: false }, screen)
}

/// The servers, and beneath them why some are not known. What leaves no room for the rest is left out: first where they
/// are, then the ETags.
fn servers(skew: &Skew, heads: &Heads, screen: Screen) -> String {
    const TITLES: [&str; 6] = ["SERVER", "VERSION", "FRESHNESS", "AGE", "ETAG", "ADDRESS"];
    let number = heads.numbered.then_some("#");
    let mut lines = vec![number.into_iter().chain(TITLES).map(str::to_owned).collect::<Vec<_>>()];
    for (head, server) in heads.names.iter().zip(&skew.servers) {
        let dash = || "-".to_owned();
        let fields = [
            clean(&server.name),
            server.version.as_deref().map_or_else(dash, clean),
            server.freshness.as_str().to_owned(),
            server.age_seconds.map_or_else(dash, age),
            server.etags.get("/apis").map_or_else(dash, |etag| short_etag(etag)),
            server.address.as_deref().map_or_else(dash, clean),
        ];
        lines.push(heads.numbered.then(|| head.clone()).into_iter().chain(fields).collect());
    }
    let dispensable = lines[0].len() - 2;
    while lines[0].len() > dispensable && natural_width(&lines) > screen.width {
        lines.iter_mut().for_each(|line| drop(line.pop()));
    }
    let mut table = plain(screen);
    table.set_header(lines[0].iter().map(|title| head(title)));
    let (freshness, address) = (dispensable - 2, dispensable + 1);
    for (line, server) in lines[1..].iter().zip(&skew.servers) {
        table.add_row(line.iter().enumerate().map(|(index, text)| match index {
            index if index == freshness => Field::new(text).fg(colour_of(server.freshness)),
            index if index == address => Field::new(text).add_attribute(Attribute::Dim),
            _ => Field::new(text),
        }));
    }
    let mut shown = text(&mut table);
    for server in skew.servers.iter().filter(|server| !server.known || server.error.is_some()) {
        let line = format!("{}: {}", clean(&server.name), verdict::reason(server));
        shown += &screen.paint(Ink::Doubtful, &screen.wrap(&line, 2));
        shown.push('\n');
    }
    shown
}

fn colour_of(freshness: Freshness) -> Color {
    match freshness {
        Freshness::Fresh => Color::Green,
        Freshness::Stale => Color::Yellow,
        Freshness::Unknown => Color::Red,
    }
}

/// Of lines that have the same columns, if nothing is broken.
fn natural_width(lines: &[Vec<String>]) -> usize {
    let columns = lines.first().map_or(0, Vec::len);
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0) + GAP;
    (0..columns).map(width).sum()
}

/// In a wide one each line has all; in a narrow one the group-version stands above its resources.
fn matrix(rows: &[&Row], skew: &Skew, heads: &Heads, screen: Screen) -> String {
    if fits(rows, skew, heads, screen.width) {
        wide(rows, skew, heads, screen)
    } else {
        narrow(rows, skew, heads, screen)
    }
}

fn fits(rows: &[&Row], skew: &Skew, heads: &Heads, width: usize) -> bool {
    let longest = |of: &dyn Fn(&Row) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
    let servers = skew.servers.iter().zip(&heads.names).map(|(server, head)| {
        let cell = |row: &Row| row.cells.get(&server.name).map_or(1, |cell| note(row, cell).chars().count());
        longest(&cell).max(head.chars().count()) + GAP
    });
    let names = longest(&|row| row.group_version().len())
        + longest(&|row| row.resource.len())
        + longest(&|row| row.kind.len())
        + longest(&|row| row.scope.len())
        + 4 * GAP;
    names + servers.sum::<usize>() <= width
}

fn wide(rows: &[&Row], skew: &Skew, heads: &Heads, screen: Screen) -> String {
    let mut table = plain(screen);
    let names = ["GROUP/VERSION", "RESOURCE", "KIND", "SCOPE"];
    table.set_header(names.into_iter().chain(heads.names.iter().map(String::as_str)).map(head));
    let mut last = String::new();
    for row in rows {
        let version = clean(&row.group_version());
        // Said once for the eye, and on every line where lines are searched.
        let repeated = screen.colour && version == last;
        let first = Field::new(&version);
        let first = if repeated { first.add_attribute(Attribute::Dim) } else { first };
        let rest =
            [Field::new(clean(&row.resource)), Field::new(clean(&row.kind)), Field::new(clean(&row.scope))];
        table.add_row([first].into_iter().chain(rest).chain(cells(row, skew)));
        last = version;
    }
    text(&mut table)
}

fn narrow(rows: &[&Row], skew: &Skew, heads: &Heads, screen: Screen) -> String {
    let mut table = plain(screen);
    table.set_header(["RESOURCE"].into_iter().chain(heads.names.iter().map(String::as_str)).map(head));
    let mut last = String::new();
    for row in rows {
        let version = clean(&row.group_version());
        if version != last {
            table.add_row([Field::new(&version).fg(Color::Cyan)]);
        }
        let name = Field::new(format!("  {}", clean(&row.resource)));
        table.add_row([name].into_iter().chain(cells(row, skew)));
        last = version;
    }
    text(&mut table)
}

fn cells(row: &Row, skew: &Skew) -> impl Iterator<Item = Field> {
    skew.servers.iter().map(|server| {
        let cell = row.cells.get(&server.name).cloned().unwrap_or_default();
        let colour = match cell.state {
            State::Served => Color::Green,
            State::NotServed => Color::Red,
            State::Unknown | State::Stale => Color::Yellow,
        };
        Field::new(note(row, &cell)).fg(colour).set_alignment(CellAlignment::Left)
    })
}

/// What stands in a cell: the sign, and what is unlike at the others.
pub(super) fn note(row: &Row, cell: &Cell) -> String {
    let mut text = sign(cell.state).to_owned();
    if !cell.is_listed() {
        return text;
    }
    for aspect in &row.differs_in {
        match aspect {
            Aspect::Presence => {}
            Aspect::Verbs => {
                let lacks = row.lacking(cell);
                if !lacks.is_empty() {
                    text += &format!(" without {}", clean(&lacks.join(", ")));
                }
            }
            Aspect::Scope => text += &format!(" {}", clean(&cell.scope)),
            Aspect::Kind => {
                text += &format!(" {}", clean(if cell.kind.is_empty() { "no kind" } else { &cell.kind }))
            }
        }
    }
    text
}

pub(super) fn sign(state: State) -> &'static str {
    match state {
        State::Served => "✓",
        State::NotServed => "–",
        State::Unknown => "?",
        State::Stale => "~",
    }
}

/// The signs that were used.
fn legend(rows: &[&Row], skew: &Skew, screen: Screen) -> String {
    const MEANINGS: [(State, &str); 4] = [
        (State::Served, "served"),
        (State::NotServed, "not served"),
        (State::Stale, "served when last heard"),
        (State::Unknown, "not known"),
    ];
    let used =
        |state| rows.iter().any(|row| skew.servers.iter().any(|server| row.state(&server.name) == state));
    let signs: Vec<String> = MEANINGS
        .into_iter()
        .filter(|(state, _)| used(*state))
        .map(|(state, meaning)| format!("{} {meaning}", sign(state)))
        .collect();
    screen.paint(Ink::Faint, &screen.wrap(&signs.join("   "), 0)) + "\n"
}
