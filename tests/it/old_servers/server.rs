//! An API server that speaks the forms of discovery that it is told to.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{HeaderMap, Response, StatusCode};
use kube_peer_proxy::api::discovery::{
    API_VERSION, API_VERSION_BETA, DiscoveryPath, GroupDiscoveryList, Tree, VersionDiscovery, legacy,
    to_go_json,
};
use kube_peer_proxy::body::{self, Body};
use kube_peer_proxy::discovery::catalog::{Document, Form};
use kube_peer_proxy::discovery::refresh::Trigger;
use kube_peer_proxy::embedded::Recorded;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kit::{PROXIED, PROXY_USER, Proxy, Stub, eventually};

/// What a list answers instead.
#[derive(Clone)]
pub(super) enum Instead {
    Status(StatusCode),
    Body(String),
    Typed(&'static str, String),
}

pub(super) struct Old {
    stub: Stub,
    pub(super) state: Arc<State>,
}

pub(super) struct State {
    name: String,
    form: Mutex<Form>,
    api: Mutex<GroupDiscoveryList>,
    apis: Mutex<GroupDiscoveryList>,
    /// By group-version and resource.
    hashes: Mutex<HashMap<(String, String), String>>,
    instead: Mutex<HashMap<String, Instead>>,
    ready: AtomicBool,
    pub(super) cbor: AtomicBool,
    /// While true, lists wait; those of these paths alone, if there are any.
    held: watch::Sender<bool>,
    held_paths: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
    busy: AtomicUsize,
    most: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

pub(super) fn document(value: &Value) -> GroupDiscoveryList {
    GroupDiscoveryList::parse(value.to_string().as_bytes()).unwrap()
}

/// A group of one version with one resource.
pub(super) fn group(name: &str, version: &str, resource: &str) -> Value {
    let kind = |kind: &str| json!({ "group": "", "version": "", "kind": kind });
    json!({ "metadata": { "name": name }, "versions": [{ "version": version, "resources": [{
        "resource": resource, "responseKind": kind("Thing"), "scope": "Cluster", "singularResource": "thing",
        "verbs": ["create", "get", "list", "watch"],
        "subresources": [{ "subresource": "status", "responseKind": kind("Thing"), "verbs": ["get"] }],
    }], "freshness": "Current" }] })
}

pub(super) fn groups(items: &[Value]) -> Value {
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": API_VERSION, "metadata": {}, "items": items })
}

// === impl Old ===

impl Old {
    /// One that serves what a 1.32 does.
    pub(super) async fn v132(name: &str, form: Form) -> Self {
        Self::start(name, form, &Recorded::V1_32.apis()).await
    }

    pub(super) async fn start(name: &str, form: Form, apis: &Value) -> Self {
        Self::speaking(&["h2", "http/1.1"], name, form, apis).await
    }

    /// One that does not speak HTTP/2.
    pub(super) async fn over_http1(name: &str, form: Form, apis: &Value) -> Self {
        Self::speaking(&["http/1.1"], name, form, apis).await
    }

    async fn speaking(protocols: &[&str], name: &str, form: Form, apis: &Value) -> Self {
        let state = Arc::new(State {
            name: name.to_owned(),
            form: Mutex::new(form),
            api: Mutex::new(document(&Recorded::V1_32.api())),
            apis: Mutex::new(document(apis)),
            hashes: Mutex::default(),
            instead: Mutex::default(),
            ready: AtomicBool::new(true),
            cbor: AtomicBool::new(false),
            held: watch::channel(false).0,
            held_paths: Mutex::default(),
            asked: Mutex::default(),
            busy: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let stub = Stub::speaking(protocols, move |request| {
            let state = Arc::clone(&shared);
            let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
            async move { state.answer(&path, &headers).await }
        });
        Self { stub: stub.await, state }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.stub.address
    }

    pub(super) fn speaks(&self, form: Form) {
        *lock(&self.state.form) = form;
    }

    pub(super) fn serves(&self, apis: &Value) {
        *lock(&self.state.apis) = document(apis);
    }

    pub(super) fn is_ready(&self, ready: bool) {
        self.state.ready.store(ready, SeqCst);
    }

    pub(super) fn hash(&self, group_version: &str, resource: &str, hash: &str) {
        let key = (group_version.to_owned(), resource.to_owned());
        lock(&self.state.hashes).insert(key, hash.to_owned());
    }

    pub(super) fn answers(&self, path: &str, instead: Option<Instead>) {
        let mut answers = lock(&self.state.instead);
        match instead {
            Some(instead) => answers.insert(path.to_owned(), instead),
            None => answers.remove(path),
        };
    }

    /// Lists wait until they are let go; with paths, only those.
    pub(super) fn holds(&self, hold: bool, paths: &[&str]) {
        *lock(&self.state.held_paths) = paths.iter().map(|path| (*path).to_owned()).collect();
        self.state.held.send_replace(hold);
    }

    /// What of discovery the proxy asked for itself since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.state.asked))
    }

    pub(super) fn busy(&self) -> usize {
        self.state.busy.load(SeqCst)
    }

    pub(super) fn most(&self) -> usize {
        self.state.most.load(SeqCst)
    }
}

impl State {
    async fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let user = headers.get("x-remote-user").and_then(|user| user.to_str().ok()).unwrap_or_default();
        if user == PROXY_USER {
            assert_eq!(headers[PROXIED], "true", "{path}");
            if DiscoveryPath::of(path).is_some() {
                lock(&self.asked).push(path.to_owned());
            }
        }
        let accept = headers.get("accept").map_or("", |accept| accept.to_str().unwrap());
        match (path, DiscoveryPath::of(path)) {
            ("/readyz", _) if self.ready.load(SeqCst) => Response::new(body::full("ok")),
            ("/readyz", _) => status(StatusCode::INTERNAL_SERVER_ERROR),
            ("/version", _) => plain(&Recorded::V1_32.version()),
            (_, Some(DiscoveryPath::Root(tree))) => self.root(tree, path, accept, headers),
            (_, Some(DiscoveryPath::Version { group, version })) => {
                let most = self.busy.fetch_add(1, SeqCst) + 1;
                self.most.fetch_max(most, SeqCst);
                let paths = lock(&self.held_paths).clone();
                if paths.is_empty() || paths.iter().any(|held| held == path) {
                    self.held.subscribe().wait_for(|held| !held).await.unwrap();
                }
                let answer = self.list(path, group, version);
                self.busy.fetch_sub(1, SeqCst);
                answer
            }
            _ => plain(&json!({ "servedBy": self.name })),
        }
    }

    fn root(&self, tree: Tree, path: &str, accept: &str, headers: &HeaderMap) -> Response<Body> {
        if let Some(instead) = lock(&self.instead).get(path) {
            return instead.answer();
        }
        if accept == "application/cbor" {
            let mut answer = status(StatusCode::NOT_ACCEPTABLE);
            if self.cbor.load(SeqCst) {
                answer =
                    Response::builder().header("content-type", accept).body(body::full("\u{20}")).unwrap();
            }
            return answer;
        }
        let list = lock(if tree == Tree::Api { &self.api } else { &self.apis }).clone();
        let form = *lock(&self.form);
        let wanted = |version: &str| {
            let parameters = format!("g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
            let typed = format!("application/json;{parameters}");
            accept.split(',').any(|clause| clause.trim().starts_with(&typed)).then_some(typed)
        };
        let (typed, api_version) = match form {
            Form::V2 => (wanted("v2"), API_VERSION),
            Form::V2Beta1 => (wanted("v2beta1"), API_VERSION_BETA),
            Form::Unaggregated => (None, ""),
        };
        if let Some(typed) = typed {
            let text = String::from_utf8(to_go_json(&list)).unwrap().replace(API_VERSION, api_version);
            let mut hash = DefaultHasher::new();
            text.hash(&mut hash);
            let etag = format!("\"{}\"", hash.finish());
            if headers.get("if-none-match").is_some_and(|known| known == &*etag) {
                return status(StatusCode::NOT_MODIFIED);
            }
            let response = Response::builder().header("content-type", typed).header("etag", etag);
            return response.body(body::full(text)).unwrap();
        }
        if !accept.split(',').any(|clause| clause.trim() == "application/json") {
            return status(StatusCode::NOT_ACCEPTABLE);
        }
        json_of(match tree {
            Tree::Api => to_go_json(&json!({
                "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs":
                    [{ "clientCIDR": "0.0.0.0/0", "serverAddress": format!("{}:6443", self.name) }],
            })),
            Tree::Apis => to_go_json(&legacy::group_list(&list)),
        })
    }

    fn list(&self, path: &str, group: &str, version: &str) -> Response<Body> {
        if let Some(instead) = lock(&self.instead).get(path) {
            return instead.answer();
        }
        let list = lock(if group.is_empty() { &self.api } else { &self.apis });
        let Some(found) = find(&list, group, version) else { return status(StatusCode::NOT_FOUND) };
        let hashes = lock(&self.hashes);
        let name = legacy::group_version(group, version);
        let hash = |resource: &str| hashes.get(&(name.clone(), resource.to_owned())).cloned();
        json_of(to_go_json(&legacy::resource_list(group, found, hash)))
    }
}

// === impl Instead ===

impl Instead {
    fn answer(&self) -> Response<Body> {
        let (typed, text) = match self {
            Self::Status(code) => return status(*code),
            Self::Body(text) => ("application/json", text),
            Self::Typed(typed, text) => (*typed, text),
        };
        Response::builder().header("content-type", typed).body(body::full(text.clone())).unwrap()
    }
}

fn status(code: StatusCode) -> Response<Body> {
    Response::builder().status(code).body(body::empty()).unwrap()
}

fn plain(value: &Value) -> Response<Body> {
    json_of(value.to_string().into_bytes())
}

fn json_of(bytes: Vec<u8>) -> Response<Body> {
    Response::builder().header("content-type", "application/json").body(body::full(bytes)).unwrap()
}

/// A group-version of a list.
pub(super) fn find<'a>(
    list: &'a GroupDiscoveryList,
    group: &str,
    version: &str,
) -> Option<&'a VersionDiscovery> {
    let group = list.items.iter().find(|item| item.name() == group)?;
    group.versions.iter().find(|listed| listed.version == version).map(|found| &**found)
}

// === What the proxy knows ===

pub(super) fn known(proxy: &Proxy, name: &str) -> Arc<Document> {
    let number = proxy.app.proxy.load().fleet.position(name).unwrap();
    proxy.app.proxy.load().book.catalog().servers[number].document.clone().unwrap()
}

pub(super) fn generation(proxy: &Proxy) -> u64 {
    proxy.app.proxy.load().book.catalog().generation
}

/// Fetches a server's discovery now.
pub(super) async fn fetch(proxy: &Proxy, name: &str) {
    let number = proxy.app.proxy.load().fleet.position(name).unwrap();
    proxy.app.proxy.load().refresh[number].ask_and_wait(Trigger::Changed).await;
}

pub(super) fn hash(proxy: &Proxy, name: &str, group_version: &str, resource: &str) -> Option<String> {
    known(proxy, name).lists.hashes.get(group_version)?.get(resource).cloned()
}

pub(super) async fn until_hash(proxy: &Proxy, name: &str, group_version: &str, resource: &str, wanted: &str) {
    eventually(&format!("{group_version} {resource} has the hash {wanted}"), || {
        hash(proxy, name, group_version, resource).as_deref() == Some(wanted)
    })
    .await;
}
