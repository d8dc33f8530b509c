//! Create, read, update and delete of any resource that discovery lists.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::answer::{self, Answer, Refusal};
use super::document::Served;
use super::legacy::group_version;
use super::patch::{self, Patch};
use super::protobuf;
use super::selector::Selector;
use super::store::{self, Key, Scope, Store};
use super::target::{Query, Target};
use super::view::View;

mod list;

/// One request for a resource that is served, with its body read.
pub(super) struct ObjectRequest<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) target: &'a Target,
    pub(super) served: &'a Served,
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) view: View,
}

/// Subresources that are a view on their parent.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// The object without its status, if that is a subresource of its own.
    Main,
    Status,
    /// Such as `pods/resize`: the whole object through another door.
    Whole,
}

// === impl ObjectRequest ===

impl ObjectRequest<'_> {
    /// Everything but watches, which stream.
    pub(super) fn answer(&self, verb: &str) -> Result<Answer, Refusal> {
        let part = self.part()?;
        match verb {
            "get" => self.get(),
            "list" => self.list(),
            "create" => self.create(),
            "update" => self.update(part),
            "patch" => self.patch(part),
            "delete" => self.delete(),
            "deletecollection" => self.delete_collection(),
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    /// What was sent, with its type: for reviews, which are questions.
    pub(super) fn question(&self) -> Result<Value, Refusal> {
        Ok(self.typed(&self.object_of_body()?))
    }

    fn part(&self) -> Result<Part, Refusal> {
        match self.target.subresource.as_deref() {
            None => Ok(Part::Main),
            Some("status") => Ok(Part::Status),
            Some(_) if self.served.same_kind && self.served.is_written() => Ok(Part::Whole),
            Some(name) => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                format!("this in-memory server lists the subresource {name:?} but can't do it"),
            )),
        }
    }

    fn get(&self) -> Result<Answer, Refusal> {
        let key = self.key()?;
        let object = self.store.get(&key).ok_or_else(|| key.not_found())?;
        Ok(self.one(StatusCode::OK, &object))
    }

    fn create(&self) -> Result<Answer, Refusal> {
        let mut object = self.object_of_body()?;
        // Reviews and bindings are questions, not objects.
        if self.served.verbs == ["create"] {
            return Ok(answer::json(StatusCode::CREATED, &object));
        }
        if self.target.name.is_some() {
            return Err(Refusal::method_not_allowed());
        }
        let metadata = &object["metadata"];
        let name = match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
            (Some(name), _) if !name.is_empty() => name.to_owned(),
            (_, Some(prefix)) if !prefix.is_empty() => format!("{prefix}{}", random_suffix()),
            _ => return Err(self.invalid("metadata.name: Required value: name or generateName is required")),
        };
        self.check_namespace(&object)?;
        if self.served.has_status {
            remove_field(&mut object, "status");
        }
        let key = Key { name, ..self.key_of_scope() };
        let created = self.store.create(key, object, self.dry_run())?;
        Ok(self.one(StatusCode::CREATED, &created))
    }

    fn update(&self, part: Part) -> Result<Answer, Refusal> {
        let (key, object) = (self.key()?, self.object_of_body()?);
        self.check_namespace(&object)?;
        if object["metadata"]["name"].as_str().is_some_and(|name| name != key.name) {
            let message = format!("the name of the object is not the name in the URL ({})", key.name);
            return Err(Refusal::bad_request(message));
        }
        let change = |old: &Value| self.replaced(part, &key, old, object);
        let updated = self.store.update(&key, change, self.dry_run())?;
        Ok(self.one(StatusCode::OK, &updated))
    }

    fn patch(&self, part: Part) -> Result<Answer, Refusal> {
        let key = self.key()?;
        let patch = Patch::parse(self.headers, self.body)?;
        if patch.creates() && part == Part::Main && self.store.get(&key).is_none() {
            let object = patch.apply(&json!({ "metadata": {} }));
            well_formed(&object)?;
            let created = self.store.create(key, object, self.dry_run())?;
            return Ok(self.one(StatusCode::CREATED, &created));
        }
        let change = |old: &Value| self.replaced(part, &key, old, patch.apply(old));
        let updated = self.store.update(&key, change, self.dry_run())?;
        Ok(self.one(StatusCode::OK, &updated))
    }

    fn delete(&self) -> Result<Answer, Refusal> {
        let key = self.key()?;
        let wanted = serde_json::from_slice(self.body).unwrap_or(Value::Null)["preconditions"].clone();
        let allowed = |object: &Value| {
            let broken = ["uid", "resourceVersion"]
                .into_iter()
                .find(|field| wanted[field].is_string() && wanted[field] != object["metadata"][field]);
            broken.map_or(Ok(()), |field| {
                let why = format!("the precondition on its {field} does not hold");
                Err(Refusal::conflict(&key.group, &key.resource, &key.name, &why))
            })
        };
        let deleted = self.store.delete(&key, allowed, self.dry_run())?;
        let mut details = answer::object(&key.group, &key.resource, &key.name);
        details["uid"] = deleted["metadata"]["uid"].clone();
        Ok(answer::json(
            StatusCode::OK,
            &json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            }),
        ))
    }

    fn delete_collection(&self) -> Result<Answer, Refusal> {
        let selector = Selector::parse(self.query)?;
        let (objects, _) = self.store.list(&self.scope());
        let mut items = Vec::new();
        for object in objects.iter().filter(|object| selector.matches(object)) {
            let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let key = Key { namespace: of("namespace"), name: of("name"), ..self.key_of_scope() };
            // Somebody else may have deleted it meanwhile: then it is gone too.
            if self.store.delete(&key, |_| Ok(()), self.dry_run()).is_ok() {
                items.push(self.typed(object));
            }
        }
        Ok(answer::json(
            StatusCode::OK,
            &json!({
                "kind": format!("{}List", self.served.kind), "apiVersion": self.api_version(),
                "metadata": { "resourceVersion": self.store.revision().to_string() }, "items": items,
            }),
        ))
    }

    /// What becomes of `old` when `new` is written through this part.
    fn replaced(&self, part: Part, key: &Key, old: &Value, mut new: Value) -> Result<Value, Refusal> {
        well_formed(&new)?;
        let version = &new["metadata"]["resourceVersion"];
        if version.as_str().is_some_and(|v| !v.is_empty()) && *version != old["metadata"]["resourceVersion"] {
            let why =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Refusal::conflict(&key.group, &key.resource, &key.name, why));
        }
        if part == Part::Status {
            let mut object = old.clone();
            match new["status"].take() {
                Value::Null => remove_field(&mut object, "status"),
                status => object["status"] = status,
            }
            return Ok(object);
        }
        if part == Part::Main && self.served.has_status {
            match old.get("status") {
                Some(status) => new["status"] = status.clone(),
                None => remove_field(&mut new, "status"),
            }
        }
        Ok(new)
    }

    fn object_of_body(&self) -> Result<Value, Refusal> {
        let mut object = match self.media_type() {
            "" | "application/json" => serde_json::from_slice::<Value>(self.body)
                .map_err(|error| Refusal::bad_request(format!("the object is not JSON: {error}")))?,
            protobuf::MEDIA_TYPE => protobuf::decode(self.body)
                .map_err(|error| patch::unsupported(&format!("this protobuf can't be read: {error}")))?,
            _ => return Err(patch::unsupported("this in-memory server reads JSON and some protobuf only")),
        };
        if !object.is_object() {
            return Err(Refusal::bad_request("the body is not an object"));
        }
        if object["kind"].as_str().is_some_and(|kind| kind != self.served.kind) {
            return Err(Refusal::bad_request(format!("the object is no {}", self.served.kind)));
        }
        if object["metadata"].is_null() {
            object["metadata"] = json!({});
        }
        well_formed(&object)?;
        Ok(object)
    }

    fn media_type(&self) -> &str {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }

    fn check_namespace(&self, object: &Value) -> Result<(), Refusal> {
        let here = self.target.namespace.as_deref();
        let says = object["metadata"]["namespace"].as_str().filter(|namespace| !namespace.is_empty());
        if says.is_some() && says != here {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refusal::bad_request(message));
        }
        Ok(())
    }

    fn invalid(&self, why: &str) -> Refusal {
        let message = format!("{} \"\" is invalid: {why}", self.served.kind);
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    fn key(&self) -> Result<Key, Refusal> {
        let name = self.target.name.clone().ok_or_else(Refusal::method_not_allowed)?;
        Ok(Key { name, ..self.key_of_scope() })
    }

    fn key_of_scope(&self) -> Key {
        Key {
            group: self.target.group.clone(),
            resource: self.target.resource.clone(),
            namespace: self.target.namespace.clone().unwrap_or_default(),
            name: String::new(),
        }
    }

    /// The resource in the namespace of the request, or in all.
    pub(super) fn scope(&self) -> Scope {
        let target = self.target;
        Scope {
            group: target.group.clone(),
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
        }
    }

    pub(super) fn api_version(&self) -> String {
        group_version(&self.target.group, &self.target.version)
    }

    /// Whether the answer is wanted and the change is not.
    fn dry_run(&self) -> bool {
        self.query.filled("dryRun").is_some()
    }

    fn one(&self, code: StatusCode, object: &Value) -> Answer {
        answer::json(code, &self.view.one(self.typed(object)))
    }

    /// The object in the version that was asked for.
    fn typed(&self, object: &Value) -> Value {
        store::typed(object, &self.api_version(), &self.served.kind)
    }
}

/// Metadata must have the shape that the rest of this file writes into.
fn well_formed(object: &Value) -> Result<(), Refusal> {
    let metadata = &object["metadata"];
    let map = |value: &Value| value.is_null() || value.is_object();
    if metadata.is_object() && map(&metadata["labels"]) && map(&metadata["annotations"]) {
        return Ok(());
    }
    Err(Refusal::bad_request("metadata, its labels and its annotations must be objects"))
}

fn remove_field(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove(field);
    }
}

/// Five letters, as upstream appends to `generateName`.
fn random_suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4().as_u128();
    let digit = |at: u32| (random >> (8 * at)) as usize % LETTERS.len();
    (0..5).map(|at| LETTERS[digit(at)] as char).collect()
}
