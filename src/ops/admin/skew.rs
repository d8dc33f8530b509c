//! `/debug/skew`: what every server serves, side by side.

use std::sync::Arc;

use crate::{
    discovery::skew::{Column, ServerSeen, Skew},
    proxy::Proxy,
};

/// What every server serves, as far as it is known; what is known to be gone does not count.
pub(super) fn skew(proxy: &Proxy) -> Skew {
    let catalog = proxy.book.catalog();
    let columns = proxy.fleet.iter().zip(&catalog.servers).map(|(server, known)| {
        let document = known.counts().cloned();
        let version = document.as_ref().and_then(|document| document.version);
        let etags = document.iter().flat_map(|document| {
            let etags = [("/api", &document.api.etag), ("/apis", &document.apis.etag)];
            etags.into_iter().filter_map(|(tree, etag)| Some((tree.to_owned(), etag.clone()?)))
        });
        let seen = ServerSeen {
            name: Arc::clone(&server.name),
            address: Some(format!("https://{}", server.authority)),
            version: version.map(|(major, minor)| format!("{major}.{minor}")),
            freshness: known.freshness(),
            age_seconds: server.health.last_contact().map(|at| at.elapsed().as_secs_f64()),
            etags: etags.collect(),
            error: server.health.last_error().filter(|_| !server.health.is_healthy()),
            ..ServerSeen::default()
        };
        Column { seen, document }
    });
    Skew::of(columns.collect())
}
