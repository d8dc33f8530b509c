//! Impersonation, and the answers to "who am I?" and "may I?".

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{self, Answer, Refusal};
use super::auth;
use super::shared::Authorizer;
use super::store::now;
use crate::api::user::{ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, UserInfo};

/// The group whose members may do anything, here also impersonate anybody.
const MASTERS: &str = "system:masters";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The user that the request acts as; `user` himself if it asks for nobody else.
///
/// Upstream: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.
pub(super) fn impersonated(user: &UserInfo, headers: &HeaderMap) -> Result<UserInfo, Refusal> {
    const EXTRA: &str = "impersonate-extra-";
    let one = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (name, uid) = (one("impersonate-user"), one("impersonate-uid"));
    let mut groups = auth::all(headers, "impersonate-group");
    let extra = auth::extras(headers, EXTRA);
    if name.is_empty() {
        if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            return Ok(user.clone());
        }
        let message = "Internal error occurred: impersonation was asked for without a user to impersonate";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message));
    }
    if !user.groups.iter().any(|group| group == MASTERS) {
        let message = format!(
            "users {name:?} is forbidden: User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            user.name
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden", message)
            .details(answer::object("", "users", name)));
    }
    if let (Some(account), true) = (name.strip_prefix(SERVICE_ACCOUNT), groups.is_empty()) {
        let namespace = account.split(':').next().unwrap_or_default();
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let added = if name == ANONYMOUS { ALL_UNAUTHENTICATED } else { ALL_AUTHENTICATED };
    if !groups.iter().any(|group| group == added) {
        groups.push(added.to_owned());
    }
    Ok(UserInfo { name: name.to_owned(), uid: uid.to_owned(), groups, extra })
}

/// `POST selfsubjectreviews`
pub(super) fn self_subject(user: &UserInfo, version: &str) -> Answer {
    let review = json!({
        "kind": "SelfSubjectReview",
        "apiVersion": format!("authentication.k8s.io/{version}"),
        "metadata": { "creationTimestamp": now() },
        "status": { "userInfo": user_info(user) },
    });
    answer::json(StatusCode::CREATED, &review)
}

/// `POST selfsubjectaccessreviews` (`kubectl auth can-i`): the review with what the authorizer says to it.
pub(super) fn self_access(user: &UserInfo, authorizer: &Authorizer, mut review: Value) -> Value {
    let spec = &review["spec"];
    let resource = &spec["resourceAttributes"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let allowed = if resource.is_object() {
        authorizer(user, &path_of(resource), &text(&resource["verb"]))
    } else {
        let other = &spec["nonResourceAttributes"];
        authorizer(user, &text(&other["path"]), &text(&other["verb"]))
    };
    review["status"] = json!({ "allowed": allowed });
    review
}

/// Where a request with these attributes would go. An unknown version (`*` or empty) is taken for `v1`.
fn path_of(attributes: &Value) -> String {
    let filled = |field: &str| attributes[field].as_str().filter(|text| !text.is_empty());
    let mut path = match filled("group") {
        Some(group) => format!("/apis/{group}"),
        None => "/api".to_owned(),
    };
    path += &format!("/{}", filled("version").filter(|version| *version != "*").unwrap_or("v1"));
    if let Some(namespace) = filled("namespace") {
        path += &format!("/namespaces/{namespace}");
    }
    for field in ["resource", "name", "subresource"] {
        path += &filled(field).map(|part| format!("/{part}")).unwrap_or_default();
    }
    path
}

/// `POST selfsubjectrulesreviews` (`kubectl auth can-i --list`): an authorizer that is a function can't list its
/// rules, and says so.
pub(super) fn self_rules(mut review: Value) -> Value {
    review["status"] = json!({
        "resourceRules": [], "nonResourceRules": [], "incomplete": true,
        "evaluationError": "this in-memory server can answer single questions only",
    });
    review
}

/// A user as `authentication.k8s.io/v1 UserInfo`; empty fields are left out.
fn user_info(user: &UserInfo) -> Value {
    let mut info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    let mut extra = Map::new();
    for (key, value) in &user.extra {
        let values = extra.entry(key).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(json!(value));
        }
    }
    if !extra.is_empty() {
        info["extra"] = extra.into();
    }
    info
}
