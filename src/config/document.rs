//! The configuration file, as far as it is YAML: which keys are there, on which line, with which text.
//!
//! Reading it along a list of known keys instead of into a struct has two merits: every unknown key is told and
//! not only the first, and values stay the text that was written (an unquoted `1.30` is a fine name for a server
//! and no number).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// What may stand under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One value.
    Text,
    /// A list of values.
    Texts,
    /// A list of mappings with these keys.
    Tables(Keys),
}

/// Known keys and what may stand under them.
pub(super) type Keys = &'static [(&'static str, Shape)];

/// A mapping of the file.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By key; what was left empty (`home:`) is left out.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Keys that nobody knows, and their lines.
    pub(super) unknown: Vec<(String, u64)>,
}

/// What stands under a key.
#[derive(Debug)]
pub(super) struct Entry {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Tables(Vec<Table>),
}

/// Reads a file whose names of keys are made by `key_of` from those in `keys`.
///
/// # Errors
/// A sentence with line and column, if it is no YAML, has a key twice, or a value of the wrong kind.
pub(super) fn parse(
    text: &str,
    keys: &[(&'static str, Shape)],
    key_of: fn(&str) -> String,
) -> Result<Table, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        TableSeed { keys, key_of, text }.deserialize(yaml)
    })
    .map_err(|error| sentence(&error.render_with_formatter(&serde_saphyr::UserMessageFormatter)))
}

/// Ends a sentence of ours, behind which the reader of YAML writes where it was at that time.
const END: &str = "\u{2063}";

fn sentence(error: &str) -> String {
    error.split_once(END).map_or(error, |(ours, _)| ours).to_owned()
}

/// What is wanted below a key, by an example.
fn wanted(key: &str, shape: &Shape, key_of: fn(&str) -> String) -> String {
    match shape {
        Shape::Text => format!("one value is wanted, as in `{key}: value`"),
        Shape::Texts => format!("a list is wanted, as in `{key}: [value, value]`"),
        Shape::Tables(keys) => {
            let keys: Vec<_> = keys.iter().take(2).map(|(name, _)| format!("{}: …", key_of(name))).collect();
            format!("a list of mappings is wanted, as in `{key}: [{{{}}}]`", keys.join(", "))
        }
    }
}

/// What stands behind a key on this line, counted from 1, or below it.
fn found(text: &str, line: u64, key: &str) -> String {
    let mut lines = text.lines().skip(usize::try_from(line).unwrap_or(1).saturating_sub(1));
    let behind =
        lines.next().and_then(|line| line.split_once(&format!("{key}:"))).map_or("", |(_, rest)| rest);
    let bare = |text: &str| text.split(" #").next().unwrap_or_default().trim().to_owned();
    let behind = bare(behind);
    let (value, own_line) = if behind.is_empty() || behind.starts_with('#') {
        (lines.map(bare).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default(), true)
    } else {
        (behind, false)
    };
    if value.starts_with('[') || (own_line && value.starts_with('-')) {
        "a list".to_owned()
    } else if value.starts_with('{') || (own_line && value.contains(':')) {
        "a mapping".to_owned()
    } else {
        let value = value.split([',', '}', ']']).next().unwrap_or_default();
        format!("{value:?}")
    }
}

#[derive(Clone, Copy)]
struct TableSeed<'k> {
    keys: &'k [(&'static str, Shape)],
    key_of: fn(&str) -> String,
    /// All of the file.
    text: &'k str,
}

// === impl TableSeed ===

impl<'de> DeserializeSeed<'de> for TableSeed<'_> {
    type Value = Table;

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<Table, D::Error> {
        yaml.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TableSeed<'_> {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping such as `securePort: 6443`")
    }

    /// An empty file.
    fn visit_unit<E>(self) -> Result<Table, E> {
        Ok(Table::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let mut table = Table::default();
        while let Some(Spanned { value: key, referenced, .. }) = map.next_key::<Spanned<String>>()? {
            let line = referenced.line();
            let Some((_, shape)) = self.keys.iter().find(|(name, _)| (self.key_of)(name) == key) else {
                map.next_value::<IgnoredAny>()?;
                table.unknown.push((key, line));
                continue;
            };
            let value = match shape {
                Shape::Text => map.next_value::<Option<String>>().map(|text| text.map(Value::Text)),
                Shape::Texts => map.next_value::<Option<Vec<String>>>().map(|texts| texts.map(Value::Texts)),
                Shape::Tables(keys) => {
                    let tables = TablesSeed(TableSeed { keys, ..self });
                    map.next_value_seed(tables).map(|tables| Some(Value::Tables(tables)))
                }
            };
            let value = value.map_err(|error| {
                let error = error.to_string();
                A::Error::custom(if error.contains("expected") && !error.contains(END) {
                    let found = found(self.text, line, &key);
                    format!("{key}: line {line}: {found} is there; {}{END}", wanted(&key, shape, self.key_of))
                } else {
                    format!("{key}: {error}")
                })
            })?;
            if let Some(value) = value {
                table.entries.insert(key, Entry { line, value });
            }
        }
        Ok(table)
    }
}

#[derive(Clone, Copy)]
struct TablesSeed<'k>(TableSeed<'k>);

// === impl TablesSeed ===

impl<'de> DeserializeSeed<'de> for TablesSeed<'_> {
    type Value = Vec<Table>;

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<Vec<Table>, D::Error> {
        yaml.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TablesSeed<'_> {
    type Value = Vec<Table>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of mappings")
    }

    fn visit_unit<E>(self) -> Result<Vec<Table>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Table>, A::Error> {
        let mut tables = Vec::new();
        while let Some(table) = seq.next_element_seed(self.0)? {
            tables.push(table);
        }
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: Keys = &[("name", Shape::Text)];
    const KEYS: Keys = &[
        ("home", Shape::Text),
        ("merge", Shape::Text),
        ("bind", Shape::Texts),
        ("servers", Shape::Tables(INNER)),
    ];

    fn read(text: &str) -> Result<Table, String> {
        parse(text, KEYS, str::to_owned)
    }

    fn text(table: &Table, key: &str) -> String {
        match &table.entries[key].value {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_stay_the_text_that_was_written() {
        for written in ["1.30", "0123", "on", "off", "true", "1_000", "0x10", "2e3"] {
            let table = read(&format!("home: {written}\n")).unwrap();
            assert_eq!(text(&table, "home"), written);
        }
        assert_eq!(text(&read("home: \"quoted\"").unwrap(), "home"), "quoted");
    }

    #[test]
    fn every_unknown_key_is_told_with_its_line() {
        let table = read("hone: a\nhome: b\nservers:\n- name: x\n  uri: y\nother: [1, {a: 2}]\n").unwrap();
        assert_eq!(table.unknown, [("hone".to_owned(), 1), ("other".to_owned(), 6)]);
        let Value::Tables(servers) = &table.entries["servers"].value else { panic!("no tables") };
        assert_eq!(servers[0].unknown, [("uri".to_owned(), 5)]);
        assert_eq!(table.entries["home"].line, 2);
    }

    #[test]
    fn a_file_without_anything_is_an_empty_table() {
        for empty in ["", "\n", "# nothing\n", "---\n", "home:\nbind:\nservers:\n"] {
            let table = read(empty).unwrap();
            assert!(table.unknown.is_empty() && !table.entries.contains_key("home"), "{empty:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line) in [
            ("home: [a]\n", "line 1"),
            ("home: a\nmerge: on\nhome: b\n", "line 3"),
            ("merge: on\nbind: a\n", "line 2"),
            ("merge: on\nservers: a\n", "line 2"),
            ("merge: on\nhome: 'a\n", "line"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(line), "{text:?}: {error}");
        }
        assert!(read("home: [a]").unwrap_err().starts_with("home: "));
        assert!(read("- a\n").unwrap_err().contains("expected a mapping"));
    }

    #[test]
    fn a_value_of_another_kind_is_told_with_what_is_wanted() {
        for (text, message) in [
            (
                "merge: on\nhome: [a]\n",
                "home: line 2: a list is there; one value is wanted, as in `home: value`",
            ),
            ("home:\n  a: b\n", "home: line 1: a mapping is there; one value is wanted, as in `home: value`"),
            ("home:\n- a\n", "home: line 1: a list is there; one value is wanted, as in `home: value`"),
            (
                "bind: 0.0.0.0 # all\n",
                "bind: line 1: \"0.0.0.0\" is there; a list is wanted, as in `bind: [value, value]`",
            ),
            (
                "bind: {a: b}\n",
                "bind: line 1: a mapping is there; a list is wanted, as in `bind: [value, value]`",
            ),
            (
                "servers:\n  name: a\n",
                "servers: line 1: a mapping is there; a list of mappings is wanted, as in `servers: [{name: …}]`",
            ),
            (
                "servers: [a]\n",
                "servers: line 1: a list is there; a list of mappings is wanted, as in `servers: [{name: …}]`",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text:?}");
        }
        let inside = read("servers:\n- {name: [a]}\n").unwrap_err();
        assert_eq!(
            inside,
            "servers: name: line 2: a list is there; one value is wanted, as in `name: value`"
        );
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_refused() {
        assert!(read(&format!("other: {}", "[".repeat(100_000))).is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let uses = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{uses}]\n");
        }
        assert!(read(&bomb).is_err());
    }
}
