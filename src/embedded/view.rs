//! The shapes in which clients take objects: as they are, as the rows of a table, or their metadata alone.
//!
//! Upstream: `k8s.io/apiserver/pkg/endpoints/handlers/response.go`. Tables here have a name and an age, whatever the
//! kind.

use http::HeaderMap;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::accept;
use super::answer::Refusal;
use super::target::Query;

/// One of the shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Whole,
    /// `Table` of this `apiVersion`.
    Table(&'static str, Include),
    /// `PartialObjectMetadata`, for a list `PartialObjectMetadataList`, of this `apiVersion`.
    Metadata(&'static str),
}

/// What of its object stands in the row of a table (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

// === impl View ===

impl View {
    /// What the first `Accept` line asks for, 406 if that is a shape that there is not, or not for lists (`list`).
    pub(super) fn negotiate(headers: &HeaderMap, query: &Query, list: bool) -> Result<Self, Refusal> {
        let metadata = if list { "PartialObjectMetadataList" } else { "PartialObjectMetadata" };
        let clauses = accept::json_clauses(headers);
        for clause in &clauses {
            let Some(wanted) = clause.get("as") else { return Ok(Self::Whole) };
            let api_version = match clause.get("v") {
                Some("v1") => "meta.k8s.io/v1",
                Some("v1beta1") => "meta.k8s.io/v1beta1",
                _ => continue,
            };
            if clause.get("g") != Some("meta.k8s.io") {
                continue;
            }
            if wanted == "Table" {
                return Ok(Self::Table(api_version, Include::of(query)?));
            }
            if wanted == metadata {
                return Ok(Self::Metadata(api_version));
            }
        }
        // Who wants no JSON at all gets it nevertheless: this server has nothing else.
        if clauses.is_empty() { Ok(Self::Whole) } else { Err(Refusal::not_acceptable()) }
    }

    /// An object.
    pub(super) fn one(self, object: Value) -> Value {
        match self {
            Self::Whole => object,
            Self::Metadata(api_version) => partial(api_version, &object),
            Self::Table(api_version, include) => {
                let version = &object["metadata"]["resourceVersion"];
                table(api_version, &json!({ "resourceVersion": version }), [row(&object, include)].into())
            }
        }
    }

    /// A list.
    pub(super) fn list(self, list: Value) -> Value {
        let items = || list["items"].as_array().into_iter().flatten();
        match self {
            Self::Whole => list,
            Self::Metadata(api_version) => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": list["metadata"],
                "items": items().map(|item| partial(api_version, item)).collect::<Vec<_>>(),
            }),
            Self::Table(api_version, include) => {
                table(api_version, &list["metadata"], items().map(|item| row(item, include)).collect())
            }
        }
    }

    /// The object of a watch's event; only the `first` describes the columns.
    pub(super) fn event(self, object: Value, first: bool) -> Value {
        let mut object = self.one(object);
        if matches!(self, Self::Table(..)) && !first {
            object["columnDefinitions"] = Value::Null;
        }
        object
    }
}

// === impl Include ===

impl Include {
    fn of(query: &Query) -> Result<Self, Refusal> {
        match query.filled("includeObject") {
            Some("None") => Ok(Self::None),
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Refusal::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be \
                 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

fn table(api_version: &str, metadata: &Value, rows: Vec<Value>) -> Value {
    let column = |name: &str, format: &str, description: &str| {
        json!({
            "name": name, "type": "string", "format": format, "description": description, "priority": 0,
        })
    };
    json!({
        "kind": "Table", "apiVersion": api_version, "metadata": metadata,
        "columnDefinitions": [
            column("Name", "name", "The name of the object."),
            column("Age", "", "How long ago the object was made."),
        ],
        "rows": rows,
    })
}

fn row(object: &Value, include: Include) -> Value {
    let made = object["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    let age = OffsetDateTime::parse(made, &Rfc3339).map_or_else(
        |_| "<unknown>".to_owned(),
        |made| age((OffsetDateTime::now_utc() - made).whole_seconds()),
    );
    let shown = match include {
        Include::None => Value::Null,
        Include::Metadata => partial("meta.k8s.io/v1", object),
        Include::Object => object.clone(),
    };
    json!({ "cells": [object["metadata"]["name"], age], "object": shown })
}

fn partial(api_version: &str, object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": object["metadata"] })
}

/// An age in seconds for people (upstream: `k8s.io/apimachinery/pkg/util/duration`): two units while the smaller
/// one matters, then one.
fn age(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |large: (i64, char), small: (i64, char)| {
        let rest = seconds % large.0 / small.0;
        let rest = if rest == 0 { String::new() } else { format!("{rest}{}", small.1) };
        format!("{}{}{rest}", seconds / large.0, large.1)
    };
    let (second, minute, hour, day, year) = ((1, 's'), (MINUTE, 'm'), (HOUR, 'h'), (DAY, 'd'), (YEAR, 'y'));
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minute, second),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(hour, minute),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(day, hour),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(year, day),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        const DAY: i64 = 86_400;
        for (seconds, text) in [
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (3_600, "60m"),
            (3 * 3_600, "3h"),
            (4 * 3_600 + 300, "4h5m"),
            (47 * 3_600, "47h"),
            (3 * DAY + 7_200, "3d2h"),
            (400 * DAY, "400d"),
            (3 * 365 * DAY, "3y"),
            (3 * 365 * DAY + DAY, "3y1d"),
            (9 * 365 * DAY, "9y"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
