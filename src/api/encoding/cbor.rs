//! CBOR as kube-apiserver writes it (`k8s.io/apimachinery/pkg/runtime/serializer/cbor`): the JSON form inside the tag
//! that says "this is CBOR", with strings and keys as byte strings, because Go's strings need not be UTF-8.

use std::convert::Infallible;

use minicbor::data::Tag;
use minicbor::{Encoder, encode::Error};
use serde_json::{Number, Value};

/// Self-described CBOR (RFC 8949, 3.4.6); every document begins with it: `d9 d9 f7`.
const SELF_DESCRIBED: Tag = Tag::new(55799);

type Written = Result<(), Error<Infallible>>;

/// A document; `tree` is its JSON form.
pub(super) fn write(tree: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(16 * 1024));
    document(&mut encoder, tree).expect("writing to memory can't fail");
    encoder.into_writer()
}

fn document(encoder: &mut Encoder<Vec<u8>>, tree: &Value) -> Written {
    encoder.tag(SELF_DESCRIBED)?;
    value(encoder, tree)
}

fn value(encoder: &mut Encoder<Vec<u8>>, tree: &Value) -> Written {
    match tree {
        Value::Null => encoder.null()?,
        Value::Bool(truth) => encoder.bool(*truth)?,
        Value::Number(figure) => return number(encoder, figure),
        Value::String(text) => encoder.bytes(text.as_bytes())?,
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            return items.iter().try_for_each(|item| value(encoder, item));
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            // Which is the order of the encoded keys, for a key begins with its length.
            fields.sort_unstable_by_key(|(key, _)| (key.len(), *key));
            encoder.map(fields.len() as u64)?;
            return fields.into_iter().try_for_each(|(key, field)| {
                encoder.bytes(key.as_bytes())?;
                value(encoder, field)
            });
        }
    };
    Ok(())
}

fn number(encoder: &mut Encoder<Vec<u8>>, figure: &Number) -> Written {
    if let Some(figure) = figure.as_u64() {
        encoder.u64(figure)?;
    } else if let Some(figure) = figure.as_i64() {
        encoder.i64(figure)?;
    } else {
        encoder.f64(figure.as_f64().expect("a number of JSON is an integer or a float"))?;
    }
    Ok(())
}
