//! Whom the API servers of a cluster believe, as they publish it.
//!
//! Every kube-apiserver adds what it was started with to the ConfigMap `extension-apiserver-authentication` in
//! `kube-system`, for extension servers (upstream: `pkg/controlplane/controller/clusterauthenticationtrust`). So it is
//! the sum of what all of them said, and a single one may believe less.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;

use crate::tls::certificate;

/// Where it is.
pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const NAME: &str = "extension-apiserver-authentication";

/// What the ConfigMap holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// CAs of client certificates; empty if no certificate names a caller.
    pub(super) client_ca: Vec<CertificateDer<'static>>,
    /// None: nobody may say who is calling.
    pub(super) front_proxies: Option<FrontProxies>,
}

/// Who may say who is calling, and where they say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FrontProxies {
    /// CAs of their certificates, PEM.
    pub(super) ca: String,
    /// Common names that they may have; empty: any.
    pub(super) allowed_names: Vec<String>,
    pub(super) username: Vec<String>,
    pub(super) uid: Vec<String>,
    pub(super) group: Vec<String>,
    pub(super) extra_prefixes: Vec<String>,
}

// === impl Published ===

impl Published {
    /// Reads the ConfigMap's data.
    ///
    /// # Errors
    /// Names the key that is not what kube-apiserver writes.
    pub(super) fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| data.get(key).map(String::as_str).filter(|text| !text.trim().is_empty());
        let list = |key: &str| match text(key) {
            None => Ok(Vec::new()),
            // Go writes an empty list as null.
            Some(text) => serde_json::from_str::<Option<Vec<String>>>(text)
                .map(Option::unwrap_or_default)
                .map_err(|error| format!("{key} is no list of names: {error}")),
        };
        let client_ca = text("client-ca-file").map_or_else(
            || Ok(Vec::new()),
            |pem| {
                certificate::certificates(pem.as_bytes()).map_err(|error| format!("client-ca-file: {error}"))
            },
        )?;
        let front_proxies = match text("requestheader-client-ca-file") {
            None => None,
            Some(ca) => Some(FrontProxies {
                ca: ca.to_owned(),
                allowed_names: list("requestheader-allowed-names")?,
                username: list("requestheader-username-headers")?,
                uid: list("requestheader-uid-headers")?,
                group: list("requestheader-group-headers")?,
                extra_prefixes: list("requestheader-extra-headers-prefix")?,
            }),
        };
        Ok(Self { client_ca, front_proxies })
    }
}
