//! Protobuf as kube-apiserver writes it (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`): four magic bytes and an
//! envelope that names the type of what is inside.
//!
//! Fields have the numbers of the `generated.proto` beside upstream's types. A field is `required` here where
//! upstream's code writes it even if it is empty, so that the bytes are the same.

mod discovery;
pub(in crate::api) mod meta;
#[cfg(test)]
mod tests;

use prost::Message;

use self::meta::{TypeMeta, Unknown};
use super::{Object, api_version};
use crate::api::discovery::KIND;

/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";

/// A document.
pub(super) fn write(object: Object<'_>) -> Vec<u8> {
    let (api_version, kind, raw) = match object {
        Object::Aggregated(list, version) => {
            (api_version(version), KIND, discovery::List::from(list).encode_to_vec())
        }
        Object::Versions(list) => ("", "APIVersions", meta::ApiVersions::from(list).encode_to_vec()),
        Object::Groups(list) => {
            (list.api_version.as_str(), "APIGroupList", meta::ApiGroupList::from(list).encode_to_vec())
        }
        Object::Group(group) => {
            (group.api_version.as_str(), group.kind.as_str(), meta::ApiGroup::from(group).encode_to_vec())
        }
        Object::Resources(list) => {
            (list.api_version.as_str(), "APIResourceList", meta::ApiResourceList::from(list).encode_to_vec())
        }
    };
    seal(api_version, kind, raw)
}

/// An object in its envelope.
pub(in crate::api) fn seal(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let type_meta = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let envelope = Unknown { type_meta, raw, content_encoding: String::new(), content_type: String::new() };
    let mut out = Vec::with_capacity(MAGIC.len() + envelope.encoded_len());
    out.extend_from_slice(MAGIC);
    envelope.encode_raw(&mut out);
    out
}

/// The object inside an envelope, if it is of this kind.
pub(in crate::api) fn open<T: Message + Default>(document: &[u8], kind: &str) -> Option<T> {
    let envelope = Unknown::decode(document.strip_prefix(MAGIC)?).ok()?;
    if envelope.type_meta.kind != kind {
        return None;
    }
    T::decode(envelope.raw.as_slice()).ok()
}
