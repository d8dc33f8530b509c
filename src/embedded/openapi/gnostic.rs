//! OpenAPI documents as the protobuf of gnostic, with just the fields that ours have.
//!
//! Field numbers: `openapiv2/OpenAPIv2.proto` and `openapiv3/OpenAPIv3.proto` of `google/gnostic-models`.

pub(super) mod v2;
pub(super) mod v3;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

// === impl Message ===

impl Message {
    fn text(mut self, field: u32, text: &Value) -> Self {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
        self
    }

    fn name(mut self, field: u32, name: &str) -> Self {
        self.bytes(field, name.as_bytes());
        self
    }

    fn texts(mut self, field: u32, list: &Value) -> Self {
        for text in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
        self
    }

    fn flag(mut self, field: u32, value: &Value) -> Self {
        if value == true {
            encode_key(field, WireType::Varint, &mut self.0);
            encode_varint(1, &mut self.0);
        }
        self
    }

    fn message(mut self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0);
        self
    }

    /// What `write` makes of the value, if there is one.
    fn some(self, field: u32, value: &Value, write: impl Fn(&Value) -> Self) -> Self {
        if value.is_null() { self } else { self.message(field, &write(value)) }
    }

    /// What `write` makes of every item.
    fn each(mut self, field: u32, list: &Value, write: impl Fn(&Value) -> Self) -> Self {
        for item in list.as_array().into_iter().flatten() {
            self = self.message(field, &write(item));
        }
        self
    }

    /// Pairs of a name (1) and what `write` makes of the value (2).
    fn named(mut self, field: u32, map: &Value, write: impl Fn(&Value) -> Self) -> Self {
        for (name, value) in map.as_object().into_iter().flatten() {
            self = self.message(field, &Self::default().name(1, name).message(2, &write(value)));
        }
        self
    }

    /// `x-…`: each a name (1) and an `Any` (2) with the value as YAML (2 of that), of which JSON is a part.
    fn extensions(mut self, field: u32, of: &Value) -> Self {
        for (name, value) in of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            let any = yaml(value);
            self = self.message(field, &Self::default().name(1, name).message(2, &any));
        }
        self
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// `Any`.
fn yaml(value: &Value) -> Message {
    Message::default().name(2, &format!("{value}\n"))
}
