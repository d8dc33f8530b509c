//! A server makes itself known in its cluster.

use std::time::Duration;

use kube_peer_proxy::embedded::{Recorded, RunningServer, Store};
use serde_json::{Value, json};

use super::client::Client;
use super::events::Events;
use super::{BOB, DEADLINE, builder, start};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const OURS: &str = "labelSelector=apiserver.kubernetes.io/identity%3Dkube-apiserver";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

async fn items(server: &RunningServer, path: &str) -> Vec<Value> {
    let mut bob = Client::h2(server, None).await.with(BOB);
    bob.get(path).await.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_identity_lease_names_host_address_and_a_new_holder_at_each_start() {
    let store = Store::new();
    let witness = start(builder().store(store.clone())).await;
    let ours = format!("{LEASES}?{OURS}");
    assert_eq!(items(&witness, &ours).await, Vec::<Value>::new());
    let server = start(builder().store(store).identity_lease("host-a")).await;
    let [lease] = items(&witness, &ours).await.try_into().unwrap();
    let (metadata, spec) = (&lease["metadata"], &lease["spec"]);
    let name = metadata["name"].as_str().unwrap();
    assert!(name.starts_with("apiserver-") && name.len() == "apiserver-".len() + 26, "{name}");
    assert_eq!(metadata["labels"]["kubernetes.io/hostname"], "host-a");
    let address = &metadata["annotations"]["kubernetes.io/peer-advertise-address"];
    assert_eq!(*address, json!(server.addr().to_string()));
    assert!(spec["holderIdentity"].as_str().unwrap().starts_with(&format!("{name}_")));
    assert_eq!(spec["leaseDurationSeconds"], 3600);

    server.stop().await;
    assert_eq!(items(&witness, &ours).await, std::slice::from_ref(&lease), "who dies leaves it behind");
    server.restart().await.unwrap();
    let [again] = items(&witness, &ours).await.try_into().unwrap();
    assert_eq!(again["metadata"]["name"], metadata["name"]);
    assert_ne!(again["spec"]["holderIdentity"], spec["holderIdentity"]);
    server.shut_down(DEADLINE).await;
    assert_eq!(items(&witness, &ours).await, Vec::<Value>::new(), "who leaves takes it with him");
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_server_runs() {
    let store = Store::new();
    let often = Duration::from_millis(10);
    let old = builder().version(Recorded::V1_32).store(store.clone());
    let old = start(old.identity_lease("host-a").lease_renewal(often)).await;
    let mut bob = Client::h2(&old, None).await.with(BOB);
    let mut events = Events::of(&mut bob, &format!("{LEASES}?watch=1&{OURS}"), &[]).await;
    let first = events.next().await.unwrap()["object"].clone();
    let next = events.next().await.unwrap();
    assert_eq!(next["type"], "MODIFIED");
    assert_ne!(next["object"]["spec"]["renewTime"], first["spec"]["renewTime"]);
    for kept in ["uid", "name"] {
        assert_eq!(next["object"]["metadata"][kept], first["metadata"][kept]);
    }
    assert_eq!(next["object"]["spec"]["holderIdentity"], first["spec"]["holderIdentity"]);
    assert!(first["metadata"]["annotations"].is_null(), "1.32 does not say its address");
}

#[tokio::test]
async fn the_kubernetes_service_has_the_addresses_of_all_that_run() {
    let store = Store::new();
    let first = start(builder().store(store.clone()).endpoint_slice(true)).await;
    let beside = std::net::SocketAddr::from(([127, 0, 0, 2], first.addr().port()));
    let second = builder().store(store.clone()).endpoint_slice(true).start(beside).await.unwrap();
    let service = format!("{SLICES}?labelSelector=kubernetes.io/service-name%3Dkubernetes");
    let addresses = |slices: Vec<Value>| -> Vec<(Value, Value, Value)> {
        let ends = |slice: &Value| {
            let (name, port) = (slice["metadata"]["name"].clone(), slice["ports"][0]["port"].clone());
            let endpoints = slice["endpoints"].as_array().unwrap().clone();
            endpoints.into_iter().map(move |end| (name.clone(), end["addresses"][0].clone(), port.clone()))
        };
        slices.iter().flat_map(ends).collect()
    };
    let end = |address: &str| (json!("kubernetes"), json!(address), json!(first.addr().port()));
    assert_eq!(addresses(items(&first, &service).await), [end("127.0.0.1"), end("127.0.0.2")]);
    second.stop().await;
    assert_eq!(addresses(items(&first, &service).await).len(), 2);
    second.restart().await.unwrap();
    second.shut_down(DEADLINE).await;
    assert_eq!(addresses(items(&first, &service).await), [end("127.0.0.1")]);
}
