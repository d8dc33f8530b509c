//! Discovery documents as bytes, in each encoding that kube-apiserver has.

mod cbor;
pub(in crate::api) mod protobuf;
#[cfg(test)]
mod tests;
mod yaml;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{
    discovery::{
        GroupDiscoveryList, KIND,
        legacy::{ApiGroup, ApiGroupList, ApiResourceList, ApiVersions},
        to_go_json, to_go_json_pretty,
    },
    media_type::{AggregatedVersion, Media},
};

/// A document of discovery.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// `APIGroupDiscoveryList`.
    Aggregated(&'a GroupDiscoveryList, AggregatedVersion),
    /// `/api`.
    Versions(&'a ApiVersions),
    /// `/apis`.
    Groups(&'a ApiGroupList),
    /// `/apis/<group>`.
    Group(&'a ApiGroup),
    /// `/apis/<group>/<version>`.
    Resources(&'a ApiResourceList),
}

/// The whole body of an answer. `pretty` is for JSON, which ends with a newline unless it is indented, as
/// kube-apiserver's does.
///
/// Fields that upstream's types don't have are in all encodings but protobuf, where they have no number. CBOR has the
/// order of keys that RFC 8949 calls deterministic; kube-apiserver's is random.
pub fn encode(object: Object<'_>, media: Media, pretty: bool) -> Vec<u8> {
    match media {
        Media::Json if pretty => to_go_json_pretty(&object),
        Media::Json => {
            let mut bytes = to_go_json(&object);
            bytes.push(b'\n');
            bytes
        }
        Media::Yaml => yaml::write(object.tree()),
        Media::Protobuf => protobuf::write(object),
        Media::Cbor => cbor::write(&object.tree()),
    }
}

// === impl Object ===

impl Object<'_> {
    fn tree(self) -> serde_json::Value {
        serde_json::to_value(self).expect("the keys of our types are strings")
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Aggregated(list, AggregatedVersion::V2) => list.serialize(serializer),
            Self::Aggregated(list, version @ AggregatedVersion::V2Beta1) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("kind", KIND)?;
                map.serialize_entry("apiVersion", api_version(*version))?;
                map.serialize_entry("metadata", &list.metadata)?;
                map.serialize_entry("items", &list.items)?;
                for (key, value) in list.extra.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Versions(list) => list.serialize(serializer),
            Self::Groups(list) => list.serialize(serializer),
            Self::Group(group) => group.serialize(serializer),
            Self::Resources(list) => list.serialize(serializer),
        }
    }
}

fn api_version(version: AggregatedVersion) -> &'static str {
    match version {
        AggregatedVersion::V2 => "apidiscovery.k8s.io/v2",
        AggregatedVersion::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
    }
}
