//! Documents that are answered here and not by one server: discovery.

use std::sync::atomic::Ordering;

use http::{Method, Response};

use super::{Exchange, Proxy, authorize::Question, record::Record};
use crate::{
    api::{
        discovery::{DiscoveryPath, Tree},
        media_type::{self, AggregatedVersion, DiscoveryForm, Media},
        status::Status,
    },
    body::Body,
    discovery::{refresh::Trigger, serve},
    limits,
};

/// A document that we answer for.
pub(super) struct Wanted {
    tree: Tree,
    form: DiscoveryForm,
}

impl Proxy {
    /// The document that a request asks for, if we are to answer it.
    pub(super) fn wanted(&self, path: &str, exchange: &Exchange) -> Option<Wanted> {
        if !exchange.policy.settings.merge
            || exchange.upgrade.is_some()
            || !matches!(exchange.method, Method::GET | Method::HEAD)
        {
            return None;
        }
        let DiscoveryPath::Root(tree) = DiscoveryPath::of(path)? else { return None };
        let form = DiscoveryForm::of_headers(&exchange.headers);
        match form {
            DiscoveryForm::Aggregated {
                version: AggregatedVersion::V2,
                nopeer: false,
                media: Media::Json,
                ..
            } => Some(Wanted { tree, form }),
            DiscoveryForm::Aggregated { nopeer: true, .. } => {
                self.metrics.discovery.nopeer();
                None
            }
            _ => None,
        }
    }

    /// Answers a request for a merged document.
    pub(super) async fn document(
        &self,
        wanted: Wanted,
        exchange: &Exchange,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        record.reason = "merged-discovery";
        let Wanted { tree, form } = wanted;
        let etag = |number: usize| {
            let known = self.book.catalog().servers[number].document.clone();
            known.and_then(|known| known.part(tree).etag.clone())
        };
        let question = Question {
            path: tree.as_str(),
            accept: media_type::ACCEPT_NOPEER,
            etag: &etag,
            changed: &|number| self.refresh[number].ask(Trigger::Changed),
        };
        if let Some(refusal) = self.authorize(&question, exchange, record).await? {
            return Ok(refusal);
        }
        let catalog = self.book.catalog();
        let Some(document) = catalog.merged(tree) else {
            return Err(Status::unavailable(
                "no API server's discovery is known yet (see /debug/servers on the admin address)",
            )
            .retry_after(limits::RETRY_AFTER_SECONDS));
        };
        let last = self.served_generation.swap(catalog.generation, Ordering::Relaxed);
        self.metrics.discovery.merged(last == catalog.generation);
        let pretty = matches!(form, DiscoveryForm::Aggregated { pretty: true, .. })
            || media_type::wants_pretty(exchange.uri.query(), &exchange.headers);
        Ok(serve::respond(document, &exchange.method, &exchange.headers, pretty))
    }
}
