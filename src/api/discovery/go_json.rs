//! JSON as Go's `encoding/json` writes it: `<`, `>`, `&`, U+2028 and U+2029 are escaped, all else as serde does.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Compact JSON without a newline at its end, as `json.Marshal` gives it.
///
/// # Panics
/// If `value` can't be JSON at all (a map with keys that are no strings, a failing `Serialize`).
pub fn to_go_json(value: &impl Serialize) -> Vec<u8> {
    write(value, CompactFormatter)
}

/// JSON indented by two spaces, without a newline at its end: what kube-apiserver gives to `?pretty=1`, browsers
/// and curl (`json.MarshalIndent`).
///
/// # Panics
/// As [`to_go_json`].
pub fn to_go_json_pretty(value: &impl Serialize) -> Vec<u8> {
    write(value, PrettyFormatter::new())
}

fn write(value: &impl Serialize, layout: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, GoFormatter(layout)))
        .expect("writing to memory can't fail, and the keys of our types are strings");
    bytes
}

/// A layout whose strings are escaped as Go escapes them.
struct GoFormatter<F>(F);

/// Passes calls on to the layout inside.
macro_rules! layout {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$method(writer $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    layout! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let bytes = fragment.as_bytes();
        let mut written = 0;
        let mut at = 0;
        while at < bytes.len() {
            let (escape, length) = match bytes[at] {
                b'<' => ("\\u003c", 1),
                b'>' => ("\\u003e", 1),
                b'&' => ("\\u0026", 1),
                0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => ("\\u2028", 3),
                0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => ("\\u2029", 3),
                _ => {
                    at += 1;
                    continue;
                }
            };
            writer.write_all(&bytes[written..at])?;
            writer.write_all(escape.as_bytes())?;
            at += length;
            written = at;
        }
        writer.write_all(&bytes[written..])
    }
}
