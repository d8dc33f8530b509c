//! Servers that die, hang and are restarted while clients work.
//!
//! `old` is 1.35, `new1` and `new2` are 1.36. Clients read a MutatingAdmissionPolicy, which only 1.36 serves, and
//! discovery: through a front of all three and through a sidecar of the old one.

mod load;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::sleep;

use super::{
    fleet, fleets,
    kit::{cluster::Cluster, eventually, files::Who, proxy::Proxy},
    say,
};
use load::{Load, Seen};

const GROUP: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const POLICY: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/read-all-the-time";

/// A hung server is declared dead after 10 s, and a busy machine takes its time.
const HANGS_AT_MOST: Duration = Duration::from_secs(13);
/// After everybody is back, all is well again within this.
const WELL_WITHIN: Duration = Duration::from_secs(10);

/// Servers that start refuse with 403 until they have read their roles. As long as one of those that serve the
/// thing is ready, no client sees that; while none is, they are asked all the same.
const NOBODY_IS_READY: &str = "both start again";

/// What is seen through both proxies while something happens.
struct Story {
    front: Load,
    sidecar: Load,
    table: Vec<(String, &'static str, Seen)>,
}

impl Story {
    /// Notes what clients saw during `event`.
    async fn during(&mut self, phase: &str, event: impl Future<Output = ()>) -> [Seen; 2] {
        self.front.take();
        self.sidecar.take();
        let begun = Instant::now();
        event.await;
        let phase = format!("{phase} ({:.0} s)", begun.elapsed().as_secs_f32());
        let seen = [self.front.take(), self.sidecar.take()];
        for (through, seen) in ["front", "sidecar"].into_iter().zip(&seen) {
            self.table.push((phase.clone(), through, seen.clone()));
        }
        seen
    }

    /// Everybody is back: for a moment things may still fail, and then nothing may.
    async fn well(&mut self, phase: &str) {
        let settling = async {
            eventually("clients are answered again", async || {
                self.front.take();
                self.sidecar.take();
                sleep(Duration::from_millis(500)).await;
                let seen = [self.front.peek(), self.sidecar.peek()];
                seen.iter().all(|seen| seen.all_well() && seen.found > 0).then_some(())
            })
            .await;
        };
        let begun = Instant::now();
        settling.await;
        assert!(begun.elapsed() < WELL_WITHIN, "{phase}: well only after {:?}", begun.elapsed());
        for seen in self.during(phase, sleep(Duration::from_secs(4))).await {
            assert!(seen.all_well() && seen.found > 20, "{phase}: {seen:?}");
        }
    }

    fn print(&self) {
        say!("{:44} {:8} {}", "phase", "through", Seen::HEADINGS);
        for (phase, through, seen) in &self.table {
            say!("{phase:44} {through:8} {seen}");
        }
    }
}

async fn restart(fleet: &Cluster, name: &str) {
    fleet.server(name).start();
    fleet.server(name).ready(&fleet.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_failure_makes_a_client_believe_that_something_is_not_there() {
    let fleet = fleet!(fleets::mortals().await);
    let policy = json!({
        "metadata": { "name": "read-all-the-time" },
        "spec": {
            "reinvocationPolicy": "Never",
            "matchConstraints": { "resourceRules": [{ "apiGroups": ["never.example.com"],
                "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"] }] },
            "mutations": [{ "patchType": "ApplyConfiguration",
                "applyConfiguration": { "expression": "Object{}" } }],
        },
    });
    let made = fleet.direct("new1", Who::Admin).await.post(POLICIES, &policy).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());

    let front = Proxy::of(fleet.cluster, None).await;
    let sidecar = Proxy::of(fleet.cluster, Some("old")).await;
    let mut story = Story { front: Load::start(&front), sidecar: Load::start(&sidecar), table: Vec::new() };
    let seconds = |seconds| sleep(Duration::from_secs(seconds));

    story.well("all are up").await;
    story
        .during("new1 is killed, new2 serves the same", async {
            fleet.server("new1").kill();
            seconds(8).await;
        })
        .await;
    story.during("new1 starts again", restart(&fleet, "new1")).await;
    story.well("new1 is back").await;
    story
        .during("new2 hangs", async {
            fleet.server("new2").signal("STOP");
            seconds(15).await;
        })
        .await;
    story
        .during("new2 goes on", async {
            fleet.server("new2").signal("CONT");
            seconds(1).await;
        })
        .await;
    story.well("new2 is back").await;
    story
        .during("new1 and new2 are killed", async {
            fleet.server("new1").kill();
            fleet.server("new2").kill();
            seconds(5).await;
        })
        .await;
    story
        .during(NOBODY_IS_READY, async {
            tokio::join!(restart(&fleet, "new1"), restart(&fleet, "new2"));
        })
        .await;
    story.well("both are back").await;
    for name in ["old", "new1", "new2"] {
        story
            .during(&format!("{name} is restarted"), async {
                fleet.server(name).terminate().await;
                restart(&fleet, name).await;
            })
            .await;
    }
    story.well("after the rolling restart").await;

    story.print();
    let each = story.table.iter();
    let odd: Vec<_> =
        each.flat_map(|(phase, _, seen)| seen.odd.iter().map(move |odd| (phase, odd))).collect();
    assert!(odd.is_empty(), "{odd:#?}");
    for (phase, through, seen) in &story.table {
        assert_eq!(seen.not_found, 0, "{phase}, {through}: {seen:?}");
        if !phase.starts_with(NOBODY_IS_READY) {
            assert_eq!(seen.forbidden, 0, "{phase}, {through}: {seen:?}");
        }
        assert_eq!(seen.vanished, 0, "{phase}, {through}: {seen:?}");
        assert!(seen.slowest < HANGS_AT_MOST, "{phase}, {through}: {seen:?}");
    }
    drop(story);
    fleet.direct("new1", Who::Admin).await.call(http::Method::DELETE, POLICY, &[], "".into()).await.unwrap();
    front.stop().await;
    sidecar.stop().await;
}
