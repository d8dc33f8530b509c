use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::SignedDuration;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::sighting::Sightings;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn allowed() -> Allowed {
    Allowed::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()])
}

fn clock() -> Clock {
    Clock { wall: "2026-03-01T12:00:00Z".parse().unwrap(), steady: Instant::now() }
}

/// As a kube-apiserver writes it, renewed a moment ago.
fn lease(name: &str, host: &str, address: &str) -> Lease {
    let labels = [LABEL, (HOSTNAME, host)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(BTreeMap::from(labels)),
            annotations: Some(BTreeMap::from([(ADDRESS.to_owned(), address.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(format!("{name}_5a0b")),
            lease_duration_seconds: Some(3600),
            renew_time: Some(MicroTime(clock().wall)),
            ..LeaseSpec::default()
        }),
    }
}

fn read(leases: &[Lease]) -> Reading {
    Leases::new(DAY).read(leases, &allowed(), clock())
}

fn all(reading: &Reading) -> &[Sighting] {
    let Sightings::All(all) = &reading.sightings else { panic!("{reading:?}") };
    all
}

fn reasons(reading: &Reading) -> Vec<&'static str> {
    reading.refused.iter().map(|refused| refused.reason.as_str()).collect()
}

#[test]
fn a_lease_names_a_server_by_its_host_with_its_address_and_its_process() {
    let reading =
        read(&[lease("apiserver-x", "cp1", "10.0.0.1:6443"), lease("apiserver-y", "cp2", "[fd00::2]:443")]);
    assert_eq!(reading.refused, []);
    let [one, two] = all(&reading) else { panic!("{reading:?}") };
    assert_eq!((&**one.name(), one.address().to_string()), ("cp1", "10.0.0.1:6443".to_owned()));
    assert_eq!(one.holder().map(|holder| &**holder), Some("apiserver-x_5a0b"));
    assert_eq!((&**two.name(), two.address().to_string()), ("cp2", "[fd00::2]:443".to_owned()));
    assert!(one.is_live() && two.is_live());
}

#[test]
fn only_identity_leases_in_kube_system_are_looked_at() {
    let mut elsewhere = lease("a", "cp1", "10.0.0.1:6443");
    elsewhere.metadata.namespace = Some("attacker".to_owned());
    let mut nowhere = lease("a", "cp1", "10.0.0.1:6443");
    nowhere.metadata.namespace = None;
    let mut other = lease("a", "cp1", "10.0.0.1:6443");
    other.metadata.labels.as_mut().unwrap().insert(LABEL.0.to_owned(), "kube-controller-manager".to_owned());
    let mut unlabelled = lease("a", "cp1", "10.0.0.1:6443");
    unlabelled.metadata.labels = None;
    let reading = read(&[elsewhere, nowhere, other, unlabelled, Lease::default()]);
    assert_eq!(reading, Reading::all([]));
}

#[test]
fn a_lease_that_names_no_place_is_refused_with_the_reason() {
    for (address, reason) in [
        ("", "no-address"),
        ("10.0.0.1", "bad-address"),
        ("10.0.0.1:0", "bad-address"),
        ("10.0.0.1:70000", "bad-address"),
        ("fd00::1:6443", "bad-address"),
        ("[fe80::1%2]:6443", "bad-address"),
        ("api.example:6443", "bad-address"),
        ("https://10.0.0.1:6443", "bad-address"),
        ("10.0.0.1:6443\n", "bad-address"),
        (&"1".repeat(1 << 20), "bad-address"),
        ("192.0.2.1:6443", "not-allowed"),
        ("127.0.0.1:6443", "not-allowed"),
        ("[::ffff:192.0.2.1]:6443", "not-allowed"),
    ] {
        let reading = read(&[lease("a", "cp1", address)]);
        assert_eq!((reasons(&reading), all(&reading).len()), (vec![reason], 0), "{address:.40}");
    }
    let mut without = lease("a", "cp1", "");
    without.metadata.annotations = None;
    assert_eq!(reasons(&read(&[without])), ["no-address"]);
}

#[test]
fn a_server_without_a_fit_hostname_has_its_leases_name() {
    for (name, host, result) in [
        ("apiserver-x", "", Some("apiserver-x")),
        ("apiserver-x", "-cp1", Some("apiserver-x")),
        ("apiserver-x", "cp\u{7}1", Some("apiserver-x")),
        ("apiserver-x", &"h".repeat(1 << 20), Some("apiserver-x")),
        ("", "-cp1", None),
        ("a b", "", None),
    ] {
        let reading = read(&[lease(name, host, "10.0.0.1:6443")]);
        assert_eq!(all(&reading).first().map(|found| &**found.name()), result, "{name:.20} {host:.20}");
        assert_eq!(reasons(&reading), if result.is_none() { vec!["bad-name"] } else { vec![] });
    }
}

#[test]
fn of_two_leases_for_one_host_the_good_one_counts_and_then_the_first() {
    let (a, b) = (lease("a", "cp1", "10.0.0.1:6443"), lease("b", "cp1", "10.0.0.2:6443"));
    let mut expired = a.clone();
    expired.spec.as_mut().unwrap().renew_time = Some(MicroTime(clock().wall - HOUR * 2));
    for (leases, address, live) in [
        ([&a, &b], "10.0.0.1:6443", true),
        ([&b, &a], "10.0.0.1:6443", true),
        ([&expired, &b], "10.0.0.2:6443", true),
    ] {
        let reading = Leases::new(DAY).read(leases, &allowed(), clock());
        let [one] = all(&reading) else { panic!("{reading:?}") };
        assert_eq!((one.address().to_string().as_str(), one.is_live()), (address, live));
        assert_eq!(reasons(&reading), ["duplicate"]);
    }
}

#[test]
fn an_expired_lease_names_a_server_that_departed_until_it_would_be_forgotten() {
    let now = clock();
    let skew = limits::LEASE_CLOCK_SKEW;
    let second = Duration::from_secs(1);
    for (age, outcome) in [
        (Duration::ZERO, "live"),
        (HOUR + skew - second, "live"),
        (HOUR + skew, "departed"),
        (HOUR + skew + DAY - second, "departed"),
        (HOUR + skew + DAY, "expired"),
    ] {
        let mut one = lease("a", "cp1", "10.0.0.1:6443");
        one.spec.as_mut().unwrap().renew_time = Some(MicroTime(now.wall - age));
        let reading = read(&[one]);
        let seen = match all(&reading) {
            [one] if one.is_live() => "live",
            [_] => "departed",
            _ => reasons(&reading)[0],
        };
        assert_eq!(seen, outcome, "{age:?}");
    }
}

#[test]
fn a_lease_that_was_let_go_of_or_never_renewed_names_a_server_that_departed() {
    let with = |change: fn(&mut LeaseSpec)| {
        let mut lease = lease("a", "cp1", "10.0.0.1:6443");
        change(lease.spec.as_mut().unwrap());
        lease
    };
    let mut bare = lease("a", "cp1", "10.0.0.1:6443");
    bare.spec = None;
    for one in [
        with(|spec| spec.holder_identity = None),
        with(|spec| spec.holder_identity = Some(String::new())),
        with(|spec| spec.renew_time = None),
        with(|spec| spec.lease_duration_seconds = None),
        with(|spec| spec.lease_duration_seconds = Some(0)),
        with(|spec| spec.lease_duration_seconds = Some(-1)),
        bare,
    ] {
        let reading = read(std::slice::from_ref(&one));
        assert_eq!(all(&reading).iter().map(Sighting::is_live).collect::<Vec<_>>(), [false], "{one:?}");
    }
}

/// A lease of a server that says that it renewed it so many seconds after the beginning.
fn renewed(server: usize, seconds: u64) -> Lease {
    let mut one =
        lease(&format!("l{server}"), &format!("cp{server}"), &format!("10.0.0.{}:6443", server + 1));
    one.spec.as_mut().unwrap().renew_time = Some(MicroTime(clock().wall + Duration::from_secs(seconds)));
    one
}

#[test]
fn a_clock_that_jumps_makes_nobody_look_gone_or_back() {
    for jump in [-400, -1, 1, 400] {
        let (mut leases, start) = (Leases::new(DAY), clock());
        let mut live = |seconds: u64, jumped: bool, steady: Duration| {
            let wall = if jumped { start.wall + SignedDuration::from_hours(24 * jump) } else { start.wall };
            let now = Clock { wall: wall + steady, steady: start.steady + steady };
            let reading = leases.read([&renewed(0, seconds), &renewed(1, seconds)], &allowed(), now);
            assert!(matches!(&reading.sightings, Sightings::All(_)));
            all(&reading).iter().map(Sighting::is_live).collect::<Vec<_>>()
        };
        let second = Duration::from_secs(1);
        assert_eq!(live(0, false, Duration::ZERO), [true; 2]);
        assert_eq!(live(0, true, second), [true; 2], "{jump}: none was seen renewing yet");
        assert_eq!(live(10, true, 10 * second), [true; 2], "{jump}");
        assert_eq!(live(10, false, HOUR), [true; 2], "{jump}: and back again");
        assert_eq!(live(10, true, 2 * HOUR), [false; 2], "{jump}: they are not renewed any more");
        assert_eq!(live(20, true, 2 * HOUR + second), [true; 2], "{jump}: they are again");
        assert_eq!(live(20, true, 2 * DAY), [false; 0], "{jump}: long gone");
    }
}

#[test]
fn who_starts_with_a_wrong_clock_knows_everybody_who_renews_his_lease() {
    let (mut leases, start) = (Leases::new(DAY), clock());
    let wall = start.wall + 400 * DAY;
    let mut read = |seconds: u64, steady: Duration| {
        let now = Clock { wall, steady: start.steady + steady };
        let reading = leases.read([&renewed(0, seconds)], &allowed(), now);
        all(&reading).iter().map(Sighting::is_live).collect::<Vec<_>>()
    };
    assert_eq!(read(0, Duration::ZERO), [false; 0], "who knows how old that is");
    assert_eq!(read(10, Duration::from_secs(10)), [true]);
}

#[test]
fn ten_thousand_leases_and_megabytes_of_rubbish_cost_bounded_work() {
    let mut leases: Vec<_> = (0..limits::MAX_SOURCE_ENTRIES + 500)
        .map(|n| lease(&format!("l{n:05}"), "", &format!("10.{}.{}.1:6443", n / 250, n % 250)))
        .collect();
    leases.reverse();
    let mut reader = Leases::new(DAY);
    let reading = reader.read(&leases, &allowed(), clock());
    assert_eq!(all(&reading).len(), limits::MAX_SOURCE_ENTRIES);
    assert_eq!(reasons(&reading), ["too-many"; 500]);
    assert_eq!(reading.refused[0].what, "l10000", "the last by name");
    assert_eq!(reader.renewals.len(), limits::MAX_SOURCE_ENTRIES);

    let mega = "\u{1b}[2J".repeat(1 << 18);
    let rubbish: Vec<_> = (0..50).map(|_| lease(&mega, &mega, &mega)).collect();
    let reading = reader.read(&rubbish, &allowed(), clock());
    assert!(reader.renewals.is_empty());
    assert!(reading.refused.iter().all(|refused| refused.what.len() <= 4 * limits::MAX_REFUSED_SHOWN));
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![
        Just("10.0.0.1:6443".to_owned()),
        Just("192.0.2.1:6443".to_owned()),
        Just("cp1".to_owned()),
        Just("cp2".to_owned()),
        any::<String>(),
    ])
}

prop_compose! {
    fn any_lease()(
        name in text(), host in text(), address in text(), holder in text(),
        seconds: Option<i32>, renewed in option::of(-9_000_000_000i64..9_000_000_000),
        there in any::<bool>(), spec in any::<bool>(),
    ) -> Lease {
        let mut lease = lease("", "", "");
        lease.metadata.name = name;
        let labels = lease.metadata.labels.as_mut().unwrap();
        labels.insert(HOSTNAME.to_owned(), host.unwrap_or_default());
        lease.metadata.annotations = address.map(|address| BTreeMap::from([(ADDRESS.to_owned(), address)]));
        if !there { lease.metadata.labels = None }
        let renew_time = renewed.and_then(|s| Timestamp::from_second(s).ok()).map(MicroTime);
        lease.spec = spec.then(|| LeaseSpec {
            holder_identity: holder, lease_duration_seconds: seconds, renew_time, ..LeaseSpec::default()
        });
        lease
    }
}

proptest! {
    #[test]
    fn i11_nothing_outside_of_the_ranges_comes_of_any_lease(leases in vec(any_lease(), 0..20)) {
        let reading = read(&leases);
        for found in all(&reading) {
            prop_assert!(allowed().permits(found.ip()) && found.port() != 0 && is_name(found.name()));
        }
        let names: BTreeSet<_> = all(&reading).iter().map(Sighting::name).collect();
        prop_assert_eq!(names.len(), all(&reading).len());
    }

    #[test]
    fn the_order_of_leases_does_not_matter(leases in vec(any_lease(), 0..20)) {
        // Without names of their own there is nothing to tell them apart by.
        let mut leases = leases;
        let mut number = 0;
        for lease in &mut leases {
            number += 1;
            lease.metadata.name = Some(format!("l{number}"));
        }
        let reading = read(&leases);
        leases.reverse();
        prop_assert_eq!(read(&leases), reading);
    }
}
