use proptest::prelude::*;
use serde_json::Value;

use super::{discovery, meta, open};
use crate::api::discovery::{
    GroupDiscovery, GroupDiscoveryList, ResourceDiscovery, ResponseKind, SubresourceDiscovery,
    VersionDiscovery,
};
use crate::api::encoding::{Object, encode, tests::any_list};
use crate::api::media_type::{AggregatedVersion, Media};

proptest! {
    #[test]
    fn protobuf_reads_back_as_what_went_in(list in any_list()) {
        let bytes = encode(Object::Aggregated(&list, AggregatedVersion::V2), Media::Protobuf, false);
        let read: discovery::List = open(&bytes, "APIGroupDiscoveryList").unwrap();
        prop_assert_eq!(GroupDiscoveryList::from(read), list);
    }

    #[test]
    fn rubbish_is_no_protobuf_of_ours(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut document = b"k8s\0".to_vec();
        document.extend(&bytes);
        // It may even be one, only it must not panic.
        let _ = open::<discovery::List>(&document, "");
        prop_assert!(open::<discovery::List>(&bytes, "APIGroupDiscoveryList").is_none());
    }
}

impl From<discovery::List> for GroupDiscoveryList {
    fn from(list: discovery::List) -> Self {
        let kind = |kind: meta::GroupVersionKind| ResponseKind {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            ..ResponseKind::default()
        };
        let subresource = |sub: discovery::Subresource| SubresourceDiscovery {
            subresource: sub.subresource,
            response_kind: sub.response_kind.map(kind),
            accepted_types: sub.accepted_types.into_iter().map(kind).collect(),
            verbs: Some(sub.verbs),
            ..SubresourceDiscovery::default()
        };
        let resource = |resource: discovery::Resource| ResourceDiscovery {
            resource: resource.resource,
            response_kind: resource.response_kind.map(kind),
            scope: resource.scope,
            singular_resource: resource.singular_resource,
            verbs: Some(resource.verbs),
            short_names: resource.short_names,
            categories: resource.categories,
            subresources: resource.subresources.into_iter().map(subresource).collect(),
            ..ResourceDiscovery::default()
        };
        let version = |version: discovery::Version| VersionDiscovery {
            version: version.version,
            resources: version.resources.into_iter().map(resource).collect(),
            freshness: serde_json::from_value(Value::String(version.freshness)).unwrap(),
            ..VersionDiscovery::default()
        };
        let group = |group: discovery::Group| {
            let versions = group.versions.into_iter().map(|listed| version(listed).into()).collect();
            let mut read = GroupDiscovery { versions, ..GroupDiscovery::default() };
            read.metadata.name = group.metadata.name;
            read
        };
        Self { items: list.items.into_iter().map(group).collect(), ..Self::default() }
    }
}
