//! exec, attach, cp, port-forward and logs with real kubectls: what holds directly holds through the proxy.

mod audit;
mod broken;
mod exec;
mod files;
mod logs;
mod ports;

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    fleets::{self, Fleet, Peace},
    kit::{binaries::Version, files::Who, kubectl::Kubectl, kubelet::Kubelet, proxy::Proxy},
};

/// The oldest at hand. Like all of its time it upgrades to SPDY only.
const OLDEST: Version = Version(1, 20);

/// The servers, their kubelet, and proxies before them.
pub(super) struct Scene {
    pub(super) fleet: Fleet<Peace>,
    pub(super) kubelet: &'static Kubelet,
    proxies: [(&'static str, Proxy); 3],
}

/// Where the servers can be reached.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) name: &'static str,
    pub(super) addr: SocketAddr,
    /// Not directly.
    pub(super) proxied: bool,
    /// The one server that it leads to, unless that is the proxy's choice.
    pub(super) server: Option<&'static str>,
}

/// One way to a container.
pub(super) struct Way {
    /// For messages, and unique: also for names of files.
    pub(super) name: String,
    pub(super) kubectl: Kubectl,
    pub(super) who: Who,
    pub(super) websocket: bool,
    /// Not directly.
    pub(super) proxied: bool,
    /// The one server that it leads to, unless that is the proxy's choice.
    pub(super) server: Option<&'static str>,
}

// === impl Scene ===

impl Scene {
    /// On loopback.
    async fn set() -> Result<Self, String> {
        Self::of(fleets::versions().await?, Ipv4Addr::LOCALHOST).await
    }

    /// With the kubelet at an address of this machine.
    pub(super) async fn of(fleet: Fleet<Peace>, address: Ipv4Addr) -> Result<Self, String> {
        let kubelet = fleet.cluster.kubelet(fleet.binaries, address).await?;
        let proxies = [
            ("beside-v132", Proxy::of(fleet.cluster, Some("v132")).await),
            ("beside-v136", Proxy::of(fleet.cluster, Some("v136")).await),
            ("in-front", Proxy::of(fleet.cluster, None).await),
        ];
        Ok(Self { fleet, kubelet, proxies })
    }

    pub(super) fn routes(&self) -> Vec<Route> {
        let direct = ["v132", "v136"].map(|name| {
            let addr = self.fleet.server(name).addr;
            Route { name, addr, proxied: false, server: Some(name) }
        });
        let proxied = self.proxies.iter().map(|(name, proxy)| {
            let server = name.strip_prefix("beside-");
            Route { name, addr: proxy.addr, proxied: true, server }
        });
        direct.into_iter().chain(proxied).collect()
    }

    /// Routes in both protocols (the newest kubectl speaks either, the oldest only SPDY), for somebody.
    pub(super) fn ways_along(&self, routes: &[Route], who: Who) -> Vec<Way> {
        let mut ways = Vec::new();
        for &Route { name, addr, proxied, server } in routes {
            let url = format!("https://{addr}");
            let Fleet { binaries, cluster, .. } = &self.fleet;
            let newest = || Kubectl::newest(binaries, &cluster.files, &url, who);
            let mut kubectls = vec![("websocket", newest()), ("spdy", newest().spdy())];
            if binaries.kubectls.contains_key(&OLDEST) {
                kubectls.push(("old", Kubectl::new(binaries, OLDEST, &cluster.files, &url, who)));
            }
            ways.extend(kubectls.into_iter().map(|(kind, kubectl)| Way {
                name: format!("{name}-{kind}-{who:?}").to_lowercase(),
                kubectl,
                who,
                websocket: kind == "websocket",
                proxied,
                server,
            }));
        }
        ways
    }

    /// Every route, for somebody.
    pub(super) fn ways_of(&self, who: Who) -> Vec<Way> {
        self.ways_along(&self.routes(), who)
    }

    /// Every route, by certificate and by token.
    pub(super) fn ways(&self) -> Vec<Way> {
        [Who::Alice, Who::Bob].into_iter().flat_map(|who| self.ways_of(who)).collect()
    }

    pub(super) async fn end(self) {
        for (_, proxy) in self.proxies {
            proxy.stop().await;
        }
    }
}
