//! What a leaf certificate is to say.

use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use time::OffsetDateTime;

use super::subject::{self, Attribute};
use super::{BACK_DATED, LEAF_LIFETIME, PkiError, SERVING_NAMES};

/// What the key of a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `serverAuth`.
    Server,
    /// `clientAuth`.
    Client,
}

/// The content of a certificate that is still to be signed by [`Authority::issue`](super::Authority::issue).
#[derive(Clone, Debug)]
pub struct Leaf {
    usage: Usage,
    common_names: Vec<String>,
    organizations: Vec<String>,
    uids: Vec<String>,
    names: Vec<String>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

// === impl Leaf ===

impl Leaf {
    /// A client certificate. kube-apiserver takes the **last** common name as the user.
    pub fn client(common_name: &str) -> Self {
        Self::new(Usage::Client, common_name)
    }

    /// A serving certificate for [`SERVING_NAMES`].
    pub fn server(common_name: &str) -> Self {
        let names = SERVING_NAMES.map(str::to_owned).to_vec();
        Self { names, ..Self::new(Usage::Server, common_name) }
    }

    fn new(usage: Usage, common_name: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            usage,
            common_names: vec![common_name.to_owned()],
            organizations: Vec::new(),
            uids: Vec::new(),
            names: Vec::new(),
            not_before: now - BACK_DATED,
            not_after: now + LEAF_LIFETIME,
        }
    }

    /// One more common name, behind those that are there.
    #[must_use]
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_names.push(name.to_owned());
        self
    }

    /// One more organization: a group of the user.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.organizations.push(group.to_owned());
        self
    }

    /// One more Kubernetes UID (subject OID 1.3.6.1.4.1.57683.2). kube-apiserver accepts at most one.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.uids.push(uid.to_owned());
        self
    }

    /// More subject alternative names: DNS names or IP addresses.
    #[must_use]
    pub fn names(mut self, names: &[String]) -> Self {
        self.names.extend_from_slice(names);
        self
    }

    /// No subject alternative names but these.
    #[must_use]
    pub fn only_names(mut self, names: &[String]) -> Self {
        self.names = names.to_vec();
        self
    }

    /// Valid for this long from now.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.not_after = OffsetDateTime::now_utc() + lifetime;
        self
    }

    /// Valid in exactly this time; lets tests make a certificate that has expired or is not valid yet.
    #[must_use]
    pub fn validity(mut self, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        self.not_before = not_before;
        self.not_after = not_after;
        self
    }

    /// Everything but the subject, see [`subject::replace`].
    pub(super) fn params(&self) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = subject::placeholder();
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match self.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        Ok(params)
    }

    /// The subject's attributes in the order in which they are written.
    pub(super) fn subject(&self) -> Vec<Attribute<'_>> {
        let organizations = self.organizations.iter().map(|o| Attribute::organization(o));
        let common_names = self.common_names.iter().map(|cn| Attribute::common_name(cn));
        let uids = self.uids.iter().map(|uid| Attribute::kubernetes_uid(uid));
        organizations.chain(common_names).chain(uids).collect()
    }
}
