//! kubectl of every version at hand against the proxy.

use std::time::Duration;

use super::{
    fleet, fleets,
    kit::{binaries::Version, files::Who, kubectl::Kubectl, proxy::Proxy},
};

/// Older ones ask `/apis/<group>/<version>` for what there is, and that is still answered by home alone.
const FIRST_WITH_AGGREGATED_DISCOVERY: Version = Version(1, 30);

const EVENT_WITHIN: Duration = Duration::from_secs(15);

fn policy(name: &str, failure_policy: &str) -> String {
    format!(
        r#"{{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {{"name": "{name}"}},
            "spec": {{
                "failurePolicy": "{failure_policy}", "reinvocationPolicy": "Never",
                "matchConstraints": {{"resourceRules": [{{"apiGroups": ["never.example.com"],
                    "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}}]}},
                "mutations": [{{"patchType": "ApplyConfiguration", "applyConfiguration":
                    {{"expression": "Object{{}}"}}}}]
            }}}}"#
    )
}

fn cron_job(name: &str, schedule: &str) -> String {
    format!(
        r#"{{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {{"name": "{name}", "namespace": "default"}},
            "spec": {{"schedule": "{schedule}", "jobTemplate": {{"spec": {{"template": {{"spec":
                {{"restartPolicy": "Never", "containers": [{{"name": "c", "image": "none"}}]}}}}}}}}}}}}"#
    )
}

/// What kubectl can do with one kind of thing. `make` takes a name and a value for one field.
struct Kind<'a> {
    resource: &'a str,
    make: fn(&str, &str) -> String,
    values: [&'a str; 3],
    /// Shows that field.
    path: &'a str,
    /// Sets that field to the third value.
    patch: &'a str,
}

const POLICIES: Kind<'_> = Kind {
    resource: "mutatingadmissionpolicies",
    make: policy,
    values: ["Fail", "Ignore", "Fail"],
    path: "jsonpath={.spec.failurePolicy}",
    patch: r#"{"spec": {"failurePolicy": "Fail"}}"#,
};
const CRON_JOBS: Kind<'_> = Kind {
    resource: "cronjobs",
    make: cron_job,
    values: ["1 * * * *", "2 * * * *", "3 * * * *"],
    path: "jsonpath={.spec.schedule}",
    patch: r#"{"spec": {"schedule": "3 * * * *"}}"#,
};

/// The life of one object, as people type it.
async fn live(kubectl: &Kubectl, kind: &Kind<'_>, name: &str) {
    let Kind { resource, make, values, path, patch } = kind;
    let field = async || kubectl.run(&["get", resource, name, "-o", path]).await;

    let watch = ["get", resource, "--watch-only"];
    let wanted = [name];
    let watching = kubectl.until(&watch, &wanted, EVENT_WITHIN);
    let rest = async {
        let created = kubectl.run_piped(&make(name, values[0]), &["create", "-f", "-"]).await;
        assert!(created.contains("created"), "{created}");
        assert_eq!(field().await, values[0]);
        assert!(kubectl.run(&["get", resource]).await.contains(name));
        assert!(kubectl.run(&["describe", resource, name]).await.contains(name));

        let server_side = &["apply", "--server-side", "--force-conflicts", "-f", "-"];
        kubectl.run_piped(&make(name, values[1]), server_side).await;
        assert_eq!(field().await, values[1]);
        kubectl.run_piped(&make(name, values[0]), &["apply", "-f", "-"]).await;
        assert_eq!(field().await, values[0]);
        kubectl.run_piped(&make(name, values[1]), &["replace", "-f", "-"]).await;
        kubectl.run(&["patch", resource, name, "--type=merge", "-p", patch]).await;
        assert_eq!(field().await, values[2]);
        kubectl.run(&["annotate", resource, name, "story=told"]).await;
    };
    let (watched, ()) = tokio::join!(watching, rest);
    watched.unwrap_or_else(|seen| panic!("kubectl {} saw no event: {seen:?}", kubectl.version));

    kubectl.run(&["delete", resource, name]).await;
    let gone = kubectl.try_run(&["get", resource, name]).await;
    assert!(!gone.ok && gone.err.contains("NotFound"), "{gone:?}");
}

async fn every_kubectl_lives(home: &str, kind: &Kind<'_>) {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some(home)).await;
    for version in fleet.binaries.kubectls.keys().copied() {
        let kubectl = Kubectl::new(fleet.binaries, version, &fleet.files, &proxy.url(), Who::Alice);
        let name = format!("{home}-{}-{}", version.0, version.1);
        if version >= FIRST_WITH_AGGREGATED_DISCOVERY {
            live(&kubectl, kind, &name).await;
        } else {
            // What home serves works with all of them.
            kubectl.run(&["create", "configmap", &name, "--from-literal=a=b"]).await;
            assert_eq!(kubectl.run(&["get", "configmap", &name, "-o", "jsonpath={.data.a}"]).await, "b");
            kubectl.run(&["delete", "configmap", &name]).await;
        }
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_works_with_what_only_1_36_serves_through_a_home_of_1_32() {
    every_kubectl_lives("v132", &POLICIES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_works_with_what_only_1_36_serves_through_a_home_of_1_35() {
    every_kubectl_lives("v135", &POLICIES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_works_with_a_group_version_that_home_was_told_not_to_serve() {
    every_kubectl_lives("less", &CRON_JOBS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_proxy_the_same_requests_are_not_found() {
    let fleet = fleet!(fleets::versions().await);
    for (server, resource) in
        [("v132", "mutatingadmissionpolicies"), ("v135", "mutatingadmissionpolicies"), ("less", "cronjobs")]
    {
        let url = fleet.server(server).url();
        let kubectl = Kubectl::newest(fleet.binaries, &fleet.files, &url, Who::Alice);
        let output = kubectl.try_run(&["get", resource]).await;
        assert!(!output.ok && output.err.contains("doesn't have a resource type"), "{output:?}");
    }
}
