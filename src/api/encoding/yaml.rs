//! YAML as kube-apiserver writes it: the JSON form with its keys sorted, in block style, lists not indented
//! (`sigs.k8s.io/yaml`, `JSONToYAML`).

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::SingleQuoted;

/// A document; `tree` is its JSON form.
pub(super) fn write(mut tree: Value) -> Vec<u8> {
    tree.sort_all_objects();
    // Go's writer doesn't fold. Strings that YAML 1.1 would read as something else are quoted by both.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&Quoted(&tree), options)
        .expect("JSON is YAML, and writing to memory can't fail")
        .into_bytes()
}

/// A tree whose strings are quoted as Go quotes them: with single quotes, where only the first character stands against
/// none at all. Such are the verb `*` and the address `[::1]:6443`.
struct Quoted<'a>(&'a Value);

impl Serialize for Quoted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text)
                if text.starts_with(['[', '*']) && text.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                SingleQuoted(text).serialize(serializer)
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Quoted)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, field)| (key, Quoted(field))))
            }
            other => other.serialize(serializer),
        }
    }
}
