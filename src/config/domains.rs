//! Trust domains: whose the callers are, whose home is, and who callers are elsewhere (I13).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::read::Findings;
use super::servers::Servers;
use super::settings::Settings;
use super::{Home, IdentityRule, MappedName, values};
use crate::api::user::{ALL_AUTHENTICATED, MASTERS};
use crate::proxy::domains::EVERYBODY;

/// The trust domain of servers that are given none.
pub(super) const DEFAULT: &str = "default";
/// What users and groups begin with that mean something to Kubernetes itself.
const SYSTEM: &str = "system:";
/// The group that kubeadm binds to the role `cluster-admin`.
const KUBEADM_ADMINS: &str = "kubeadm:cluster-admins";

/// The trust domain of the callers: that of all servers, unless something else was said.
pub(super) fn callers(s: &Settings<'_>, servers: &Servers, found: &mut Findings) -> Arc<str> {
    let domains = of(servers);
    let first = domains.keys().next().copied().unwrap_or(DEFAULT);
    if domains.len() > 1 && s.given("trust-domain").is_none() {
        let message = format!(
            "is missing: there are API servers of the trust domains {}, and it says to which of them, or to which \
             other one, those belong whom --client-ca-file and --requestheader-client-ca-file authenticate",
            domains.keys().copied().collect::<Vec<_>>().join(", ")
        );
        found.fault(s.key("trust-domain"), message);
    }
    s.value(found, "trust-domain", first.to_owned(), values::name).into()
}

/// The trust domain of home. A front chooses among the servers of one.
pub(super) fn home(
    s: &Settings<'_>,
    servers: &Servers,
    home: &Home,
    callers: &Arc<str>,
    found: &mut Findings,
) -> Arc<str> {
    let domains = of(servers);
    let named = home.name().and_then(|name| {
        let mut named = servers.list.iter().filter(|(server, _)| server.name == *name);
        named.next().map(|(server, _)| Arc::clone(&server.trust_domain))
    });
    if home.name().is_none()
        && domains.len() > 1
        && !domains.contains_key(&**callers)
        && s.given("trust-domain").is_some()
    {
        let message = format!(
            "is missing: no API server is of the callers' trust domain ({callers}), among which one would be chosen, \
             and requests are never spread over {}",
            domains.keys().copied().collect::<Vec<_>>().join(" and ")
        );
        found.fault(s.key("home"), message);
    }
    let only = || domains.keys().next().filter(|_| !domains.contains_key(&**callers));
    named.unwrap_or_else(|| only().map_or_else(|| Arc::clone(callers), |only| Arc::from(*only)))
}

/// The servers of each trust domain, for people.
fn of(servers: &Servers) -> BTreeMap<&str, Vec<&str>> {
    let mut domains: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (server, _) in &servers.list {
        domains.entry(&server.trust_domain).or_default().push(&server.name);
    }
    domains
}

/// The rules, in their order.
pub(super) fn identity_map(
    s: &mut Settings<'_>,
    servers: &Servers,
    callers: &str,
    found: &mut Findings,
) -> Vec<IdentityRule> {
    let key = s.key("identity-map");
    let domains = of(servers);
    let mut named = BTreeMap::new();
    let sections = s.take_tables("identity-map");
    let rules: Vec<_> = sections
        .iter()
        .enumerate()
        .filter_map(|(at, section)| {
            section.unknown_keys(&mut found.faults);
            let rule = rule(section, found)?;
            // Who has a fault may be of any.
            if servers.list.len() == servers.names.len() {
                check_domain(section, &rule, &domains, callers, found);
            }
            check_shadow(section, at, &rule, &mut named, found);
            Some(rule)
        })
        .collect();
    let mapped: BTreeSet<&str> = rules.iter().map(|rule| &*rule.trust_domain).collect();
    for (domain, servers) in
        domains.iter().filter(|(domain, _)| **domain != callers && !mapped.contains(**domain))
    {
        let servers = servers.join(", ");
        found.warning(
            &key,
            format!("has no rule for trust domain {domain}: nobody's certificate counts at its API servers ({servers})"),
        );
    }
    rules
}

fn rule(s: &Settings<'_>, found: &mut Findings) -> Option<IdentityRule> {
    let trust_domain = s.optional(found, "trust-domain", values::name);
    if s.given("trust-domain").is_none() {
        found.fault(s.key("trust-domain"), "is missing: the trust domain in which the rule counts");
    }
    let faults = found.faults.len();
    let users = s.list(found, "users", Vec::new(), matched_user);
    let groups = s.list(found, "groups", Vec::new(), matched_group);
    if users.is_empty() && groups.is_empty() && found.faults.len() == faults {
        let message = "is missing, and so is groups: the rule would be for nobody; everybody is users: ['*']";
        found.fault(s.key("users"), message);
    }
    let literal = s.optional(found, "as-user", |text| given_away(text, false)).map(MappedName::Literal);
    let prefixed = s.optional(found, "as-user-prefix", prefix).map(MappedName::Prefixed);
    match [s.given("as-user"), s.given("as-user-prefix")] {
        [Some(given), Some(_)] => {
            found.fault(given.key, "means nothing beside asUserPrefix: a caller gets one name there");
        }
        [None, None] => found.fault(
            s.key("as-user"),
            "is missing, and so is asUserPrefix: one of them says what the caller is called there",
        ),
        _ => {}
    }
    let as_groups = s.list(found, "as-groups", Vec::new(), |text| given_away(text, true));
    if as_groups.iter().any(|group| group == KUBEADM_ADMINS) {
        let message =
            format!("{KUBEADM_ADMINS} may do everything in a cluster that kubeadm or kind has made");
        found.warning(&s.key("as-groups"), message);
    }
    Some(IdentityRule {
        trust_domain: trust_domain?.into(),
        users,
        groups,
        user: literal.or(prefixed)?,
        as_groups,
    })
}

fn check_domain(
    s: &Settings<'_>,
    rule: &IdentityRule,
    domains: &BTreeMap<&str, Vec<&str>>,
    callers: &str,
    found: &mut Findings,
) {
    let domain = &*rule.trust_domain;
    if domain == callers {
        let message = format!("{domain} is the callers' own trust domain, where they are who they are");
        found.fault(s.key("trust-domain"), message);
    } else if !domains.contains_key(domain) {
        let domains = domains.keys().copied().collect::<Vec<_>>().join(", ");
        let message = format!("no API server is of trust domain {domain} (there are: {domains})");
        found.fault(s.key("trust-domain"), message);
    }
}

/// Somebody who stands in two rules for a domain would never get to the second one, and whoever wrote that expects
/// something else.
fn check_shadow(
    s: &Settings<'_>,
    at: usize,
    rule: &IdentityRule,
    named: &mut BTreeMap<(Arc<str>, &'static str, String), usize>,
    found: &mut Findings,
) {
    let everybody = (Arc::clone(&rule.trust_domain), "users", EVERYBODY.to_owned());
    if let Some(first) = named.get(&everybody) {
        let message = format!(
            "never counts: identityMap[{first}] is for everybody, and the first rule that matches counts"
        );
        found.fault(s.key("trust-domain"), message);
        return;
    }
    for (list, names) in [("users", &rule.users), ("groups", &rule.groups)] {
        for name in names {
            let before = named.insert((Arc::clone(&rule.trust_domain), list, name.clone()), at);
            if let Some(first) = before {
                let message = format!(
                    "{name} is in identityMap[{first}] already, and the first rule that matches counts"
                );
                found.fault(s.key(list), message);
            }
        }
    }
}

/// A caller's name, or everybody.
fn matched_user(text: &str) -> Result<String, String> {
    if text != EVERYBODY && text.contains('*') {
        return Err(format!("{text:?} is no pattern: * stands for everybody, and only alone"));
    }
    somebody(text)
}

/// One of a caller's groups.
fn matched_group(text: &str) -> Result<String, String> {
    if text.contains('*') || text == ALL_AUTHENTICATED {
        return Err(format!(
            "{text:?} is no group that a certificate or a front proxy names; everybody is users: ['*']"
        ));
    }
    somebody(text)
}

fn somebody(text: &str) -> Result<String, String> {
    let fine = !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
    if fine { Ok(text.to_owned()) } else { Err(format!("{text:?} is no name of a user or a group")) }
}

/// A user or group that callers become.
fn given_away(text: &str, is_group: bool) -> Result<String, String> {
    if text == MASTERS {
        return Err(format!(
            "{text} may do everything, and nobody of another trust domain is ever made one of them"
        ));
    }
    if text.starts_with(SYSTEM) && !(is_group && text == ALL_AUTHENTICATED) {
        return Err(format!(
            "{text} is of those that mean something to Kubernetes itself ({SYSTEM}…); name one of your own, and bind \
             it to roles in that trust domain"
        ));
    }
    if text == EVERYBODY {
        return Err("* is nobody that one could become".to_owned());
    }
    somebody(text)
}

/// What stands before callers' own names.
fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(
            "is empty: callers would become users whom the other trust domain knows by the same name; it \
                    takes text such as demo:"
                .to_owned(),
        );
    }
    // With a name behind it, it could be that.
    if text.starts_with(SYSTEM) || SYSTEM.starts_with(text) {
        return Err(format!(
            "{text:?} could make users that mean something to Kubernetes itself ({SYSTEM}…)"
        ));
    }
    if text.trim_start() != text || text.contains(char::is_control) {
        return Err(format!("{text:?} is no beginning of a name"));
    }
    Ok(text.to_owned())
}
