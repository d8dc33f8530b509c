use super::*;

/// Three servers; number 0 is home.
const HOME: usize = 0;

fn set(indexes: &[usize]) -> ServerSet {
    indexes.iter().copied().collect()
}

fn situation() -> Situation<'static> {
    Situation {
        is_resource: true,
        home_only: false,
        peer_proxied: false,
        reroute: true,
        home: HOME,
        all: set(&[0, 1, 2]),
        healthy: set(&[0, 1, 2]),
        fresh: set(&[0, 1, 2]),
        unknown: ServerSet::EMPTY,
        unheard: ServerSet::EMPTY,
        incomplete: false,
        denied: ServerSet::EMPTY,
        having: ServerSet::EMPTY,
        domains: &[],
        reach: set(&[0, 1, 2]),
    }
}

fn serving(current: &[usize]) -> Serving {
    Serving { current: set(current), stale: ServerSet::EMPTY }
}

#[test]
fn home_answers_what_it_lists() {
    assert_eq!(route(serving(&[0, 1]), situation()), Decision::Home(Reason::HomeServes));
}

#[test]
fn peers_answer_what_home_does_not_list() {
    assert_eq!(route(serving(&[1, 2]), situation()), Decision::Peers(set(&[1, 2]), Reason::PeersServe));
}

#[test]
fn an_unhealthy_peer_that_alone_lists_it_is_still_tried() {
    let situation = Situation { healthy: set(&[0]), ..situation() };
    assert_eq!(route(serving(&[2]), situation), Decision::Peers(set(&[2]), Reason::PeersServe));
}

#[test]
fn i8_nobody_lists_it_is_homes_answer_only_when_everybody_was_heard() {
    assert_eq!(route(serving(&[]), situation()), Decision::Home(Reason::NobodyServes));
    let unheard = Situation { unknown: set(&[2]), ..situation() };
    assert_eq!(route(serving(&[]), unheard), Decision::Unavailable(Reason::Unknown));
    let unnamed = Situation { incomplete: true, ..situation() };
    assert_eq!(route(serving(&[]), unnamed), Decision::Unavailable(Reason::Unknown));
}

#[test]
fn i3_a_request_from_a_peer_goes_no_further() {
    let proxied = Situation { peer_proxied: true, ..situation() };
    assert_eq!(route(serving(&[1]), proxied), Decision::Home(Reason::AlreadyProxied));
    let dead = Situation { healthy: set(&[1, 2]), ..proxied };
    assert_eq!(route(serving(&[0, 1]), dead), Decision::Unavailable(Reason::ProxiedHomeUnavailable));
}

#[test]
fn a_healthy_peer_stands_in_for_an_unhealthy_home() {
    let situation = Situation { healthy: set(&[1, 2]), ..situation() };
    assert_eq!(route(serving(&[0, 2]), situation), Decision::Peers(set(&[2]), Reason::HomeUnhealthy));
    assert_eq!(route(serving(&[0]), situation), Decision::Home(Reason::HomeServes));
    let other = Situation { is_resource: false, ..situation };
    assert_eq!(route(serving(&[]), other), Decision::Peers(set(&[1, 2]), Reason::HomeUnhealthy));
    let own_health = Situation { home_only: true, ..other };
    assert_eq!(route(serving(&[]), own_health), Decision::Home(Reason::NotAResource));
}

#[test]
fn what_home_calls_stale_goes_to_a_fresh_peer_that_calls_it_current() {
    let stale_at_home = Serving { stale: set(&[0]), ..serving(&[1]) };
    assert_eq!(route(stale_at_home, situation()), Decision::Peers(set(&[1]), Reason::HomeStale));
    let peer_not_fresh = Situation { fresh: set(&[0]), ..situation() };
    assert_eq!(route(stale_at_home, peer_not_fresh), Decision::Home(Reason::HomeServes));
}

#[test]
fn switched_off_everything_goes_home() {
    let off = Situation { reroute: false, healthy: set(&[1]), ..situation() };
    for serving in [serving(&[]), serving(&[1])] {
        assert_eq!(route(serving, off), Decision::Home(Reason::RerouteOff));
    }
}

#[test]
fn i3_and_i8_hold_in_every_situation() {
    let sets = || (0..8u8).map(|bits| (0..3).filter(|i| bits >> i & 1 == 1).collect::<ServerSet>());
    for current in sets() {
        for unknown in sets() {
            for healthy in sets() {
                for peer_proxied in [false, true] {
                    let serving = Serving { current, stale: ServerSet::EMPTY };
                    let decision =
                        route(serving, Situation { peer_proxied, healthy, unknown, ..situation() });
                    match decision {
                        Decision::Peers(peers, _) => {
                            assert!(!peer_proxied && !peers.is_empty() && !peers.contains(HOME));
                            assert!(peers.without(current).is_empty(), "only to servers that list it");
                        }
                        Decision::Home(Reason::NobodyServes) => {
                            assert!(unknown.is_empty() && current.is_empty())
                        }
                        Decision::Home(_) => assert!(peer_proxied || current.contains(HOME)),
                        Decision::Unavailable(_) => {}
                        Decision::Forbidden(reason) => panic!("one trust domain, and {reason:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn i8_whoever_denied_the_route_is_asked_last() {
    let denied = Situation { denied: set(&[1]), ..situation() };
    assert_eq!(route(serving(&[1, 2]), denied), Decision::Peers(set(&[2]), Reason::PeersServe));
    assert_eq!(route(serving(&[1]), denied), Decision::Peers(set(&[1]), Reason::PeersServe));
}

/// Home (0) and 1 are of one trust domain, 2 and 3 of a second, 4 of a third.
fn apart(domains: &[ServerSet]) -> Situation<'_> {
    let all = set(&[0, 1, 2, 3, 4]);
    Situation { all, healthy: all, fresh: all, reach: all, domains, ..situation() }
}

fn domains() -> [ServerSet; 3] {
    [set(&[0, 1]), set(&[2, 3]), set(&[4])]
}

#[test]
fn i13_what_homes_domain_lists_is_looked_for_nowhere_else() {
    let domains = domains();
    assert_eq!(route(serving(&[1, 2, 4]), apart(&domains)), Decision::Peers(set(&[1]), Reason::PeersServe));
    let old = Serving { stale: set(&[1]), ..serving(&[2]) };
    assert_eq!(route(old, apart(&domains)), Decision::Peers(set(&[1]), Reason::PeersServe));
    let denied = Situation { denied: set(&[0]), ..apart(&domains) };
    assert_eq!(route(serving(&[0, 2]), denied), Decision::Home(Reason::HomeServes), "it is asked once more");
    let stale = Serving { stale: set(&[0]), ..serving(&[2]) };
    assert_eq!(route(stale, apart(&domains)), Decision::Home(Reason::HomeServes), "its own extension server");
}

#[test]
fn i13_a_resource_lives_in_one_domain_in_all_its_versions_and_with_all_its_subresources() {
    let domains = domains();
    let old = Situation { having: set(&[0, 2]), ..apart(&domains) };
    assert_eq!(route(serving(&[2]), old), Decision::Home(Reason::NobodyServes), "home's own, and its 404");
    let other = Situation { unknown: set(&[2, 4]), ..old };
    assert_eq!(route(serving(&[2]), other), Decision::Home(Reason::NobodyServes), "theirs is none of it");
    let newer = Situation { unknown: set(&[1]), ..old };
    assert_eq!(route(serving(&[2]), newer), Decision::Unavailable(Reason::Unknown));
    let theirs = Situation { having: set(&[2, 4]), ..apart(&domains) };
    assert_eq!(route(serving(&[4]), theirs), Decision::Home(Reason::NobodyServes));
    assert_eq!(
        route(serving(&[]), Situation { reach: set(&[0, 1]), ..theirs }),
        Decision::Home(Reason::NobodyServes)
    );
}

#[test]
fn i13_nobody_of_another_domain_stands_in_for_home() {
    let domains = domains();
    let healthy = set(&[2, 3, 4]);
    let dead = Situation { healthy, ..apart(&domains) };
    assert_eq!(route(serving(&[0, 1, 2]), dead), Decision::Home(Reason::HomeServes));
    let other = Situation { is_resource: false, ..dead };
    assert_eq!(route(serving(&[]), other), Decision::Home(Reason::NotAResource));
    let beside = Situation { healthy: set(&[1, 2]), ..other };
    assert_eq!(route(serving(&[]), beside), Decision::Peers(set(&[1]), Reason::HomeUnhealthy));
    let proxied = Situation { peer_proxied: true, ..dead };
    assert_eq!(route(serving(&[0]), proxied), Decision::Home(Reason::AlreadyProxied));
}

#[test]
fn i13_a_thing_that_two_other_domains_have_is_always_that_of_the_same() {
    let domains = domains();
    for healthy in [set(&[0, 1, 2, 3, 4]), set(&[0, 4]), set(&[4])] {
        let situation = Situation { healthy, ..apart(&domains) };
        let decision = route(serving(&[2, 3, 4]), situation);
        assert_eq!(decision, Decision::Peers(set(&[2, 3]), Reason::PeersServe), "{healthy:?}");
    }
    let stale = Serving { stale: set(&[3]), ..serving(&[4]) };
    assert_eq!(route(stale, apart(&domains)), Decision::Peers(set(&[3]), Reason::PeersServe));
    let not_there = Situation { reach: set(&[0, 1, 4]), ..apart(&domains) };
    assert_eq!(route(serving(&[2, 4]), not_there), Decision::Peers(set(&[4]), Reason::PeersServe));
}

#[test]
fn i13_who_was_never_heard_may_be_the_one_whose_thing_it_is() {
    let domains = domains();
    for (unheard, decision) in [
        (0, Decision::Unavailable(Reason::Unknown)),
        (1, Decision::Unavailable(Reason::Unknown)),
        (2, Decision::Unavailable(Reason::Unknown)),
        (4, Decision::Peers(set(&[4]), Reason::PeersServe)),
    ] {
        let situation = Situation { unheard: set(&[unheard]), ..apart(&domains) };
        assert_eq!(route(serving(&[4]), situation), decision, "{unheard}");
    }
    let unnamed = Situation { incomplete: true, ..apart(&domains) };
    assert_eq!(route(serving(&[4]), unnamed), Decision::Unavailable(Reason::Unknown));
    assert_eq!(route(serving(&[1]), unnamed), Decision::Peers(set(&[1]), Reason::PeersServe));
}

#[test]
fn i13_whoever_is_nobody_there_hears_that_and_no_404() {
    let domains = domains();
    let token = Situation { reach: set(&[0, 1]), ..apart(&domains) };
    assert_eq!(route(serving(&[2, 4]), token), Decision::Forbidden(Reason::OtherDomain));
    assert_eq!(route(serving(&[]), token), Decision::Home(Reason::NobodyServes));
    let stranger = Situation { reach: set(&[4]), ..apart(&domains) };
    for serves in [&[0][..], &[1], &[]] {
        let decision = route(serving(serves), stranger);
        assert_eq!(decision, Decision::Forbidden(Reason::HomeOfOtherDomain), "{serves:?}");
    }
    assert_eq!(route(serving(&[4]), stranger), Decision::Peers(set(&[4]), Reason::PeersServe));
}

#[test]
fn i13_holds_in_every_situation() {
    let domains = domains();
    let sets = || (0..32u8).map(|bits| (0..5).filter(|i| bits >> i & 1 == 1).collect::<ServerSet>());
    let within =
        |peers: ServerSet| domains.iter().filter(|domain| !domain.intersection(peers).is_empty()).count();
    for current in sets() {
        for stale in sets() {
            for healthy in sets() {
                for reach in (0..8).map(|bits| (0..3).filter(move |i| bits >> i & 1 == 1)) {
                    let reach = reach.map(|i| domains[i]).fold(ServerSet::EMPTY, ServerSet::union);
                    for is_resource in [false, true] {
                        let situation = Situation { healthy, reach, is_resource, ..apart(&domains) };
                        let serving = Serving { current, stale };
                        match route(serving, situation) {
                            Decision::Home(_) => assert!(reach.contains(HOME)),
                            Decision::Peers(peers, Reason::PeersServe) => {
                                assert!(peers.without(reach).is_empty() && within(peers) == 1);
                                let of_home = !serving.listed().intersection(domains[0]).is_empty();
                                assert!(!of_home || peers.without(domains[0]).is_empty());
                            }
                            Decision::Peers(peers, _) => {
                                assert!(
                                    peers.without(reach).is_empty() && peers.without(domains[0]).is_empty()
                                );
                            }
                            Decision::Unavailable(reason) => panic!("everybody was heard, and {reason:?}"),
                            Decision::Forbidden(reason) => assert!(reach != situation.all, "{reason:?}"),
                        }
                    }
                }
            }
        }
    }
}
