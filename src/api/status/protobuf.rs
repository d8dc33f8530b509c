//! `Status` in Kubernetes' protobuf encoding: an envelope (`runtime.Unknown`) behind four magic bytes.

use super::Status;

const MAGIC: &[u8] = b"k8s\0";

/// What tells a missing route from a missing object in a server's `Status`.
pub(super) struct Seen<'a> {
    pub(super) message: &'a [u8],
    /// `details` carries a name or a kind.
    pub(super) names_an_object: bool,
}

/// Encodes as `k8s\0` + `Unknown{typeMeta: {v1, Status}, raw: Status}`.
pub(super) fn encode(status: &Status) -> Vec<u8> {
    let mut raw = Vec::new();
    bytes_field(&mut raw, 1, &[]);
    bytes_field(&mut raw, 2, b"Failure");
    bytes_field(&mut raw, 3, status.message.as_bytes());
    bytes_field(&mut raw, 4, status.reason.as_bytes());
    let mut details = Vec::new();
    if let Some(seconds) = status.retry_after {
        varint_field(&mut details, 5, u64::from(seconds));
    }
    bytes_field(&mut raw, 5, &details);
    varint_field(&mut raw, 6, u64::from(status.code.as_u16()));

    let mut type_meta = Vec::new();
    bytes_field(&mut type_meta, 1, b"v1");
    bytes_field(&mut type_meta, 2, b"Status");

    let mut out = MAGIC.to_vec();
    bytes_field(&mut out, 1, &type_meta);
    bytes_field(&mut out, 2, &raw);
    bytes_field(&mut out, 3, &[]);
    bytes_field(&mut out, 4, &[]);
    out
}

/// Reads a server's `Status`; `None` if it is none.
pub(super) fn decode(document: &[u8]) -> Option<Seen<'_>> {
    let envelope = document.strip_prefix(MAGIC)?;
    let kind = Fields(field(envelope, 1)?).find(|(number, _)| *number == 2)?.1;
    if kind != b"Status" {
        return None;
    }
    let raw = field(envelope, 2)?;
    let details = field(raw, 5).unwrap_or_default();
    let has = |number| field(details, number).is_some_and(|value| !value.is_empty());
    Some(Seen { message: field(raw, 3).unwrap_or_default(), names_an_object: has(1) || has(3) })
}

fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    Fields(message).find(|(found, _)| *found == number).map(|(_, value)| value)
}

/// The length-delimited fields of a message; others are passed over, and it ends at the first fault.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let key = varint(&mut self.0)?;
            let length = match key & 7 {
                0 => {
                    varint(&mut self.0)?;
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut self.0)?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (value, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if key & 7 == 2 {
                return Some((key >> 3, value));
            }
        }
        None
    }
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}
