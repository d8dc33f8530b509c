//! `/api`, `/apis` and the documents below them, also when they are to go wrong.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;

use super::accept::Form;
use super::answer::{self, Answer, Refusal};
use super::discovery::{Discovery, Tree};
use super::faults::DiscoveryFault;
use super::legacy;
use crate::body::{Body, BoxError};

const JSON: &str = "application/json";
/// Size of the pieces of a slow document.
const PIECE: usize = 1024;
/// How long an aborted document rests before it is reset.
const ABORT_PAUSE: Duration = Duration::from_millis(50);
/// Size of the pieces of an endless or oversized one.
const FILLING: &[u8] = &[b' '; 16 * 1024];

/// What discovery needs to know about its server.
pub(super) struct Context<'a> {
    pub(super) discovery: &'a Discovery,
    pub(super) address: SocketAddr,
    /// Whether `v2beta1` is still served (before 1.35).
    pub(super) beta: bool,
    pub(super) fault: Option<DiscoveryFault>,
}

/// `None` if the path is no discovery path.
pub(super) fn answer(
    context: &Context<'_>,
    path: &str,
    headers: &HeaderMap,
) -> Option<Result<Answer, Refusal>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (api, apis) = (Tree::Api, Tree::Apis);
    match segments[..] {
        ["api"] => Some(root(context, api, headers)),
        ["apis"] => Some(root(context, apis, headers)),
        ["api", ""] => Some(Ok(plain(context, api))),
        ["apis", ""] => Some(Ok(plain(context, apis))),
        ["api", version] | ["api", version, ""] => Some(below(context, api, "", Some(version))),
        ["apis", group] | ["apis", group, ""] => Some(below(context, apis, group, None)),
        ["apis", group, version] | ["apis", group, version, ""] => {
            Some(below(context, apis, group, Some(version)))
        }
        _ => None,
    }
}

fn root(context: &Context<'_>, tree: Tree, headers: &HeaderMap) -> Result<Answer, Refusal> {
    let document = context.discovery.snapshot(tree);
    let good = match Form::negotiate(headers, context.beta) {
        Form::V2 => document.answer(headers, false),
        Form::V2Beta1 => document.answer(headers, true),
        Form::Plain => plain(context, tree),
        Form::NotAcceptable => {
            let message = "only the following media types are accepted: application/json";
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message));
        }
    };
    match context.fault {
        None => Ok(good),
        Some(fault) => spoil(fault, good, &document.value),
    }
}

fn plain(context: &Context<'_>, tree: Tree) -> Answer {
    let document = context.discovery.snapshot(tree);
    let value = match tree {
        Tree::Api => legacy::api_versions(&document, context.address),
        Tree::Apis => legacy::group_list(&document),
    };
    answer::json(StatusCode::OK, &value)
}

fn below(context: &Context<'_>, tree: Tree, group: &str, version: Option<&str>) -> Result<Answer, Refusal> {
    let document = context.discovery.snapshot(tree);
    if document.group(group).is_none() {
        return Ok(answer::page_not_found());
    }
    let value = match version {
        None => legacy::group(&document, group),
        Some(version) => legacy::resource_list(&document, group, version),
    };
    value.map(|value| answer::json(StatusCode::OK, &value)).ok_or_else(Refusal::no_such_resource)
}

/// The good answer's head with a body that has the fault.
fn spoil(fault: DiscoveryFault, good: Answer, document: &Value) -> Result<Answer, Refusal> {
    let whole = Bytes::from(document.to_string());
    let half = whole.slice(..whole.len() / 2);
    let body = match fault {
        DiscoveryFault::Status(code) => {
            return Err(Refusal::new(code, "InternalError", "discovery fails because it was told to"));
        }
        DiscoveryFault::Garbage => {
            return Ok(answer::with_type(StatusCode::OK, JSON, "<html>\0\u{1}no json"));
        }
        DiscoveryFault::Truncated => once(half),
        DiscoveryFault::Aborted => {
            let broken = stream::once(async {
                // A reset overtakes what is still to be sent; this lets the half go out first.
                tokio::time::sleep(ABORT_PAUSE).await;
                Err(BoxError::from("the document breaks off because it was told to"))
            });
            from_stream(stream::iter([Ok(half)]).chain(broken))
        }
        DiscoveryFault::Endless => from_stream(stream::repeat_with(|| Ok(Bytes::from_static(FILLING)))),
        DiscoveryFault::Oversized(size) => {
            let blanks = size.saturating_sub(whole.len());
            let pieces = std::iter::repeat_n(FILLING, blanks / FILLING.len());
            let rest = &FILLING[..blanks % FILLING.len()];
            let blanks = pieces.chain([rest]).map(Bytes::from_static);
            from_stream(stream::iter(blanks.chain([whole]).map(Ok)))
        }
        DiscoveryFault::Slow(pause) => slow(whole, pause),
    };
    let (mut parts, _) = good.into_parts();
    parts.status = StatusCode::OK;
    Ok(Answer::from_parts(parts, body))
}

fn slow(whole: Bytes, pause: Duration) -> Body {
    from_stream(stream::unfold(whole, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(PIECE.min(rest.len()));
        Some((Ok(piece), rest))
    }))
}

fn once(bytes: Bytes) -> Body {
    from_stream(stream::iter([Ok(bytes)]))
}

fn from_stream(pieces: impl stream::Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}
