//! New certificates, keys, CAs and settings for a proxy that runs.

mod files;
mod fleet;
mod identity;
mod settings;
mod signal;
mod watches;

use std::fs;
use std::path::Path;

use kube_peer_proxy::embedded::Recorded::V1_36;
use kube_peer_proxy::pki::{Credential, Leaf};

use crate::kit::{Cluster, PKI, Proxy, ProxyBuilder, until};
use crate::tls::{BOTH, Speaker};

/// Looks at its files all the time.
pub(crate) fn attentive(proxy: ProxyBuilder) -> ProxyBuilder {
    proxy.file("reloadCheckInterval", "20ms")
}

async fn alone() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = attentive(cluster.proxy().home("v136")).start().await;
    (cluster, proxy)
}

/// One more serving certificate for the proxy.
fn serving() -> Credential {
    PKI.cluster_ca.issue(&Leaf::server("kube-peer-proxy")).unwrap()
}

/// Puts a new file in the place of another, as most programs do.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// A certificate and its key, as `NAME.crt` and `NAME.key`.
fn replace_pair(proxy: &Proxy, name: &str, pair: &Credential) {
    replace(&proxy.file(&format!("{name}.crt")), &pair.cert_pem);
    replace(&proxy.file(&format!("{name}.key")), &pair.key_pem);
}

async fn until_shown(proxy: &Proxy, pair: &Credential) {
    let speaker = Speaker::new(BOTH, None, &[]);
    until("the new certificate is shown", async || {
        (speaker.shown(proxy, "localhost").await == pair.cert).then_some(())
    })
    .await;
}

/// Changes the configuration file, whose keys are one a line.
pub(crate) fn set(proxy: &Proxy, key: &str, value: &str) {
    let file = proxy.file("proxy.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let others: String =
        text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
    replace(&file, format!("{others}{key}: {value}\n"));
}

/// How many changes were taken over or refused so far.
async fn reloads(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric("kube_peer_proxy_config_reloads_total", &[&format!("result=\"{result}\"")]).await
}

pub(crate) async fn until_reloads(proxy: &Proxy, result: &str, wanted: f64) {
    until(result, async || (reloads(proxy, result).await == wanted).then_some(())).await;
}
