//! One request from its arrival to its answer, in kube-apiserver's order: authentication, impersonation,
//! authorization, then the thing itself.

use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::answer::{self, Answer, Refusal};
use super::document::{Lookup, Served};
use super::faults::RouteFault;
use super::log::LoggedRequest;
use super::objects::ObjectRequest;
use super::selector::Selector;
use super::shared::{Peer, Shared};
use super::spoil::spoil_list;
use super::target::{Query, Target, authority, target_bytes};
use super::view::View;
use super::watch::Watch;
use super::{health, review, serve_discovery, serve_openapi, testing, upgrade};
use crate::api::gvr::GroupVersionResource;
use crate::api::user::{ANONYMOUS, UserInfo};
use crate::body;

/// Largest object that is read, as kube-apiserver's.
const MAX_OBJECT: usize = 3 * 1024 * 1024;
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// An answer, and whether the connection ends with it.
pub(super) struct Handled {
    pub(super) answer: Answer,
    /// kube-apiserver ends an HTTP/2 connection on which an anonymous or unauthenticated request came
    /// (`UnauthenticatedHTTP2DOSMitigation`, on since 1.29).
    pub(super) goaway: bool,
}

/// Answers one request.
pub(super) async fn handle(server: &Arc<Shared>, peer: &Peer, request: Request<Incoming>) -> Handled {
    let (parts, body) = request.into_parts();
    let number = server.log.push(logged(peer, &parts));
    server.faults.hold().await;

    let audit_id = parts.headers.get(AUDIT_ID).cloned();
    let caller = server.authenticator.authenticate(&peer.certificates, &parts.headers);
    let unknown = caller.as_ref().map_or(true, |user| user.name == ANONYMOUS);
    let result = match caller {
        Err(refusal) => Err(refusal),
        Ok(user) => {
            server.log.amend(number, |request| request.user = Some(user.clone()));
            authenticated(server, number, &user, &parts, body).await
        }
    };
    let mut answer = result.unwrap_or_else(Refusal::into_answer);
    decorate(&mut answer, audit_id);
    if parts.method == Method::HEAD {
        *answer.body_mut() = body::empty();
    }
    server.log.amend(number, |request| request.status = Some(answer.status()));
    Handled { answer, goaway: unknown && parts.version == Version::HTTP_2 }
}

async fn authenticated(
    server: &Arc<Shared>,
    number: u64,
    user: &UserInfo,
    parts: &Parts,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let acting = review::impersonated(user, &parts.headers)?;
    server.log.amend(number, |request| request.acting = Some(acting.clone()));
    let (path, query) = (parts.uri.path(), Query::parse(parts.uri.query()));
    let target = Target::parse(path);
    let verb = match &target {
        Some(target) => target.verb(&parts.method, &query).to_owned(),
        None => parts.method.as_str().to_ascii_lowercase(),
    };
    if !(server.authorizer)(&acting, path, &verb) {
        return Err(forbidden(&acting, path, &verb, target.as_ref()));
    }
    if let Some(status) = server.faults.status() {
        return Err(Refusal::new(status, "InternalError", "the server fails because it was told to"));
    }
    match target {
        Some(target) => resource(server, number, &acting, &target, &verb, &query, parts, body).await,
        None => other(server, parts, body).await,
    }
}

/// Health, version, discovery and the test endpoints.
async fn other(server: &Arc<Shared>, parts: &Parts, body: Incoming) -> Result<Answer, Refusal> {
    let path = parts.uri.path();
    if server.test_endpoints {
        let mut body = Some(body);
        if let Some(answer) = testing::answer(parts, &mut body).await {
            return answer;
        }
    }
    if let Some(answer) = health::answer(&server.faults, path, parts.uri.query()) {
        return Ok(answer);
    }
    if path == "/version" {
        return Ok(answer::json(StatusCode::OK, &server.version));
    }
    if path.starts_with("/openapi/") {
        return serve_openapi::answer(server, parts).await;
    }
    serve_discovery::answer(server, path, &parts.headers)
        .await
        .unwrap_or_else(|| Ok(answer::page_not_found()))
}

#[expect(clippy::too_many_arguments, reason = "all that is known of the request")]
async fn resource(
    server: &Arc<Shared>,
    number: u64,
    user: &UserInfo,
    target: &Target,
    verb: &str,
    query: &Query,
    parts: &Parts,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let Some(served) = served(server, target)? else { return Ok(answer::page_not_found()) };
    check_shape(target, &served, verb)?;
    if server.test_endpoints
        && let Some(answer) = upgrade::answer(server, number, (verb, target.subresource.as_deref()), parts)
    {
        return answer;
    }
    if (target.group.as_str(), target.resource.as_str(), verb)
        == ("authentication.k8s.io", "selfsubjectreviews", "create")
    {
        return Ok(review::self_subject(user, &target.version));
    }
    let body = read(body).await?;
    let (store, headers) = (&server.store, &parts.headers);
    // A deletion answers with a `Status`, which has one shape only.
    let view = if verb == "delete" { View::Whole } else { View::negotiate(headers, query, verb == "list")? };
    let request = ObjectRequest { store, target, served: &served, query, headers, body: &body, view };
    if target.group == "authorization.k8s.io" && verb == "create" {
        let review = match target.resource.as_str() {
            "selfsubjectaccessreviews" => {
                Some(review::self_access(user, &server.authorizer, request.question()?))
            }
            "selfsubjectrulesreviews" => Some(review::self_rules(request.question()?)),
            _ => None,
        };
        if let Some(review) = review {
            return Ok(answer::json(StatusCode::CREATED, &review));
        }
    }
    if verb != "watch" {
        let answer = request.answer(verb);
        let fault = server.faults.of_list(&target.resource).filter(|_| verb == "list");
        return match (fault, answer) {
            (Some(fault), Ok(good)) => spoil_list(fault, good).await,
            (_, answer) => answer,
        };
    }
    let watch = Watch {
        store: Arc::clone(store),
        scope: request.scope(),
        selector: Selector::parse(query)?,
        api_version: request.api_version(),
        kind: served.kind.clone(),
        view,
        bookmark_interval: server.bookmark_interval,
        faults: server.faults.watches(),
    };
    if query.flag("sendInitialEvents") && !server.watch_list {
        let message = "sendInitialEvents: Forbidden: this server has no WatchList";
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message));
    }
    watch.answer(query)
}

/// What discovery says about the target; `None` means that not even its group is known.
fn served(server: &Shared, target: &Target) -> Result<Option<Served>, Refusal> {
    let resource = GroupVersionResource {
        group: target.group.clone(),
        version: target.version.clone(),
        resource: target.resource.clone(),
    };
    match server.faults.of_resource(&resource) {
        Some(RouteFault::PlainText) => return Ok(None),
        Some(RouteFault::Status) => return Err(Refusal::no_such_resource()),
        None => {}
    }
    let sub = target.subresource.as_deref();
    match server.discovery.lookup(&target.group, &target.version, &target.resource, sub) {
        Lookup::Yes(served) => Ok(Some(served)),
        Lookup::NoGroup => Ok(None),
        Lookup::NotInGroup => Err(Refusal::no_such_resource()),
        Lookup::Stale => {
            let message = "the extension server of this group-version is away";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message))
        }
    }
}

/// Is there such a path, and may this be done with it at all?
fn check_shape(target: &Target, served: &Served, verb: &str) -> Result<(), Refusal> {
    if target.namespace.is_some() && !served.namespaced {
        return Err(Refusal::no_such_resource());
    }
    let everywhere = matches!(verb, "list" | "watch");
    if served.namespaced && target.namespace.is_none() && !everywhere {
        let missing = target.name.is_some();
        return Err(if missing { Refusal::no_such_resource() } else { Refusal::method_not_allowed() });
    }
    if served.verbs.iter().any(|served| served == verb) { Ok(()) } else { Err(Refusal::method_not_allowed()) }
}

async fn read(body: Incoming) -> Result<bytes::Bytes, Refusal> {
    match Limited::new(body, MAX_OBJECT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {MAX_OBJECT}");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
    }
}

fn forbidden(user: &UserInfo, path: &str, verb: &str, target: Option<&Target>) -> Refusal {
    let refusal = |message| Refusal::new(StatusCode::FORBIDDEN, "Forbidden", message);
    let Some(target) = target else {
        return refusal(format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name));
    };
    let place = match &target.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let (group, resource) = (target.group.as_str(), target.resource.as_str());
    let name = target.name.as_deref().unwrap_or_default();
    let quoted = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    let message = format!(
        "{}{quoted} is forbidden: User {:?} cannot {verb} resource {resource:?} in API group {group:?} {place}",
        answer::qualified(group, resource),
        user.name,
    );
    refusal(message).details(answer::object(group, resource, name))
}

/// Headers that kube-apiserver sets on everything.
fn decorate(answer: &mut Answer, audit_id: Option<HeaderValue>) {
    let headers = answer.headers_mut();
    let audit_id = audit_id
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok())
        .unwrap_or_else(|| HeaderValue::from_static("unknown"));
    headers.insert(AUDIT_ID, audit_id);
    let uncached = HeaderValue::from_static("no-cache, private");
    headers.entry(header::CACHE_CONTROL).or_insert(uncached);
}

fn logged(peer: &Peer, parts: &Parts) -> LoggedRequest {
    LoggedRequest {
        number: 0,
        connection: peer.number,
        remote: peer.remote,
        server_name: peer.server_name.clone(),
        certificate: !peer.certificates.is_empty(),
        leaf: peer.certificates.first().cloned(),
        version: parts.version,
        method: parts.method.clone(),
        host: authority(parts),
        target: target_bytes(&parts.uri),
        headers: parts.headers.clone(),
        user: None,
        acting: None,
        status: None,
        tunnel: None,
    }
}
