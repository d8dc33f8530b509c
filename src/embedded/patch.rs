//! Patches: RFC 7386 merge; a strategic merge and server-side apply are treated the same way.

use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::answer::Refusal;

/// A patch that was read but not yet applied.
pub(super) struct Patch {
    change: Value,
    creates: bool,
}

// === impl Patch ===

impl Patch {
    /// By content type; JSON patch (RFC 6902) is not understood.
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let change: Value = match media_type {
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                serde_json::from_slice(body).map_err(|error| unreadable(&error))?
            }
            "application/apply-patch+yaml" => {
                serde_saphyr::from_slice(body).map_err(|error| unreadable(&error))?
            }
            _ => return Err(unsupported("this in-memory server reads merge patches and apply patches only")),
        };
        if !change.is_object() {
            return Err(Refusal::bad_request("the patch is not an object"));
        }
        Ok(Self { change, creates: media_type == "application/apply-patch+yaml" })
    }

    /// Whether it makes the object if there is none (server-side apply does).
    pub(super) fn creates(&self) -> bool {
        self.creates
    }

    pub(super) fn apply(&self, old: &Value) -> Value {
        let mut new = old.clone();
        merge(&mut new, &self.change);
        new
    }
}

/// RFC 7386, section 2.
fn merge(target: &mut Value, change: &Value) {
    let Some(fields) = change.as_object() else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = Map::new().into();
    }
    for (name, value) in fields {
        let Some(target) = target.as_object_mut() else { return };
        if value.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// 415
pub(super) fn unsupported(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
}

fn unreadable(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("the patch can't be read: {error}"))
}
