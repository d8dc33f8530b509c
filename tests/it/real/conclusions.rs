//! The garbage collector and the namespace controller during the upgrade of three servers, one by one, from 1.35 to
//! 1.36: how often would they delete what they must not?
//!
//! Their rules are replayed (see [`controllers`]) thousands of times: natively, where each server has the Mixed Version
//! Proxy switched on and a TCP balancer stands before them; and through us, before all three and beside one.

mod balancer;
mod controllers;
mod truth;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http::Method;
use kube_peer_proxy::{
    api::media_type::{ACCEPT_NOPEER, ACCEPT_V2},
    embedded::Recorded,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    fleet, fleets,
    kit::{
        binaries::{Binaries, Version},
        cluster::Cluster,
        files::Who,
        proxy::Proxy,
        server::Spec,
    },
    readme, say,
};
use balancer::Balancer;
use controllers::{Controllers, Counts};
use truth::{Resource, read};

const V1_35: Version = Version(1, 35);
const V1_36: Version = Version(1, 36);
const SERVERS: [Spec; 3] = [Spec::new("a", V1_35), Spec::new("b", V1_35), Spec::new("c", V1_35)];
/// Alpha in 1.35, and on from 1.36.
const NATIVE_GATE: &[&str] = &["--feature-gates=UnknownVersionInteroperabilityProxy=true"];

/// Only 1.36 serves these.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";

/// SIGTERM is followed by SIGKILL.
const GRACE: Duration = Duration::from_secs(8);
/// Until everybody has heard of a new API.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before everybody serves the same; for less than this, the claim would be weak.
const ROUNDS: u32 = 250;
/// How often C is killed at most, until there were so many.
const KILLS: u32 = 8;

/// The table's name in README.md.
const README: &str = "conclusions";
const HEADING: [&str; 4] =
    ["", "native 1.36.3 behind a TCP balancer", "kube-peer-proxy as a front", "kube-peer-proxy as a sidecar"];
type Figure = fn(&Counts) -> u32;
/// What is bold is wrong, and must never be through us.
const LINES: [(&str, Figure); 10] = [
    ("owners looked up", |sum| sum.lookups),
    ("**404 for an owner that exists**", |sum| sum.owners_denied),
    ("discovery documents", |sum| sum.documents),
    ("**discovery that hides something that exists**", |sum| sum.hidden),
    ("lists and deletions of collections", |sum| sum.lists),
    ("**404, 405 or an empty list for what is there**", |sum| sum.emptied),
    ("503, tried again", |sum| sum.unavailable),
    ("connection broken, tried again", |sum| sum.broken),
    ("anything else", |sum| sum.odd.values().sum()),
    ("**wrong conclusions**", Counts::wrong),
];

/// Three servers, and those who ask them in one way or another.
struct Side {
    cluster: &'static Cluster,
    controllers: Vec<Controllers>,
}

// === impl Side ===

impl Side {
    async fn fill(cluster: &Cluster) {
        let schema =
            json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
        let definition = json!({
            "metadata": { "name": "tales.stories.example.com" },
            "spec": {
                "group": "stories.example.com", "scope": "Namespaced",
                "names": { "plural": "tales", "kind": "Tale" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
            },
        });
        cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        let one = json!({ "metadata": { "name": "one" } });
        cluster.create("/api/v1/namespaces/default/configmaps", &one).await;
        let tale = json!({
            "apiVersion": "stories.example.com/v1", "kind": "Tale", "metadata": { "name": "one" },
        });
        cluster.create("/apis/stories.example.com/v1/namespaces/default/tales", &tale).await;
        let deployment = json!({
            "metadata": { "name": "one" },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": "one" } },
                "template": {
                    "metadata": { "labels": { "app": "one" } },
                    "spec": { "containers": [{ "name": "one", "image": "none" }] },
                },
            },
        });
        cluster.create("/apis/apps/v1/namespaces/default/deployments", &deployment).await;
    }

    /// Everything that a server itself serves.
    async fn served_by(&self, name: &str) -> BTreeSet<Resource> {
        let client = self.cluster.direct(name, Who::Admin).await;
        let mut all = BTreeSet::new();
        for path in ["/api", "/apis"] {
            let reply = client.get_with(path, &[("accept", ACCEPT_NOPEER)]).await.unwrap();
            all.extend(read(&reply.json()));
        }
        all
    }

    fn exist(&self, resources: &BTreeSet<Resource>) {
        self.controllers.iter().for_each(|one| one.truth.now_exist(resources.clone()));
    }

    async fn start(&self, name: &str) {
        self.cluster.server(name).start();
        self.cluster.server(name).ready(&self.cluster.files).await;
    }

    async fn upgrade(&self, name: &str, binaries: &Binaries) {
        let server = self.cluster.server(name);
        server.retire(GRACE).await;
        server.becomes(&binaries.apiservers[&V1_36]);
        self.start(name).await;
    }

    /// Makes the policy at C; it counts as known when everybody who is asked knows it.
    async fn make_policy(&self, ways: &[std::net::SocketAddr]) {
        let policy = json!({
            "metadata": { "name": "one" },
            "spec": {
                "reinvocationPolicy": "Never",
                "matchConstraints": { "resourceRules": [{ "apiGroups": ["never.example.com"],
                    "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"] }] },
                "mutations": [{ "patchType": "ApplyConfiguration",
                    "applyConfiguration": { "expression": "Object{}" } }],
            },
        });
        let made = self.cluster.direct("c", Who::Admin).await.post(POLICIES, &policy).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.text());
        let begun = Instant::now();
        for way in ways {
            while begun.elapsed() < PATIENCE && !self.knows(*way).await {
                sleep(Duration::from_millis(200)).await;
            }
        }
        say!("    everybody knows the policy after {:.1} s", begun.elapsed().as_secs_f32());
        self.controllers.iter().for_each(|one| one.truth.policy_exists());
        self.exist(&self.served_by("c").await);
    }

    async fn knows(&self, way: std::net::SocketAddr) -> bool {
        let asked = async {
            let client =
                super::kit::client::Dial::new(&self.cluster.files, way, Who::Admin).connect().await?;
            let policy = client.call(Method::GET, &format!("{POLICIES}/one"), &[], "".into()).await?;
            let apis = client.get_with("/apis", &[("accept", ACCEPT_V2)]).await?;
            std::io::Result::Ok(
                policy.status == 200
                    && apis.lists("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies"),
            )
        };
        asked.await.unwrap_or(false)
    }
}

/// What each way in saw in each phase.
#[derive(Default)]
struct Table(Vec<(String, &'static str, Counts)>);

// === impl Table ===

impl Table {
    /// Lets something happen on both sides at the same time.
    async fn during(&mut self, phase: &str, sides: [&Side; 2], event: impl AsyncFn(&Side)) {
        let begun = Instant::now();
        tokio::join!(event(sides[0]), event(sides[1]));
        let phase = format!("{phase} ({:.0} s)", begun.elapsed().as_secs_f32());
        for one in sides.iter().flat_map(|side| &side.controllers) {
            let counts = one.take();
            say!("| {phase} | {} {counts}", one.name);
            self.0.push((phase.clone(), one.name, counts));
        }
    }

    fn sum(&self, name: &str) -> Counts {
        let mut sum = Counts::default();
        self.0.iter().filter(|(_, of, _)| *of == name).for_each(|(_, _, counts)| sum.add(counts));
        sum
    }
}

/// What a 1.36 serves by default.
fn of_136() -> BTreeSet<Resource> {
    let mut all = BTreeSet::new();
    for document in [Recorded::V1_36.api(), Recorded::V1_36.apis()] {
        let document: Value = serde_json::from_str(&document.to_string()).unwrap();
        all.extend(read(&document));
    }
    all.extend(["tales"].map(|tales| ("stories.example.com".to_owned(), "v1".to_owned(), tales.to_owned())));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_controller_concludes_that_something_is_gone_while_servers_are_upgraded() {
    let (binaries, ..) = &fleet!(fleets::killer(&[V1_35, V1_36]).await);
    let begun = Instant::now();
    let natives = SERVERS.map(|spec| spec.flags(NATIVE_GATE).native());
    let (native, ours) = tokio::join!(
        Cluster::start("conclusions-native", binaries, &natives),
        Cluster::start("conclusions-ours", binaries, &SERVERS)
    );
    let (native, ours): (&'static Cluster, &'static Cluster) =
        (Box::leak(Box::new(native)), Box::leak(Box::new(ours)));
    tokio::join!(Side::fill(native), Side::fill(ours));
    say!("servers are up after {:.0} s", begun.elapsed().as_secs_f32());
    let balancer = Balancer::start(native).await;
    let front = Proxy::of(ours, None).await;
    let sidecar = Proxy::of(ours, Some("a")).await;
    let native_ways: Vec<_> = native.servers.iter().map(|server| server.addr).collect();
    let our_ways = [front.addr, sidecar.addr];
    let native = Side {
        cluster: native,
        controllers: vec![Controllers::start("native", &native.files, balancer.addr)],
    };
    let ours = Side {
        cluster: ours,
        controllers: vec![
            Controllers::start("front", &ours.files, front.addr),
            Controllers::start("sidecar", &ours.files, sidecar.addr),
        ],
    };
    let sides = [&native, &ours];
    for side in sides {
        let at_first: BTreeSet<_> = side.served_by("a").await.intersection(&of_136()).cloned().collect();
        side.exist(&at_first);
    }

    say!("| phase | through {}", Counts::HEADINGS);
    let mut table = Table::default();
    let seconds = |count| sleep(Duration::from_secs(count));
    table.during("all are 1.35", sides, async |_| seconds(5).await).await;
    table.during("C is upgraded", sides, async |side| side.upgrade("c", binaries).await).await;
    table
        .during("a policy is made", sides, async |side| {
            let ways = if side.controllers.len() == 1 { &*native_ways } else { &our_ways };
            side.make_policy(ways).await;
        })
        .await;
    table.during("C is 1.36", sides, async |_| seconds(5).await).await;
    table
        .during("C is shut down cleanly", sides, async |side| {
            side.cluster.server("c").retire(GRACE).await;
            seconds(8).await;
        })
        .await;
    table.during("C starts again", sides, async |side| side.start("c").await).await;
    table.during("C is back", sides, async |_| seconds(5).await).await;
    for again in 0..KILLS {
        table
            .during("C is killed and started again", sides, async |side| {
                side.cluster.server("c").kill();
                seconds(5).await;
                side.start("c").await;
            })
            .await;
        // A slow machine has to see it more often to see as much.
        if ["front", "sidecar"].iter().all(|name| table.sum(name).rounds > ROUNDS) {
            break;
        }
        say!("seen too little after {} times", again + 1);
    }
    table.during("B is upgraded", sides, async |side| side.upgrade("b", binaries).await).await;
    table.during("A is upgraded", sides, async |side| side.upgrade("a", binaries).await).await;
    table.during("all are 1.36", sides, async |_| seconds(5).await).await;

    say!("| {} |", HEADING.join(" | "));
    let sums = ["native", "front", "sidecar"].map(|name| table.sum(name));
    let line = |(what, figure): &(&str, Figure)| -> Vec<String> {
        let figures = sums.iter().map(|sum| figure(sum).to_string());
        std::iter::once((*what).to_owned()).chain(figures).collect()
    };
    let lines: Vec<_> = LINES.iter().map(line).collect();
    lines.iter().for_each(|cells| say!("| {} |", cells.join(" | ")));
    for (name, sum) in ["native", "front", "sidecar"].into_iter().zip(&sums) {
        say!("{name}: hidden {:?}; other answers {:?}", sum.what, sum.odd);
    }
    say!("{:.0} s", begun.elapsed().as_secs_f32());
    native.cluster.kill_all();
    ours.cluster.kill_all();
    for (name, sum) in ["front", "sidecar"].into_iter().zip(&sums[1..]) {
        assert_eq!(sum.wrong(), 0, "{name}: {sum:?}");
        assert!(sum.rounds > ROUNDS, "{name}: only {} rounds", sum.rounds);
    }
    let mut shown = readme::Table::read(README);
    if readme::is_to_be_written() {
        shown.rows = lines;
        shown.write(&HEADING);
        return;
    }
    // How often is another matter in every run.
    for (cells, seen) in lines.iter().zip(&shown.rows) {
        assert_eq!(cells[0], seen[0], "README.md has other lines");
        let wrong = cells[0].starts_with("**");
        let never = |cells: &[String]| cells[1..].iter().map(|figure| figure == "0").collect::<Vec<_>>();
        assert!(
            !wrong || never(cells) == never(seen),
            "README.md tells another story: {seen:?}, and here {cells:?}"
        );
    }
    assert_eq!(lines.len(), shown.rows.len(), "README.md has other lines");
}
