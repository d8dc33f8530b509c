//! Watches through the proxy while everything behind it fails: per object no gap, no duplicate, no reorder.
//!
//! Writers create, change and delete at random. Reflectors list and watch as client-go's do, over connections of
//! both protocols and for callers of both kinds, and write down all that they see ([`history`]). Meanwhile servers
//! die, hang and come back, and so does the proxy. At the end [`check`] holds each history against what really
//! happened, which a witness saw at a server that nothing was done to, and against what writers were promised.
//!
//! Here on servers in memory for some seconds; `real/watch_checker.rs` does it on real ones.

pub mod check;
pub mod counts;
pub mod history;
pub mod line;
pub mod reflector;
pub mod run;
pub mod writer;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_36};
use kube_peer_proxy::embedded::Store;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::time::sleep;

use crate::kit::{BOB, Cluster, PKI, Proxy, ProxyBuilder, eventually, free_port, say, until};
use history::Step;
use line::Entrance;
use reflector::Manners;
use run::{Crowd, Seen, Witness, Writers};
use writer::Resource;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Only the new ones serve these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const REFLECTORS: usize = 30;
/// So little is remembered that whoever was away for long has to list again.
const HISTORY: usize = 60;
const WRITE_EVERY: Duration = Duration::from_millis(30);
const MANNERS: Manners = Manners { pause: Duration::from_millis(40), watch_for: Duration::from_secs(3) };
/// After all is well again everybody has caught up within this.
const CATCH_UP: Duration = Duration::from_secs(20);

/// The servers, and the proxy before them.
struct Stage {
    cluster: Cluster,
    address: SocketAddr,
    proxy: Option<Proxy>,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Dies(&'static str),
    Hangs(&'static str),
    DropsConnections(&'static str),
    SendsPeopleAway(&'static str),
    ProxyIsRestarted,
    /// For so long that nobody remembers what happened since.
    ProxyIsAway,
}

// === impl Stage ===

impl Stage {
    async fn set() -> Self {
        let store = Store::with_history(HISTORY);
        let servers = [("home", V1_32), ("new1", V1_36), ("new2", V1_36), ("witness", V1_36)];
        let often = Duration::from_millis(100);
        let cluster = Cluster::with(servers, |builder| builder.store(store.clone()).bookmark_interval(often));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut stage = Self { cluster: cluster.await, address, proxy: None };
        stage.start_proxy().await;
        stage
    }

    async fn start_proxy(&mut self) {
        let servers = ["home", "new1", "new2"].into_iter().map(|name| self.cluster.server(name));
        let proxy = servers.fold(ProxyBuilder::new(), |proxy, one| proxy.server(one.id(), one.addr()));
        let proxy = proxy.home("home").hasty().listen(self.address).flags(|args| {
            args.shutdown_delay_duration = Some("200ms".into());
            args.shutdown_timeout = Some("500ms".into());
        });
        // The old one may be accepting for a while yet.
        until("the port is free", async || tokio::net::TcpListener::bind(self.address).await.ok().map(drop))
            .await;
        self.proxy = Some(proxy.start().await);
    }

    /// By certificate and by token, over HTTP/2 and HTTP/1.1.
    fn entrances(&self, address: SocketAddr) -> Vec<Entrance> {
        let ca = PKI.cluster_ca.cert();
        let admin = Entrance::new(address, ca, Some(&PKI.admin));
        let bob = Entrance::new(address, ca, None).token(BOB);
        vec![admin.clone(), bob.clone(), admin.http1(), bob.http1()]
    }

    fn direct(&self, server: &str) -> Entrance {
        self.entrances(self.cluster.server(server).addr()).remove(0)
    }

    async fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Dies(name) => {
                let server = self.cluster.server(name);
                server.stop().await;
                sleep(Duration::from_millis(300)).await;
                server.restart().await.unwrap();
            }
            Trouble::Hangs(name) => {
                let faults = self.cluster.server(name).faults();
                faults.freeze(true);
                sleep(Duration::from_millis(1500)).await;
                faults.freeze(false);
            }
            Trouble::DropsConnections(name) => self.cluster.server(name).drop_connections(),
            Trouble::SendsPeopleAway(name) => self.cluster.server(name).send_goaway(),
            Trouble::ProxyIsRestarted | Trouble::ProxyIsAway => {
                let old = self.proxy.take().unwrap();
                old.app.shutdown().await;
                if matches!(trouble, Trouble::ProxyIsAway) {
                    let store = self.cluster.server("witness").store();
                    let forgotten = store.revision() + HISTORY as u64 + 1;
                    eventually("all was forgotten", || store.revision() > forgotten).await;
                }
                self.start_proxy().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_have_no_gap_no_duplicate_and_no_reorder_whatever_dies_hangs_or_is_restarted() {
    let seed = run::seed();
    let mut stage = Stage::set().await;
    let witness = stage.direct("witness");
    let entrances = stage.entrances(stage.address);
    let resources = [CONFIG_MAPS, POLICIES].map(|path| Resource { path: path.into(), object: json!({}) });
    let mut crowds = Vec::new();
    for (what, Resource { path, .. }) in
        ["home's, through a sidecar", "peers', through a sidecar"].iter().zip(&resources)
    {
        crowds.push(Crowd::start(what, path, &entrances, REFLECTORS, MANNERS, seed));
    }
    let (mut witnesses, mut writers) = (Vec::new(), Vec::new());
    for (resource, near) in resources.iter().zip(["home", "new1"]) {
        witnesses.push(Witness::start(&resource.path, &witness).await);
        let ways =
            [vec![stage.direct(near), witness.clone()], entrances[..2].to_vec(), vec![entrances[2].clone()]];
        writers.push(Writers::start(resource, &ways, WRITE_EVERY, seed));
    }

    // Whoever has not begun yet has nothing to lose.
    for crowd in &crowds {
        crowd.wait(1, CATCH_UP).await;
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut troubles = vec![Trouble::ProxyIsRestarted, Trouble::ProxyIsAway, Trouble::Dies("home")];
    for name in ["new1", "new2"] {
        troubles.extend([
            Trouble::Dies(name),
            Trouble::DropsConnections(name),
            Trouble::SendsPeopleAway(name),
        ]);
    }
    troubles.push(Trouble::Hangs(if rng.random() { "new1" } else { "new2" }));
    troubles.shuffle(&mut rng);
    let begun = Instant::now();
    for trouble in troubles {
        sleep(rng.random_range(Duration::from_millis(50)..Duration::from_millis(300))).await;
        say!("{:5.1?} {trouble:?}", begun.elapsed());
        stage.suffer(trouble).await;
    }

    let (mut wrong, mut broken) = (0, 0);
    say!("{}", Seen::HEADINGS);
    for (((resource, crowd), writers), seen) in resources.iter().zip(crowds).zip(writers).zip(witnesses) {
        let (written, end) = writers.stop(&witness).await;
        let mut truth = seen.truth(end).await;
        crowd.wait(end, CATCH_UP).await;
        let broken_promises = truth.reconcile(&written.acks);
        assert!(broken_promises.is_empty(), "{broken_promises:?}");
        let Step::Listed { at, objects } = run::list(&resource.path, &witness).await else { unreachable!() };
        assert_eq!(objects, truth.state_at(at), "the witness");
        let seen = crowd.stop().await;
        seen.print();
        wrong += seen.check(&truth, end);
        say!("{} writes happened; {written}", truth.len());
        // Else nothing was proven.
        let counts = &seen.counts;
        assert!(counts.events >= truth.len() as u64 && counts.expired > 0, "{counts:?}");
        broken += counts.ended_broken;
    }
    assert!(broken > 0, "no watch ever broke");
    assert_eq!(wrong, 0, "see above; KPP_SEED={seed}");
}
