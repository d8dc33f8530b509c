//! Endpoint slices of `default/kubernetes`.

use kube_peer_proxy::discovery::catalog::Freshness::Fresh;

use super::*;

fn id(town: &Town, name: &str) -> String {
    town[name].addr().to_string().replace(':', "-")
}

/// A slice of the service, which has the controller's label or another one.
fn slice(name: &str, service: &str, endpoints: &Value, ports: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
        "endpoints": endpoints, "ports": ports,
    })
}

fn port(name: &str, port: u16) -> Value {
    json!({ "name": name, "protocol": "TCP", "port": port })
}

fn here(ready: bool) -> Value {
    json!([{ "addresses": ["127.0.0.1"], "conditions": { "ready": ready } }])
}

#[tokio::test]
async fn a_server_whose_endpoint_comes_is_a_peer_and_stays_stale_when_it_goes() {
    let mut town = Town::with("cp1").await;
    let proxy = town.proxy("endpointslices", "cp1", "cp1").start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 404);
    town.add("cp2", V1_36, |server| server.endpoint_slice(true)).await;
    town.give_widgets("cp2");
    let id = id(&town, "cp2");
    until_it_is(&proxy, &id, Fresh).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);

    town["cp2"].shut_down(Duration::ZERO).await;
    until_departed(&proxy, &id).await;
    try_again(&admin.get(WIDGETS).await);
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Stale");
    town["cp2"].restart().await.unwrap();
    until_it_is(&proxy, &id, Fresh).await;
    eventually("it is named again", || known(&proxy, &id).is_some_and(|known| !known.departed)).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
}

#[tokio::test]
async fn an_endpoint_that_is_not_ready_is_one_that_left() {
    let mut town = Town::with("cp1").await;
    town.add("cp2", V1_36, |server| server).await;
    town.give_widgets("cp2");
    let (id, at) = (id(&town, "cp2"), town["cp2"].addr().port());
    let clerk = town.clerk().await;
    clerk.create(SLICES, &slice("kubernetes", "kubernetes", &here(true), &json!([port("https", at)]))).await;
    let proxy = town.proxy("endpointslices", "cp1", "cp1").start().await;
    until_it_is(&proxy, &id, Fresh).await;
    let path = format!("{SLICES}/kubernetes");
    clerk.patch(&path, &json!({ "endpoints": here(false) })).await;
    until_departed(&proxy, &id).await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200, "it is asked all the same, for nobody else has them");
    clerk.patch(&path, &json!({ "endpoints": here(true) })).await;
    until_it_is(&proxy, &id, Fresh).await;
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Current");
}

#[tokio::test]
async fn of_two_ports_the_one_named_https_counts_and_two_others_are_none() {
    let mut town = Town::with("cp1").await;
    for name in ["cp2", "cp3", "stranger"] {
        town.add(name, V1_36, |server| server).await;
    }
    town.give_widgets("cp2");
    let at = |name: &str| town[name].addr().port();
    let clerk = town.clerk().await;
    let two = json!([port("konnectivity", at("stranger")), port("https", at("cp2"))]);
    clerk.create(SLICES, &slice("kubernetes-a", "kubernetes", &here(true), &two)).await;
    let unclear = json!([port("one", at("stranger")), port("other", at("cp3"))]);
    clerk.create(SLICES, &slice("kubernetes-b", "kubernetes", &here(true), &unclear)).await;
    let proxy = town.proxy("endpointslices", "cp1", "cp1").start().await;
    assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
    assert_eq!(names(&proxy).len(), 2);
    assert_eq!(refused(&proxy, "endpointslices", "no-address").await, 1.0);
    assert_eq!(town["stranger"].connections_accepted(), 0);
}

#[tokio::test]
async fn rubbish_in_slices_is_counted_and_the_rest_of_them_counts() {
    let mut town = Town::with("cp1").await;
    town.add("cp2", V1_36, |server| server.endpoint_slice(true)).await;
    town.add("stranger", V1_36, |server| server).await;
    town.give_widgets("cp2");
    let clerk = town.clerk().await;
    let stranger = json!([port("https", town["stranger"].addr().port())]);
    clerk.create(SLICES, &slice("other-service", "kubernetes-dashboard", &here(true), &stranger)).await;
    let elsewhere = SLICES.replace("/default/", "/kube-public/");
    clerk.create(&elsewhere, &slice("kubernetes", "kubernetes", &here(true), &stranger)).await;
    let address = |text: &str| json!({ "addresses": [text] });
    let rubbish = json!([
        address("nowhere.example"),
        address(&"1".repeat(100_000)),
        address("10.9.8.7"),
        { "addresses": [] },
    ]);
    clerk.create(SLICES, &slice("rubbish", "kubernetes", &rubbish, &stranger)).await;
    let zero = json!([port("https", 0)]);
    clerk.create(SLICES, &slice("port", "kubernetes", &here(true), &zero)).await;
    let proxy = town.proxy("endpointslices", "cp1", "cp1").start().await;
    assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
    assert_eq!(names(&proxy).len(), 2);
    for (reason, count) in [("bad-address", 3.0), ("not-allowed", 1.0), ("no-address", 1.0)] {
        assert_eq!(refused(&proxy, "endpointslices", reason).await, count, "{reason}");
    }
    assert_eq!(town["stranger"].connections_accepted(), 0);
}
