//! The kube crate's informers understand the server.

use std::pin::pin;

use futures_util::StreamExt;
use http_body_util::BodyExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::Body;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, ResourceExt};
use kube_peer_proxy::embedded::{ListFault, WatchFault};
use serde_json::json;

use super::client::Client;
use super::{BOB, DEADLINE, builder, start};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

type Crd = PartialObjectMeta<CustomResourceDefinition>;

#[tokio::test]
async fn a_metadata_watcher_pages_through_lists_and_lists_again_after_410() {
    let server = start(builder()).await;
    let mut bob = Client::h2(&server, None).await.with(BOB);
    let crd = |name: &str| {
        json!({
            "metadata": { "name": name },
            "spec": { "group": "example.com", "names": { "plural": name, "kind": "A" }, "versions": [] },
        })
    };
    for name in ["a", "b", "c"] {
        bob.post(CRDS, &crd(name)).await;
    }
    let sender = Client::h2(&server, None).await.into_h2();
    let service = tower::service_fn(move |mut request: http::Request<Body>| {
        let mut sender = sender.clone();
        // HTTP/2 wants the whole URI.
        *request.uri_mut() = format!("https://kubernetes.default.svc{}", request.uri()).parse().unwrap();
        request.headers_mut().insert("authorization", BOB.1.parse().unwrap());
        async move { sender.send_request(request.map(|body| body.map_err(Into::into).boxed_unsync())).await }
    });
    let client = kube::Client::new(service, "default");
    let events = kube::runtime::watcher(Api::<Crd>::all(client), Config::default().page_size(2));
    let mut events = pin!(events);
    let mut next = async || tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap();
    assert!(matches!(next().await.unwrap(), Event::Init));
    for name in ["a", "b", "c"] {
        assert!(matches!(next().await.unwrap(), Event::InitApply(it) if it.name_any() == name));
    }
    assert!(matches!(next().await.unwrap(), Event::InitDone));
    bob.post(CRDS, &crd("d")).await;
    assert!(matches!(next().await.unwrap(), Event::Apply(it) if it.name_any() == "d" && it.uid().is_some()));

    server.faults().list("customresourcedefinitions", Some(ListFault::Rubbish));
    server.faults().watch("customresourcedefinitions", Some(WatchFault::Expired));
    assert!(next().await.is_err());
    server.faults().clear();
    while !matches!(next().await, Ok(Event::InitDone)) {}
}
