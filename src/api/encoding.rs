//! Discovery documents as bytes, in each encoding that kube-apiserver has.

use super::{
    discovery::{
        GroupDiscoveryList,
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

/// The whole body of an answer. JSON ends with a newline unless it is indented (`pretty`), as kube-apiserver's does.
pub fn encode(object: Object<'_>, _media: Media, pretty: bool) -> Vec<u8> {
    let write = |value: &dyn Fn(bool) -> Vec<u8>| {
        let mut bytes = value(pretty);
        if !pretty {
            bytes.push(b'\n');
        }
        bytes
    };
    macro_rules! json {
        ($value:expr) => {
            write(&|pretty| if pretty { to_go_json_pretty($value) } else { to_go_json($value) })
        };
    }
    match object {
        Object::Aggregated(list, _) => json!(list),
        Object::Versions(list) => json!(list),
        Object::Groups(list) => json!(list),
        Object::Group(group) => json!(group),
        Object::Resources(list) => json!(list),
    }
}
