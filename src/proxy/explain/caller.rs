//! For whom it is asked, and who that would be to a server.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Asked, View};
use crate::{
    api::{
        request_info::RequestInfo,
        user::{UserHeaders, UserInfo},
    },
    proxy::{
        caller::{self, Caller},
        domains::OutOfReach,
    },
    servers::Class,
};

/// For whom it is asked, if the question says.
pub(super) fn caller_of(asked: &Asked) -> Result<Option<Caller>, String> {
    let groups = asked.groups.as_deref().map(|groups| groups.split(',').map(str::to_owned).collect());
    match (asked.user.as_deref(), groups, asked.caller.as_deref()) {
        (None, None, None) => Ok(None),
        (Some(""), _, _) => Err("a user's name can't be empty".to_owned()),
        (Some(name), groups, None) => {
            let user =
                UserInfo { name: name.to_owned(), groups: groups.unwrap_or_default(), ..UserInfo::default() };
            // Whoever's name no header can carry is refused wherever he goes.
            user.stamp(&mut HeaderMap::new(), &UserHeaders::default()).map_err(|status| status.message)?;
            caller::known(Caller::Certificate, &Arc::new(user)).map(Some).map_err(|status| status.message)
        }
        (None, None, Some("token")) => Ok(Some(Caller::Token)),
        (None, None, Some("anonymous")) => Ok(Some(Caller::Anonymous)),
        (None, None, Some(kind)) => Err(format!("caller is token or anonymous, and not {kind:?}")),
        (None, Some(_), None) => Err("groups without a user are nobody's".to_owned()),
        (_, _, Some(_)) => Err("a caller is a user with groups, or a token, or anonymous".to_owned()),
    }
}

/// Who a caller would be to a server, from that home; without a caller, what becomes of each kind.
///
/// # Errors
/// If the server would not be asked as him.
pub(super) fn upstream(
    view: &View<'_>,
    caller: Option<&Caller>,
    home: usize,
    number: usize,
    info: &RequestInfo<'_>,
) -> Result<Value, String> {
    let server = &view.servers[number];
    let (there, at_home) = (&*server.trust_domain, &*view.servers[home].trust_domain);
    let presented = |caller: &Caller| view.domains.presented(caller, || false, at_home, there);
    let upgrade = matches!(info.subresource, "attach" | "exec" | "portforward");
    let class = |class: Class| if upgrade { Class::Upgrade } else { class }.as_str();
    let certificate = json!({ "class": class(Class::Identity), "as": "headers" });
    let token = json!({ "class": class(Class::Token), "as": "token" });
    let anonymous = json!({ "class": class(Class::Unproven), "as": "anonymous" });
    let refused = |why: OutOfReach| json!({ "as": "refused", "because": why.as_str() });
    let Some(caller) = caller else {
        let certificate = if there == &*view.domains.callers {
            certificate
        } else if view.domains.rules_of(there).next().is_some() {
            json!({ "class": class(Class::Identity), "as": "mapped" })
        } else {
            refused(OutOfReach::NoRule)
        };
        return Ok(json!({
            "certificate": certificate,
            "token": presented(&Caller::Token).map_or_else(refused, |_| token),
            "anonymous": presented(&Caller::Anonymous).map_or_else(refused, |_| anonymous),
        }));
    };
    let mut shown = match presented(caller) {
        Err(why) => return Ok(refused(why)),
        Ok(None) if *caller == Caller::Token => token,
        Ok(None) => anonymous,
        Ok(Some(user)) => {
            let mut headers = HeaderMap::new();
            user.stamp(&mut headers, &server.user_headers).map_err(|status| status.message)?;
            let mut shown = certificate;
            shown["headers"] = lines(&headers);
            shown
        }
    };
    shown["loopHeader"] = json!(number != home);
    Ok(shown)
}

/// Header → values.
fn lines(headers: &HeaderMap) -> Value {
    let mut lines = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        lines.entry(name.as_str()).or_default().push(value);
    }
    json!(lines)
}
