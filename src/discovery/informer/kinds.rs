//! What is watched, what of it is kept, and which of its changes matter.

use std::fmt::Debug;

use k8s_openapi::{
    api::{coordination::v1::Lease, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::{Definition, Service};
use crate::{limits, servers::Server};

/// On APIServices that kube-apiserver makes by itself (`k8s.io/kube-aggregator/pkg/controllers/autoregister`).
pub(super) const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// On identity leases, with `host:port` (KEP-4020).
const PEER_ADDRESS: &str = "kubernetes.io/peer-advertise-address";

/// One kind of object on one server, as one informer wants it.
pub struct Kind<K> {
    /// Its plural name, for people and metrics.
    pub resource: &'static str,
    /// What a user who may not watch it is missing.
    pub permission: &'static str,
    /// Where it is listed and watched.
    pub api: Api<K>,
    /// Which ones.
    pub labels: Option<&'static str>,
    /// How many there may be.
    pub max_objects: usize,
    /// Takes away what nobody here reads, so that it costs no memory.
    pub slim: fn(&mut K),
    /// Whether the change of an object is one that somebody wants to hear of.
    pub matters: fn(&K, &K) -> bool,
}

/// What became of an object.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a, K> {
    /// It was like this; `None`: it is new.
    pub before: Option<&'a K>,
    /// It is like this; `None`: it is gone.
    pub after: Option<&'a K>,
}

/// What an object has to be.
pub trait Object: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Object for K {}

pub(super) fn definitions(client: &Client) -> Kind<Definition> {
    Kind {
        resource: "customresourcedefinitions",
        permission: "list and watch customresourcedefinitions in apiextensions.k8s.io",
        api: Api::all(client.clone()),
        labels: None,
        max_objects: limits::MAX_INFORMED_OBJECTS,
        slim: |object| object.metadata = bare(std::mem::take(&mut object.metadata)),
        matters: |_, _| true,
    }
}

pub(super) fn services(client: &Client) -> Kind<Service> {
    Kind {
        resource: "apiservices",
        permission: "list and watch apiservices in apiregistration.k8s.io",
        api: Api::all(client.clone()),
        labels: None,
        max_objects: limits::MAX_INFORMED_OBJECTS,
        slim: |object| object.metadata = bare(std::mem::take(&mut object.metadata)),
        matters: |_, _| true,
    }
}

pub(super) fn leases(client: &Client) -> Kind<Lease> {
    Kind {
        resource: "leases",
        permission: "list and watch leases in coordination.k8s.io, namespace kube-system",
        api: Api::namespaced(client.clone(), "kube-system"),
        labels: Some("apiserver.kubernetes.io/identity=kube-apiserver"),
        max_objects: limits::MAX_INFORMED_PEERS,
        slim: |lease| lease.metadata.managed_fields = None,
        // They are renewed every ten seconds.
        matters: |before, after| {
            holder(before) != holder(after) || peer_address(before) != peer_address(after)
        },
    }
}

pub(super) fn endpoint_slices(client: &Client) -> Kind<EndpointSlice> {
    Kind {
        resource: "endpointslices",
        permission: "list and watch endpointslices in discovery.k8s.io, namespace default",
        api: Api::namespaced(client.clone(), "default"),
        labels: Some("kubernetes.io/service-name=kubernetes"),
        max_objects: limits::MAX_INFORMED_PEERS,
        slim: |slice| slice.metadata.managed_fields = None,
        matters: |before, after| before.endpoints != after.endpoints || before.ports != after.ports,
    }
}

/// Metadata with what tells one object from another. Annotations are the bulk of a custom resource definition's.
fn bare(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, uid, resource_version, generation, labels, .. } = metadata;
    let labels = labels.and_then(|mut labels| labels.remove_entry(AUTOMANAGED));
    let labels = labels.map(|label| [label].into());
    ObjectMeta { name, uid, resource_version, generation, labels, ..ObjectMeta::default() }
}

/// The process that holds a lease: kube-apiserver's name and an UUID that each start makes anew.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn peer_address(lease: &Lease) -> Option<&String> {
    lease.metadata.annotations.as_ref()?.get(PEER_ADDRESS)
}

/// Who holds a server's own lease. It is remembered while there is none: since 1.35 a kube-apiserver that starts deletes
/// the lease of the one before it and makes another.
#[derive(Debug, Default)]
pub(super) struct OwnLease(Option<String>);

// === impl OwnLease ===

impl OwnLease {
    /// Whether the server's own lease has another holder than the last time that it had one.
    pub(super) fn is_of_another_process(&mut self, server: &Server, change: &Change<'_, Lease>) -> bool {
        let Some(lease) = change.after else { return false };
        let Some(holder) = holder(lease).filter(|_| is_lease_of(server, lease)) else { return false };
        let before = self.0.replace(holder.to_owned());
        before.is_some_and(|before| before != holder)
    }
}

/// Whether the lease is this server's own; not all of them can be told.
fn is_lease_of(server: &Server, lease: &Lease) -> bool {
    lease.metadata.name.as_deref() == Some(&*server.name)
        || peer_address(lease).is_some_and(|address| *address == server.authority)
}
