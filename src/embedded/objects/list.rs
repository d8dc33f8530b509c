//! Lists: whole or in pages, of now or of then.
//!
//! Upstream: `k8s.io/apiserver/pkg/storage/continue.go` and `etcd3/store.go`.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::answer::{self, Answer, Refusal};
use super::super::selector::Selector;
use super::super::store::Expired;
use super::ObjectRequest;
use crate::pki::base64;

/// Where a list is to go on: a revision, and a place behind what was sent.
struct Continue {
    revision: u64,
    start: Place,
}

/// Namespace and name, in the order of the store.
type Place = (String, String);

// === impl ObjectRequest ===

impl ObjectRequest<'_> {
    pub(super) fn list(&self) -> Result<Answer, Refusal> {
        let selector = Selector::parse(self.query)?;
        let from = self.query.filled("continue").map(Continue::parse).transpose()?;
        let (objects, revision) = match self.revision(from.as_ref())? {
            Some(revision) => {
                let then = self.store.list_at(&self.scope(), revision);
                (then.map_err(|expired| too_old(revision, &expired))?, revision)
            }
            None => self.store.list(&self.scope()),
        };
        let start = from.map(|from| from.start).unwrap_or_default();
        let mut found = objects
            .iter()
            .filter(|object| selector.matches(object))
            .map(|object| (place(object), object))
            .filter(|(place, _)| *place > start);
        let limit = self.query.number("limit").filter(|limit| *limit > 0 && !self.is_of_any_time());
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if let (Some((last, _)), true) = (page.last(), found.next().is_some()) {
            metadata["continue"] = Continue { revision, start: last.clone() }.token().into();
        }
        let items: Vec<Value> = page.into_iter().map(|(_, object)| self.typed(object)).collect();
        let list = json!({
            "kind": format!("{}List", self.served.kind), "apiVersion": self.api_version(),
            "metadata": metadata, "items": items,
        });
        Ok(answer::json(StatusCode::OK, &self.view.list(list)))
    }

    /// The revision that must be shown; `None` for the present.
    fn revision(&self, from: Option<&Continue>) -> Result<Option<u64>, Refusal> {
        let (version, rule) =
            (self.query.filled("resourceVersion"), self.query.filled("resourceVersionMatch"));
        if let Some(from) = from {
            if version.is_some_and(|version| version != "0") || rule.is_some() {
                return Err(Refusal::bad_request("a continued list takes its version from the token"));
            }
            return Ok(Some(from.revision));
        }
        let number = version.map(|version| {
            version.parse::<u64>().map_err(|_| {
                Refusal::bad_request(format!("invalid resource version {version:?}: it is not a number"))
            })
        });
        let exact = match (rule, number.transpose()?) {
            (None | Some("NotOlderThan"), None | Some(0)) => return Ok(None),
            (Some("Exact"), Some(number)) if number > 0 => Some(number),
            (None | Some("NotOlderThan"), Some(number)) => {
                return if number <= self.store.revision() { Ok(None) } else { Err(too_new(number)) };
            }
            (Some(rule), _) => {
                let why = format!("resourceVersionMatch: {rule:?} does not go with this resourceVersion");
                return Err(self.invalid(&why));
            }
        };
        match exact {
            Some(number) if number > self.store.revision() => Err(too_new(number)),
            exact => Ok(exact),
        }
    }

    /// Whether any state will do (`resourceVersion=0`): such a list comes out of the watch cache, whole.
    fn is_of_any_time(&self) -> bool {
        self.query.get("resourceVersion") == Some("0") && self.query.filled("continue").is_none()
    }
}

// === impl Continue ===

impl Continue {
    fn token(&self) -> String {
        let (namespace, name) = &self.start;
        let start = if namespace.is_empty() { format!("{name}\0") } else { format!("{namespace}/{name}\0") };
        let token = json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": start }).to_string();
        base64(token.as_bytes()).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
    }

    fn parse(token: &str) -> Result<Self, Refusal> {
        let read = || {
            let value: Value = serde_json::from_slice(&base64url(token)?).ok()?;
            (value["v"] == "meta.k8s.io/v1").then_some(())?;
            let start = value["start"].as_str()?.strip_suffix('\0')?;
            let (namespace, name) = start.split_once('/').unwrap_or(("", start));
            Some(Self { revision: value["rv"].as_u64()?, start: (namespace.to_owned(), name.to_owned()) })
        };
        read().ok_or_else(|| Refusal::bad_request("continue key is not valid"))
    }
}

fn place(object: &Value) -> Place {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (of("namespace"), of("name"))
}

/// RFC 4648, section 5, without padding. `None` if it is not that.
fn base64url(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        bits = (bits << 6 | u32::try_from(digit).ok()?) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(out)
}

/// 410, after which a client has to list anew.
pub(in super::super) fn too_old(asked: u64, expired: &Expired) -> Refusal {
    let message = format!("too old resource version: {asked} ({})", expired.oldest);
    Refusal::new(StatusCode::GONE, "Expired", message).details(Value::Null)
}

fn too_new(asked: u64) -> Refusal {
    let message = format!("Timeout: Too large resource version: {asked}");
    let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
        .details(json!({ "causes": [cause], "retryAfterSeconds": 1 }))
}
