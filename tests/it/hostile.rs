//! Clients that mean harm, byte by byte and frame by frame: what each attack finds, and who else notices.
//!
//! `tests/README.md` has the table of attacks. Each room tells one family: a table whose rows are claims, or a
//! test under the name by which the attack is known.

mod answers;
mod bodies;
mod bombs;
mod floods;
mod frames;
mod heads;
mod identity;
mod loops;
mod slow;

use kube_peer_proxy::embedded::LoggedRequest;
use kube_peer_proxy::embedded::Recorded::V1_36;

use crate::kit::{As, Client, Cluster, PKI, Proxy, Raw, RawH2};

/// Home is 1.36, and nobody else is there.
async fn alone() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_36]).await;
    let proxy = cluster.proxy().home("v136").trusts_front_proxies().start().await;
    (cluster, proxy)
}

/// What the server was asked by clients since this was last called.
fn arrived(cluster: &Cluster) -> Vec<LoggedRequest> {
    let asked = cluster.asked("v136", |_| true);
    cluster.server("v136").log().clear();
    asked
}

/// HTTP/1.1 as the admin, byte by byte.
async fn raw(proxy: &Proxy) -> Raw {
    Raw::connect(proxy.address(), Some(&PKI.admin)).await
}

/// HTTP/2 as the admin, frame by frame.
async fn raw_h2(proxy: &Proxy) -> RawH2 {
    RawH2::connect(proxy.address(), Some(&PKI.admin)).await
}

/// Somebody else, whom no attack may disturb.
async fn bystander(proxy: &Proxy) -> Client {
    let other = proxy.h2(As::Certificate(&PKI.admin)).await;
    is_well(&other).await;
    other
}

async fn is_well(bystander: &Client) {
    assert_eq!(bystander.get("/version?bystander").await.status, 200);
    assert!(!bystander.is_over());
}

/// Runs a test again, alone in a process of its own, and says whether this is that process: what is measured
/// there is nobody else's. The name is that of the test below this module.
fn has_the_process_to_itself(test: &str) -> bool {
    const MARK: &str = "KPP_TEST_ALONE";
    let name = format!("hostile::{test}");
    if std::env::var(MARK).is_ok_and(|alone| alone == name) {
        return true;
    }
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(MARK, &name)
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    crate::kit::say!("{}", errors.trim_end());
    assert!(again.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    false
}

/// Bytes of this process that are in memory. Servers and clients of the tests are in it too.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
