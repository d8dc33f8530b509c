//! Our proxy before real servers, built as `serve` builds it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kube_peer_proxy::{
    app::{App, Listeners},
    config::{Config, ServeArgs},
    servers::{Class, Server, pool::Stats},
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    client::{Client, Dial},
    cluster::Cluster,
    eventually,
    files::{Files, Who},
};

pub(crate) struct Proxy {
    pub(crate) app: App,
    pub(crate) addr: SocketAddr,
    cluster: &'static Cluster,
}

impl Proxy {
    /// Beside `home` if there is one, else in front of all; `change` may say more.
    pub(crate) async fn start(
        cluster: &'static Cluster,
        servers: &[(&str, &str)],
        home: Option<&str>,
        change: impl FnOnce(&mut ServeArgs),
    ) -> Self {
        let proxy = Self::launch(cluster, (Ipv4Addr::LOCALHOST, 0).into(), servers, home, change).await;
        proxy.until_all_are_healthy().await;
        proxy
    }

    /// At an address that is free, and whatever state the servers are in.
    pub(crate) async fn launch(
        cluster: &'static Cluster,
        address: SocketAddr,
        servers: &[(&str, &str)],
        home: Option<&str>,
        change: impl FnOnce(&mut ServeArgs),
    ) -> Self {
        Self::launch_in(cluster, address, servers, home, change, &|_| None).await
    }

    /// In this environment.
    pub(crate) async fn launch_in(
        cluster: &'static Cluster,
        address: SocketAddr,
        servers: &[(&str, &str)],
        home: Option<&str>,
        change: impl FnOnce(&mut ServeArgs),
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let file = |name: &str| Some(cluster.files.path(name));
        let url = |(named, server): &(&str, &str)| format!("{named}={}", cluster.server(server).url());
        let mut args = ServeArgs {
            tls_cert_file: file("proxy.crt"),
            tls_private_key_file: file("proxy.key"),
            client_ca_file: file("ca.crt"),
            requestheader_client_ca_file: file("front-proxy-ca.crt"),
            requestheader_allowed_names: vec!["front-proxy-client".to_owned()],
            peer_ca_file: file("ca.crt"),
            proxy_client_cert_file: file("front-proxy-client.crt"),
            proxy_client_key_file: file("front-proxy-client.key"),
            api_server: servers.iter().map(url).collect(),
            home: home.map(str::to_owned),
            access_log: Some("off".to_owned()),
            shutdown_delay_duration: Some("0".into()),
            ..ServeArgs::default()
        };
        change(&mut args);
        let loaded = Config::load_with(&args, environment).unwrap();
        let clients = vec![TcpListener::bind(address).await.unwrap()];
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let listeners = Listeners { clients, admin, metrics: None };
        let app = App::build(&loaded, listeners).unwrap();
        let addr = app.addresses[0];
        let proxy = Self { app, addr, cluster };
        tokio::time::timeout(super::DEADLINE, proxy.app.readiness.ready()).await.unwrap();
        proxy
    }

    pub(crate) async fn until_all_are_healthy(&self) {
        eventually("every server is healthy", async || {
            let proxy = self.app.proxy.load_full();
            let mut servers = proxy.fleet.iter();
            servers.all(|server| server.health.is_healthy()).then_some(())
        })
        .await;
    }

    /// In front of, or beside, all servers of a cluster, named as there.
    pub(crate) async fn of(cluster: &'static Cluster, home: Option<&str>) -> Self {
        let servers: Vec<_> = cluster.servers.iter().map(|server| (server.name, server.name)).collect();
        Self::start(cluster, &servers, home, |_| ()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// The PKI and the users.
    pub(crate) fn files(&self) -> &'static Files {
        &self.cluster.files
    }

    pub(crate) fn dial(&self, who: Who) -> Dial<'static> {
        Dial::new(&self.cluster.files, self.addr, who)
    }

    pub(crate) async fn client(&self, who: Who) -> Client {
        self.dial(who).connect().await.unwrap()
    }

    pub(crate) fn server(&self, name: &str) -> Arc<Server> {
        let fleet = self.app.proxy.load().fleet.clone();
        Arc::clone(fleet.get(fleet.position(name).unwrap()))
    }

    /// The connections of one class to one server.
    pub(crate) fn connections(&self, server: &str, class: Class) -> Stats {
        self.server(server).connections(class)
    }

    /// One of the admin pages that are JSON.
    pub(crate) async fn admin(&self, path: &str) -> Value {
        serde_json::from_slice(&self.page(path).await).unwrap()
    }

    /// The sum of all metrics whose lines begin like this.
    pub(crate) async fn metric(&self, begins: &str) -> f64 {
        let text = self.page("/metrics").await;
        let lines = std::str::from_utf8(&text).unwrap().lines().filter(|line| line.starts_with(begins));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn page(&self, path: &str) -> bytes::Bytes {
        let tcp = tokio::net::TcpStream::connect(self.app.admin).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(tcp);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(path).header("host", self.app.admin.to_string());
        let request = request.body(kube_peer_proxy::body::empty()).unwrap();
        let body = http_body_util::BodyExt::collect(sender.send_request(request).await.unwrap().into_body());
        body.await.unwrap().to_bytes()
    }

    pub(crate) async fn stop(self) {
        self.app.shutdown().await;
    }
}
