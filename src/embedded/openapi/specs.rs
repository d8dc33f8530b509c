//! All OpenAPI documents of one server.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use time::OffsetDateTime;

use super::gnostic;
use super::paths::{GroupVersion, is_tunnel, kind_of};
use super::schema::{self, Dialect};
use crate::embedded::document::{Document, group_name};
use crate::embedded::legacy::group_version;

/// What a server says of itself in OpenAPI.
#[derive(Debug)]
pub(in crate::embedded) struct Specs {
    pub(in crate::embedded) v2: Spec,
    /// By what stands behind `/openapi/v3/`.
    pub(in crate::embedded) v3: BTreeMap<String, Spec>,
    pub(in crate::embedded) index: Bytes,
    pub(in crate::embedded) made: OffsetDateTime,
}

/// One document.
#[derive(Debug)]
pub(in crate::embedded) struct Spec {
    dialect: Dialect,
    pub(in crate::embedded) json: Bytes,
    /// SHA-512 of the JSON, in upper-case hex: the ETag in every encoding.
    pub(in crate::embedded) hash: String,
    protobuf: OnceLock<Bytes>,
    gzip: [OnceLock<Bytes>; 2],
}

// === impl Specs ===

impl Specs {
    pub(in crate::embedded) fn of(api: &Document, apis: &Document, release: &str) -> Self {
        let mut v3 = BTreeMap::new();
        let (mut paths, mut definitions) = (Map::new(), Map::new());
        let mut put = |key: String, value: Value| v3.insert(key, Spec::new(Dialect::V3, &value));
        for root in ["api", "apis", "version"] {
            put(root.to_owned(), information(&format!("/{root}/"), release));
            paths.insert(format!("/{root}/"), information_path(Dialect::V2));
        }
        for group in [api, apis].iter().flat_map(|document| document.value["items"].as_array()).flatten() {
            let name = group_name(group);
            if !name.is_empty() {
                put(format!("apis/{name}"), information(&format!("/apis/{name}/"), release));
                paths.insert(format!("/apis/{name}/"), information_path(Dialect::V2));
            }
            for listed in group["versions"].as_array().into_iter().flatten() {
                let version = listed["version"].as_str().unwrap_or_default();
                let root = root(name, version);
                let (own_paths, schemas) = describe(Dialect::V3, &root, name, version, &listed["resources"]);
                put(root.clone(), whole(Dialect::V3, release, own_paths, schemas));
                let (own_paths, schemas) = describe(Dialect::V2, &root, name, version, &listed["resources"]);
                paths.extend(own_paths);
                definitions.extend(schemas);
            }
        }
        let entries = v3
            .iter()
            .map(|(key, spec)| (key.clone(), json!({ "serverRelativeURL": relative_url(key, &spec.hash) })));
        let index = json!({ "paths": entries.collect::<Map<_, _>>() });
        Self {
            v2: Spec::new(Dialect::V2, &whole(Dialect::V2, release, paths, definitions)),
            index: Bytes::from(index.to_string()),
            v3,
            made: OffsetDateTime::now_utc(),
        }
    }
}

/// Where a document is found, and which content it then has.
pub(in crate::embedded) fn relative_url(key: &str, hash: &str) -> String {
    format!("/openapi/v3/{key}?hash={hash}")
}

fn root(group: &str, version: &str) -> String {
    let prefix = if group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", group_version(group, version))
}

fn describe(
    dialect: Dialect,
    root: &str,
    group: &str,
    version: &str,
    resources: &Value,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    paths.insert(format!("/{root}/"), information_path(dialect));
    let described = GroupVersion { dialect, root, group, version };
    for resource in resources.as_array().into_iter().flatten() {
        let listed =
            resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == "list"));
        let gvk = kind_of(resource, [group, version]);
        schema::add(&mut schemas, dialect, gvk, listed);
        for sub in resource["subresources"].as_array().into_iter().flatten() {
            let other = kind_of(sub, [group, version]);
            if other != gvk && !is_tunnel(other[2]) {
                schema::add(&mut schemas, dialect, other, false);
            }
        }
        described.add(&mut paths, resource);
    }
    (paths, schemas)
}

fn whole(dialect: Dialect, release: &str, paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    let info = json!({ "title": "Kubernetes", "version": release });
    match dialect {
        Dialect::V2 => json!({ "swagger": "2.0", "info": info, "paths": paths, "definitions": schemas }),
        Dialect::V3 => {
            json!({ "openapi": "3.0.0", "info": info, "paths": paths, "components": { "schemas": schemas } })
        }
    }
}

/// The document of a path that only informs.
fn information(path: &str, release: &str) -> Value {
    let paths = Map::from_iter([(path.to_owned(), information_path(Dialect::V3))]);
    whole(Dialect::V3, release, paths, Map::new())
}

fn information_path(dialect: Dialect) -> Value {
    let ok = match dialect {
        Dialect::V2 => json!({ "description": "OK" }),
        Dialect::V3 => json!({ "description": "OK", "content": { "application/json": {} } }),
    };
    json!({ "get": { "description": "What there is.", "responses": { "200": ok } } })
}

// === impl Spec ===

impl Spec {
    fn new(dialect: Dialect, value: &Value) -> Self {
        let json = Bytes::from(value.to_string());
        let hash = Sha512::digest(&json).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { dialect, json, hash, protobuf: OnceLock::new(), gzip: [OnceLock::new(), OnceLock::new()] }
    }

    /// The document as gnostic's protobuf has it.
    pub(in crate::embedded) fn protobuf(&self) -> &Bytes {
        self.protobuf.get_or_init(|| {
            let value = serde_json::from_slice(&self.json).expect("these bytes were written by us");
            let message = match self.dialect {
                Dialect::V2 => gnostic::v2::document(&value),
                Dialect::V3 => gnostic::v3::document(&value),
            };
            message.into_bytes()
        })
    }

    pub(in crate::embedded) fn gzipped(&self, protobuf: bool) -> &Bytes {
        self.gzip[usize::from(protobuf)].get_or_init(|| {
            let plain = if protobuf { self.protobuf() } else { &self.json };
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let written = encoder.write_all(plain).and_then(|()| encoder.finish());
            Bytes::from(written.expect("writing to memory can't fail"))
        })
    }
}
