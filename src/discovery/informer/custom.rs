//! Custom resource definitions and APIServices, put as the catalog asks for them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Custom, Definition, Seeing, Seen, Service, kinds::AUTOMANAGED};
use crate::servers::{
    Server,
    watched::{ApiService, Maker},
};

/// Keeps the server's board up to date, as long as the informers are there. Without them it is not how things are now.
pub(super) async fn publish(
    server: Arc<Server>,
    mut definitions: Seeing<Definition>,
    mut services: Seeing<Service>,
) {
    loop {
        let custom = {
            let (definitions, services) = (definitions.borrow_and_update(), services.borrow_and_update());
            of_domain(custom(&definitions, &services), &server.trust_domain)
        };
        server.watched.set_custom(custom);
        let changed = tokio::select! {
            changed = definitions.changed() => changed,
            changed = services.changed() => changed,
        };
        if changed.is_err() {
            let last = Custom::clone(&server.watched.custom());
            server.watched.set_custom(Custom { synced: false, ..last });
            return;
        }
    }
}

/// Clusters that came out of one backup have the same UIDs, and have lived apart since. What is known of a storage is
/// known in one trust domain.
fn of_domain(mut custom: Custom, trust_domain: &str) -> Custom {
    custom.storage = custom.storage.map(|uid| format!("{trust_domain}/{uid}"));
    custom
}

/// See [`Custom`].
pub(super) fn custom(definitions: &Seen<Definition>, services: &Seen<Service>) -> Custom {
    // A definition is named <plural>.<group> and an APIService <version>.<group>; kube-apiserver takes no other names.
    let split = |(_, name): &(String, String)| {
        name.split_once('.').map(|(first, group)| (group.to_owned(), first.to_owned()))
    };
    let core = services.objects.get(&(String::new(), "v1.".to_owned()));
    let first = core.or_else(|| services.objects.values().next());
    let crds = definitions.objects.iter().map(|(key, it)| Some((split(key)?, revision(&it.metadata))));
    let apiservices = services.objects.iter().map(|(key, it)| {
        let service = ApiService { maker: maker(it), revision: revision(&it.metadata) };
        Some((split(key)?, service))
    });
    Custom {
        storage: first.and_then(|service| service.metadata.uid.clone()),
        crds: crds.flatten().collect(),
        apiservices: apiservices.flatten().collect(),
        crds_until: definitions.resource_version.parse().unwrap_or_default(),
        apiservices_until: services.resource_version.parse().unwrap_or_default(),
        synced: definitions.live && services.live,
    }
}

fn revision(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

fn maker(service: &Service) -> Maker {
    match service.metadata.labels.as_ref().and_then(|labels| labels.get(AUTOMANAGED)).map(String::as_str) {
        Some("true") => Maker::Definitions,
        Some(_) => Maker::BuiltIn,
        None => Maker::Aggregation,
    }
}
