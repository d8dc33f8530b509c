//! What stands behind the question mark.

use http::{Uri, header::HeaderMap};

/// The query of one request to a page.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

// === impl Query ===

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of a key; empty for `?key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on: `?key`, or with any value but these.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !matches!(value, "0" | "false"))
    }

    /// Whoever misspells a key shall not take the answer for what he asked for.
    ///
    /// # Errors
    /// A sentence that names a key which the page does not have, and those that it has.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), String> {
        let Some((stranger, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let has = match known {
            [] => "it has none".to_owned(),
            known => format!("it has {}", known.join(", ")),
        };
        Err(format!("this page has no query key {stranger:?}; {has}"))
    }
}

/// Whether JSON is wanted where there is text as well: `?format=json`, or else an `Accept` that names it.
///
/// # Errors
/// A sentence about another format.
pub(super) fn wants_json(query: &Query, headers: &HeaderMap) -> Result<bool, String> {
    match query.get("format") {
        Some("json") => Ok(true),
        Some("text") => Ok(false),
        Some(other) => Err(format!("there is no format {other:?}; it is text or json")),
        None => Ok(accepts(headers, "application/json")),
    }
}

/// Whether `Accept` names a media type; what takes anything (`*/*`) does not.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let ranges = headers.get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = ranges.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.any(|range| range.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/x{text}").parse().unwrap())
    }

    #[test]
    fn a_key_that_a_page_does_not_have_is_named() {
        assert_eq!(query("?server=a&all").only(&["server", "all"]), Ok(()));
        assert_eq!(query("").only(&[]), Ok(()));
        let sentence = query("?server=a&severity=b").only(&["server", "all"]).unwrap_err();
        assert_eq!(sentence, "this page has no query key \"severity\"; it has server, all");
        assert!(query("?x").only(&[]).unwrap_err().ends_with("it has none"));
    }

    #[test]
    fn a_switch_is_on_with_any_value_but_no() {
        for (text, on) in
            [("?all", true), ("?all=1", true), ("?all=0", false), ("?all=false", false), ("", false)]
        {
            assert_eq!(query(text).is_on("all"), on, "{text}");
        }
    }

    #[test]
    fn json_is_for_who_names_it() {
        let asked = |text: &str, accept: &'static str| {
            let headers = HeaderMap::from_iter([(http::header::ACCEPT, accept.parse().unwrap())]);
            wants_json(&query(text), &headers)
        };
        assert_eq!(asked("", "*/*"), Ok(false));
        assert_eq!(asked("", "text/html, Application/JSON;q=0.9"), Ok(true));
        assert_eq!(asked("?format=json", "*/*"), Ok(true));
        assert_eq!(asked("?format=text", "application/json"), Ok(false));
        assert!(asked("?format=xml", "*/*").unwrap_err().contains("\"xml\""));
    }
}
