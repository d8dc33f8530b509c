//! Tunnels whose server or client goes.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Child,
    time,
};

use super::{
    super::{
        fleet, fleets,
        kit::{
            DEADLINE, binaries::Binaries, cluster::Cluster, eventually, files::Who, kubectl::Kubectl,
            kubelet::POD, proxy::Proxy,
        },
        say,
    },
    OLDEST, Scene,
};

/// Far more than noticing takes, far less than any timeout that could hide that nobody noticed.
const AT_ONCE: Duration = Duration::from_secs(10);

/// What a leaving proxy gives its tunnels.
const LEAVES_AFTER: Duration = Duration::from_secs(8);

/// Runs a script in the container until it says `started`; its input stays open.
async fn start(name: &str, kubectl: &Kubectl, script: &str) -> Child {
    let mut child = kubectl.command(&["exec", "-i", POD, "--", "sh", "-c", script]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line.as_deref(), Some("started"), "{name}");
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_when_its_client_goes() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways_of(Who::Alice) {
        let file = format!("{}-pid", way.name);
        let script = format!("echo $$ >{file}; echo started; exec cat");
        let mut child = start(&way.name, &way.kubectl, &script).await;
        let pid = fs::read_to_string(scene.kubelet.root.join(file)).unwrap();
        let running = Path::new("/proc").join(pid.trim());
        assert!(running.exists(), "{}", way.name);
        child.kill().await.unwrap();
        eventually(&format!("{}: it ends", way.name), async || (!running.exists()).then_some(())).await;
    }
    scene.end().await;
}

/// kubectls in every protocol, by certificate and by token, to one URL.
fn kubectls(fleet: &Cluster, binaries: &Binaries, url: &str) -> Vec<(String, Kubectl)> {
    let mut all = Vec::new();
    for who in [Who::Alice, Who::Bob] {
        let newest = || Kubectl::newest(binaries, &fleet.files, url, who);
        all.push((format!("websocket {who:?}"), newest()));
        all.push((format!("spdy {who:?}"), newest().spdy()));
        if binaries.kubectls.contains_key(&OLDEST) {
            all.push((format!("old {who:?}"), Kubectl::new(binaries, OLDEST, &fleet.files, url, who)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_its_tunnels_through_the_proxy_as_it_does_directly() {
    let fleet = fleet!(fleets::mortals().await);
    fleet!(fleet.cluster.kubelet(fleet.binaries, Ipv4Addr::LOCALHOST).await);
    let proxy = Proxy::of(fleet.cluster, Some("new1")).await;
    let mut tunnels = Vec::new();
    for (route, url) in [("direct", fleet.server("new1").url()), ("proxied", proxy.url())] {
        for (kind, kubectl) in kubectls(&fleet, fleet.binaries, &url) {
            let child = start(&kind, &kubectl, "echo started; cat").await;
            tunnels.push((route, kind, kubectl, child));
        }
    }
    let begun = Instant::now();
    fleet.server("new1").kill();
    let mut direct = Vec::new();
    for (route, kind, _kubectl, mut child) in tunnels {
        let _open = child.stdin.take();
        let ended = time::timeout(AT_ONCE, child.wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{route}, {kind}: it goes on")).unwrap();
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        say!("{route:8} {kind:18} {:?} after {:?}: {}", ended.status.code(), begun.elapsed(), err.trim());
        direct.push((route, kind, ended.status.code(), err));
    }
    let (direct, proxied): (Vec<_>, Vec<_>) = direct.into_iter().partition(|(route, ..)| *route == "direct");
    for ((_, kind, code, err), (_, _, proxied_code, proxied_err)) in direct.iter().zip(&proxied) {
        assert_eq!(proxied_code, code, "{kind}: {proxied_err} instead of {err}");
    }
    proxy.stop().await;
    fleet.server("new1").start();
    fleet.server("new1").ready(&fleet.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_leaves_carries_its_tunnels_up_to_the_deadline_and_ends_them_then() {
    let fleet = fleet!(fleets::versions().await);
    fleet!(fleet.cluster.kubelet(fleet.binaries, Ipv4Addr::LOCALHOST).await);
    let proxy = Proxy::start(fleet.cluster, &[("v136", "v136")], Some("v136"), |args| {
        args.shutdown_delay_duration = Some("0s".to_owned());
        args.shutdown_timeout = Some(format!("{}s", LEAVES_AFTER.as_secs()));
    })
    .await;
    let mut tunnels = Vec::new();
    for (kind, kubectl) in kubectls(&fleet, fleet.binaries, &proxy.url()) {
        let child = start(&kind, &kubectl, "echo started; cat").await;
        tunnels.push((kind, kubectl, child));
    }
    let begun = Instant::now();
    let leaving = tokio::spawn(proxy.stop());
    // It does not accept any more, and what is open works.
    for (kind, _, child) in &mut tunnels {
        child.stdin.as_mut().unwrap().write_all(b"still there\n").await.unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let line = time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some("still there"), "{kind}");
    }
    assert!(!leaving.is_finished(), "it waits for them");
    for (kind, _kubectl, mut child) in tunnels {
        let _open = child.stdin.take();
        let ended = time::timeout(DEADLINE, child.wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{kind}: it goes on")).unwrap();
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        say!("{kind:18} {:?} after {:?}: {}", ended.status.code(), begun.elapsed(), err.trim());
        assert!(begun.elapsed() >= LEAVES_AFTER, "{kind}: after {:?}", begun.elapsed());
    }
    time::timeout(AT_ONCE, leaving).await.expect("nothing is left").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_home_is_down_a_peer_stands_in_for_exec_too() {
    let fleet = fleet!(fleets::mortals().await);
    fleet!(fleet.cluster.kubelet(fleet.binaries, Ipv4Addr::LOCALHOST).await);
    let proxy = Proxy::of(fleet.cluster, Some("new1")).await;
    fleet.server("new1").kill();
    eventually("home is down", async || (!proxy.server("new1").health.is_healthy()).then_some(())).await;
    for (kind, kubectl) in kubectls(&fleet, fleet.binaries, &proxy.url()) {
        let seen = kubectl.piped("hello\n", &["exec", "-i", POD, "--", "cat"]).await;
        assert_eq!((seen.code, &*seen.out), (Some(0), "hello\n"), "{kind}: {seen:?}");
    }
    proxy.stop().await;
    fleet.server("new1").start();
    fleet.server("new1").ready(&fleet.files).await;
}
