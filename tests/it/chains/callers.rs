//! Who one is at the far end of a chain.

use http::{Method, Version};
use kube_peer_proxy::pki::Leaf;
use kube_peer_proxy::servers::Class;

use super::{POLICIES, chain, loop_header, values};
use crate::kit::client::Protocol;
use crate::kit::{As, BOB, Client, PKI, Proxy};

const BROUGHT: (&str, &str) = ("x-forwarded-for", "1.2.3.4");
const TOLD: [(&str, &str); 6] = [
    ("x-remote-user", "joe"),
    ("x-remote-uid", "u-2"),
    ("x-remote-group", "b"),
    ("x-remote-group", "a"),
    ("x-remote-extra-scopes%2fmine", "one"),
    ("x-remote-extra-scopes%2fmine", "two"),
];
const ACTING: [(&str, &str); 4] = [
    ("impersonate-user", "jane"),
    ("impersonate-uid", "u-3"),
    ("impersonate-group", "c"),
    ("impersonate-extra-scopes", "s"),
];

/// A name for messages, the caller, and the headers that he sends.
type Case<'a> = (&'a str, As<'a>, &'a [(&'a str, &'a str)]);

#[tokio::test]
async fn every_kind_of_caller_is_at_the_far_server_who_he_is_there_directly() {
    let chain = chain(|proxy| proxy).await;
    let front = chain.front().await;
    let leaf = Leaf::client("first").common_name("jane").group("dev").group("ops").uid("u-1");
    let jane = PKI.cluster_ca.issue(&leaf).unwrap();
    let token = format!("Bearer {BOB}");
    let bearer = [("authorization", token.as_str())];
    let cases: [Case<'_>; 8] = [
        ("a certificate", As::Certificate(&jane), &[]),
        ("a certificate and a token beside it", As::Certificate(&jane), &bearer),
        ("a certificate that claims to be somebody else", As::Certificate(&jane), &TOLD),
        ("a token", As::Token(BOB), &[]),
        ("a token that claims to be somebody else", As::Token(BOB), &TOLD),
        ("nobody", As::Nobody, &[]),
        ("nobody, claiming to be somebody", As::Nobody, &TOLD),
        ("impersonation", As::Certificate(&PKI.admin), &ACTING),
    ];
    let direct = chain.cluster.server("b").addr();
    for (case, who, lines) in cases {
        let theirs = Client::connect(direct, who, Protocol::H2).await;
        let expected = theirs.ask(Method::GET, POLICIES).headers(lines).whole().await;
        let seen_directly = chain.only("b");
        for proxy in [&chain.one, &front] {
            for client in [proxy.h2(who).await, proxy.h1(who).await] {
                chain.forget();
                let reply = client.ask(Method::GET, POLICIES).headers(lines).whole().await;
                assert_eq!(reply.status, expected.status, "{case}: {}", reply.text());
                let seen = chain.only("b");
                assert_eq!(
                    (&seen.user, &seen.acting),
                    (&seen_directly.user, &seen_directly.acting),
                    "{case}"
                );
                assert_eq!(chain.count("a"), 0, "{case}");
                let by_token = matches!(who, As::Token(_));
                let brought = if by_token { vec![token.clone()] } else { vec![] };
                assert_eq!(values(&seen, "authorization"), brought, "{case}: a token passes untouched");
                assert_eq!(seen.certificate, matches!(who, As::Certificate(_)), "{case}");
                let stamped = values(&seen, "x-remote-user").len();
                assert_eq!(stamped, usize::from(seen.certificate), "{case}: {:?}", seen.headers);
            }
        }
        chain.forget();
    }
}

#[tokio::test]
async fn whom_a_trusted_front_proxy_tells_is_the_caller_at_the_far_server() {
    let chain = chain(|proxy| proxy).await;
    let front = chain.front().await;
    let direct = chain.cluster.server("b").addr();
    let teller = As::Certificate(&PKI.front_proxy_client);
    let theirs = Client::connect(direct, teller, Protocol::H2).await;
    theirs.ask(Method::GET, POLICIES).headers(&TOLD).whole().await;
    let expected = chain.only("b").user;
    for proxy in [&chain.one, &front] {
        chain.forget();
        let reply = proxy.h2(teller).await.ask(Method::GET, POLICIES).headers(&TOLD).whole().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(chain.only("b").user, expected);
    }
    chain.forget();
    chain.one.h2(teller).await.get(POLICIES).await.refused(401);
    assert_eq!(chain.count("b"), 0, "who tells no user is nobody");
}

#[tokio::test]
async fn a_bad_token_and_a_bad_certificate_are_a_401_through_both() {
    let chain = chain(|proxy| proxy).await;
    let stranger = kube_peer_proxy::pki::Authority::new("stranger").unwrap();
    let stranger = stranger.issue(&Leaf::client("jane")).unwrap();
    for who in [As::Token("never-seen"), As::Certificate(&stranger)] {
        chain.one.h2(who).await.get(POLICIES).await.refused(401);
    }
    let bob = chain.one.h2(As::Token(BOB)).await;
    assert_eq!(bob.get(POLICIES).await.status, 200, "nobody else suffers");
}

/// The chain of addresses with which a request for what only `b` serves arrives there.
async fn addresses(chain: &super::Chain, proxy: &Proxy, who: As<'_>, lines: &[(&str, &str)]) -> Vec<String> {
    chain.forget();
    proxy.h2(who).await.ask(Method::GET, POLICIES).header(BROUGHT.0, BROUGHT.1).headers(lines).whole().await;
    let seen = chain.only("b");
    assert_eq!(loop_header(&seen), ["true"]);
    values(&seen, "x-forwarded-for")
}

#[tokio::test]
async fn the_far_server_is_told_every_address_of_a_known_caller_and_of_others_with_trusted_networks() {
    let teller = As::Certificate(&PKI.front_proxy_client);
    for trusting in [false, true] {
        let chain = chain(|proxy| proxy).await;
        // The far one alone: what clients of the near one say must not count.
        let far = chain.cluster.proxy().home("b").server("a", chain.one.address()).trusts_front_proxies();
        let far = far.flags(|args| {
            args.trusted_proxy_cidrs = if trusting { vec!["127.0.0.0/8".into()] } else { vec![] };
        });
        let far = far.start().await;
        chain.to_other.lead_to(far.address());
        chain.to_other.reset();
        super::well(&chain.one).await;

        let both = "127.0.0.1, 127.0.0.1";
        let admin = As::Certificate(&PKI.admin);
        assert_eq!(addresses(&chain, &chain.one, admin, &[]).await, [both]);
        assert_eq!(addresses(&chain, &chain.one, teller, &TOLD).await, [format!("1.2.3.4, {both}")]);
        // Nothing on those connections says that a proxy is at the other end.
        let expected = if trusting { both } else { "127.0.0.1" };
        for who in [As::Token(BOB), As::Nobody] {
            assert_eq!(addresses(&chain, &chain.one, who, &[]).await, [expected], "{trusting}");
        }
    }
}

#[tokio::test]
async fn i4_between_the_proxies_classes_are_as_towards_a_server() {
    let chain = chain(|proxy| proxy).await;
    let bob = chain.one.h2(As::Token(BOB)).await;
    let classes = || {
        [Class::Identity, Class::Token, Class::Unproven].map(|class| chain.one.connections("b", class).live)
    };
    assert_eq!(classes(), [0, 0, 0]);
    bob.get(POLICIES).await;
    assert_eq!((classes(), chain.only("b").version), ([0, 0, 1], Version::HTTP_11));
    chain.forget();
    bob.get(POLICIES).await;
    assert_eq!((classes(), chain.only("b").version), ([0, 1, 1], Version::HTTP_2), "proven at both");
    chain.forget();
    chain.one.h2(As::Certificate(&PKI.admin)).await.get(POLICIES).await;
    assert_eq!((classes(), chain.only("b").version), ([1, 1, 1], Version::HTTP_2));
    for _ in 0..3 {
        chain.forget();
        assert_eq!(chain.one.h2(As::Nobody).await.get(POLICIES).await.status, 403);
        assert_eq!((classes(), chain.only("b").version), ([1, 1, 1], Version::HTTP_11), "again and again");
    }
}
