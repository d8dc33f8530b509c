//! Label and field selectors.

use serde_json::Value;

use super::answer::Refusal;
use super::target::Query;

/// What a list or watch is narrowed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    /// `None`: only whether the key is there counts.
    value: Option<String>,
    negated: bool,
}

// === impl Selector ===

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`. Sets (`in`, `notin`) are not understood and refused.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let parse = |key| query.filled(key).map_or(Ok(Vec::new()), requirements);
        Ok(Self { labels: parse("labelSelector")?, fields: parse("fieldSelector")? })
    }

    /// Fields are looked up by their dotted path, whatever the kind.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let field = |path: &str| path.split('.').fold(object, |value, key| &value[key]).as_str();
        self.labels.iter().all(|one| one.holds(labels[&one.key].as_str()))
            && self.fields.iter().all(|one| one.holds(Some(field(&one.key).unwrap_or_default())))
    }
}

// === impl Requirement ===

impl Requirement {
    fn holds(&self, actual: Option<&str>) -> bool {
        let met = match &self.value {
            None => actual.is_some(),
            Some(value) => actual == Some(value),
        };
        met != self.negated
    }
}

fn requirements(text: &str) -> Result<Vec<Requirement>, Refusal> {
    text.split(',').map(requirement).collect()
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    if text.contains(['(', '<', '>']) {
        return Err(Refusal::bad_request(format!("this server doesn't understand the selector {text:?}")));
    }
    let (key, value, negated) = match (text.split_once("!="), text.split_once('=')) {
        (Some((key, value)), _) => (key, Some(value), true),
        (None, Some((key, value))) => (key, Some(value.trim_start_matches('=')), false),
        (None, None) => (text.trim_start_matches('!'), None, text.starts_with('!')),
    };
    Ok(Requirement { key: key.trim().to_owned(), value: value.map(|value| value.trim().to_owned()), negated })
}
