//! 1.36 and 1.20: one of them speaks only unaggregated lists, and each serves what the other does not know.

use std::collections::BTreeSet;

use kube_peer_proxy::api::media_type::ACCEPT_V2;
use serde_json::Value;

use super::super::{
    fleet, fleets,
    kit::{binaries::Version, client::Client, files::Who, kubectl::Kubectl, proxy::Proxy},
    say,
};

const BOTH: [(&str, &str); 2] = [("new", "new"), ("old", "old")];
/// Of kubectl: from unaggregated lists over version 2beta1 of aggregated discovery to version 2.
const AGES: [Version; 5] = [Version(1, 20), Version(1, 25), Version(1, 27), Version(1, 35), Version(1, 37)];

/// Group, version, resource with subresource, kind, whether it is namespaced, verbs.
type Listed = (String, String, String, String, bool, Vec<String>);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn words(value: &Value) -> Vec<String> {
    let mut words: Vec<_> = value.as_array().into_iter().flatten().map(text).collect();
    words.sort();
    words
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

async fn json(client: &Client, path: &str, accept: &str) -> Value {
    let reply = client.get_with(path, &[("accept", accept)]).await.unwrap();
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

/// What the lists tell. A group-version that the index names has to be there.
async fn unaggregated(client: &Client) -> BTreeSet<Listed> {
    let groups = json(client, "/apis", "application/json").await;
    let named = items(&groups["groups"]).flat_map(|group| items(&group["versions"]));
    let mut paths: Vec<_> = named.map(|one| format!("/apis/{}", text(&one["groupVersion"]))).collect();
    paths.push("/api/v1".to_owned());
    let mut all = BTreeSet::new();
    for path in paths {
        let list = json(client, &path, "application/json").await;
        let group_version = text(&list["groupVersion"]);
        let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
        for one in items(&list["resources"]) {
            let namespaced = one["namespaced"].as_bool().unwrap();
            let (name, kind) = (text(&one["name"]), text(&one["kind"]));
            all.insert((group.to_owned(), version.to_owned(), name, kind, namespaced, words(&one["verbs"])));
        }
    }
    all
}

/// What the aggregated documents tell.
async fn aggregated(client: &Client) -> BTreeSet<Listed> {
    let mut all = BTreeSet::new();
    for path in ["/api", "/apis"] {
        let document = json(client, path, ACCEPT_V2).await;
        for group in items(&document["items"]) {
            let name = text(&group["metadata"]["name"]);
            for version in items(&group["versions"]) {
                assert_eq!(version["freshness"], "Current", "{name}");
                for resource in items(&version["resources"]) {
                    let namespaced = resource["scope"] == "Namespaced";
                    let (of, plural) = (text(&version["version"]), text(&resource["resource"]));
                    let mut add = |resource: String, one: &Value| {
                        let kind = text(&one["responseKind"]["kind"]);
                        all.insert((
                            name.clone(),
                            of.clone(),
                            resource,
                            kind,
                            namespaced,
                            words(&one["verbs"]),
                        ));
                    };
                    // One that is there only for its subresources has no verbs and is in no list.
                    if resource["responseKind"]["kind"] != "" && resource.get("verbs").is_some() {
                        add(plural.clone(), resource);
                    }
                    for sub in items(&resource["subresources"]) {
                        add(format!("{plural}/{}", text(&sub["subresource"])), sub);
                    }
                }
            }
        }
    }
    all
}

fn names(listed: &BTreeSet<Listed>) -> BTreeSet<(String, String, String)> {
    listed
        .iter()
        .map(|(group, version, resource, ..)| (group.clone(), version.clone(), resource.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_of_1_20_and_one_of_1_36_serve_is_one_in_every_form_whichever_is_home() {
    let fleet = fleet!(fleets::ages().await);
    let [new, old] = [fleet.direct("new", Who::Admin).await, fleet.direct("old", Who::Admin).await];
    let [new, old] = [unaggregated(&new).await, unaggregated(&old).await];
    let union: BTreeSet<_> = names(&new).union(&names(&old)).cloned().collect();
    let mut documents = Vec::new();
    for home in ["new", "old"] {
        let proxy = Proxy::start(fleet.cluster, &BOTH, Some(home), |_| ()).await;
        let client = proxy.client(Who::Admin).await;
        let [lists, document] = [unaggregated(&client).await, aggregated(&client).await];
        say!("home {home}: {} of 1.36, {} of 1.20, {} merged", new.len(), old.len(), lists.len());
        assert_eq!(names(&lists), union, "home {home}");
        // Verbs are those of all servers that have the resource; where only one has it, all is as it says.
        let of_one = |one: &&Listed| !(names(&new).contains(&key(one)) && names(&old).contains(&key(one)));
        let missing: Vec<_> = new.union(&old).filter(of_one).filter(|one| !lists.contains(*one)).collect();
        assert_eq!(missing, [] as [&Listed; 0], "home {home}");
        assert_eq!(names(&document), union, "home {home}");
        let reply = client.get_with("/apis", &[("accept", ACCEPT_V2)]).await.unwrap();
        documents.push((reply.text(), reply.header("etag").to_owned()));
        proxy.stop().await;
    }
    assert_eq!(documents[0], documents[1]);
}

fn key((group, version, resource, ..): &Listed) -> (String, String, String) {
    (group.clone(), version.clone(), resource.clone())
}

/// What only one of the two serves, how it is listed, and an object of it.
struct Only {
    resource: &'static str,
    listed: &'static str,
    object: &'static str,
    field: [&'static str; 2],
}

const OF_1_36: Only = Only {
    resource: "resourceclaims.v1.resource.k8s.io",
    listed: "resourceclaims.resource.k8s.io",
    object: r#"{"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"namespace": "default", "name": "NAME", "labels": {"step": "one"}},
        "spec": {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "none"}}]}}}"#,
    field: ["--api-version=resource.k8s.io/v1", "resourceclaims.spec.devices"],
};
const OF_1_20: Only = Only {
    resource: "cronjobs.v1beta1.batch",
    listed: "cronjobs.batch",
    object: r#"{"apiVersion": "batch/v1beta1", "kind": "CronJob",
        "metadata": {"namespace": "default", "name": "NAME", "labels": {"step": "one"}},
        "spec": {"schedule": "1 2 3 4 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}}}}}}"#,
    field: ["--api-version=batch/v1beta1", "cronjobs.spec.jobTemplate"],
};
/// A group of which nothing is left.
const INGRESSES: Only = Only {
    resource: "ingresses.v1beta1.extensions",
    listed: "ingresses.extensions",
    object: r#"{"apiVersion": "extensions/v1beta1", "kind": "Ingress",
        "metadata": {"namespace": "default", "name": "NAME", "labels": {"step": "one"}},
        "spec": {"backend": {"serviceName": "none", "servicePort": 80}}}"#,
    field: ["--api-version=extensions/v1beta1", "ingresses.spec.backend"],
};

async fn lives(kubectl: &Kubectl, only: &Only, name: &str) {
    let Only { resource, listed, object, field } = *only;
    let version = kubectl.version;
    let all = kubectl.run(&["api-resources", "-o", "name"]).await;
    assert!(all.lines().any(|line| line == listed), "kubectl {version}: no {listed} in {all}");
    let object = |step: &str| object.replace("NAME", name).replace("\"one\"}", &format!("\"{step}\"}}"));
    let created = kubectl.run_piped(&object("one"), &["create", "-f", "-"]).await;
    assert!(created.contains("created"), "kubectl {version}: {created}");
    assert!(kubectl.run(&["get", resource]).await.contains(name), "kubectl {version}");
    kubectl.run_piped(&object("two"), &["apply", "-f", "-"]).await;
    let label = kubectl.run(&["get", resource, name, "-o", "jsonpath={.metadata.labels.step}"]).await;
    assert_eq!(label, "two", "kubectl {version}");
    kubectl.run(&["delete", resource, name]).await;
    let explained = kubectl.run(&[&["explain"], &field[..]].concat()).await;
    assert!(explained.contains("DESCRIPTION"), "kubectl {version}: {explained}");
}

async fn every_age_lives(home: &str, only: &[&Only]) {
    let fleet = fleet!(fleets::ages().await);
    let proxy = Proxy::start(fleet.cluster, &BOTH, Some(home), |_| ()).await;
    for version in AGES.into_iter().filter(|version| fleet.binaries.kubectls.contains_key(version)) {
        let kubectl = Kubectl::new(fleet.binaries, version, &fleet.files, &proxy.url(), Who::Admin);
        for only in only {
            lives(&kubectl, only, &format!("{home}-{}-{}", version.0, version.1)).await;
        }
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_works_with_what_only_1_36_serves_through_a_home_of_1_20() {
    every_age_lives("old", &[&OF_1_36]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_works_with_what_only_1_20_serves_through_a_home_of_1_36() {
    every_age_lives("new", &[&OF_1_20, &INGRESSES]).await;
}
