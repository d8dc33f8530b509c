use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::pki::{Authority, Pki};

/// What kubeadm's kube-apiservers publish that were started with the CAs of `pki`.
fn published(pki: &Pki) -> Published {
    let list = |name: &str| vec![name.to_owned()];
    Published {
        client_ca: vec![pki.cluster_ca.cert().clone()],
        front_proxies: Some(FrontProxies {
            ca: pki.front_proxy_ca.cert_pem().to_owned(),
            allowed_names: list("front-proxy-client"),
            username: list("X-Remote-User"),
            uid: list("X-Remote-Uid"),
            group: list("X-Remote-Group"),
            extra_prefixes: list("X-Remote-Extra-"),
        }),
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

/// What differs after `change` from what the same PKI publishes.
fn after(change: impl FnOnce(&mut Published)) -> Vec<Difference> {
    let pki = Pki::generate(&[]).unwrap();
    let mut published = published(&pki);
    change(&mut published);
    found(&pki, &published)
}

fn found(pki: &Pki, published: &Published) -> Vec<Difference> {
    found_by(pki, Some(std::slice::from_ref(pki.cluster_ca.cert())), published)
}

/// The same with these CAs of clients in the configuration.
fn found_by(
    pki: &Pki,
    client_ca: Option<&[CertificateDer<'static>]>,
    published: &Published,
) -> Vec<Difference> {
    let headers = UserHeaders::default();
    let ours = Ours {
        headers: &headers,
        filter: &IdentityFilter::new([&headers]),
        shown: std::slice::from_ref(&pki.front_proxy_client.cert),
        client_ca,
        now: now(),
    };
    differences(&ours, published)
}

fn front(published: &mut Published) -> &mut FrontProxies {
    published.front_proxies.as_mut().unwrap()
}

#[test]
fn what_is_the_same_is_not_worth_a_word() {
    assert_eq!(after(|_| ()), []);
    assert_eq!(after(|published| front(published).allowed_names.clear()), [], "any name will do");
    assert_eq!(after(|published| front(published).username.insert(0, "x-remote-user".into())), []);
    let other = Authority::new("other").unwrap();
    let more = |published: &mut Published| front(published).ca += other.cert_pem();
    assert_eq!(after(more), [], "more front proxies are believed than we are");
}

#[test]
fn who_believes_no_front_proxy_is_told_of_it_alone() {
    assert_eq!(after(|published| published.front_proxies = None), [Difference::NoFrontProxies]);
}

#[test]
fn a_front_proxy_certificate_of_another_ca_is_found() {
    let other = Authority::new("other").unwrap();
    let found = after(|published| front(published).ca = other.cert_pem().to_owned());
    assert!(matches!(found.as_slice(), [Difference::OtherCa { .. }]), "{found:?}");
    let found = after(|published| front(published).ca = "none".to_owned());
    assert!(matches!(found.as_slice(), [Difference::OtherCa { .. }]), "{found:?}");
}

#[test]
fn a_name_that_no_front_proxy_may_have_is_found() {
    let allowed = vec!["aggregator".to_owned()];
    let found = after(|published| front(published).allowed_names = allowed.clone());
    assert_eq!(found, [Difference::OtherName { ours: "front-proxy-client".into(), allowed }]);
}

#[test]
fn headers_that_nobody_reads_are_found_part_by_part() {
    let found = after(|published| {
        let front = front(published);
        for names in [&mut front.username, &mut front.uid, &mut front.group, &mut front.extra_prefixes] {
            names.clear();
        }
    });
    let unread = found.iter().map(|one| match one {
        Difference::Unread { what, ours, .. } => (*what, ours.as_str()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        unread.collect::<Vec<_>>(),
        [
            (Part::Username, "x-remote-user"),
            (Part::Uid, "x-remote-uid"),
            (Part::Group, "x-remote-group"),
            (Part::Extra, "x-remote-extra-"),
        ]
    );
    assert_eq!(found.iter().map(Difference::is_grave).collect::<Vec<_>>(), [true, false, true, true]);
}

#[test]
fn i1_a_header_that_a_server_believes_and_clients_can_bring_is_found() {
    let found = after(|published| {
        let front = front(published);
        front.username.push("X-Webauth-User".into());
        // Those are removed from what clients bring, whatever is configured.
        front.group.push("X_Remote_Groups".into());
        front.extra_prefixes.push("X-Webauth-".into());
    });
    let unguarded = |what, header: &str| Difference::Unguarded { what, header: header.into() };
    assert_eq!(found, [unguarded(Part::Username, "X-Webauth-User"), unguarded(Part::Extra, "X-Webauth-")]);
}

#[test]
fn cas_of_clients_that_only_one_side_believes_are_named() {
    let other = Authority::new("other").unwrap();
    let found = after(|published| published.client_ca.push(other.cert().clone()));
    assert_eq!(found, [Difference::OnlyTheirs { cas: vec!["CN=other".into()] }]);
    let found = after(|published| published.client_ca = vec![other.cert().clone()]);
    assert!(
        matches!(found.as_slice(), [Difference::OnlyOurs { .. }, Difference::OnlyTheirs { .. }]),
        "{found:?}"
    );
}

#[test]
fn a_server_with_other_callers_may_have_other_cas_for_them() {
    let (pki, other) = (Pki::generate(&[]).unwrap(), Pki::generate(&[]).unwrap());
    let mut published = published(&pki);
    published.client_ca = vec![other.cluster_ca.cert().clone()];
    assert_eq!(found_by(&pki, None, &published), []);
    assert_eq!(found_by(&pki, Some(&[]), &published).len(), 1, "we have none, and it has");
}

#[test]
fn every_difference_says_what_it_leads_to_and_what_helps() {
    let some = || vec!["one".to_owned(), "two".to_owned()];
    let all = [
        Difference::NoFrontProxies,
        Difference::OtherCa { why: "expired".into() },
        Difference::OtherName { ours: "us".into(), allowed: some() },
        Difference::Unread { what: Part::Group, ours: "x-group".into(), theirs: some() },
        Difference::Unguarded { what: Part::Username, header: "x-user".into() },
        Difference::OnlyOurs { cas: some() },
        Difference::OnlyTheirs { cas: some() },
    ];
    for difference in all {
        let text = difference.to_string();
        let consequence = [", so ", ": anybody", "is let in", "gets 401"];
        assert!(consequence.iter().any(|word| text.contains(word)), "{text}");
        let remedy = ["; start it", "; show it", "; make", "; add", "; use"];
        assert!(remedy.iter().any(|word| text.contains(word)), "{text}");
        assert!(!text.contains("  "), "{text}");
    }
}

#[test]
fn of_many_names_some_are_spelled_out() {
    let names: Vec<_> = (0..=limits::MAX_TRUST_NAMES).map(|number| format!("name-{number}")).collect();
    let text = Difference::OnlyOurs { cas: names }.to_string();
    assert!(text.contains("name-7 and 1 more"), "{text}");
}

#[test]
fn a_server_cannot_fill_the_log_nor_write_lines_of_its_own_into_it() {
    let long = format!("x\n2026 ERROR forged\u{1b}[2J{}", "y".repeat(1 << 12));
    let found = after(|published| {
        let front = front(published);
        front.allowed_names = vec![long.clone()];
        front.username = vec![long.clone(); 1000];
        front.group = vec![long.clone(); 1000];
    });
    assert!(found.len() < 8 * limits::MAX_TRUST_NAMES, "{}", found.len());
    for difference in found.iter().map(ToString::to_string) {
        assert!(!difference.contains(char::is_control), "{:?}", difference.chars().take(80));
        assert!(difference.len() < 4096, "{}", difference.len());
    }
}
