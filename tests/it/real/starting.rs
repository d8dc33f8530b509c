//! CRDs: a server that starts does not have them yet, and one day they are deleted (I7, I8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::Method;
use kube_peer_proxy::api::media_type::{ACCEPT_NOPEER, ACCEPT_V2};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    fleet, fleets,
    kit::{client::Dial, cluster::Cluster, eventually, files::Who, proxy::Proxy},
    say,
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GROUP: &str = "stories.example.com";

/// Keeps every core busy until it is dropped, but for two minutes at most.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let busy = Self(Arc::new(AtomicBool::new(true)));
        let cores = thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cores {
            let on = Arc::clone(&busy.0);
            thread::spawn(move || {
                let begun = Instant::now();
                while on.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(120) {
                    std::hint::spin_loop();
                }
            });
        }
        busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn crd(plural: &str, kind: &str) -> Value {
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{GROUP}") },
        "spec": {
            "group": GROUP, "scope": "Cluster", "names": { "plural": plural, "kind": kind },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    })
}

/// Defines a resource, waits until every server has it, and makes an object of it.
async fn define(fleet: &Cluster, plural: &str, kind: &str) -> String {
    fleet.create(CRDS, &crd(plural, kind)).await;
    for server in &fleet.servers {
        let admin = fleet.direct(server.name, Who::Admin).await;
        eventually(&format!("{} lists {plural}", server.name), async || {
            let apis = admin.get_with("/apis", &[("accept", ACCEPT_NOPEER)]).await.ok()?;
            apis.lists(GROUP, "v1", plural).then_some(())
        })
        .await;
    }
    let path = format!("/apis/{GROUP}/v1/{plural}");
    let object = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": { "name": "one" } });
    fleet.create(&path, &object).await;
    format!("{path}/one")
}

async fn delete(fleet: &Cluster, plural: &str) {
    let admin = fleet.direct(fleet.servers[0].name, Who::Admin).await;
    let path = format!("{CRDS}/{plural}.{GROUP}");
    assert_eq!(admin.call(Method::DELETE, &path, &[], "".into()).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_server_takes_no_crds_group_out_of_discovery_and_a_deleted_crd_goes() {
    let fleet = fleet!(fleets::mortals_alone().await);
    let object = define(&fleet, "tales", "Tale").await;
    // Alone behind the proxy: nobody else lists the group.
    let only = [("new1", "new1")];
    let proxy = Proxy::start(fleet.cluster, &only, None, |args| {
        args.discovery_refresh_interval = Some("1s".to_owned());
    })
    .await;
    // As admin: a starting server has not read its roles yet and refuses everybody else.
    let client = proxy.client(Who::Admin).await;
    let listed = async || {
        let apis = client.get_with("/apis", &[("accept", ACCEPT_V2)]).await.unwrap();
        (apis.status, apis.status == 200 && apis.lists(GROUP, "v1", "tales"))
    };
    assert_eq!(listed().await, (200, true));

    let (mut merged, mut refused, mut without) = (0, 0, 0);
    for _ in 0..2 {
        let busy = Busy::start();
        fleet.server("new1").kill();
        fleet.server("new1").start();
        let back = AtomicBool::new(false);
        let through_us = async {
            while !back.load(Ordering::Relaxed) {
                match listed().await {
                    (200, here) => {
                        assert!(here, "the group has gone out of the merged document");
                        merged += 1;
                    }
                    (503, _) => refused += 1,
                    (status, _) => panic!("{status}"),
                }
                let reply = client.get(&object).await.unwrap();
                assert!([200, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
                sleep(Duration::from_millis(10)).await;
            }
        };
        let directly = async {
            let server = fleet.server("new1");
            let restarted = async {
                server.ready(&fleet.files).await;
                sleep(Duration::from_secs(3)).await;
                back.store(true, Ordering::Relaxed);
            };
            let look = async {
                while !back.load(Ordering::Relaxed) {
                    let admin = Dial::new(&fleet.files, server.addr, Who::Admin).connect().await;
                    if let Ok(admin) = admin
                        && let Ok(apis) = admin.get_with("/apis", &[("accept", ACCEPT_NOPEER)]).await
                        && apis.status == 200
                        && !apis.lists(GROUP, "v1", "tales")
                    {
                        without += 1;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::join!(restarted, look);
        };
        tokio::join!(through_us, directly);
        drop(busy);
    }
    say!(
        "while it started, the server itself answered /apis {without} times without the group; through us \
         {merged} answers had it, {refused} were 503"
    );
    eventually("the client is answered again", async || listed().await.1.then_some(())).await;

    let begun = Instant::now();
    delete(&fleet, "tales").await;
    eventually("the deleted group goes", async || {
        let apis = client.get_with("/apis", &[("accept", ACCEPT_V2)]).await.unwrap();
        (apis.status == 200 && !apis.groups().iter().any(|group| group == GROUP)).then_some(())
    })
    .await;
    say!("the deleted CRD's group was gone after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_404_of_a_deleted_crd_passes_within_seconds_and_none_before() {
    let fleet = fleet!(fleets::mortals().await);
    // Nothing but the 404 itself makes this one look again: the next timed fetch is far away.
    let later = |args: &mut kube_peer_proxy::config::ServeArgs| {
        args.discovery_refresh_interval = Some("10m".to_owned());
    };
    let servers: Vec<_> = fleet.servers.iter().map(|server| (server.name, server.name)).collect();
    for home in [None, Some("old")] {
        let object = define(&fleet, "plots", "Plot").await;
        let proxy = Proxy::start(fleet.cluster, &servers, home, later).await;
        let client = proxy.client(Who::Alice).await;
        let list = object.strip_suffix("/one").unwrap();
        for _ in 0..50 {
            assert_eq!(client.get(list).await.unwrap().status, 200);
        }
        // An object that is not there is none of our business, and no server is asked again for it.
        let absent = client.get(&format!("{list}/absent")).await.unwrap();
        assert_eq!(absent.json()["details"]["name"], "absent");

        delete(&fleet, "plots").await;
        let begun = Instant::now();
        let mut seen = Vec::new();
        let answer = eventually("the 404 passes", async || {
            let reply = client.get(list).await.unwrap();
            if seen.last() != Some(&reply.status) {
                seen.push(reply.status);
            }
            (reply.status == 404).then_some(reply)
        })
        .await;
        say!("home {home:?}: answers {seen:?}, 404 after {:?}: {:?}", begun.elapsed(), answer.text());
        assert!(begun.elapsed() < Duration::from_secs(10));
        let apis = client.get_with("/apis", &[("accept", ACCEPT_V2)]).await.unwrap();
        assert!(!apis.lists(GROUP, "v1", "plots"));
        proxy.stop().await;
    }
}
