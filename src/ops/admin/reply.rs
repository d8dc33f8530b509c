//! What the pages are answered with.

use std::fmt::Write as _;

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use crate::printable::is_obeyed;

/// An answer.
pub(super) type Reply = Response<Full<bytes::Bytes>>;

/// A line of JSON is no longer than this, if it can be helped.
const WIDTH: usize = 100;

pub(super) fn json(value: &Value) -> Reply {
    let mut text = String::new();
    pretty(value, 0, &mut text);
    text.push('\n');
    with_type(harmless(&text), "application/json")
}

pub(super) fn text(status: StatusCode, body: &str) -> Reply {
    let mut reply = with_type(body.to_owned(), "text/plain; charset=utf-8");
    *reply.status_mut() = status;
    reply
}

/// A sentence that says what was wrong with the question.
pub(super) fn sentence(status: StatusCode, sentence: &str) -> Reply {
    text(status, &format!("{sentence}\n"))
}

pub(super) fn with_type(body: String, content_type: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// JSON escapes of what a terminal would obey only half; the other half can stand in strings alone.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_obeyed(letter) && letter != '\n' {
            // Writing to a String does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    text
}

/// For terminals: a list of plain values stands in one line where it fits.
fn pretty(value: &Value, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let plain = items.iter().all(|item| !item.is_array() && !item.is_object());
            let written: Vec<String> =
                if plain { items.iter().map(Value::to_string).collect() } else { Vec::new() };
            let length: usize = written.iter().map(|item| item.len() + 2).sum();
            let begun = out.len() - out.rfind('\n').map_or(0, |newline| newline + 1);
            if plain && begun + length <= WIDTH {
                out.push_str(&format!("[{}]", written.join(", ")));
                return;
            }
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                line(out, depth + 1);
                pretty(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (number, (name, field)) in fields.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                line(out, depth + 1);
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(": ");
                pretty(field, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_terminal_obeys_what_stands_in_json() {
        let value = json!({"\u{9b}31m": "\u{1b}\u{7f}\u{202e}\n"});
        let mut text = String::new();
        pretty(&value, 0, &mut text);
        let text = harmless(&text);
        assert_eq!(text, "{\n  \"\\u009b31m\": \"\\u001b\\u007f\\u202e\\n\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn lists_of_plain_values_stand_in_one_line_where_they_fit() {
        let long = vec!["0123456789"; 10];
        let value = json!({"a": [1, "b", null], "b": {}, "c": [], "d": [{"e": [[1]]}], "long\"": long});
        let mut text = String::new();
        pretty(&value, 0, &mut text);
        assert!(
            text.starts_with(
                "{\n  \"a\": [1, \"b\", null],\n  \"b\": {},\n  \"c\": [],\n  \"d\": [\n    {\n"
            ),
            "{text}"
        );
        assert!(text.contains("  \"long\\\"\": [\n    \"0123456789\",\n"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{text}");
    }
}
