use proptest::{collection::vec, prelude::*};

use super::*;
use crate::api::user::{ANONYMOUS, MASTERS};

fn user(name: &str, groups: &[&str]) -> Arc<UserInfo> {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let extra = vec![("example.com/secret".to_owned(), "canary".to_owned())];
    Arc::new(UserInfo { name: name.into(), uid: "uid".into(), groups: strings(groups), extra })
}

fn rule(domain: &str, users: &[&str], groups: &[&str], name: Name) -> Rule {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Rule {
        trust_domain: domain.into(),
        users: strings(users),
        groups: strings(groups),
        user: name,
        as_groups: vec!["viewers".into()],
    }
}

fn map() -> Domains {
    let rules = vec![
        rule("b", &["alice"], &["ops"], Name::Literal("first".into())),
        rule("b", &["*"], &[], Name::Prefixed("demo:".into())),
        rule("c", &[], &["ops"], Name::Prefixed("c:".into())),
    ];
    Domains { callers: "a".into(), rules }
}

fn sent(caller: &Caller, home: &str, there: &str) -> Result<Option<UserInfo>, OutOfReach> {
    let presented = map().presented(caller, || false, home, there);
    presented.map(|user| user.map(|user| UserInfo::clone(&user)))
}

fn named(name: &str) -> Result<Option<UserInfo>, OutOfReach> {
    Ok(Some(UserInfo { name: name.into(), groups: vec!["viewers".into()], ..UserInfo::default() }))
}

#[test]
fn i13_the_first_rule_that_matches_counts_and_says_all_that_a_caller_is() {
    for (caller, there, expected) in [
        (user("alice", &[]), "b", named("first")),
        (user("bob", &["dev", "ops"]), "b", named("first")),
        (user("bob", &["dev"]), "b", named("demo:bob")),
        (user("bob", &[MASTERS]), "b", named("demo:bob")),
        (user("bob", &["ops"]), "c", named("c:bob")),
        (user("alice", &["dev"]), "c", Err(OutOfReach::NoRule)),
        (user("alice", &["ops"]), "d", Err(OutOfReach::NoRule)),
    ] {
        for caller in [Caller::Certificate(Arc::clone(&caller)), Caller::FrontProxy(caller)] {
            assert_eq!(sent(&caller, "a", there), expected, "{caller:?} in {there}");
            assert_eq!(sent(&caller, there, there), expected, "where home is does not matter");
        }
    }
}

#[test]
fn i13_in_the_callers_domain_they_are_who_they_are() {
    let alice = user("alice", &["ops"]);
    let caller = Caller::Certificate(Arc::clone(&alice));
    for home in ["a", "b"] {
        assert_eq!(sent(&caller, home, "a"), Ok(Some(UserInfo::clone(&alice))));
    }
    let presented = map().presented(&caller, || true, "a", "a");
    assert!(presented.unwrap().is_some(), "impersonation is for the servers of that domain to allow");
}

#[test]
fn i13_tokens_and_nobodies_get_to_homes_domain_only() {
    let no_one = Caller::Certificate(user(ANONYMOUS, &[]));
    for (caller, why) in [
        (Caller::Token, OutOfReach::Token),
        (Caller::Anonymous, OutOfReach::Anonymous),
        (no_one, OutOfReach::Anonymous),
    ] {
        for home in ["a", "b", "c"] {
            for there in ["a", "b", "c"] {
                let expected = if home == there { Ok(None) } else { Err(why) };
                assert_eq!(sent(&caller, home, there), expected, "{caller:?} from {home} to {there}");
            }
        }
    }
}

#[test]
fn i13_nobody_is_impersonated_in_another_domain() {
    let caller = Caller::Certificate(user("alice", &[]));
    for home in ["a", "b"] {
        assert_eq!(map().presented(&caller, || true, home, "b"), Err(OutOfReach::Impersonates));
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("alice".to_owned()),
        Just("ops".to_owned()),
        Just(MASTERS.to_owned()),
        Just("system:admin".to_owned()),
        "[a-z:]{1,12}",
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let users = vec(prop_oneof![Just(EVERYBODY.to_owned()), word()], 0..3);
    let name = prop_oneof!["[a-c]{1,3}".prop_map(Name::Literal), "[a-c]:".prop_map(Name::Prefixed)];
    ("[a-c]", users, vec(word(), 0..3), name, vec("[a-c]{1,3}", 0..3)).prop_map(
        |(domain, users, groups, user, as_groups)| Rule {
            trust_domain: domain.into(),
            users,
            groups,
            user,
            as_groups,
        },
    )
}

proptest! {
    #[test]
    fn i13_nothing_of_a_caller_gets_anywhere_that_no_rule_names(
        rules in vec(any_rule(), 0..6),
        name in word(),
        groups in vec(word(), 0..4),
        home in "[a-c]",
        there in "[b-c]",
        impersonates: bool,
    ) {
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let caller = Caller::Certificate(user(&name, &groups));
        let domains = Domains { callers: "a".into(), rules: rules.clone() };
        let found = domains.presented(&caller, || impersonates, &home, &there);
        if let Ok(found) = found {
            let found = found.expect("a caller that we know is somebody everywhere");
            prop_assert!(!impersonates);
            prop_assert!(found.uid.is_empty() && found.extra.is_empty());
            prop_assert!(!found.name.starts_with("system:") && found.groups.iter().all(|group| group.len() < 4));
            let for_him = |rule: &&Rule| {
                *rule.trust_domain == *there
                    && (rule.users.iter().any(|user| *user == name || user == "*")
                        || rule.groups.iter().any(|group| groups.contains(&group.as_str())))
            };
            let first = rules.iter().find(for_him).expect("there is a rule");
            prop_assert_eq!(&found.groups, &first.as_groups);
        }
    }
}
