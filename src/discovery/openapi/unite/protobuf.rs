//! Documents in protobuf, taken apart no further than to where the things with names are. What we have no name for
//! stays as the bytes that it is.

use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive};

use super::{Generation, Rubbish};
use crate::limits;

/// A field of a message: its number, all of its bytes, and those of its value if it has a length.
#[derive(Clone, Copy)]
struct Field<'a> {
    number: u32,
    raw: &'a [u8],
    value: Option<&'a [u8]>,
}

/// All bytes of a list's entry, and those of its value.
type Entry<'a> = (&'a [u8], Cow<'a, [u8]>);

/// What a field of a message is.
#[derive(Clone)]
enum Role {
    /// The first server's.
    Other,
    /// A message whose field `entry` lists things with a name (field 1) and a value (field 2).
    Named { entry: u32 },
    /// The same; what is listed are paths, whose methods are fields.
    Paths { entry: u32 },
    /// A message whose fields with these numbers are lists of things with names.
    Components(RangeInclusive<u32>),
}

impl Role {
    /// Of the fields of `Document` in `OpenAPIv2.proto` and `OpenAPIv3.proto`.
    fn of(generation: Generation, number: u32) -> Self {
        match (generation, number) {
            (Generation::V2, 8) => Self::Paths { entry: 2 },
            // Definitions, parameters, responses, security definitions.
            (Generation::V2, 9 | 10 | 11 | 13) => Self::Named { entry: 1 },
            (Generation::V3, 4) => Self::Paths { entry: 1 },
            (Generation::V3, 5) => Self::Components(1..=9),
            _ => Self::Other,
        }
    }

    fn of_component(numbers: &RangeInclusive<u32>, number: u32) -> Self {
        if numbers.contains(&number) { Self::Named { entry: 1 } } else { Self::Other }
    }
}

const WIRE_LENGTH: u64 = 2;

pub(super) fn check(generation: Generation, document: &[u8]) -> Result<(), Rubbish> {
    check_message(document, &|number| Role::of(generation, number))
}

/// Reads all that [`unite_messages`] would, and writes nothing: a document may be big.
fn check_message(message: &[u8], role: &dyn Fn(u32) -> Role) -> Result<(), Rubbish> {
    let mut numbers: BTreeMap<u32, Vec<Field<'_>>> = BTreeMap::new();
    for field in fields(message)? {
        numbers.entry(field.number).or_default().push(field);
    }
    for (number, pieces) in numbers {
        match role(number) {
            Role::Other => {}
            Role::Named { entry } | Role::Paths { entry } => check_list(&joined(&pieces)?, entry)?,
            Role::Components(numbers) => {
                check_message(&joined(&pieces)?, &|number| Role::of_component(&numbers, number))?;
            }
        }
    }
    Ok(())
}

fn check_list(list: &[u8], entry: u32) -> Result<(), Rubbish> {
    for field in fields(list)?.into_iter().filter(|field| field.number == entry) {
        let listed = listed(&field)?;
        of_number(&listed, 1)?;
        of_number(&listed, 2)?;
    }
    Ok(())
}

/// Name and value of an entry of a list, as fields.
fn listed<'a>(entry: &Field<'a>) -> Result<Vec<Field<'a>>, Rubbish> {
    fields(entry.value.ok_or_else(|| Rubbish("an entry is no message".into()))?)
}

pub(super) fn unite(generation: Generation, documents: &[&[u8]]) -> Result<Vec<u8>, Rubbish> {
    unite_messages(documents, &|number| Role::of(generation, number))
}

/// Of each field, what its role says; fields in the order of their numbers, as upstream writes them.
fn unite_messages(messages: &[&[u8]], role: &dyn Fn(u32) -> Role) -> Result<Vec<u8>, Rubbish> {
    // By number, the fields of each message that has it.
    let mut numbers: BTreeMap<u32, Vec<(usize, Vec<Field<'_>>)>> = BTreeMap::new();
    for (message, bytes) in messages.iter().enumerate() {
        for field in fields(bytes)? {
            let having = numbers.entry(field.number).or_default();
            match having.last_mut() {
                Some((last, fields)) if *last == message => fields.push(field),
                _ => having.push((message, vec![field])),
            }
        }
    }
    let mut out = Vec::with_capacity(messages.iter().map(|message| message.len()).max().unwrap_or(0));
    for (number, having) in numbers {
        let values = || having.iter().map(|(_, fields)| joined(fields)).collect::<Result<Vec<_>, _>>();
        let united = match role(number) {
            Role::Other => {
                having[0].1.iter().for_each(|field| out.extend_from_slice(field.raw));
                continue;
            }
            Role::Named { entry } => unite_lists(&values()?, entry, false)?,
            Role::Paths { entry } => unite_lists(&values()?, entry, true)?,
            Role::Components(numbers) => {
                let values = values()?;
                let values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
                unite_messages(&values, &|number| Role::of_component(&numbers, number))?
            }
        };
        write_field(&mut out, number, &united);
    }
    Ok(out)
}

/// The value of a field that is a message; one that is written in pieces is their concatenation.
fn joined<'a>(fields: &[Field<'a>]) -> Result<Cow<'a, [u8]>, Rubbish> {
    let value = |field: &Field<'a>| {
        field.value.ok_or_else(|| Rubbish(format!("field {} is no message", field.number)))
    };
    match fields {
        [one] => value(one).map(Cow::Borrowed),
        pieces => Ok(pieces.iter().map(value).collect::<Result<Vec<_>, _>>()?.concat().into()),
    }
}

fn of_number<'a>(message: &[Field<'a>], number: u32) -> Result<Cow<'a, [u8]>, Rubbish> {
    let pieces: Vec<Field<'a>> = message.iter().filter(|field| field.number == number).copied().collect();
    joined(&pieces)
}

fn unite_lists(lists: &[Cow<'_, [u8]>], entry: u32, paths: bool) -> Result<Vec<u8>, Rubbish> {
    let mut names: BTreeMap<Cow<'_, [u8]>, Vec<Entry<'_>>> = BTreeMap::new();
    let mut rest: BTreeMap<u32, (usize, Vec<&[u8]>)> = BTreeMap::new();
    for (source, list) in lists.iter().enumerate() {
        for field in fields(list)? {
            if field.number != entry {
                let (first, kept) = rest.entry(field.number).or_insert_with(|| (source, Vec::new()));
                if *first == source {
                    kept.push(field.raw);
                }
                continue;
            }
            let listed = listed(&field)?;
            let (name, value) = (of_number(&listed, 1)?, of_number(&listed, 2)?);
            names.entry(name).or_default().push((field.raw, value));
        }
    }
    let mut out = Vec::with_capacity(lists.iter().map(|list| list.len()).max().unwrap_or(0));
    let write_rest = |out: &mut Vec<u8>, before: bool| {
        let wanted = rest.iter().filter(|(number, _)| (**number < entry) == before);
        wanted.flat_map(|(_, (_, kept))| kept).for_each(|raw| out.extend_from_slice(raw));
    };
    write_rest(&mut out, true);
    for (name, values) in names {
        let (raw, first) = &values[0];
        if !paths || values.iter().all(|(_, value)| value == first) {
            out.extend_from_slice(raw);
            continue;
        }
        let items: Vec<&[u8]> = values.iter().map(|(_, value)| value.as_ref()).collect();
        let Ok(item) = unite_messages(&items, &|_| Role::Other) else {
            out.extend_from_slice(raw);
            continue;
        };
        let mut listed = Vec::with_capacity(item.len() + name.len() + 16);
        write_field(&mut listed, 1, &name);
        write_field(&mut listed, 2, &item);
        write_field(&mut out, entry, &listed);
    }
    write_rest(&mut out, false);
    Ok(out)
}

// === The wire format (protobuf.dev/programming-guides/encoding) ===

fn fields(message: &[u8]) -> Result<Vec<Field<'_>>, Rubbish> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        if fields.len() == limits::MAX_OPENAPI_NAMES {
            return Err(Rubbish("too many fields".into()));
        }
        let at = rest;
        let key = read_varint(&mut rest)?;
        let value = match key & 7 {
            0 => {
                read_varint(&mut rest)?;
                None
            }
            1 => take(&mut rest, 8).map(|_| None)?,
            WIRE_LENGTH => {
                let length = read_varint(&mut rest)?;
                Some(take(&mut rest, usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => take(&mut rest, 4).map(|_| None)?,
            other => return Err(Rubbish(format!("wire type {other}"))),
        };
        let number = u32::try_from(key >> 3).map_err(|_| Rubbish("field number".into()))?;
        fields.push(Field { number, raw: &at[..at.len() - rest.len()], value });
    }
    Ok(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Rubbish> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(|| Rubbish("it breaks off".into()))?;
    *rest = left;
    Ok(taken)
}

fn read_varint(rest: &mut &[u8]) -> Result<u64, Rubbish> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Rubbish("a number of more than 64 bits".into()))
}

fn write_field(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    write_varint(out, u64::from(number) << 3 | WIRE_LENGTH);
    write_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The lowest seven bits, and the mark that more follow.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
