//! Hundreds of watches on real servers that are killed and hang, through proxies that are drained and restarted.
//!
//! `old` is 1.35; `new1` and `new2` are 1.36, and only these serve bindings of MutatingAdmissionPolicies. What
//! reflectors saw, through a sidecar of the old one and through a front of all, is held against etcd's history.

mod etcd;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::json;
use tokio::{net::TcpListener, time::sleep};

use super::{
    fleet, fleets,
    kit::{cluster::Cluster, eventually, files::Who, free_port, proxy::Proxy},
    say,
};
use crate::watch_checker::{
    history::{State, Step, Truth},
    line::Entrance,
    reflector::Manners,
    run::{self, Crowd, Seen, Writers},
    writer::{NAMES, Resource, name_of},
};

const NAMESPACE: &str = "watched";
const CONFIG_MAPS: &str = "/api/v1/namespaces/watched/configmaps";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";
/// Through each proxy, for each resource.
const REFLECTORS: usize = 80;
const WRITE_EVERY: Duration = Duration::from_millis(300);
const MANNERS: Manners = Manners { pause: Duration::from_millis(500), watch_for: Duration::from_secs(30) };
/// A hung server is declared dead after 10 s.
const HANGS_FOR: Duration = Duration::from_secs(13);
const STALLS_FOR: Duration = Duration::from_secs(3);
const DEAD_FOR: Duration = Duration::from_secs(3);
/// After all is well again everybody has caught up within this.
const CATCH_UP: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Trouble {
    IsKilled(&'static str),
    /// Both that have bindings: the next one to be watched does not know what happened before.
    NewOnesAreKilled,
    Hangs(&'static str, Duration),
    ProxyIsRestarted(Through),
}

#[derive(Clone, Copy, Debug)]
enum Through {
    Sidecar,
    Front,
}

struct Stage {
    cluster: &'static Cluster,
    /// The sidecar and the front.
    proxies: [Option<Proxy>; 2],
    addresses: [SocketAddr; 2],
}

// === impl Stage ===

impl Stage {
    async fn set(cluster: &'static Cluster) -> Self {
        let addresses = [free_port(), free_port()].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let mut stage = Self { cluster, proxies: [None, None], addresses };
        for through in [Through::Sidecar, Through::Front] {
            stage.start(through).await;
        }
        for proxy in stage.proxies.iter().flatten() {
            proxy.until_all_are_healthy().await;
        }
        stage
    }

    async fn start(&mut self, through: Through) {
        let servers: Vec<_> = self.cluster.servers.iter().map(|server| (server.name, server.name)).collect();
        let home = matches!(through, Through::Sidecar).then_some("old");
        let address = self.addresses[through as usize];
        eventually("the port is free", async || TcpListener::bind(address).await.ok().map(drop)).await;
        let proxy = Proxy::launch(self.cluster, address, &servers, home, |args| {
            args.shutdown_delay_duration = Some("1s".into());
            args.shutdown_timeout = Some("3s".into());
        });
        self.proxies[through as usize] = Some(proxy.await);
    }

    fn entrance(&self, address: SocketAddr, who: Who) -> Entrance {
        let files = &self.cluster.files;
        let entrance = Entrance::new(address, files.pki.cluster_ca.cert(), files.certificate(who));
        who.token().into_iter().fold(entrance, Entrance::token)
    }

    fn through(&self, through: Through) -> Vec<Entrance> {
        let [alice, bob] =
            [Who::Alice, Who::Bob].map(|who| self.entrance(self.addresses[through as usize], who));
        vec![alice.clone(), bob.clone(), alice.http1(), bob.http1()]
    }

    fn direct(&self, server: &str) -> Entrance {
        self.entrance(self.cluster.server(server).addr, Who::Alice)
    }

    async fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::IsKilled(name) => {
                let server = self.cluster.server(name);
                server.kill();
                sleep(DEAD_FOR).await;
                server.start();
                server.ready(&self.cluster.files).await;
            }
            Trouble::NewOnesAreKilled => {
                let both = ["new1", "new2"].map(|name| self.cluster.server(name));
                both.iter().for_each(|server| server.kill());
                sleep(DEAD_FOR).await;
                both.iter().for_each(|server| server.start());
                for server in both {
                    server.ready(&self.cluster.files).await;
                }
            }
            Trouble::Hangs(name, time) => {
                let server = self.cluster.server(name);
                server.signal("STOP");
                sleep(time).await;
                server.signal("CONT");
            }
            Trouble::ProxyIsRestarted(through) => {
                self.proxies[through as usize].take().unwrap().stop().await;
                self.start(through).await;
            }
        }
    }
}

/// A resource, the servers that have it, and where etcd has it.
struct Case {
    resource: Resource,
    what: &'static str,
    servers: &'static [&'static str],
    prefix: &'static str,
}

fn cases() -> [Case; 2] {
    [
        Case {
            resource: Resource { path: CONFIG_MAPS.into(), object: json!({}) },
            what: "ConfigMaps",
            servers: &["old", "new1", "new2"],
            prefix: "/registry/configmaps/watched/",
        },
        Case {
            resource: Resource { path: BINDINGS.into(), object: json!({ "spec": { "policyName": "none" } }) },
            what: "peers' bindings",
            servers: &["new1", "new2"],
            prefix: "/registry/mutatingadmissionpolicybindings/",
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_have_no_gap_no_duplicate_and_no_reorder_whatever_is_killed_hangs_or_is_restarted() {
    let fleet = fleet!(fleets::mortals().await);
    let seed = run::seed();
    fleet.create("/api/v1/namespaces", &json!({ "metadata": { "name": NAMESPACE } })).await;
    let mut stage = Stage::set(fleet.cluster).await;
    let mut work = Vec::new();
    for case in cases() {
        let Step::Listed { at, objects } = run::list(&case.resource.path, &stage.direct("new1")).await else {
            unreachable!()
        };
        assert_eq!(objects, State::new(), "left behind by somebody");
        let crowds = [Through::Sidecar, Through::Front].map(|through| {
            let what = format!("{}, {through:?}", case.what);
            let entrances = stage.through(through);
            Crowd::start(&what, &case.resource.path, &entrances, REFLECTORS, MANNERS, seed)
        });
        let ways = [
            case.servers.iter().map(|server| stage.direct(server)).collect(),
            stage.through(Through::Sidecar)[..1].to_vec(),
            stage.through(Through::Front)[1..2].to_vec(),
        ];
        let writers = Writers::start(&case.resource, &ways, WRITE_EVERY, seed);
        work.push((case, at, crowds, writers));
    }

    let mut rng = StdRng::seed_from_u64(seed);
    let mut hang = ["new1", "new2"];
    hang.shuffle(&mut rng);
    let mut troubles = vec![
        Trouble::IsKilled("new1"),
        Trouble::IsKilled("new2"),
        Trouble::IsKilled("old"),
        Trouble::NewOnesAreKilled,
        Trouble::Hangs(hang[0], HANGS_FOR),
        Trouble::Hangs(hang[1], STALLS_FOR),
        Trouble::ProxyIsRestarted(Through::Sidecar),
        Trouble::ProxyIsRestarted(Through::Front),
    ];
    troubles.shuffle(&mut rng);
    let begun = Instant::now();
    for trouble in troubles {
        sleep(rng.random_range(Duration::from_secs(1)..Duration::from_secs(3))).await;
        say!("{:4.0?} {trouble:?}", begun.elapsed());
        stage.suffer(trouble).await;
    }
    sleep(Duration::from_secs(2)).await;

    let (mut wrong, mut seen) = (0, Vec::new());
    for (case, before, crowds, writers) in work {
        let (written, end) = writers.stop(&stage.direct("new1")).await;
        let names: Vec<_> =
            (0..NAMES).map(name_of).chain(written.acks.last().map(|ack| ack.name.clone())).collect();
        let changes = etcd::changes(fleet.cluster.etcd, case.prefix, &names, before, end).await;
        let mut truth = Truth::new(State::new(), changes);
        let broken_promises = truth.reconcile(&written.acks);
        assert!(broken_promises.is_empty(), "{broken_promises:?}");
        say!("{}: {} writes happened; {written}", case.what, truth.len());
        for crowd in &crowds {
            crowd.wait(end, CATCH_UP).await;
        }
        for server in case.servers {
            let Step::Listed { at, objects } = run::list(&case.resource.path, &stage.direct(server)).await
            else {
                unreachable!()
            };
            assert_eq!(objects, truth.state_at(at), "{server}");
        }
        for crowd in crowds {
            let crowd = crowd.stop().await;
            wrong += crowd.check(&truth, end);
            seen.push(crowd);
        }
    }
    say!("{}", Seen::HEADINGS);
    seen.iter().for_each(Seen::print);
    say!("{:.0?} in all, {wrong} findings", begun.elapsed());
    for Seen { counts, .. } in &seen {
        // Else nothing was proven.
        assert!(counts.events > 1000 && counts.ended_broken > 0 && counts.ended_cleanly > 0, "{counts:?}");
    }
    assert_eq!(wrong, 0, "see above; KPP_SEED={seed}");
    for case in cases() {
        let admin = fleet.direct("new1", Who::Admin).await;
        admin.call(http::Method::DELETE, &case.resource.path, &[], "".into()).await.unwrap();
    }
    for proxy in stage.proxies.into_iter().flatten() {
        proxy.stop().await;
    }
}
