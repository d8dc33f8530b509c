//! An explanation for people, in 80 columns.

use std::fmt::Write as _;

use serde_json::Value;

use crate::printable::clean;

/// The widest line.
const WIDTH: usize = 80;
/// Where the text behind a label begins.
const INDENT: usize = 9;

/// Writes what `/debug/explain` answered.
pub(super) fn render(answer: &Value) -> String {
    let answer = &cleaned(answer);
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "{}\n", request(&answer["request"]));
    for (homes, one) in grouped(answer) {
        if answer["homes"].is_array() {
            labelled(&mut text, "home", &homes.join(" or "));
        }
        labelled(&mut text, "goes to", &destination(one));
        labelled(&mut text, "because", &format!("{} ({})", word(&one["because"]), word(&one["reason"])));
        for (position, line) in callers(one).iter().enumerate() {
            labelled(&mut text, if position == 0 { "caller" } else { "" }, line);
        }
        text.push('\n');
    }
    servers(&mut text, answer);
    text
}

/// Names and errors come from elsewhere.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.iter().map(cleaned).collect(),
        Value::Object(fields) => fields.iter().map(|(key, field)| (clean(key), cleaned(field))).collect(),
        other => other.clone(),
    }
}

/// Homes from which the same becomes of the request, and what that is.
fn grouped(answer: &Value) -> Vec<(Vec<&str>, &Value)> {
    let Some(homes) = answer["homes"].as_array() else { return vec![(Vec::new(), answer)] };
    let mut groups = Vec::<(Vec<&str>, &Value)>::new();
    for one in homes {
        let same = |other: &&mut (Vec<&str>, &Value)| {
            ["goes", "to", "reason", "callerUpstream"].iter().all(|key| one[*key] == other.1[*key])
        };
        match groups.iter_mut().find(same) {
            Some((names, _)) => names.push(word(&one["home"])),
            None => groups.push((vec![word(&one["home"])], one)),
        }
    }
    groups
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(word).collect()
}

/// As `list deployments in kube-system (apps/v1)`.
fn request(request: &Value) -> String {
    let field = |name: &str| word(&request[name]);
    if request["isResource"] != true {
        return format!("{} {}", field("verb"), field("path"));
    }
    let mut text = format!("{} {}", field("verb"), field("resource"));
    for (before, name) in [("/", "subresource"), (" ", "name"), (" in ", "namespace")] {
        if !field(name).is_empty() {
            let _ = write!(text, "{before}{}", field(name));
        }
    }
    let slash = if field("group").is_empty() { "" } else { "/" };
    let _ = write!(text, " ({}{slash}{})", field("group"), field("version"));
    text
}

fn destination(one: &Value) -> String {
    let to = words(&one["to"]).join(" or ");
    match word(&one["goes"]) {
        "home" => format!("{to}, which is home"),
        "peer" if to.contains(" or ") => {
            format!("{to}: a healthy one, and of those the one with the least under way")
        }
        "peer" => format!("{to}, a peer"),
        "here" => "nobody: the proxy itself answers".to_owned(),
        "home (dry-run)" => format!("{to}, which is home, for --reroute=dry-run only says what it would do"),
        "nowhere (403)" => "nobody: the proxy answers 403".to_owned(),
        _ => "nobody: the proxy answers 503 with Retry-After".to_owned(),
    }
}

/// What a caller would be upstream, a line for each kind or server.
fn callers(one: &Value) -> Vec<String> {
    let Some(servers) = one["callerUpstream"].as_object() else { return Vec::new() };
    let Some((server, first)) = servers.iter().next() else { return Vec::new() };
    if first["as"].is_null() {
        // No caller was named; the kinds become the same everywhere.
        return [("certificate", "client certificate"), ("token", "token"), ("anonymous", "neither")]
            .into_iter()
            .map(|(kind, with)| format!("{with}: {}", becomes(&first[kind], server)))
            .collect();
    }
    servers.iter().map(|(server, upstream)| format!("at {server}: {}", becomes(upstream, server))).collect()
}

fn becomes(upstream: &Value, server: &str) -> String {
    if upstream["as"] == "refused" {
        return format!("nobody; the proxy answers 403 ({})", word(&upstream["because"]));
    }
    let identity = match word(&upstream["as"]) {
        "headers" => match upstream["headers"].as_object() {
            None => "X-Remote-User, -Group and -Extra-*".to_owned(),
            Some(headers) => {
                let lines =
                    headers.iter().map(|(name, values)| format!("{name}: {}", words(values).join(", ")));
                lines.collect::<Vec<_>>().join("; ")
            }
        },
        "mapped" => "whom identityMap makes of him, or nobody".to_owned(),
        "token" => format!("untouched, and {server} decides"),
        "anonymous" => format!("nothing is stamped, and {server} decides"),
        _ => "nobody".to_owned(),
    };
    let certificate = if matches!(word(&upstream["as"]), "headers" | "mapped") { "with" } else { "without" };
    match word(&upstream["class"]) {
        "upgrade" => format!("{identity} (class upgrade, {certificate} the front-proxy certificate)"),
        "token" => format!("{identity} (class token, unproven until it is accepted)"),
        class => format!("{identity} (class {class})"),
    }
}

/// The view: how far each server is trusted, and what it says of the thing.
fn servers(text: &mut String, answer: &Value) {
    let Some(servers) = answer["servers"].as_array() else { return };
    let rows = servers.iter().map(|server| {
        let contact = server["secondsSinceContact"].as_f64().map(|seconds| format!(", {} ago", age(seconds)));
        let health = if server["healthy"] == false { ", not healthy" } else { "" };
        let trust = format!("{}{}{health}", word(&server["freshness"]), contact.unwrap_or_default());
        let is_home = !answer["home"].is_null() && server["name"] == answer["home"];
        let name = format!("{}{}", word(&server["name"]), if is_home { " (home)" } else { "" });
        [name, server["version"].as_str().unwrap_or("-").to_owned(), word(&server["lists"]).to_owned(), trust]
    });
    let rows: Vec<[String; 4]> = rows.collect();
    let head = ["server", "version", "lists it", "view"].map(str::to_owned);
    let is_listable = answer["request"]["isResource"] == true;
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    for [name, version, lists, view] in [&head].into_iter().chain(&rows) {
        let [first, second, third] = widths;
        let lists = if is_listable { format!("{lists:third$}  ") } else { String::new() };
        let _ = writeln!(text, "{name:first$}  {version:second$}  {lists}{view}");
    }
    for server in servers {
        if let Some(error) = server["error"].as_str() {
            labelled(text, "", &format!("{}: {error}", word(&server["name"])));
        }
    }
    match answer["catalogGeneration"].as_u64() {
        Some(generation) => {
            let _ = writeln!(text, "\nthe proxy's view, generation {generation}");
        }
        None => {
            text.push_str("\nno proxy was asked: fetched just now from each server itself\n");
            if let [only] = servers.as_slice() {
                let only = word(&only["name"]);
                let note = "is all that was looked at. Name the others, too, with --server or --context, or ask a proxy \
                            with --admin";
                text.push('\n');
                labelled(text, "note", &format!("{only} {note}"));
            }
        }
    }
}

fn age(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3600.0),
    }
}

/// Label and text, broken between words.
fn labelled(out: &mut String, label: &str, text: &str) {
    let mut line = format!("{label:INDENT$}");
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(INDENT);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_wider_than_80_columns_unless_a_word_is() {
        let long = "word ".repeat(60);
        let mut out = String::new();
        labelled(&mut out, "because", long.trim_end());
        assert!(out.lines().count() > 3);
        assert!(out.lines().all(|line| line.chars().count() <= WIDTH), "{out}");
        assert!(out.lines().skip(1).all(|line| line.starts_with("         word")), "{out}");
        let words = |text: &str| text.split_whitespace().filter(|one| *one == "word").count();
        assert_eq!(words(&out), 60);
    }

    #[test]
    fn no_terminal_obeys_what_a_server_is_called_or_complains_of() {
        let answer = json!({
            "request": {"isResource": false, "verb": "get", "path": "/\u{1b}[2J"},
            "goes": "home", "to": ["a\u{9b}"], "because": "b\r", "reason": "c\u{7}", "callerUpstream": {},
            "servers": [{"name": "a\u{1b}", "freshness": "unknown", "error": "\u{1b}]0;d"}],
        });
        let text = render(&answer);
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
    }

    #[test]
    fn an_age_is_in_the_unit_that_people_would_use() {
        for (seconds, text) in [(0.04, "0.0 s"), (11.0, "11 s"), (600.0, "10 min"), (90_000.0, "25 h")] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn a_request_is_named_as_kubectl_names_resources() {
        let pods = json!({"isResource": true, "verb": "get", "group": "", "version": "v1", "namespace": "a",
            "resource": "pods", "subresource": "log", "name": "p"});
        assert_eq!(request(&pods), "get pods/log p in a (v1)");
        let other = json!({"isResource": false, "verb": "get", "path": "/version"});
        assert_eq!(request(&other), "get /version");
    }
}
