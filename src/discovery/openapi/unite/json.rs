//! Documents in JSON, of which only the first two or three levels are looked at.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use serde_json::value::RawValue;

use super::{super::members::Members, Generation, Rubbish};

/// What stands in a member of an object.
#[derive(Clone, Copy)]
enum Kind {
    /// Paths, and the methods of each.
    Paths,
    /// Things with names.
    Named,
    /// Things with names, by their kind.
    Components,
    /// The first server's.
    Other,
}

impl Kind {
    fn of(generation: Generation, member: &str) -> Self {
        match (generation, member) {
            (_, "paths") => Self::Paths,
            (Generation::V2, "definitions" | "parameters" | "responses" | "securityDefinitions") => {
                Self::Named
            }
            (Generation::V3, "components") => Self::Components,
            _ => Self::Other,
        }
    }
}

pub(super) fn check(generation: Generation, document: &[u8]) -> Result<(), Rubbish> {
    for (name, value) in Members::of(document)?.0 {
        match Kind::of(generation, &name) {
            Kind::Paths | Kind::Named => drop(Members::in_value(value)?),
            Kind::Components => {
                for (name, value) in Members::in_value(value)?.0 {
                    if !name.starts_with("x-") {
                        Members::in_value(value)?;
                    }
                }
            }
            Kind::Other => {}
        }
    }
    Ok(())
}

pub(super) fn unite(generation: Generation, documents: &[&[u8]]) -> Result<Vec<u8>, Rubbish> {
    let objects =
        documents.iter().map(|document| Members::of(document)).collect::<serde_json::Result<_>>()?;
    let mut out = Vec::with_capacity(documents.iter().map(|document| document.len()).max().unwrap_or(0));
    write_object(&mut out, side_by_side(objects), |out, name, values| {
        write_member(out, Kind::of(generation, name), values)
    })?;
    Ok(out)
}

fn write_member(out: &mut Vec<u8>, kind: Kind, values: &[&RawValue]) -> Result<(), Rubbish> {
    let members =
        || values.iter().map(|value| Members::in_value(value)).collect::<serde_json::Result<Vec<_>>>();
    match kind {
        Kind::Other => out.extend_from_slice(values[0].get().as_bytes()),
        Kind::Named => {
            return write_object(out, sorted(members()?), |out, _, values| {
                write_member(out, Kind::Other, values)
            });
        }
        Kind::Components => {
            return write_object(out, side_by_side(members()?), |out, name, values| {
                // An extension is not a list of things.
                let kind = if name.starts_with("x-") { Kind::Other } else { Kind::Named };
                write_member(out, kind, values)
            });
        }
        Kind::Paths => {
            return write_object(out, sorted(members()?), |out, name, values| {
                let same = values.iter().all(|value| value.get() == values[0].get());
                let items = if same || !name.starts_with('/') { None } else { path_items(values) };
                match items {
                    None => write_member(out, Kind::Other, values),
                    Some(items) => write_object(out, side_by_side(items), |out, _, values| {
                        write_member(out, Kind::Other, values)
                    }),
                }
            });
        }
    }
    Ok(())
}

/// Nothing is united unless all are objects.
fn path_items<'a>(values: &[&'a RawValue]) -> Option<Vec<Members<'a>>> {
    values.iter().map(|value| Members::in_value(value).ok()).collect()
}

/// By name, the values of those that have it; names in the order in which they are first seen.
fn side_by_side<'a>(objects: Vec<Members<'a>>) -> Vec<(Cow<'a, str>, Vec<&'a RawValue>)> {
    let mut all: Vec<(Cow<'a, str>, Vec<&'a RawValue>)> = Vec::new();
    let mut positions: HashMap<Cow<'a, str>, usize> = HashMap::new();
    for (name, value) in objects.into_iter().flat_map(|Members(members)| members) {
        let at = *positions.entry(name.clone()).or_insert(all.len());
        match all.get_mut(at) {
            Some((_, values)) => values.push(value),
            None => all.push((name, vec![value])),
        }
    }
    all
}

/// The same with names in order, for there are thousands.
fn sorted<'a>(objects: Vec<Members<'a>>) -> BTreeMap<Cow<'a, str>, Vec<&'a RawValue>> {
    let mut all: BTreeMap<Cow<'a, str>, Vec<&'a RawValue>> = BTreeMap::new();
    for (name, value) in objects.into_iter().flat_map(|Members(members)| members) {
        all.entry(name).or_default().push(value);
    }
    all
}

fn write_object<'a>(
    out: &mut Vec<u8>,
    members: impl IntoIterator<Item = (Cow<'a, str>, Vec<&'a RawValue>)>,
    mut write: impl FnMut(&mut Vec<u8>, &str, &[&'a RawValue]) -> Result<(), Rubbish>,
) -> Result<(), Rubbish> {
    out.push(b'{');
    for (number, (name, values)) in members.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &*name)?;
        out.push(b':');
        write(out, &name, &values)?;
    }
    out.push(b'}');
    Ok(())
}
