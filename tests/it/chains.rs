//! Proxies behind proxies: two sidecars, each the other's peer, and a front before both.
//!
//! `one` stands beside the API server `a` and knows `b` by the address of `other`, which stands beside `b` and
//! knows `a` by the address of `one`. Both call the two servers by the same names.

mod callers;
mod deaths;
mod discovery;
mod loops;
mod watches;

use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use kube_peer_proxy::discovery::informer::Informers;
use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::{LoggedRequest, ResourceSpec};

use crate::kit::{Cluster, PROXIED, Proxy, ProxyBuilder, Wire, eventually};

/// Only `b` serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
/// Only `a` serves these.
const RELICS: &str = "/apis/old.example.com/v1/relics";
/// Nobody does, unless a test has it otherwise.
const WIDGETS: &str = "/apis/example.com/v1/widgets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Chain {
    cluster: Cluster,
    one: Proxy,
    other: Proxy,
    /// Leads from `one` to `other`.
    to_other: Wire,
    /// Leads from `other` to `one`.
    _to_one: Wire,
}

/// Both sidecars, described further by `describe`.
async fn chain(describe: impl Fn(ProxyBuilder) -> ProxyBuilder) -> Chain {
    let cluster = Cluster::with([("a", V1_32), ("b", V1_36)], |builder| builder).await;
    cluster.server("a").discovery().add_resource("old.example.com", "v1", &spec("relics", "Relic"));
    let (to_one, to_other) = (Wire::loose().await, Wire::loose().await);
    let sidecar = |home: &str, wire: &Wire| {
        let peer = if home == "a" { "b" } else { "a" };
        let builder = ProxyBuilder::new()
            .server(home, cluster.server(home).addr())
            .server(peer, wire.address)
            .home(home)
            .trusts_front_proxies()
            .unready();
        describe(builder)
    };
    let one = sidecar("a", &to_other).start().await;
    let other = sidecar("b", &to_one).start().await;
    to_one.lead_to(one.address());
    to_other.lead_to(other.address());
    let chain = Chain { cluster, one, other, to_other, _to_one: to_one };
    for proxy in chain.proxies() {
        well(proxy).await;
    }
    chain.forget();
    chain
}

fn spec(resource: &str, kind: &str) -> ResourceSpec {
    ResourceSpec::new(resource, kind, false)
}

/// Waits until a proxy knows both servers and thinks well of them.
async fn well(proxy: &Proxy) {
    for server in ["a", "b"] {
        proxy.until_healthy(server, true).await;
        proxy.until_it_is(server, Fresh).await;
    }
}

// === impl Chain ===

impl Chain {
    fn proxies(&self) -> [&Proxy; 2] {
        [&self.one, &self.other]
    }

    /// A front that knows both servers by their sidecars.
    async fn front(&self) -> Proxy {
        let front = ProxyBuilder::new().server("a", self.one.address()).server("b", self.other.address());
        front.trusts_front_proxies().start().await
    }

    /// Waits until both proxies watch everything at the other's server, through the other; returns how many watches
    /// that makes of each.
    async fn watched(&self) -> usize {
        for (proxy, far) in [(&self.one, "b"), (&self.other, "a")] {
            let live = || proxy.target(far).watched.informers().values().filter(|one| one.live).count();
            eventually(&format!("{far} is watched"), || live() == Informers::RESOURCES.len()).await;
        }
        Informers::RESOURCES.len()
    }

    /// The logs of the servers begin here.
    fn forget(&self) {
        self.cluster.servers().for_each(|server| server.log().clear());
    }

    /// The one request that clients made of a server since.
    #[track_caller]
    fn only(&self, server: &str) -> LoggedRequest {
        let mut asked = self.cluster.asked(server, |_| true);
        assert_eq!(asked.len(), 1, "{server}: {asked:#?}");
        asked.remove(0)
    }

    /// How often clients reached a server since.
    fn count(&self, server: &str) -> usize {
        self.cluster.asked(server, |_| true).len()
    }
}

/// All values of a header as they arrived.
fn values(request: &LoggedRequest, name: &str) -> Vec<String> {
    request.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn loop_header(request: &LoggedRequest) -> Vec<String> {
    values(request, PROXIED)
}
