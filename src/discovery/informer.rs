//! What one API server says of some of its objects, from moment to moment.
//!
//! An informer lists one kind of object and then watches it, over our own connections
//! ([`crate::servers::kube_client`]). What it has [`Seen`] changes in steps that are each true: a list replaces all at
//! once when its last page is there, an event changes one object, a bookmark only moves the resource version. Whatever
//! breaks off leaves what was seen before, and says that it is no longer [`live`](Seen::live).
//!
//! Every event is contact with the server; a watch that ends in an error is a reason to look after it. A watch over
//! HTTP/2 that is dead without a word is found out by the PING of its connection
//! ([`crate::servers::pool::Settings::ping_interval`]), which goes out while an answer is outstanding; over HTTP/1.1 by
//! its end being overdue.
//!
//! The loop is our own (`reflector`), with the types and requests of the `kube` crate: `kube::runtime::watcher` keeps
//! the resource versions of bookmarks and lists to itself, and does not say when a watch is connected; both are what
//! is asked here.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{coordination::v1::Lease, discovery::v1::EndpointSlice},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Client, core::PartialObjectMeta};
use tokio::{sync::watch, task::JoinSet};

mod custom;
mod end;
mod kinds;
mod mode;
mod reflector;
#[cfg(test)]
mod tests;

pub use kinds::{Change, Kind};
pub use reflector::{Listener, reflect};

pub use crate::servers::watched::Custom;
use crate::{
    discovery::refresh::Trigger,
    metrics::Metrics,
    servers::{Server, watched::Mode},
};

/// Namespace and name; the first is empty for what has none.
pub type Key = (String, String);

/// Custom resource definitions, of which only the metadata is read.
pub type Definition = PartialObjectMeta<CustomResourceDefinition>;

/// APIServices, of which only the metadata is read.
pub type Service = PartialObjectMeta<APIService>;

/// The objects of one kind that a server has, as far as an informer saw them.
#[derive(Debug)]
pub struct Seen<K> {
    /// By namespace and name. Empty before the first list.
    pub objects: BTreeMap<Key, Arc<K>>,
    /// What was seen lasts; empty before the first list.
    pub resource_version: String,
    /// Everything was listed, and a watch would tell of changes. It stays while a watch that came to its end is
    /// followed by the next.
    pub live: bool,
    /// Why the server lets nobody watch here: no permission, no such resource, or too many objects.
    pub refused: Option<String>,
}

/// Tells of what was seen.
pub type Seeing<K> = watch::Receiver<Arc<Seen<K>>>;

/// What is watched on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Custom resource definitions and APIServices: whether the server's discovery may have changed.
    pub custom: bool,
    /// Leases by which kube-apiservers say who they are.
    pub leases: bool,
    /// The endpoints of the service `kubernetes`.
    pub endpoint_slices: bool,
}

/// The informers of one server. Those that were not wanted have never seen anything and never will.
#[derive(Clone, Debug)]
pub struct Informers {
    /// Custom resource definitions.
    pub definitions: Seeing<Definition>,
    /// APIServices.
    pub services: Seeing<Service>,
    /// Identity leases in `kube-system`.
    pub leases: Seeing<Lease>,
    /// Slices of `default/kubernetes`.
    pub endpoint_slices: Seeing<EndpointSlice>,
}

// === impl Seen ===

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), resource_version: String::new(), live: false, refused: None }
    }
}

impl<K> Clone for Seen<K> {
    fn clone(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            resource_version: self.resource_version.clone(),
            live: self.live,
            refused: self.refused.clone(),
        }
    }
}

// === impl Wanted ===

impl Wanted {
    /// Everything that [`Mode::Watch`] goes by.
    pub const ALL: Self = Self { custom: true, leases: true, endpoint_slices: true };
    /// Nothing.
    pub const NONE: Self = Self { custom: false, leases: false, endpoint_slices: false };
}

// === impl Informers ===

impl Informers {
    /// What can be watched, by the names that metrics have for it.
    pub const RESOURCES: [&'static str; 4] =
        ["customresourcedefinitions", "apiservices", "leases", "endpointslices"];

    /// Starts the informers of `server`, whose tasks are among `tasks` and end with them.
    ///
    /// What they see asks for fetches by `ask`, decides the server's [`Mode`] and is on its board
    /// ([`Server::watched`]). Without [`Wanted::custom`] the mode is [`Mode::Interval`].
    pub fn spawn(
        tasks: &mut JoinSet<()>,
        server: &Arc<Server>,
        client: &Client,
        metrics: &Metrics,
        wanted: Wanted,
        ask: impl Fn(Trigger) + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = |resource| Listener::new(Arc::clone(server), resource, metrics.informers.clone());
        let (definitions_tx, definitions) = watch::channel(Arc::default());
        let (services_tx, services) = watch::channel(Arc::default());
        let (leases_tx, leases) = watch::channel(Arc::default());
        let (slices_tx, endpoint_slices) = watch::channel(Arc::default());
        if wanted.custom {
            let (kind, tell) = (kinds::definitions(client), ask.clone());
            let seen = move |_: Change<'_, _>| tell(Trigger::Crd);
            tasks.spawn(reflect(listener(kind.resource), kind, definitions_tx, seen));
            let (kind, tell) = (kinds::services(client), ask.clone());
            let seen = move |_: Change<'_, _>| tell(Trigger::ApiService);
            tasks.spawn(reflect(listener(kind.resource), kind, services_tx, seen));
            tasks.spawn(custom::publish(Arc::clone(server), definitions.clone(), services.clone()));
            tasks.spawn(mode::keep(Arc::clone(server), definitions.clone(), services.clone()));
        } else {
            server.watched.set_mode(Mode::Interval);
        }
        if wanted.leases {
            let (kind, tell, server) = (kinds::leases(client), ask.clone(), Arc::clone(server));
            let listener = listener(kind.resource);
            let mut own = kinds::OwnLease::default();
            let seen = move |change: Change<'_, Lease>| {
                if own.is_of_another_process(&server, &change) {
                    // What the one before it served is doubted until this one is asked.
                    server.health.disconnected();
                }
                tell(Trigger::Lease);
            };
            tasks.spawn(reflect(listener, kind, leases_tx, seen));
        }
        if wanted.endpoint_slices {
            let kind = kinds::endpoint_slices(client);
            let seen = move |_: Change<'_, _>| ask(Trigger::EndpointSlice);
            tasks.spawn(reflect(listener(kind.resource), kind, slices_tx, seen));
        }
        Self { definitions, services, leases, endpoint_slices }
    }
}
