//! The story of the README, played and looked at.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use rustls_pki_types::ServerName;
use serde_json::{Value, json};

use super::stage::{HOME, Stage};
use crate::{
    api::media_type::ACCEPT_V2 as V2,
    body::{self, Body},
    servers::pool::{Pool, Settings, Target},
    tls::client::{self, Alpn, Identity, Pem},
};

/// Served by 1.36 only.
pub(super) const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
/// The group-version of [`POLICIES`].
const GROUP_VERSION: &str = "apis/admissionregistration.k8s.io/v1";
/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen, step by step.
#[derive(Default)]
pub(super) struct Seen {
    steps: Vec<(String, String)>,
}

/// An HTTP client with the demo's admin certificate.
pub(super) struct Client {
    pool: Arc<Pool>,
}

/// Plays it.
///
/// # Errors
/// The first thing that was not as it should be.
pub(super) async fn play(stage: &Stage) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let proxy = Client::new(stage, stage.app.addresses[0])?;
    let home = Client::new(stage, stage.servers[0].addr())?;
    let newest = stage.servers.last().context("there are servers")?;

    let status = home.get(POLICIES).await?.status();
    ensure!(status == StatusCode::NOT_FOUND, "{HOME} alone should not know the policies, got {status}");
    seen.step(format!("list the policies at {HOME} itself"), "404: it has never heard of them");

    let created = proxy.send(Method::POST, POLICIES, "", Some(policy("first"))).await?;
    ensure!(created.status() == StatusCode::CREATED, "create through the proxy: {}", created.status());
    seen.step("create a policy through the proxy", format!("201, answered by {}", newest.id()));

    let names = |body: &Value| body["items"].as_array().map_or(0, Vec::len);
    let listed = json_of(proxy.get(POLICIES).await?).await?;
    ensure!(names(&listed) == 1, "the list should hold one policy: {listed}");
    seen.step("list the policies through the proxy", "200, one item");

    let merged = json_of(proxy.send(Method::GET, "/apis", V2, None).await?).await?;
    ensure!(lists_policies(&merged), "merged discovery should list the policies");
    let own = format!("{V2};profile=nopeer");
    let own = json_of(proxy.send(Method::GET, "/apis", &own, None).await?).await?;
    ensure!(!lists_policies(&own), "nopeer discovery should not list the policies");
    seen.step("merged discovery", format!("{} groups, the policies among them", names(&merged)));
    seen.step("nopeer discovery", format!("{} groups, no policies: {HOME}'s own", names(&own)));

    let etag = proxy.send(Method::GET, "/apis", V2, None).await?.headers()[header::ETAG].clone();
    let again = proxy.revalidate("/apis", etag).await?.status();
    ensure!(again == StatusCode::NOT_MODIFIED, "the document's own ETag should give 304, got {again}");
    seen.step("merged discovery again, with its ETag", "304");

    let old = json_of(proxy.get(&format!("/{GROUP_VERSION}")).await?).await?;
    let rows = old["resources"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(
        rows.iter().any(|row| row["name"] == "mutatingadmissionpolicies"),
        "the list of a group-version should have the policies"
    );
    seen.step(
        "the list that kubectl before 1.26 and kube-rs read",
        format!("{} resources, the policies among them", rows.len()),
    );

    let index = json_of(proxy.get("/openapi/v3").await?).await?;
    let url = index["paths"][GROUP_VERSION]["serverRelativeURL"].as_str().unwrap_or_default();
    ensure!(!url.is_empty(), "/openapi/v3 should name {GROUP_VERSION}");
    let document = json_of(proxy.get(url).await?).await?;
    let schemas = document["components"]["schemas"].as_object();
    ensure!(
        schemas.is_some_and(|schemas| schemas.keys().any(|name| name.ends_with(".MutatingAdmissionPolicy"))),
        "the document of {GROUP_VERSION} should describe the policies"
    );
    seen.step("what kubectl explain reads", "/openapi/v3 leads to it, and it describes them");

    let mut watch = proxy.get(&format!("{POLICIES}?watch=1")).await?.into_body();
    proxy.send(Method::POST, POLICIES, "", Some(policy("second"))).await?;
    let took = Instant::now();
    wait_for_event(&mut watch, "second").await?;
    seen.step(
        "watch across servers while another policy is made",
        format!("ADDED within {} ms", took.elapsed().as_millis().max(1)),
    );

    newest.stop().await;
    let refused = proxy.until(POLICIES, |status| status != StatusCode::OK).await?;
    ensure!(
        refused.status() == StatusCode::SERVICE_UNAVAILABLE,
        "a dead peer is a 503, not {}",
        refused.status()
    );
    ensure!(refused.headers().contains_key(header::RETRY_AFTER), "a 503 of ours says when to try again");
    seen.step(format!("{} dies; list the policies", newest.id()), "503 with Retry-After, never 404");
    let kept = json_of(proxy.send(Method::GET, "/apis", V2, None).await?).await?;
    ensure!(lists_policies(&kept), "discovery must not shrink because a peer died");
    seen.step("merged discovery meanwhile", "still lists them");

    newest.restart().await?;
    let took = Instant::now();
    proxy.until(POLICIES, |status| status == StatusCode::OK).await?;
    seen.step(
        format!("{} comes back", newest.id()),
        format!("200 again after {} ms", took.elapsed().as_millis()),
    );
    Ok(seen)
}

// === impl Seen ===

impl Seen {
    fn step(&mut self, what: impl Into<String>, seen: impl Into<String>) {
        self.steps.push((what.into(), seen.into()));
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let width = self.steps.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
        for (what, seen) in &self.steps {
            println!("ok  {what:<width$}  {seen}");
        }
        println!("demo check: {} steps passed", self.steps.len());
        Ok(())
    }
}

// === impl Client ===

impl Client {
    pub(super) fn new(stage: &Stage, address: SocketAddr) -> anyhow::Result<Self> {
        let roots =
            client::roots_from_pem(Pem { name: "ca.crt", pem: stage.pki.cluster_ca.cert_pem().as_bytes() })?;
        let admin = &stage.pki.admin;
        let identity = Identity::from_pem(
            Pem { name: "admin.crt", pem: admin.cert_pem.as_bytes() },
            Pem { name: "admin.key", pem: admin.key_pem.as_bytes() },
        )?;
        let tls = client::config(roots, Some(identity), Alpn::H2OrHttp11)?;
        let target = Target {
            host: address.ip().to_string(),
            port: address.port(),
            server_name: ServerName::try_from("localhost")?,
        };
        Ok(Self { pool: Pool::new(target, tls, Settings::default(), Arc::new(|_| {}))? })
    }

    async fn get(&self, target: &str) -> anyhow::Result<Response<Body>> {
        self.send(Method::GET, target, "application/json", None).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        target: &str,
        accept: &str,
        object: Option<Value>,
    ) -> anyhow::Result<Response<Body>> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, "application/json")
            .body(object.map_or_else(body::empty, |object| body::full(object.to_string())))?;
        self.exchange(request).await
    }

    async fn revalidate(&self, target: &str, etag: http::HeaderValue) -> anyhow::Result<Response<Body>> {
        let request = Request::get(target).header(header::ACCEPT, V2).header(header::IF_NONE_MATCH, etag);
        self.exchange(request.body(body::empty())?).await
    }

    async fn exchange(&self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        self.pool.send(request).await.map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Asks until the answer is `wanted`; a 404 on the way is the one thing that must never come.
    async fn until(
        &self,
        target: &str,
        wanted: impl Fn(StatusCode) -> bool,
    ) -> anyhow::Result<Response<Body>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = self.get(target).await?;
            let status = response.status();
            ensure!(status != StatusCode::NOT_FOUND, "a wrong 404 for {target}");
            if wanted(status) {
                return Ok(response);
            }
            ensure!(Instant::now() < deadline, "{target} still answers {status} after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn json_of(response: Response<Body>) -> anyhow::Result<Value> {
    ensure!(response.status().is_success(), "an answer of {}", response.status());
    let bytes = response.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    Ok(serde_json::from_slice(&bytes)?)
}

async fn wait_for_event(watch: &mut Body, name: &str) -> anyhow::Result<()> {
    let mut text = String::new();
    let waiting = async {
        while let Some(frame) = watch.frame().await {
            let frame = frame.map_err(|error| anyhow::anyhow!("the watch broke off: {error}"))?;
            text += &String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data));
            if text.contains(&format!("\"name\":\"{name}\"")) {
                return Ok(());
            }
        }
        bail!("the watch ended without the event")
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("the watch is silent")?
}

fn lists_policies(document: &Value) -> bool {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    array(&document["items"])
        .iter()
        .filter(|group| group["metadata"]["name"] == "admissionregistration.k8s.io")
        .flat_map(|group| array(&group["versions"]))
        .flat_map(|version| array(&version["resources"]))
        .any(|resource| resource["resource"] == "mutatingadmissionpolicies")
}

pub(super) fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {},
    })
}
