//! The servers, the files and the proxy of the demo.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, time};

use super::Folder;
use crate::{
    app::{App, Listeners},
    config::{Config, ServeArgs},
    embedded::{Recorded, RunningServer, Server, Store},
    pki::Pki,
};

/// The server that the proxy stands beside: the oldest.
pub(super) const HOME: &str = "v132";
/// Name and version of each server.
const SERVERS: [(&str, Recorded); 3] =
    [(HOME, Recorded::V1_32), ("v135", Recorded::V1_35), ("v136", Recorded::V1_36)];

/// Until the proxy has heard everybody.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(super) struct Stage {
    pub(super) servers: Vec<RunningServer>,
    pub(super) app: App,
    pub(super) pki: Pki,
    pub(super) dir: PathBuf,
    _folder: Folder,
}

impl Stage {
    pub(super) async fn set(proxy: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let listeners = Listeners {
            clients: vec![bind("--port", proxy).await?],
            admin: bind("--admin-port", admin).await?,
            metrics: None,
        };
        let dir = std::env::temp_dir().join(format!("kube-peer-proxy-demo-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let folder = Folder(dir.clone());
        let pki = Pki::generate(&[])?;
        pki.write(&dir, false)?;

        let store = Store::new();
        let mut servers = Vec::new();
        for (name, version) in SERVERS {
            let server = Server::builder(name).version(version).pki(&pki).store(Arc::clone(&store));
            servers.push(server.start(([127, 0, 0, 1], 0).into()).await?);
        }
        let file = |name: &str| Some(path(&dir, name));
        let args = ServeArgs {
            tls_cert_file: file("proxy.crt"),
            tls_private_key_file: file("proxy.key"),
            client_ca_file: file("ca.crt"),
            peer_ca_file: file("ca.crt"),
            proxy_client_cert_file: file("front-proxy-client.crt"),
            proxy_client_key_file: file("front-proxy-client.key"),
            api_server: servers.iter().map(|server| format!("{}={}", server.id(), server.url())).collect(),
            home: Some(HOME.to_owned()),
            // No balancer has to notice that a demo ends.
            shutdown_delay_duration: Some("0".to_owned()),
            shutdown_timeout: Some("1s".to_owned()),
            ..ServeArgs::default()
        };
        // The environment is for `serve`; the demo is the same everywhere.
        let loaded = Config::load_with(&args, &|_| None)?;
        let app = App::build(&loaded, listeners)?;
        time::timeout(READY_WITHIN, app.readiness.ready()).await.context("the proxy did not get ready")?;
        let stage = Self { servers, app, pki, dir, _folder: folder };
        fs::write(stage.dir.join("kubeconfig"), stage.kubeconfig())?;
        Ok(stage)
    }

    pub(super) async fn clear(self) {
        self.app.shutdown().await;
        for server in &self.servers {
            server.stop().await;
        }
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.app.addresses[0])
    }

    pub(super) fn file(&self, name: &str) -> String {
        path(&self.dir, name)
    }

    fn kubeconfig(&self) -> String {
        format!(
            "\
apiVersion: v1
kind: Config
current-context: demo
clusters:
- name: demo
  cluster: {{server: \"{url}\", certificate-authority: {ca}}}
users:
- name: admin
  user: {{client-certificate: {cert}, client-key: {key}}}
contexts:
- name: demo
  context: {{cluster: demo, user: admin}}
",
            url = self.url(),
            ca = self.file("ca.crt"),
            cert = self.file("admin.crt"),
            key = self.file("admin.key"),
        )
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

async fn bind(flag: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag}: cannot listen on {address}"))
}
