//! A Kubernetes user, as authentication knows it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{request_info, status::Status};

/// The anonymous user's name (upstream: `k8s.io/apiserver/pkg/authentication/user`).
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of every user that was authenticated.
pub const ALL_AUTHENTICATED: &str = "system:authenticated";
/// The group of the anonymous user.
pub const ALL_UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything (`k8s.io/apiserver/pkg/authentication/user/user.go`).
pub const MASTERS: &str = "system:masters";
/// The extra key under which a client certificate's fingerprint is kept (KEP-4193).
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Name, UID, groups and extra of a user, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserInfo {
    /// Never empty once authenticated.
    pub name: String,
    /// Empty if there is none.
    pub uid: String,
    /// In the order in which they were given.
    pub groups: Vec<String>,
    /// Key and one value; a key with several values stands several times.
    pub extra: Vec<(String, String)>,
}

/// The names of the headers in which a front proxy hands a user on (kube-apiserver's `--requestheader-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserHeaders {
    /// The first of them that is not empty is the user's name.
    pub username: Vec<HeaderName>,
    /// The first of them that is not empty is the UID.
    pub uid: Vec<HeaderName>,
    /// Every value of each is a group.
    pub group: Vec<HeaderName>,
    /// Lower case; what follows the prefix is the percent-encoded extra key.
    pub extra_prefixes: Vec<String>,
}

// === impl UserHeaders ===

impl Default for UserHeaders {
    fn default() -> Self {
        Self {
            username: vec![HeaderName::from_static("x-remote-user")],
            uid: vec![HeaderName::from_static("x-remote-uid")],
            group: vec![HeaderName::from_static("x-remote-group")],
            extra_prefixes: vec!["x-remote-extra-".to_owned()],
        }
    }
}

// === impl UserInfo ===

impl UserInfo {
    /// Writes the user into the headers from which a server takes it.
    ///
    /// # Errors
    /// 401 if a part of the identity cannot stand in a header; leaving it out would make it somebody else's.
    pub fn stamp(&self, headers: &mut HeaderMap, names: &UserHeaders) -> Result<(), Status> {
        let value = |text: &str| {
            // Blanks at the ends are trimmed on the way, which would make "admin " admin.
            HeaderValue::from_bytes(text.as_bytes()).ok().filter(|_| text.trim() == text).ok_or_else(|| {
                Status::unauthorized(
                    "the client's identity has a control character or outer blanks and cannot be handed on",
                )
            })
        };
        if let Some(name) = names.username.first() {
            headers.insert(name.clone(), value(&self.name)?);
        }
        if let Some(name) = names.uid.first()
            && !self.uid.is_empty()
        {
            headers.insert(name.clone(), value(&self.uid)?);
        }
        if let Some(name) = names.group.first() {
            for group in &self.groups {
                headers.append(name.clone(), value(group)?);
            }
        }
        if let Some(prefix) = names.extra_prefixes.first() {
            for (key, extra) in &self.extra {
                let name = HeaderName::from_bytes(format!("{prefix}{}", escape_extra_key(key)).as_bytes())
                    .map_err(|_| Status::unauthorized("the client's identity has an unusable extra key"))?;
                headers.append(name, value(extra)?);
            }
        }
        Ok(())
    }
}

/// As client-go's `headerKeyEscape`: what may not stand in a header's name, and `%`, is percent-encoded.
fn escape_extra_key(key: &str) -> String {
    use std::fmt::Write as _;
    key.bytes().fold(String::with_capacity(key.len()), |mut name, byte| {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(name, "%{byte:02x}");
        }
        name
    })
}

/// The other way round; as upstream's `unescapeExtraKey`, a key that is no valid encoding stays as it is.
pub fn unescape_extra_key(name: &str) -> String {
    request_info::decode(name).map_or_else(|_| name.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_stamped_as_client_go_would() {
        let user = UserInfo {
            name: "jane".into(),
            uid: "u-1".into(),
            groups: vec!["dev".into(), "ops".into()],
            extra: vec![
                ("authentication.kubernetes.io/credential-id".into(), "X509SHA256=ab".into()),
                ("a%b".into(), "1".into()),
                ("a%b".into(), "2".into()),
            ],
        };
        let mut headers = HeaderMap::new();
        user.stamp(&mut headers, &UserHeaders::default()).unwrap();
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers["x-remote-uid"], "u-1");
        assert_eq!(headers.get_all("x-remote-group").iter().collect::<Vec<_>>(), ["dev", "ops"]);
        assert_eq!(headers["x-remote-extra-authentication.kubernetes.io%2fcredential-id"], "X509SHA256=ab");
        assert_eq!(headers.get_all("x-remote-extra-a%25b").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(unescape_extra_key("authentication.kubernetes.io%2fcredential-id"), user.extra[0].0);
    }

    #[test]
    fn an_identity_that_no_header_can_carry_is_refused() {
        for name in ["jane\nX-Remote-Group: system:masters", "admin ", "\tadmin"] {
            let user = UserInfo { name: name.into(), ..UserInfo::default() };
            let stamped = user.stamp(&mut HeaderMap::new(), &UserHeaders::default());
            assert_eq!(stamped.unwrap_err().code, 401, "{name:?}");
        }
        let user = UserInfo { name: "jane".into(), groups: vec![" a".into()], ..UserInfo::default() };
        assert_eq!(user.stamp(&mut HeaderMap::new(), &UserHeaders::default()).unwrap_err().code, 401);
    }
}
