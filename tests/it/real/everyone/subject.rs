//! Things that only one of two servers serves.

/// One resource, and what can be done with its objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) resource: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) namespaced: bool,
    /// The rest of an object, without braces.
    rest: &'static str,
    /// A field below `spec` or the object itself of which `explain` has something to say.
    pub(crate) field: &'static str,
    /// For `patch --subresource=status`.
    pub(crate) status: Option<&'static str>,
    /// What `wait` can wait for; true of every object of [`Self::object`].
    pub(crate) jsonpath: &'static str,
}

/// batch/v1 as a whole can be switched off.
pub(crate) const CRON_JOBS: Subject = Subject {
    resource: "cronjobs",
    kind: "CronJob",
    group: "batch",
    version: "v1",
    namespaced: true,
    rest: r#""spec": {"schedule": "1 2 3 4 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec":
        {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}}}}}"#,
    field: "cronjobs.spec.jobTemplate",
    status: Some(r#"{"status": {"lastScheduleTime": "2020-01-02T03:04:05Z"}}"#),
    jsonpath: "jsonpath={.spec.suspend}=true",
};
/// New in 1.36.
pub(crate) const POLICIES: Subject = Subject {
    resource: "mutatingadmissionpolicies",
    kind: "MutatingAdmissionPolicy",
    group: "admissionregistration.k8s.io",
    version: "v1",
    namespaced: false,
    rest: r#""spec": {"failurePolicy": "Ignore", "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["never.example.com"], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["nothings"]}]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}"#,
    field: "mutatingadmissionpolicies.spec.mutations",
    status: None,
    jsonpath: "jsonpath={.spec.failurePolicy}=Ignore",
};
/// On since 1.34.
pub(crate) const CLAIMS: Subject = Subject {
    resource: "resourceclaims",
    kind: "ResourceClaim",
    group: "resource.k8s.io",
    version: "v1",
    namespaced: true,
    rest: r#""spec": {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "none"}}]}}"#,
    field: "resourceclaims.spec.devices",
    status: Some(r#"{"status": {}}"#),
    jsonpath: "jsonpath={.spec.devices.requests[0].name}=one",
};

// === impl Subject ===

impl Subject {
    /// An object whose label `step` tells the last that was done to it.
    pub(crate) fn object(&self, name: &str, step: &str) -> String {
        let Self { kind, group, version, rest, .. } = self;
        let namespace = if self.namespaced { r#""namespace": "default","# } else { "" };
        format!(
            r#"{{"apiVersion": "{group}/{version}", "kind": "{kind}",
                "metadata": {{{namespace} "name": "{name}", "labels": {{"step": "{step}"}}}}, {rest}}}"#
        )
    }

    pub(crate) fn group_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}
