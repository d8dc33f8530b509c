//! Fields of a document that our types don't have.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Unknown fields in the order in which they came. Boxed, for nearly every one of them is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra(Option<Box<Map<String, Value>>>);

// === impl Extra ===

impl Extra {
    /// Is there no field?
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|map| map.is_empty())
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.as_ref()?.get(key)
    }

    /// Sets a field.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) {
        self.0.get_or_insert_default().insert(key.into(), value);
    }

    /// All fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().flat_map(|map| map.iter())
    }

    /// Takes over the fields that `other` has and `self` has not.
    pub fn absorb(&mut self, other: &Self) {
        for (key, value) in other.iter() {
            if self.get(key).is_none() {
                self.insert(key.clone(), value.clone());
            }
        }
    }

    /// Removes a field if it is `null`.
    pub(super) fn remove_null(&mut self, key: &str) {
        if self.get(key).is_some_and(Value::is_null)
            && let Some(map) = &mut self.0
        {
            map.shift_remove(key);
            if map.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Extra;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Extra, A::Error> {
                let mut extra = Extra::default();
                while let Some((key, value)) = fields.next_entry::<String, Value>()? {
                    extra.insert(key, value);
                }
                Ok(extra)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
