//! `/api`, `/apis` and the documents below them, also when they are to go wrong.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use super::accept::Form;
use super::answer::{self, Answer, Refusal};
use super::document::Tree;
use super::faults::DiscoveryFault;
use super::legacy;
use super::registered::Addition;
use super::shared::Shared;
use super::spoil::spoil;

/// `None` if the path is no discovery path.
pub(super) async fn answer(
    server: &Shared,
    path: &str,
    headers: &HeaderMap,
) -> Option<Result<Answer, Refusal>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (api, apis) = (Tree::Api, Tree::Apis);
    match segments[..] {
        ["api"] | ["api", ""] => Some(root(server, api, headers, false).await),
        ["apis"] => Some(root(server, apis, headers, false).await),
        ["apis", ""] => Some(root(server, apis, headers, true).await),
        ["api", version] | ["api", version, ""] => Some(below(server, api, "", Some(version), headers)),
        ["apis", group] | ["apis", group, ""] => Some(below(server, apis, group, None, headers)),
        ["apis", group, version] | ["apis", group, version, ""] => {
            Some(below(server, apis, group, Some(version), headers))
        }
        _ => None,
    }
}

/// Behind `/apis/` upstream has the unaggregated form only.
async fn root(server: &Shared, tree: Tree, headers: &HeaderMap, slash: bool) -> Result<Answer, Refusal> {
    let fault = server.faults.of_discovery(tree).filter(|_| !slash);
    let mut headers = headers.clone();
    if fault.is_some() {
        // Who has the right document is to get the wrong one, too.
        headers.remove(header::IF_NONE_MATCH);
    }
    let aggregated = if slash { &[] } else { server.forms.get().aggregated(server.beta_discovery) };
    let mut document = server.discovery.snapshot(tree);
    if fault == Some(DiscoveryFault::Changing) {
        document = Arc::new(Addition::made_up(tree, server.faults.next_change()).to(&document));
    }
    let good = match Form::negotiate(&headers, aggregated) {
        Form::V2 => document.answer(&headers, false),
        Form::V2Beta1 => document.answer(&headers, true),
        Form::Plain => {
            let value = match tree {
                Tree::Api => legacy::api_versions(&document, server.address()),
                Tree::Apis => legacy::group_list(&document),
            };
            answer::json(StatusCode::OK, &value)
        }
        Form::NotAcceptable => return Err(Refusal::not_acceptable()),
    };
    match fault {
        None => Ok(good),
        Some(fault) => spoil(fault, good).await,
    }
}

fn below(
    server: &Shared,
    tree: Tree,
    group: &str,
    version: Option<&str>,
    headers: &HeaderMap,
) -> Result<Answer, Refusal> {
    let document = server.discovery.snapshot(tree);
    if document.group(group).is_none() {
        return Ok(answer::page_not_found());
    }
    let away = version.and_then(|version| {
        let stale = document.version(group, version).is_some_and(|found| found["freshness"] == "Stale");
        let fault = server.faults.of_group_version(group, version);
        fault.or_else(|| stale.then_some(StatusCode::SERVICE_UNAVAILABLE))
    });
    match away {
        Some(StatusCode::NOT_FOUND) => return Ok(answer::page_not_found()),
        Some(StatusCode::SERVICE_UNAVAILABLE) => {
            return Ok(answer::text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n"));
        }
        Some(status) => {
            return Err(Refusal::new(status, "InternalError", "the list fails because it was told to"));
        }
        None => {}
    }
    if Form::negotiate(headers, &[]) == Form::NotAcceptable {
        return Err(Refusal::not_acceptable());
    }
    let value = match version {
        None => legacy::group(&document, group),
        Some(version) => {
            legacy::resource_list(&document, &server.discovery.storage_versions(), group, version)
        }
    };
    value.map(|value| answer::json(StatusCode::OK, &value)).ok_or_else(Refusal::no_such_resource)
}
