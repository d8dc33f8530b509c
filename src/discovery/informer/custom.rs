//! Custom resource definitions and APIServices, put as the catalog asks for them.

use std::sync::Arc;

use super::{Custom, Definition, Seeing, Seen, Service, kinds::AUTOMANAGED};
use crate::servers::Server;

/// Keeps the server's board up to date, as long as the informers are there.
pub(super) async fn publish(
    server: Arc<Server>,
    mut definitions: Seeing<Definition>,
    mut services: Seeing<Service>,
) {
    loop {
        let custom = {
            let (definitions, services) = (definitions.borrow_and_update(), services.borrow_and_update());
            custom(&definitions, &services)
        };
        server.watched.set_custom(custom);
        let changed = tokio::select! {
            changed = definitions.changed() => changed,
            changed = services.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// See [`Custom`].
pub(super) fn custom(definitions: &Seen<Definition>, services: &Seen<Service>) -> Custom {
    let name = |(_, name): &(String, String)| name.clone();
    // A definition is named <plural>.<group> and an APIService <version>.<group>; kube-apiserver takes no other names.
    let split =
        |name: String| name.split_once('.').map(|(first, group)| (group.to_owned(), first.to_owned()));
    let aggregated = services.objects.iter().filter(|(_, service)| !is_automanaged(service));
    let core = services.objects.get(&(String::new(), "v1.".to_owned()));
    let first = core.or_else(|| services.objects.values().next());
    Custom {
        storage: first.and_then(|service| service.metadata.uid.clone()),
        crds: definitions.objects.keys().map(name).filter_map(split).collect(),
        apiservices: aggregated.map(|(key, _)| name(key)).filter_map(split).collect(),
        synced: definitions.live && services.live,
    }
}

fn is_automanaged(service: &Service) -> bool {
    service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(AUTOMANAGED))
}
