use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::sighting::Sightings;
use super::*;

fn allowed() -> Allowed {
    Allowed::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()])
}

fn endpoint(address: &str, ready: Option<bool>) -> Endpoint {
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: ready
            .map(|ready| EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        ..Endpoint::default()
    }
}

fn port(name: Option<&str>, port: i32) -> EndpointPort {
    EndpointPort { name: name.map(str::to_owned), port: Some(port), ..EndpointPort::default() }
}

/// As a kube-apiserver writes it.
fn slice(name: &str, endpoints: &[Endpoint]) -> EndpointSlice {
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints.to_vec()),
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ports: Some(vec![port(Some("https"), 6443)]),
    }
}

fn shown(reading: &Reading) -> Vec<String> {
    let Sightings::All(all) = &reading.sightings else { panic!("{reading:?}") };
    let live = |live| if live { "there" } else { "departed" };
    all.iter().map(|one| format!("{} {}", one.name(), live(one.is_live()))).collect()
}

fn reasons(reading: &Reading) -> Vec<&'static str> {
    reading.refused.iter().map(|refused| refused.reason.as_str()).collect()
}

#[test]
fn each_endpoint_of_the_service_is_a_server_named_by_its_address() {
    let four = slice("kubernetes", &[endpoint("10.0.0.1", Some(true)), endpoint("10.0.0.2", None)]);
    let six = slice("kubernetes-6", &[endpoint("fd00::1", Some(true))]);
    let reading = read([&six, &four], &allowed());
    assert_eq!(
        shown(&reading),
        ["10.0.0.1-6443 there", "10.0.0.2-6443 there", "fd00-0-0-0-0-0-0-1-6443 there"]
    );
    assert_eq!(reading.refused, []);
}

#[test]
fn who_is_not_ready_or_leaves_has_departed_unless_another_slice_has_him() {
    let mut terminating = endpoint("10.0.0.3", Some(true));
    terminating.conditions.as_mut().unwrap().terminating = Some(true);
    let old =
        slice("a", &[endpoint("10.0.0.1", Some(false)), endpoint("10.0.0.2", Some(false)), terminating]);
    let new = slice("b", &[endpoint("10.0.0.2", Some(true))]);
    let expected = ["10.0.0.1-6443 departed", "10.0.0.2-6443 there", "10.0.0.3-6443 departed"];
    assert_eq!(shown(&read([&old, &new], &allowed())), expected);
    assert_eq!(shown(&read([&new, &old], &allowed())), expected);
}

#[test]
fn the_port_is_the_one_named_https_or_the_only_one() {
    for (ports, expected) in [
        (vec![port(Some("other"), 1), port(Some("https"), 443)], Ok("10.0.0.1-443 there")),
        (vec![port(None, 8443)], Ok("10.0.0.1-8443 there")),
        (vec![port(Some("a"), 1), port(Some("b"), 2)], Err("no-address")),
        (vec![], Err("no-address")),
        (vec![EndpointPort::default()], Err("no-address")),
        (vec![port(None, 0)], Err("bad-address")),
        (vec![port(None, -1)], Err("bad-address")),
        (vec![port(None, 65536)], Err("bad-address")),
    ] {
        let mut one = slice("kubernetes", &[endpoint("10.0.0.1", None)]);
        one.ports = Some(ports);
        let reading = read([&one], &allowed());
        match expected {
            Ok(server) => assert_eq!(shown(&reading), [server]),
            Err(reason) => assert_eq!((shown(&reading), reasons(&reading)), (vec![], vec![reason])),
        }
    }
}

#[test]
fn only_slices_of_the_one_service_are_looked_at() {
    let endpoints = [endpoint("10.0.0.1", None)];
    let mut elsewhere = slice("kubernetes", &endpoints);
    elsewhere.metadata.namespace = Some("attacker".to_owned());
    let mut other = slice("kubernetes", &endpoints);
    other.metadata.labels = Some([(LABEL.0.to_owned(), "other".to_owned())].into());
    let mut unlabelled = slice("kubernetes", &endpoints);
    unlabelled.metadata.labels = None;
    let reading = read([&elsewhere, &other, &unlabelled, &EndpointSlice::default()], &allowed());
    assert_eq!(reading, Reading::all([]));
}

#[test]
fn what_is_no_address_or_not_allowed_is_refused_and_the_rest_counts() {
    let mut nowhere = endpoint("", None);
    nowhere.addresses.clear();
    let one = slice(
        "kubernetes",
        &[
            nowhere,
            endpoint("api.example", None),
            endpoint("10.0.0.1\n", None),
            endpoint(&"1".repeat(1 << 20), None),
            endpoint("127.0.0.1", None),
            endpoint("::ffff:192.0.2.1", None),
            endpoint("10.0.0.1", None),
        ],
    );
    let reading = read([&one], &allowed());
    assert_eq!(shown(&reading), ["10.0.0.1-6443 there"]);
    assert_eq!(
        reasons(&reading),
        ["no-address", "bad-address", "bad-address", "bad-address", "not-allowed", "not-allowed"]
    );
    assert!(reading.refused.iter().all(|refused| refused.what.len() <= limits::MAX_REFUSED_SHOWN));
}

#[test]
fn more_endpoints_than_are_looked_at_are_too_many() {
    let slices: Vec<_> = (0..12)
        .map(|n| slice(&format!("s{n:02}"), &vec![endpoint(&format!("10.0.0.{n}"), None); 1000]))
        .collect();
    let reading = read(&slices, &allowed());
    assert_eq!(shown(&reading).len(), 10);
    assert_eq!(reasons(&reading), ["too-many", "too-many"]);
}

prop_compose! {
    fn any_slice()(
        ours in any::<bool>(),
        ports in vec((option::of("https|[a-z]{0,3}"), any::<i32>()), 0..3),
        endpoints in vec((vec(prop_oneof!["10\\.0\\.0\\.[1-9]", "fd00::[1-9]", any::<String>()], 0..3), any::<Option<bool>>()), 0..5),
    ) -> EndpointSlice {
        let endpoints: Vec<_> = endpoints.into_iter()
            .map(|(addresses, ready)| Endpoint { addresses, ..endpoint("", ready) })
            .collect();
        let mut slice = slice("kubernetes", &endpoints);
        if !ours { slice.metadata.labels = None }
        if !ports.is_empty() {
            slice.ports = Some(ports.iter().map(|(name, number)| port(name.as_deref(), number % 70_000)).collect());
        }
        slice
    }
}

proptest! {
    #[test]
    fn i11_nothing_outside_of_the_ranges_comes_of_any_slice(slices in vec(any_slice(), 0..5)) {
        let reading = read(&slices, &allowed());
        let Sightings::All(all) = &reading.sightings else { panic!("{reading:?}") };
        for found in all {
            prop_assert!(allowed().permits(found.ip()) && found.port() != 0);
        }
        let mut reversed = slices.clone();
        reversed.reverse();
        prop_assert_eq!(read(&reversed, &allowed()).sightings, reading.sightings);
    }
}
