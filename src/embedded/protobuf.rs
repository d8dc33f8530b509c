//! Objects that clients send as protobuf: since 1.32 `kubectl create` does.
//!
//! A small schema says what is understood. A kind or field that it doesn't have is refused, never dropped.
//! Answers are always JSON, which every client accepts beside protobuf.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::pki::base64;

/// The content type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every encoded object begins with (upstream: `serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages; real objects need about ten.
const MAX_DEPTH: usize = 32;

static SCHEMA: LazyLock<HashMap<&str, Message>> =
    LazyLock::new(|| parse(include_str!("protobuf/schema.txt")));

type Message = HashMap<u64, Field>;

#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    kind: &'static str,
    shape: Shape,
    pointer: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    One,
    List,
    Map,
}

/// One field on the wire.
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The object inside the envelope, with its `apiVersion` and `kind`.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or("it doesn't begin as a Kubernetes object does")?;
    let (mut type_meta, mut raw) = (&[][..], &[][..]);
    for field in fields(envelope) {
        match field? {
            (1, Raw::Bytes(bytes)) => type_meta = bytes,
            (2, Raw::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (mut api_version, mut kind) = (String::new(), String::new());
    for field in fields(type_meta) {
        match field? {
            (1, Raw::Bytes(bytes)) => api_version = text(bytes)?,
            (2, Raw::Bytes(bytes)) => kind = text(bytes)?,
            _ => {}
        }
    }
    let mut object = Map::new();
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.as_str().into());
    object.extend(message(&kind, raw, 0)?);
    Ok(object.into())
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, String> {
    let schema = SCHEMA.get(name).ok_or_else(|| format!("it has a {name}, which is known in JSON only"))?;
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply".into());
    }
    let mut object = Map::new();
    for field in fields(bytes) {
        let (number, raw) = field?;
        let field =
            schema.get(&number).ok_or_else(|| format!("field {number} of {name} is known in JSON only"))?;
        if field.kind == "skip" {
            continue;
        }
        match field.shape {
            Shape::One => {
                let value = value(field.kind, raw, depth)?;
                if field.pointer || !is_zero(&value) {
                    object.insert(field.name.into(), value);
                }
            }
            Shape::List => {
                let item = value(field.kind, raw, depth)?;
                if let Some(list) = object.entry(field.name).or_insert_with(|| json!([])).as_array_mut() {
                    list.push(item);
                }
            }
            Shape::Map => {
                let (key, item) = entry(field.kind, raw, depth)?;
                object.entry(field.name).or_insert_with(|| json!({}))[key] = item;
            }
        }
    }
    Ok(object)
}

fn value(kind: &str, raw: Raw<'_>, depth: usize) -> Result<Value, String> {
    Ok(match (kind, raw) {
        ("int", Raw::Number(number)) => json!(number.cast_signed()),
        ("bool", Raw::Number(number)) => json!(number != 0),
        ("str", Raw::Bytes(bytes)) => json!(text(bytes)?),
        ("bytes", Raw::Bytes(bytes)) => json!(base64(bytes)),
        ("Quantity", Raw::Bytes(bytes)) => match fields(bytes).next().transpose()? {
            Some((1, Raw::Bytes(bytes))) => json!(text(bytes)?),
            _ => json!("0"),
        },
        ("Time", Raw::Bytes(bytes)) => time(bytes)?,
        ("IntOrString", Raw::Bytes(bytes)) => int_or_string(bytes)?,
        (_, Raw::Bytes(bytes)) => message(kind, bytes, depth + 1)?.into(),
        (_, Raw::Number(_)) => return Err(format!("a {kind} can't be a number")),
    })
}

fn entry(kind: &str, raw: Raw<'_>, depth: usize) -> Result<(String, Value), String> {
    let Raw::Bytes(bytes) = raw else { return Err("a map can't be a number".into()) };
    let (mut key, mut item) = (String::new(), Value::Null);
    for field in fields(bytes) {
        match field? {
            (1, Raw::Bytes(bytes)) => key = text(bytes)?,
            (2, raw) => item = value(kind, raw, depth)?,
            _ => {}
        }
    }
    if item.is_null() {
        item = value(kind, Raw::Bytes(&[]), depth)?;
    }
    Ok((key, item))
}

fn time(bytes: &[u8]) -> Result<Value, String> {
    let seconds = match fields(bytes).next().transpose()? {
        Some((1, Raw::Number(seconds))) => seconds.cast_signed(),
        _ => return Ok(Value::Null),
    };
    let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| error.to_string())?;
    Ok(json!(time.format(&Rfc3339).map_err(|error| error.to_string())?))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Raw::Number(kind)) => is_text = kind == 1,
            (2, Raw::Number(value)) => number = value.cast_signed(),
            (3, Raw::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}

fn is_zero(value: &Value) -> bool {
    value.is_null() || value == 0 || value == false || value == ""
}

fn text(bytes: &[u8]) -> Result<String, String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a string in it is no UTF-8".into())
}

/// The fields of a message in their order; ends behind the first fault.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Raw<'_>), String>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_err() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Raw<'a>), String> {
    let tag = varint(bytes)?;
    let raw = match tag & 7 {
        0 => Raw::Number(varint(bytes)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| "a length is too large")?;
            let (content, rest) = bytes.split_at_checked(length).ok_or("it is cut short")?;
            *bytes = rest;
            Raw::Bytes(content)
        }
        other => return Err(format!("wire type {other} is not used by Kubernetes")),
    };
    Ok((tag >> 3, raw))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("it is cut short")?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number is too long".into())
}

fn parse(schema: &'static str) -> HashMap<&'static str, Message> {
    let mut messages: HashMap<_, Message> = HashMap::new();
    let mut current = "";
    let lines = schema.lines().filter(|line| !line.starts_with('#'));
    for token in lines.flat_map(str::split_whitespace) {
        match token.split_once('=') {
            None => current = token,
            Some((number, rest)) => {
                let (name, kind) = rest.split_once(':').expect("a test parses the whole schema");
                let number = number.parse().expect("a test parses the whole schema");
                messages.entry(current).or_default().insert(number, Field::new(name, kind));
            }
        }
    }
    messages
}

// === impl Field ===

impl Field {
    fn new(name: &'static str, kind: &'static str) -> Self {
        let (shape, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("map:")) {
            (Some(kind), _) => (Shape::List, kind),
            (_, Some(kind)) => (Shape::Map, kind),
            _ => (Shape::One, kind),
        };
        let pointer = kind.ends_with('?');
        Self { name, kind: kind.trim_end_matches('?'), shape, pointer }
    }
}

#[cfg(test)]
mod tests;
