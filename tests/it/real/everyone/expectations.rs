//! What Kubernetes' own end-to-end tests expect of discovery, told again, where every group is seen through a home
//! that lacks one of them.

use http::Method;
use kube_peer_proxy::api::media_type::ACCEPT_V2;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{
    fleet, fleets,
    kit::{client::Client, eventually, files::Who, proxy::Proxy},
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn json(client: &Client, path: &str) -> Value {
    let reply = client.get(path).await.unwrap();
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_group_prefers_a_version_that_it_has_and_says_so_in_the_list_and_by_itself() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("less")).await;
    let client = proxy.client(Who::Alice).await;
    let list = json(&client, "/apis/").await;
    let groups = items(&list["groups"]);
    assert!(groups.iter().any(|group| group["name"] == "batch"), "{list}");
    assert!(groups.iter().any(|group| group["name"] == "resource.k8s.io"), "{list}");
    for group in groups {
        let mut alone = json(&client, &format!("/apis/{}/", group["name"].as_str().unwrap())).await;
        assert_eq!(alone["kind"], "APIGroup");
        let preferred = &group["preferredVersion"];
        assert!(items(&group["versions"]).contains(preferred), "{group}");
        for field in ["kind", "apiVersion"] {
            alone.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(&alone, group);
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_group_version_has_its_name_and_a_resource_that_all_expect_there() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("less")).await;
    let client = proxy.client(Who::Alice).await;
    for (group_version, resource, there) in [
        ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", true),
        ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", true),
        ("apiextensions.k8s.io/v1", "customresourcedefinitions", true),
        ("apiregistration.k8s.io/v1", "apiservices", true),
        ("apps/v1", "deployments", true),
        ("apps/v1", "cronjobs", false),
        ("authentication.k8s.io/v1", "tokenreviews", true),
        ("authorization.k8s.io/v1", "selfsubjectaccessreviews", true),
        ("autoscaling/v1", "horizontalpodautoscalers", true),
        ("autoscaling/v2", "horizontalpodautoscalers", true),
        ("batch/v1", "jobs", true),
        ("batch/v1", "cronjobs/status", true),
        ("certificates.k8s.io/v1", "certificatesigningrequests", true),
        ("coordination.k8s.io/v1", "leases", true),
        ("discovery.k8s.io/v1", "endpointslices", true),
        ("events.k8s.io/v1", "events", true),
        ("networking.k8s.io/v1", "servicecidrs", true),
        ("node.k8s.io/v1", "runtimeclasses", true),
        ("policy/v1", "poddisruptionbudgets", true),
        ("rbac.authorization.k8s.io/v1", "clusterroles", true),
        ("resource.k8s.io/v1", "resourceclaims", true),
        ("scheduling.k8s.io/v1", "priorityclasses", true),
        ("storage.k8s.io/v1", "volumeattributesclasses", true),
        ("storage.k8s.io/v1", "pods", false),
    ] {
        let list = json(&client, &format!("/apis/{group_version}")).await;
        assert_eq!(list["kind"], "APIResourceList");
        assert_eq!(list["groupVersion"], group_version);
        let listed = items(&list["resources"]).iter().any(|one| one["name"] == resource);
        assert_eq!(listed, there, "{group_version} {resource}");
    }
    let core = json(&client, "/api/v1").await;
    assert!(items(&core["resources"]).iter().any(|one| one["name"] == "pods/resize"));
    proxy.stop().await;
}

fn definition(plural: &str, kind: &str, group: &str) -> Value {
    json!({
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "categories": ["all"] },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    })
}

/// The first eight bytes of the digest of what is stored, in base64.
fn storage_version_hash(stored: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest = Sha256::digest(stored);
    let mut text = String::new();
    for three in digest[..8].chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= three.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kind_of_things_appears_in_every_form_with_the_hash_of_what_is_stored_and_goes_again() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("less")).await;
    let (admin, client) = (proxy.client(Who::Admin).await, proxy.client(Who::Alice).await);
    let group = "expected.example.com";
    let created = admin.post(CRDS, &definition("tales", "Tale", group)).await.unwrap();
    assert_eq!(created.status, 201, "{}", created.text());
    let v2 = async || client.get_with("/apis", &[("accept", ACCEPT_V2)]).await.unwrap();
    eventually("the new kind is listed", async || v2().await.lists(group, "v1", "tales").then_some(())).await;
    // Whoever has seen it in one form sees it in all.
    let list = json(&client, "/apis").await;
    let one =
        items(&list["groups"]).iter().find(|one| one["name"] == group).expect("the group is in the list");
    assert_eq!(one["preferredVersion"]["groupVersion"], format!("{group}/v1"));
    let list = json(&client, &format!("/apis/{group}/v1")).await;
    let tales =
        items(&list["resources"]).iter().find(|one| one["name"] == "tales").expect("the resource is listed");
    assert_eq!(tales["singularName"], "tale");
    assert_eq!(tales["categories"], json!(["all"]));
    assert_eq!(tales["storageVersionHash"], storage_version_hash(&format!("{group}/v1/Tale")));
    let path = format!("{CRDS}/tales.{group}");
    let deleted = admin.call(Method::DELETE, &path, &[], "".into()).await.unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    eventually("the kind is gone", async || (!v2().await.lists(group, "v1", "tales")).then_some(())).await;
    let list = json(&client, "/apis").await;
    assert!(items(&list["groups"]).iter().all(|one| one["name"] != group));
    assert_eq!(client.get(&format!("/apis/{group}/v1")).await.unwrap().status, 404);
    proxy.stop().await;
}
