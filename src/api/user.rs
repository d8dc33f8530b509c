//! A Kubernetes user, as authentication knows it.

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
