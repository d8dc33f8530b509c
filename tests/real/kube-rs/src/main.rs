//! What kube-rs learns of a cluster's API, in each of its ways.
//!
//! ```text
//! KUBECONFIG=FILE kube-rs run|aggregated            everything: one line a resource, sorted
//! KUBECONFIG=FILE kube-rs oneshot GROUP VERSION KIND  the group, the group-version and the kind, each by itself
//! ```

use anyhow::{Context as _, bail};
use kube::{
    Client, Discovery,
    api::{DynamicObject, GroupVersionKind, ListParams},
    core::{ApiResource, gvk::GroupVersion},
    discovery::{self, ApiCapabilities, ApiGroup, Scope},
};

type Found = (ApiResource, ApiCapabilities);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run"] => print(&Discovery::new(client).run().await?),
        ["aggregated"] => print(&Discovery::new(client).run_aggregated().await?),
        ["oneshot", group, version, kind] => oneshot(&client, group, version, kind).await?,
        _ => bail!("run, aggregated, or oneshot GROUP VERSION KIND"),
    }
    Ok(())
}

fn print(discovery: &Discovery) {
    let mut lines: Vec<String> = Vec::new();
    for group in discovery.groups() {
        lines.push(format!("group {:?} prefers {}", group.name(), group.preferred_version_or_latest()));
        for version in group.versions() {
            lines.extend(group.versioned_resources(version).iter().map(line));
        }
    }
    lines.sort();
    println!("{}", lines.join("\n"));
}

fn line((resource, can): &Found) -> String {
    let scope = if matches!(can.scope, Scope::Cluster) { "cluster" } else { "namespaced" };
    let mut operations = can.operations.clone();
    operations.sort();
    let mut subresources: Vec<_> = can.subresources.iter().map(|(of, _)| of.plural.clone()).collect();
    subresources.sort();
    let ApiResource { api_version, plural, kind, .. } = resource;
    format!("{api_version} {plural} {kind} {scope} {} [{}]", operations.join(","), subresources.join(","))
}

async fn oneshot(client: &Client, group: &str, version: &str, kind: &str) -> anyhow::Result<()> {
    let has = |found: &ApiGroup| found.recommended_kind(kind).is_some();
    let whole = discovery::group(client, group).await.context("group")?;
    let pinned = GroupVersion::gv(group, version);
    let one = discovery::pinned_group(client, &pinned).await.context("pinned_group")?;
    let pinned = GroupVersionKind::gvk(group, version, kind);
    let found = discovery::pinned_kind(client, &pinned).await.context("pinned_kind")?;
    println!("group {}, pinned_group {}", has(&whole), has(&one));
    println!("{}", line(&found));
    // And it leads to objects.
    let all = kube::Api::<DynamicObject>::all_with(client.clone(), &found.0);
    all.list(&ListParams::default().limit(1)).await.context("list")?;
    println!("listed");
    Ok(())
}
