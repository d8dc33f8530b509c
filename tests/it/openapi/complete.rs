//! Whatever discovery lists, OpenAPI describes: on servers in memory of three versions.

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};

use super::*;
use crate::kit::{Cluster, V2};

/// `/apis/<group>/<version>/... <resource>` of everything that discovery lists and OpenAPI has paths for.
async fn listed(client: &Client) -> Vec<(String, String)> {
    let mut listed = Vec::new();
    for tree in ["/api", "/apis"] {
        let document = client.get_with(tree, V2).await.json();
        for group in document["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                let name = group["metadata"]["name"].as_str().unwrap_or_default();
                let version_name = version["version"].as_str().unwrap();
                let key = match name {
                    "" => format!("api/{version_name}"),
                    name => format!("apis/{name}/{version_name}"),
                };
                for resource in version["resources"].as_array().unwrap() {
                    listed.push((key.clone(), resource["resource"].as_str().unwrap().to_owned()));
                }
            }
        }
    }
    listed
}

fn describes(document: &Value, key: &str, resource: &str) -> bool {
    let below = format!("/{key}/");
    let paths = document["paths"].as_object().unwrap();
    paths.keys().any(|path| {
        path.strip_prefix(&below).is_some_and(|rest| rest.split('/').any(|segment| segment == resource))
    })
}

#[tokio::test]
async fn everything_that_discovery_lists_is_described_whoever_is_home() {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let mut seen = Vec::new();
    for home in ["v132", "v135", "v136"] {
        let proxy = cluster.proxy().home(home).start().await;
        let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
        let index = index(&admin).await;
        let mut documents = BTreeMap::new();
        for (key, address) in &index {
            let reply = admin.get(address).await;
            assert_eq!(reply.status, 200, "{address} of {home}");
            let hash = format!("hash={}", reply.header("etag").trim_matches('"'));
            assert!(address.ends_with(&hash), "{address} of {home}");
            documents.insert(key.clone(), reply.json());
        }
        let v2 = admin.get("/openapi/v2").await;
        let all = v2.json();
        let listed = listed(&admin).await;
        assert!(listed.len() > 60, "{}", listed.len());
        for (key, resource) in &listed {
            let document = documents.get(key).unwrap_or_else(|| panic!("{key} of {home}"));
            assert!(describes(document, key, resource), "{key} {resource} of {home}");
            assert!(describes(&all, key, resource), "{key} {resource} of {home} in version 2");
        }
        seen.push((v2.header("etag").to_owned(), v2.body));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "equal for every home");
}
