//! What it comes to, in a sentence or two.

use crate::{
    discovery::{
        catalog::Freshness,
        skew::{Diff, ServerSeen, Skew},
    },
    printable::clean,
};

/// How many group-versions of a server are named before the rest is counted.
const NAMED: usize = 3;

/// What all servers come to.
pub(super) fn of_skew(skew: &Skew) -> String {
    let known: Vec<&str> = skew.servers.iter().filter(|one| one.known).map(|one| &*one.name).collect();
    let summary = &skew.summary;
    let amount = amount(skew);
    let mut text = match (&known[..], summary.differing) {
        ([], _) => return "No server could be asked.".to_owned(),
        ([alone], _) if skew.servers.len() == 1 => {
            let others = if skew.servers[0].stands_for_others {
                "At its address a proxy stands before others, too: ask that for all of them (--admin), or name them."
            } else {
                "There is no other server to compare it with."
            };
            format!("{} serves {amount}. {others}", clean(alone))
        }
        ([alone], _) => format!("Only {} is known: it serves {amount}.", clean(alone)),
        (known, 0) if skew.servers.len() == known.len() => {
            format!("{} servers serve the same: {amount}.", known.len())
        }
        (known, 0) => format!("{} serve the same: {amount}.", list(known)),
        (_, differing) => {
            let all = summary.resources + summary.subresources;
            format!("{differing} of {all} resources and subresources differ.")
        }
    };
    for (name, versions) in &summary.only {
        let more = versions.len().saturating_sub(NAMED);
        let mut named: Vec<String> = versions.iter().take(NAMED).map(|one| clean(one)).collect();
        if more > 0 {
            named.push(format!("{more} more group-versions"));
        }
        text += &format!(" Only {} serves {}.", clean(name), list(&named));
    }
    text + &doubts(skew)
}

/// What two servers come to.
pub(super) fn of_diff(skew: &Skew, diff: &Diff) -> String {
    let [a, b] = &diff.servers;
    let count = |name| diff.only_in.get(name).map_or(0, Vec::len);
    let text = if skew.servers.iter().any(|server| diff.servers.contains(&server.name) && !server.known) {
        "They cannot be compared.".to_owned()
    } else if diff.is_empty() {
        format!("{} and {} serve the same.", clean(a), clean(b))
    } else {
        let counts = [
            (count(a), format!("only in {}", clean(a))),
            (count(b), format!("only in {}", clean(b))),
            (diff.different.len(), "different".to_owned()),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        parts.join(", ") + "."
    };
    let servers = skew.servers.iter().filter(|server| diff.servers.contains(&server.name)).cloned().collect();
    text + &doubts(&Skew { servers, ..Skew::default() })
}

/// Why servers are not known, each with its name.
pub(super) fn reasons(skew: &Skew) -> String {
    let unknown = skew.servers.iter().filter(|server| !server.known);
    let reasons: Vec<String> =
        unknown.map(|server| format!("{}: {}", clean(&server.name), reason(server))).collect();
    if reasons.is_empty() { "there is none".to_owned() } else { reasons.join("; ") }
}

/// Why a server is not known.
pub(super) fn reason(server: &ServerSeen) -> String {
    server.error.as_deref().map_or_else(|| "it has not been heard yet".to_owned(), clean)
}

/// Why it is not certain.
fn doubts(skew: &Skew) -> String {
    let mut text = String::new();
    for server in &skew.servers {
        let name = clean(&server.name);
        if !server.known {
            text += &format!(" {name} is not known.");
        } else if server.freshness != Freshness::Fresh {
            text += &format!(" {name} is {}: what it said last counts.", server.freshness.as_str());
        } else if !server.stale_group_versions.is_empty() {
            text +=
                &format!(" {name} cannot tell for sure what is in {}.", list(&server.stale_group_versions));
        }
    }
    text
}

fn amount(skew: &Skew) -> String {
    let summary = &skew.summary;
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "{} and {} in {}",
        plural(summary.resources, "resource"),
        plural(summary.subresources, "subresource"),
        plural(summary.group_versions, "group-version")
    )
}

/// `a`, `a and b`, `a, b and c`.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => clean(one.as_ref()),
        [rest @ .., last] => {
            let rest: Vec<String> = rest.iter().map(|name| clean(name.as_ref())).collect();
            format!("{} and {}", rest.join(", "), clean(last.as_ref()))
        }
    }
}
