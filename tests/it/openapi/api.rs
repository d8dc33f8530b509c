//! An API server of which a test says what it lists and which OpenAPI it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use kube_peer_proxy::body::{self, Body};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::kit::{PROXIED, Stub, V2};

pub const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What goes wrong with its OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Status(u16),
    Redirect,
    Garbage,
    Endless,
    Aborted,
    Silent,
    /// Announces more than anybody would take, and sends none of it.
    Announced,
    /// After that it is well.
    Late(Duration),
}

/// A request for OpenAPI.
#[derive(Clone, Debug)]
pub struct Asked {
    pub target: String,
    pub own: bool,
    pub headers: HeaderMap,
}

/// What a server has, by `apis/<group>/<version>`: resources, and its own word on each.
pub struct Api {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    versions: BTreeMap<String, Vec<String>>,
    /// Documents that are no group-version's.
    others: Vec<String>,
    fault: Option<Fault>,
    /// Only for these targets; all if empty.
    fault_at: String,
    asked: Vec<Asked>,
    without_hashes: bool,
    refused: bool,
    /// Knows protobuf by its older name only.
    old: bool,
    /// Of `/openapi/v2`, whatever is in it.
    etag: Option<String>,
    /// So often were schemas written anew.
    edition: u32,
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(value);
    bytes
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, value)].concat()
}

fn hash(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

// === impl Api ===

impl Api {
    pub fn new(name: &'static str, versions: &[(&str, &[&str])]) -> Arc<Self> {
        let api = Self { name, state: Mutex::default() };
        versions.iter().for_each(|(key, resources)| api.serve(key, resources));
        api.state().others = vec!["version".into()];
        Arc::new(api)
    }

    pub async fn start(self: &Arc<Self>) -> Stub {
        let api = Arc::clone(self);
        Stub::start(move |request| {
            let api = Arc::clone(&api);
            async move { api.answer(&request).await }
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn serve(&self, key: &str, resources: &[&str]) {
        let resources = resources.iter().map(|name| (*name).to_owned()).collect();
        self.state().versions.insert(key.to_owned(), resources);
    }

    pub fn fail(&self, fault: Option<Fault>) {
        self.fail_at("", fault);
    }

    /// Only for targets that begin so.
    pub fn fail_at(&self, target: &str, fault: Option<Fault>) {
        let mut state = self.state();
        (state.fault, state.fault_at) = (fault, target.to_owned());
    }

    pub fn without_hashes(&self) {
        self.state().without_hashes = true;
    }

    /// Refuses clients, not the proxy, whatever they ask.
    pub fn refuse(&self) {
        self.state().refused = true;
    }

    /// Knows protobuf by its older name only.
    pub fn grow_old(&self) {
        self.state().old = true;
    }

    /// Tags `/openapi/v2` so, whatever is in it.
    pub fn tag(&self, etag: &str) {
        self.state().etag = Some(etag.to_owned());
    }

    /// Has a document of which discovery does not speak.
    pub fn have(&self, key: &str) {
        self.state().others.push(key.to_owned());
    }

    /// Describes what it serves in other words.
    pub fn reword(&self) {
        self.state().edition += 1;
    }

    /// No longer.
    pub fn withdraw(&self, key: &str) {
        self.state().versions.remove(key);
    }

    /// What it was asked of OpenAPI.
    pub fn asked(&self, own: bool) -> Vec<Asked> {
        self.state().asked.iter().filter(|asked| asked.own == own).cloned().collect()
    }

    pub fn fetches(&self, target: &str) -> usize {
        self.asked(true).iter().filter(|asked| asked.target == target).count()
    }

    /// Its own document, as the proxy should pass it.
    pub fn document(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.state();
        if state.others.iter().any(|other| other == key) {
            return Some(
                json!({ "openapi": "3.0.0", "paths": {}, "info": self.name }).to_string().into_bytes(),
            );
        }
        let (paths, schemas) = self.parts(key, state.versions.get(key)?);
        let info = state.edition;
        let document =
            json!({ "openapi": "3.0.0", "info": info, "paths": paths, "components": { "schemas": schemas } });
        Some(document.to_string().into_bytes())
    }

    pub fn hash(&self, key: &str) -> String {
        hash(&self.document(key).unwrap())
    }

    fn parts(&self, key: &str, resources: &[String]) -> (Map<String, Value>, Map<String, Value>) {
        let path = |name: &String| (format!("/{key}/{name}"), json!({ "get": { "by": self.name } }));
        let schema = |name: &String| (name.clone(), json!({ "by": self.name }));
        (resources.iter().map(path).collect(), resources.iter().map(schema).collect())
    }

    fn protobuf(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let resources = state.versions.get(key)?;
        let path =
            |name: &String| field(1, &named(&format!("/{key}/{name}"), &field(4, self.name.as_bytes())));
        let schema = |name: &String| field(1, &named(name, self.name.as_bytes()));
        let paths: Vec<u8> = resources.iter().flat_map(path).collect();
        let schemas: Vec<u8> = resources.iter().flat_map(schema).collect();
        Some([field(1, b"3.0.0"), field(4, &paths), field(5, &field(1, &schemas))].concat())
    }

    fn v2(&self) -> (Vec<u8>, Vec<u8>) {
        let state = self.state();
        let (mut paths, mut definitions) = (Map::new(), Map::new());
        let (mut path_fields, mut definition_fields) = (Vec::new(), Vec::new());
        for (key, resources) in &state.versions {
            let (more_paths, more_definitions) = self.parts(key, resources);
            for (path, _) in &more_paths {
                path_fields.extend(field(2, &named(path, &field(2, self.name.as_bytes()))));
            }
            for (definition, _) in &more_definitions {
                definition_fields.extend(field(1, &named(definition, self.name.as_bytes())));
            }
            paths.extend(more_paths);
            definitions.extend(more_definitions);
        }
        let padding = "x".repeat(2000);
        let json = json!({ "swagger": "2.0", "info": padding, "paths": paths, "definitions": definitions });
        let protobuf = [field(1, b"2.0"), field(8, &path_fields), field(9, &definition_fields)].concat();
        (json.to_string().into_bytes(), protobuf)
    }

    fn index(&self) -> Vec<u8> {
        let (keys, without) = {
            let state = self.state();
            let keys: Vec<String> = state.versions.keys().chain(&state.others).cloned().collect();
            (keys, state.without_hashes)
        };
        let url = |key: &String| match without {
            true => format!("/openapi/v3/{key}"),
            false => format!("/openapi/v3/{key}?hash={}", self.hash(key)),
        };
        let entry = |key: &String| (key.clone(), json!({ "serverRelativeURL": url(key) }));
        json!({ "paths": keys.iter().map(entry).collect::<Map<_, _>>() }).to_string().into_bytes()
    }

    fn discovery(&self, tree: &str) -> Response<Body> {
        let state = self.state();
        let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (key, resources) in &state.versions {
            let parts: Vec<&str> = key.split('/').collect();
            let (root, group, version) = match parts[..] {
                ["api", version] => ("/api", "", version),
                [_, group, version] => ("/apis", group, version),
                _ => continue,
            };
            if root != tree {
                continue;
            }
            let resource = |name: &String| {
                json!({
                    "resource": name, "scope": "Namespaced", "verbs": ["get", "list"], "singularResource": name,
                    "responseKind": { "group": group, "version": version, "kind": name },
                })
            };
            let resources: Vec<_> = resources.iter().map(resource).collect();
            groups
                .entry(group)
                .or_default()
                .push(json!({ "version": version, "freshness": "Current", "resources": resources }));
        }
        let items: Vec<_> = groups
            .into_iter()
            .map(|(name, versions)| json!({ "metadata": { "name": name }, "versions": versions }))
            .collect();
        let list = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        });
        let text = list.to_string();
        let etag = format!("\"{}\"", hash(text.as_bytes()));
        let response = Response::builder().header("content-type", V2.1).header("etag", etag);
        response.body(body::full(text)).unwrap()
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let own = request.headers().contains_key("x-remote-user") && request.headers().contains_key(PROXIED);
        match path {
            "/api" | "/apis" => return self.discovery(path),
            _ if path.starts_with("/openapi/") => {}
            _ => return Stub::as_136(path).unwrap_or_else(|| status(404)),
        }
        let target = request.uri().path_and_query().unwrap().to_string();
        let own = own && !request.headers().contains_key("x-forwarded-for");
        let asked = Asked { target: target.clone(), own, headers: request.headers().clone() };
        self.state().asked.push(asked);
        let fault = {
            let state = self.state();
            if state.refused && !own {
                return status(403);
            }
            state.fault.filter(|_| target.starts_with(&state.fault_at))
        };
        match fault {
            Some(Fault::Late(by)) => {
                tokio::time::sleep(by).await;
                self.openapi(request)
            }
            Some(fault) => broken(fault).await,
            None => self.openapi(request),
        }
    }

    fn openapi(&self, request: &Request<Incoming>) -> Response<Body> {
        let text = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let protobuf = text(header::ACCEPT).contains("protobuf");
        if protobuf && self.state().old && !text(header::ACCEPT).contains("@v1.0+protobuf") {
            return status(406);
        }
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let named = query.strip_prefix("hash=").unwrap_or_default();
        let (bytes, etag, media_type) = match path.strip_prefix("/openapi/v3/") {
            _ if path == "/openapi/v3" => (self.index(), String::new(), "text/plain; charset=utf-8"),
            _ if path == "/openapi/v2" => {
                let (json, bytes) = self.v2();
                let etag = self.state().etag.clone().unwrap_or_else(|| hash(&json));
                if protobuf { (bytes, etag, V2_PROTOBUF) } else { (json, etag, "application/json") }
            }
            Some(key) => {
                let Some(json) = self.document(key) else { return status(404) };
                let etag = hash(&json);
                if !named.is_empty() && named != etag {
                    let to = format!("{path}?hash={etag}");
                    let response = Response::builder().status(301).header("location", to);
                    return response.header("etag", format!("\"{etag}\"")).body(body::empty()).unwrap();
                }
                match self.protobuf(key).filter(|_| protobuf) {
                    Some(bytes) => (bytes, etag, V3_PROTOBUF),
                    None => (json, etag, "application/json"),
                }
            }
            None => return status(404),
        };
        let cache = if named.is_empty() { "no-cache, private" } else { "public, immutable" };
        let etag = format!("\"{etag}\"");
        let known = text(header::IF_NONE_MATCH);
        let mut response = Response::builder().header("cache-control", cache).header("vary", "Accept");
        response = response.header("x-answered-by", self.name);
        if etag.len() > 2 {
            response = response.header("etag", &etag);
        }
        if known == "*" || known == etag {
            return response.status(304).body(body::empty()).unwrap();
        }
        let body = if request.method() == Method::HEAD { body::empty() } else { body::full(bytes) };
        response.header("content-type", media_type).body(body).unwrap()
    }
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(body::empty()).unwrap()
}

fn pieces<S>(stream: S) -> Body
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, body::BoxError>> + Send + 'static,
{
    StreamBody::new(stream).boxed_unsync()
}

async fn broken(fault: Fault) -> Response<Body> {
    let piece =
        |text: &'static str| Ok::<_, body::BoxError>(Frame::data(Bytes::from_static(text.as_bytes())));
    match fault {
        Fault::Status(code) => status(code),
        Fault::Redirect => Response::builder()
            .status(301)
            .header("location", "https://127.0.0.1:1/openapi/v3")
            .body(body::empty())
            .unwrap(),
        Fault::Garbage => Response::new(body::full("<html>no, nothing</html>")),
        Fault::Endless => {
            Response::new(pieces(futures_util::stream::repeat_with(move || piece("{\"paths\":{ "))))
        }
        Fault::Aborted => {
            let abort: Result<Frame<Bytes>, body::BoxError> = Err("cut".into());
            Response::new(pieces(futures_util::stream::iter([piece("{\"paths\":{"), abort])))
        }
        Fault::Announced => Response::builder()
            .header("content-length", "1000000000")
            .body(pieces(futures_util::stream::pending()))
            .unwrap(),
        Fault::Silent => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            status(504)
        }
        Fault::Late(_) => unreachable!("it ends well"),
    }
}
