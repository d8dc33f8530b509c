//! A subresource that newer servers have on a resource that all have.

use http::Method;
use serde_json::json;

use super::{
    fleet, fleets,
    kit::{client::MERGE_PATCH, files::Who, proxy::Proxy},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_resized_through_a_home_that_knows_no_resize() {
    let fleet = fleet!(fleets::versions().await);
    let proxy = Proxy::of(fleet.cluster, Some("v132")).await;
    let client = proxy.client(Who::Alice).await;
    let resources = |cpu: &str| json!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
    let container = |cpu: &str| json!({ "name": "c", "image": "none", "resources": resources(cpu) });
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "resized" },
        "spec": { "containers": [container("100m")] },
    });
    assert_eq!(client.post(pods, &pod).await.unwrap().status, 201);

    let patch = json!({ "spec": { "containers": [container("200m")] } }).to_string();
    let path = format!("{pods}/resized/resize");
    let kind = [("content-type", "application/strategic-merge-patch+json")];
    let direct = fleet.direct("v132", Who::Alice).await;
    let refused = direct.call(Method::PATCH, &path, &kind, patch.clone().into()).await.unwrap();
    assert_eq!(refused.status, 404, "1.32 has learned to resize: {}", refused.text());

    let resized = client.call(Method::PATCH, &path, &kind, patch.into()).await.unwrap();
    assert_eq!(resized.status, 200, "{}", resized.text());
    let pod = client.get(&format!("{pods}/resized")).await.unwrap().json();
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m");

    // The pod itself is home's business still, and so is what nobody has.
    let path = format!("{pods}/resized/shrink");
    let no_such = client.call(Method::PATCH, &path, &[MERGE_PATCH], "{}".into()).await.unwrap();
    assert_eq!(no_such.status, 404);
    let path = format!("{pods}/resized?gracePeriodSeconds=0");
    client.call(Method::DELETE, &path, &[], "".into()).await.unwrap();
    proxy.stop().await;
}
