//! A Kubernetes user, as authentication knows it.

use http::HeaderName;

/// The anonymous user's name (upstream: `k8s.io/apiserver/pkg/authentication/user`).
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of every user that was authenticated.
pub const ALL_AUTHENTICATED: &str = "system:authenticated";
/// The group of the anonymous user.
pub const ALL_UNAUTHENTICATED: &str = "system:unauthenticated";
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
