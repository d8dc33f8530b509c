use super::*;

/// Three servers; number 0 is home.
const HOME: usize = 0;

fn set(indexes: &[usize]) -> ServerSet {
    indexes.iter().copied().collect()
}

fn situation() -> Situation {
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
        incomplete: false,
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
                    }
                }
            }
        }
    }
}
